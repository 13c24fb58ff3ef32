"""``./launch-all.sh --demo``: the whole system, ten OUSs, from ReadyForProcessing to Delivered, and a check of all."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from rich.console import Console

from drw import command_line
from drw.clear import clear
from drw.columns import say
from drw.demo import place as demo_place
from drw.demo.check import Checker, print_verdicts
from drw.demo.ten import OUSS, Ten
from drw.machine import database, ending, processes, showing, starting
from drw.machine.running import status
from shared import actor
from shared.dbcon import DbConnection
from shared.errors import DrwError
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drw.demo.place import Place
    from shared.settings import Settings

_NAME: Final = "launch-all.sh --demo"
_LOOK_S: Final = 0.2
_SETTLE_S: Final = 20.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration, or look at it, or end it."""
    parser = actor.OneLineParser(
        prog=_NAME,
        description="Take ten OUSs from ReadyForProcessing to Delivered with every actor running, and check it all.",
        epilog="example:  DRW_PACE=0 ./launch-all.sh --demo --exit",
    )
    what = parser.add_mutually_exclusive_group()
    parser.add_argument("--demo", action="store_true", help=argparse.SUPPRESS)
    what.add_argument("--exit", action="store_true", help="stop everything at the end")
    what.add_argument("--status", action="store_true", help="only show what runs of the demo")
    what.add_argument("--stop", action="store_true", help="only stop the demo that was left running")
    args = parser.parse_args(argv)
    return command_line.run(_NAME, partial(_do, args), interrupted=_after_interrupt(stopped=args.exit))


def _after_interrupt(*, stopped: bool) -> str:
    if stopped:
        return "interrupted; everything was ended"
    return f"interrupted; what was started goes on: ./{_NAME} --status shows it, ./{_NAME} --stop ends it"


def _do(args: argparse.Namespace) -> int:
    home = database.demo_home(read_settings())
    if args.stop:
        ended = ending.stop(home)
        print(f"ended {', '.join(ended)}" if ended else "no demo runs")
        return 0
    if args.status:
        return _status(home)
    return _run(Console(), home, stop=args.exit)


def _status(home: Path) -> int:
    state = status(home)
    if not state.rows:
        print(f"no demo runs; to start it: ./{_NAME}")
        return 1
    showing.show(state, again=f"./{_NAME}")
    there = {row.process.name for row in state.rows} | {processes.NOTIFIER}
    missing = [process.name for process in processes.actors(read_settings()) if process.name not in there]
    if missing:
        print(f"not started: {', '.join(missing)}; ./{_NAME} begins anew")
    return 0 if showing.is_well(state) and not missing else 1


def _run(console: Console, home: Path, *, stop: bool) -> int:
    if status(home).rows:
        say(console, "ending the demo that ran before")
    ending.stop(home)
    place = demo_place.find(os.environ)
    for remark in place.remarks:
        say(console, remark)
    try:
        good = _play(console, place)
    except BaseException:
        if stop:
            ending.stop(home)
        raise
    if stop:
        ending.stop(home)
        say(console, "everything was ended (--exit)")
    else:
        _say_what_runs(console, place.settings)
    _say_where_to_look(console, place, stopped=stop)
    return 0 if good else 1


def _play(console: Console, place: Place) -> bool:
    """Start everything on empty data, let the ten OUSs go through, and tell whether all is OK in the end."""
    settings = place.settings
    _empty(settings.home)
    start = starting.starter(settings, place.environ)
    if place.own_database:
        say(console, f"starting couchlet at {settings.couchdb_url}, its data and all else in {settings.home}")
        start([processes.couchlet(settings)])
    connection = DbConnection(read_settings(place.environ))
    try:
        clear(connection, [settings.eu_cache_dir(), settings.jao_cache_dir()])
        demo_place.mark(connection)
        actors = processes.actors(settings)
        say(console, f"starting {len(actors)} actors, logs in {settings.logs_dir()}")
        start(actors)
        ten, begun = Ten(connection, place.environ, console), time.monotonic()
        ten.run()
        say(console, f"all delivered after {time.monotonic() - begun:.1f} s\n")
        good = _check(connection, settings, console)
        say(console, f"\nWhat was shown: {ten.summary()}.")
        return good
    finally:
        connection.close()


def _empty(home: Path) -> None:
    try:
        if home.exists():
            shutil.rmtree(home)
    except OSError as error:
        raise DrwError(f"the demo's folder {home} cannot be emptied: {error.filename}: {error.strerror}") from error


def _check(connection: DbConnection, settings: Settings, console: Console) -> bool:
    """Check everything, print it as a table, and tell whether all is OK."""
    checker = Checker(connection)
    deadline = time.monotonic() + _SETTLE_S
    bus = checker.no_open_message()
    while bus.wrong and time.monotonic() < deadline:
        time.sleep(_LOOK_S)  # the last messages are about to be settled
        bus = checker.no_open_message()
    ouss = [checker.ous(ous) for ous in OUSS]
    others = [checker.caches_alike(settings.eu_cache_dir(), settings.jao_cache_dir()), bus]
    print_verdicts(ouss, others, console)
    return not any(each.wrong for each in [*ouss, *others])


def _say_what_runs(console: Console, settings: Settings) -> None:
    say(console, "\nEverything is left running; have a look:")
    for process in reversed(processes.actors(settings)):
        if process.address:
            say(console, f"  {process.name:<22}{process.address}")
    say(console, f"  {'CouchDB':<22}{settings.couchdb_url}/_utils/")


def _say_where_to_look(console: Console, place: Place, *, stopped: bool) -> None:
    settings = place.settings
    if stopped:
        say(console, f"Its data, caches and logs are still in {settings.home}, until the next demo.")
        return
    file = settings.credentials_file
    say(
        console,
        f"User and password of CouchDB: {file if file.exists() else 'as COUCHDB_USER and COUCHDB_PASSWORD say'}",
    )
    drw = processes.scripts_dir() / "drw"
    say(
        console,
        f"Look further:  DRW_HOME={shlex.quote(str(settings.home))} DRW_COUCHDB_URL={settings.couchdb_url} "
        f"{shlex.quote(str(drw))} check",
    )
    say(console, f"See what runs: ./{_NAME} --status")
    say(console, f"Stop it with:  ./{_NAME} --stop")


if __name__ == "__main__":
    sys.exit(main())
