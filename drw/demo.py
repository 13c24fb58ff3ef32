"""``./launch-all.sh --demo``: the whole system, ten OUSs, from ReadyForProcessing to Delivered, and a check of all."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import sys
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from drw import background, commands, ending, processes
from drw.check import Checker, print_verdicts
from drw.clear import clear
from shared import actor, errors, lifecycle, names, status
from shared.dbcon import DbConnection
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from shared.settings import Settings
    from shared.status import StatusEntity

PROGRAM: Final = "2015.1.00657.S"
OUSS: Final = tuple(f"uid://X1/X1/Xb{ending}" for ending in "012345678a")
"""The ten OUSs that the seed names."""

_FAILED_ONCE: Final = OUSS[2]
_SEMIPASSED: Final = OUSS[1::3]
_LAUNCHES: Final = 25
_LOOK_S: Final = 0.2
_STUCK_S: Final = 180.0
_SETTLE_S: Final = 20.0


class Demo:
    """The launches and the reviews of the ten OUSs."""

    def __init__(self, connection: DbConnection, environ: Mapping[str, str], console: Console) -> None:
        """Take the server, the environment of the commands, and where to print."""
        self._entities = connection.database(status.DATABASE)
        self._commands = commands.Commands(environ)
        self._console = console
        self._launches: Counter[str] = Counter()
        self._verdicts: list[tuple[str, str, str]] = []
        self._failed = False

    def run(self) -> None:
        """Launch all, review what is ready, launch again what failed, until all ten are Delivered."""
        for ous in OUSS:
            self._launch(ous)
        last_move, before = time.monotonic(), Counter[str]()
        with Live(self._table({}), console=self._console, refresh_per_second=4) as live:
            while True:
                entities = self._read()
                live.update(self._table(entities))
                now = Counter(f"{each.entity_id} {len(each.history)}" for each in entities.values())
                last_move = time.monotonic() if now != before else last_move
                before = now
                if [each.state for each in entities.values()] == [lifecycle.DELIVERED] * len(OUSS):
                    return
                if time.monotonic() - last_move > _STUCK_S:
                    raise errors.DrwError(f"nothing has moved for {_STUCK_S:.0f} s: see the actors' logs")
                if not self._act(entities):
                    time.sleep(_LOOK_S)

    def _read(self) -> dict[str, StatusEntity]:
        docs = self._entities.fetch([names.document_id(ous) for ous in OUSS])
        found = (status.read(doc) for doc in docs if doc)
        return {each.entity_id: each for each in found}

    def _act(self, entities: Mapping[str, StatusEntity]) -> bool:
        """Do the next thing that a person would do; tell whether there was one."""
        for ous, entity in entities.items():
            if entity.state == lifecycle.READY_FOR_REVIEW:
                self._review(ous)
                return True
            failed = entity.state == lifecycle.READY_FOR_PROCESSING and entity.history[-1].note.startswith("Fail")
            if entity.state == lifecycle.PROCESSING_PROBLEM or failed:
                self._launch(ous)
                return True
        return False

    def _launch(self, ous: str) -> None:
        self._launches[ous] += 1
        if self._launches[ous] > _LAUNCHES:
            raise errors.DrwError(f"{ous} was launched {_LAUNCHES} times and never got through")
        self._commands.run("launcher", PROGRAM, ous, names.DEFAULT_RECIPE, "EU")

    def _review(self, ous: str) -> None:
        flag, comment = ("S", "good enough") if ous in _SEMIPASSED else ("P", "as it should be")
        if ous == _FAILED_ONCE and not self._failed:
            flag, comment, self._failed = "F", "once more, please", True
        done = self._commands.run(
            "aqua-qa2", "--reviewer", "demo", "--ous", ous, "--flag", flag, "--comment", comment, may_fail=True
        )
        if done:
            self._verdicts.append((ous, flag, comment))

    def _table(self, entities: Mapping[str, StatusEntity]) -> Table:
        counts = Counter(each.state for each in entities.values())
        table = Table(title=f"{len(OUSS)} OUSs of {PROGRAM}", title_justify="left")
        table.add_column("state")
        table.add_column("OUSs", justify="right")
        table.add_column("which")
        for state in lifecycle.STATES:
            here = [
                each.entity_id.rpartition("/")[2] + (f" ({each.substate})" if state == "Verified" else "")
                for each in entities.values()
                if each.state == state
            ]
            table.add_row(state, str(counts[state]), " ".join(here))
        table.caption = (
            f"{sum(self._launches.values())} launches, {len(self._verdicts)} verdicts, "
            f"{sum(flag == 'F' for _, flag, _ in self._verdicts)} failed"
        )
        return table


def check(connection: DbConnection, settings: Settings, console: Console) -> bool:
    """Check everything, print it as a table, and tell whether all is OK."""
    checker = Checker(connection)
    deadline = time.monotonic() + _SETTLE_S
    bus = checker.no_open_message()
    while bus.wrong and time.monotonic() < deadline:
        time.sleep(_LOOK_S)  # the last messages are about to be settled
        bus = checker.no_open_message()
    verdicts = [
        *(checker.ous(ous) for ous in OUSS),
        checker.caches_alike(settings.eu_cache_dir(), settings.jao_cache_dir()),
        bus,
    ]
    print_verdicts(verdicts, console)
    return not any(each.wrong for each in verdicts)


def demo_settings(environ: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Return settings and environment of the demo: data and caches of its own, free ports, the CouchDB that is set."""
    outer = read_settings(environ)
    home = outer.home / "demo"
    own = {
        "DRW_HOME": str(home),
        "DRW_EU_CACHE": str(home / "eu-cache"),
        "DRW_JAO_CACHE": str(home / "jao-cache"),
        "DRW_WORK_DIR": str(home / "work"),
        "DRW_LOG_DIR": str(home / "log"),
    }
    ports = {"DRW_EU_PORT": outer.eu_port, "DRW_JAO_PORT": outer.jao_port, "DRW_DASHBOARD_PORT": outer.dashboard_port}
    own |= {variable: str(_free_port(port)) for variable, port in ports.items()}
    own["DRW_WEBLOG_URL"] = f"http://localhost:{own['DRW_JAO_PORT']}/weblogs"
    if environ.get("DRW_COUCHDB_URL"):
        own |= {"COUCHDB_USER": outer.user, "COUCHDB_PASSWORD": outer.password} if outer.user else {}
    else:
        own["DRW_COUCHDB_URL"] = f"http://127.0.0.1:{_free_port(5984)}"
    made = {**environ, **own}
    return read_settings(made), made


def _free_port(wanted: int) -> int:
    """Return a port if nobody listens on it, else some port that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise errors.DrwError(f"no port is free, neither {wanted} nor any other")


def refuse_strangers(connection: DbConnection) -> None:
    """Raise DrwError where the CouchDB holds OUSs other than the ten: the demo empties its databases."""
    if status.DATABASE not in connection.database_names():
        return
    ours = {names.document_id(ous) for ous in OUSS}
    strangers = [doc["_id"] for doc in connection.database(status.DATABASE).every() if doc["_id"] not in ours]
    if strangers:
        raise errors.DrwError(
            f"the CouchDB at {connection.url} holds {len(strangers)} OUSs that are not the demo's, such as "
            f"{strangers[0]}: the demo would delete them; unset DRW_COUCHDB_URL to let it use a database of its own"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration."""
    parser = actor.OneLineParser(
        prog="launch-all.sh --demo",
        description="Take ten OUSs from ReadyForProcessing to Delivered with every actor running, and check it all.",
        epilog="example:  DRW_PACE=0 ./launch-all.sh --demo --exit",
    )
    parser.add_argument("--demo", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--exit", action="store_true", help="stop everything at the end")
    parser.add_argument("--stop", action="store_true", help="only stop the demo that was left running")
    args = parser.parse_args(argv)
    console = Console()
    try:
        return _stop(console) if args.stop else _run(console, stop=args.exit)
    except errors.BadInput as error:
        console.print(f"demo: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    except (errors.DrwError, OSError) as error:
        console.print(f"demo: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("demo: interrupted; ./launch-all.sh --demo starts it anew, and ends what still runs of it")
        return 130


def _home() -> Path:
    return read_settings(os.environ).home / "demo"


def _stop(console: Console) -> int:
    ended = ending.stop(_home())
    console.print(f"ended {', '.join(ended)}" if ended else "no demo runs", markup=False)
    return 0


def _run(console: Console, *, stop: bool) -> int:
    home = _home()
    if ending.stop(home):
        console.print("the demo that ran before was stopped")
    settings, environ = demo_settings(os.environ)
    try:
        good = _play(console, settings, environ)
    except BaseException:
        if stop:
            ending.stop(home)
        raise
    if stop:
        ending.stop(home)
    else:
        _say_what_runs(console, settings)
    return 0 if good else 1


def _play(console: Console, settings: Settings, environ: Mapping[str, str]) -> bool:
    """Start everything on empty data, let the ten OUSs go through, and tell whether all is OK in the end."""
    home = settings.home
    own_database = not os.environ.get("DRW_COUCHDB_URL")
    if not own_database:
        _check_database(settings)
    shutil.rmtree(home, ignore_errors=True)
    start = partial(background.start, home=home, environ=environ, logs=settings.logs_dir())
    if own_database:
        console.print(f"starting couchlet at {settings.couchdb_url}, its data and all else in {home}", soft_wrap=True)
        start([processes.couchlet(settings)])
    connection = DbConnection(read_settings(environ))
    clear(connection, [settings.eu_cache_dir(), settings.jao_cache_dir()])
    actors = processes.actors(settings)
    console.print(f"starting {len(actors)} actors, logs in {settings.logs_dir()}", soft_wrap=True)
    start(actors)
    begun = time.monotonic()
    Demo(connection, environ, console).run()
    console.print(f"all delivered after {time.monotonic() - begun:.1f} s\n")
    return check(connection, settings, console)


def _check_database(settings: Settings) -> None:
    connection = DbConnection(settings)
    connection.welcome()
    connection.check_credentials()
    refuse_strangers(connection)
    connection.close()


def _say_what_runs(console: Console, settings: Settings) -> None:
    console.print("\nEverything is left running; have a look:")
    for process in processes.actors(settings):
        if process.address:
            console.print(f"  {process.name:22}{process.address}", markup=False)
    console.print(f"  {'CouchDB':22}{settings.couchdb_url}/_utils/", markup=False)
    console.print("Stop it with:  ./launch-all.sh --demo --stop", markup=False)


if __name__ == "__main__":
    sys.exit(main())
