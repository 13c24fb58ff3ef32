"""Each actor alone: killed just before or just after each of its effects, started again, and the outcome compared.

    python tests/killed.py                             # everybody, before and after every effect
    python tests/killed.py driver --effects            # which those are
    python tests/killed.py driver --at 3,17            # at some
    python tests/killed.py driver --most 8 --each once # at some, spread evenly, before and after in turns

Everything was imported before, once, and each actor is a fork of this process: so a start costs milliseconds, and
hundreds of kills a minute or two. Time that would pass (a lease, a sign of life) is made to have passed.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import Couchlet
from killed_place import Case, Place
from killed_scenes import SCENES
from killing import Hook
from nursery import become
from ports import free_port

from drw import setup
from shared import names
from shared.cache import CacheDirectory
from shared.dbcon import DbConnection
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATIENT_S = 40.0
LOOK_S = 0.04
TIMES = {
    "DRW_PACE": "0",
    "DRW_LEASE_S": "30",
    "DRW_HEARTBEAT_S": "10",
    "DRW_RETRY_S": "0.05",
    "DRW_RETRY_MAX_S": "0.2",
    "DRW_POLL_S": "0.1",
    "DRW_POLL_MAX_S": "0.3",
    "DRW_CLOCK_SPARE_S": "0.1",
    "DRW_RPC_DEADLINE_S": "10",
}


class Experiment:
    """Runs the cases of one scene, on databases that are made anew."""

    def __init__(self, home: Path, couchlet: Couchlet, name: str) -> None:
        self._name = name
        self._scene = SCENES[name]
        self._couchlet = couchlet
        self._home = home
        self._place = Place(home, DbConnection(read_settings()))
        setup.drop_databases(self._place.connection)
        setup.ensure_databases(self._place.connection)
        for cache in (self._place.eu, self._place.jao):
            CacheDirectory.open(cache)
        self._cases = 0
        self._aides = [self._fork(main, argv, home / "aides.log") for main, argv in self._scene.aides]
        self.last_log = home / "none"

    def close(self) -> None:
        for each in self._aides:
            _end(each)
        self._place.connection.close()

    def undisturbed(self) -> tuple[list[str], list[str]]:
        """Let the actor work to its end; return its effects in order, and the outcome."""
        case = self._next()
        journal = self._home / "effects"
        self._to_its_end(case, journal=journal)
        outcome = self._outcome(case)
        assert not [line for line in outcome if " dead " in line], outcome
        return journal.read_text().splitlines(), outcome

    def killed(self, at: int, when: str) -> tuple[bool, list[str]]:
        """Kill the actor at an effect, start it again; tell whether it was killed at all, and return the outcome."""
        case = self._next()
        pid = self._start(case, at=at, when=when)
        status_ = self._wait(pid, case)
        if os.WIFSIGNALED(status_):
            # What it had asked of others is answered long before anybody takes it for dead.
            self._until(lambda: not self._place.waiting(self._scene.answered, pid), "what it asked was never answered")
            self._place.let_time_pass(pid)
            self._to_its_end(case)
        was_killed = os.WIFSIGNALED(status_) and os.WTERMSIG(status_) == signal.SIGKILL
        return was_killed, self._outcome(case) + self._stray_processes()

    def _outcome(self, case: Case) -> list[str]:
        return self._place.outcome(case) + self._scene.left(self._place)

    def _stray_processes(self) -> list[str]:
        """Return what still runs though the actors that started it are gone; its keepers get a moment to end it."""
        deadline = time.monotonic() + PATIENT_S
        while (left := self._started()) and time.monotonic() < deadline:
            time.sleep(LOOK_S)  # nobody is told of the end of a stranger's child
        return [f"stray process {pid}" for pid in left]

    def _started(self) -> list[int]:
        mark, found = f"DRW_HOME={self._home}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it may be gone, or somebody else's
                found += [int(path.parent.name)] if mark in path.read_bytes().split(b"\0") else []
        return [pid for pid in found if pid != self._couchlet.process.pid]

    def _next(self) -> Case:
        self._cases += 1
        self._place.begin()
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._cases)
        case = Case(f"uid://X1/X{self._cases:x}/X1", names.run_timestamp(moment, "EU"))
        self._scene.find(self._place, case)
        return case

    def _to_its_end(self, case: Case, *, journal: Path | None = None) -> None:
        pid = self._start(case, journal=journal)
        status_ = self._wait(pid, case)
        code = os.waitstatus_to_exitcode(status_)
        if self._scene.done is None and code != 0 and not re.search(self._scene.refusal, self._said()):
            raise AssertionError(f"{self._name} ended with {code}:\n{self._said()}")
        self._until(lambda: not self._place.waiting(self._scene.answered), "it is not answered")

    def _wait(self, pid: int, case: Case) -> int:
        """Wait until the actor is dead, by its own hand or, when its work is done, by ours; return how it ended."""
        ended: list[int] = []

        def is_over() -> bool:
            if (found := os.waitpid(pid, os.WNOHANG))[0]:
                ended.append(found[1])
            elif self._scene.done and self._scene.done(self._place, case):
                ended.append(_end(pid))
            return bool(ended)

        try:
            self._until(is_over, "it never came to its end")
        except AssertionError:
            os.kill(pid, signal.SIGABRT)
            os.waitpid(pid, 0)
            raise
        return ended[0]

    def _until(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + PATIENT_S
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"{self._name}: {complaint}:\n{self._said()}\n{self._place.messages()}")
            time.sleep(LOOK_S)  # waiting for a process and a database at once

    def _said(self) -> str:
        return self.last_log.read_text()[-4000:]

    def _start(self, case: Case, *, at: int = 0, when: str = "", journal: Path | None = None) -> int:
        argv = [str(each) for each in self._scene.argv(self._place, case)]
        self.last_log = self._home / f"{self._cases}.log"
        return self._fork(self._scene.main, argv, self.last_log, at=at, when=when, journal=journal)

    def _fork(
        self,
        main: Callable[[Sequence[str]], int],
        argv: Sequence[str],
        log: Path,
        *,
        at: int = 0,
        when: str = "",
        journal: Path | None = None,
    ) -> int:
        def struck() -> int:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if at or journal:
                noted = os.open(journal or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                Hook(self._home, noted, at, when).install()
            return main(argv)

        pid = os.fork()
        if not pid:
            become(struck)
        return pid


def _end(pid: int) -> int:
    """Ask an actor to end, as a supervisor does; return how it ended."""
    os.kill(pid, signal.SIGTERM)
    return os.waitpid(pid, 0)[1]


def chosen(effects: int, at: str, most: int) -> list[int]:
    """Return the numbers of the effects to strike at: those that are named, or at most so many, spread evenly."""
    if at:
        return [int(each) for each in at.split(",")]
    count = min(most or effects, effects)
    return sorted({round(1 + n * (effects - 1) / max(count - 1, 1)) for n in range(count)})


def moments(number: int, *, each: str) -> tuple[str, ...]:
    """Return when to strike at an effect: before and after; or, where each is struck once, in turns.

    Just after an effect is just before the next one, so that in turns leaves out little.
    """
    return ("before", "after") if each == "twice" else (("after", "before")[number % 2],)


def strike(experiment: Experiment, name: str, options: argparse.Namespace) -> list[str]:
    """Kill an actor at its effects, one case after another; return what was not as without the kill."""
    effects, expected = experiment.undisturbed()
    if options.effects:
        print(*(f"{number} {what}" for number, what in enumerate(effects, 1)), *expected, sep="\n")
        return []
    wrong, kills = [], 0
    for number in chosen(len(effects), options.at, options.most):
        for when in moments(number, each=options.each):
            was_killed, found = experiment.killed(number, when)
            kills += was_killed
            place = f"{name} killed {when} effect {number} of {len(effects)} ({effects[number - 1]})"
            wrong += [f"{place}: - {line}" for line in expected if line not in found]
            wrong += [f"{place}: + {line}" for line in found if found.count(line) > expected.count(line)]
    print(f"{name}: {len(effects)} effects, {kills} kills, {len(wrong)} differences", flush=True)
    return wrong if kills else [f"{name} was never killed"]


def main() -> int:
    """Strike at one actor, or at all; 0 when every outcome was as without the kill."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="*", metavar="scene", help=f"which (default: all): {', '.join(SCENES)}")
    parser.add_argument("--effects", action="store_true", help="only list the effects, and the outcome")
    parser.add_argument("--at", default="", help="at which effects, like 3,17 (default: all)")
    parser.add_argument("--most", type=int, default=0, help="at most so many effects, spread evenly")
    parser.add_argument("--each", choices=["once", "twice"], default="twice", help="before and after each, or in turns")
    options = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory(prefix="killed") as folder:
        home = Path(folder)
        couchlet = _prepared(home)
        try:
            for name in options.scenes or SCENES:
                experiment = Experiment(home, couchlet, name)
                try:
                    wrong += strike(experiment, name, options)
                finally:
                    experiment.close()
        finally:
            couchlet.stop()
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def _prepared(home: Path) -> Couchlet:
    """Make a home, and have everything that is forked from here on live in it; return its database."""
    for folder in ("eu-cache", "jao-cache", "tmp"):
        (home / folder).mkdir()
    couchlet = Couchlet(home)
    couchlet.start()
    for variable in [each for each in os.environ if each.startswith(("DRW_", "COUCHDB_"))]:
        del os.environ[variable]
    os.environ["DRW_WEBHOOK_URL"] = f"http://127.0.0.1:{free_port()}/hook"
    os.environ |= {**TIMES, "DRW_HOME": str(home), "DRW_COUCHDB_URL": couchlet.url, "TMPDIR": str(home / "tmp")}
    tempfile.tempdir = None  # to be looked up anew
    return couchlet


if __name__ == "__main__":
    sys.exit(main())
