"""The process that owns the actors in the background: ``python -m drw.machine.supervisor HOME LOGS``.

It goes into the background by itself, starts what ``HOME/wanted.json`` lists, starts again what dies, and keeps
``HOME/running.json`` up to date. SIGHUP has it read the list anew, SIGTERM end everything, the database last. One that
was killed leaves its processes running and its file: the next one takes them over.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drw.machine import deaths, pids, tails
from drw.machine.keeper import Keeper
from drw.machine.running import Home, Row, State, now
from shared import logs
from shared.errors import DrwError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "supervisor"
STARTED: Final = b"started"
_HOUSEKEEPING_S: Final = 60.0
_LOG = logging.getLogger("drw.machine.supervisor")


class Supervisor:
    """Keeps everything that is wanted in one home."""

    def __init__(self, home: Home) -> None:
        """Take the home, whose lock is held already."""
        self._home = home
        self._wanted = home.wanted()
        self._keepers: dict[str, Keeper] = {}
        self._stuck: set[str] = set()
        self._order = 0
        self._since = now()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Keep everything until SIGTERM, then end it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._obey)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._take_over(self._home.state())
        self._obey()
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), _HOUSEKEEPING_S)
            except TimeoutError:
                self._turn_over_outputs()
        await self._end_all()

    def _take_over(self, left: State) -> None:
        """Keep what a supervisor that was killed has left running."""
        for row in left.alive():
            _LOG.warning("%s (pid %d) was left by an earlier supervisor: taken over", row.process.name, row.pid)
            self._keep(row)

    def _obey(self) -> None:
        """Start what is wanted and does not run."""
        try:
            self._wanted = self._home.wanted()
        except DrwError:
            _LOG.exception("what is wanted cannot be read: nothing is changed")
            return
        for process in self._wanted.processes:
            if keeper := self._keepers.get(process.name):
                keeper.retry(process)
            else:
                self._keep(Row(process=process))
        self._order = self._wanted.order
        self._save()

    def _keep(self, row: Row) -> None:
        self._keepers[row.process.name] = Keeper(row, environ=self._environ, changed=self._save)

    def _environ(self) -> Mapping[str, str]:
        return self._wanted.environ

    def _save(self) -> None:
        me = os.getpid()
        rows = [keeper.row for keeper in self._keepers.values()]
        born = pids.birth(me)
        state = State(order=self._order, supervisor=me, supervisor_born=born, supervisor_since=self._since, rows=rows)
        try:
            self._home.write(state)
        except OSError:
            _LOG.exception("what runs cannot be written down")

    async def _end_all(self) -> None:
        """End the upper layers first, all of a layer at once: the actors need the database in order to end well."""
        _LOG.info("ending everything")
        keepers = self._keepers.values()
        for layer in sorted({keeper.row.process.layer for keeper in keepers}, reverse=True):
            ending = [keeper for keeper in keepers if keeper.row.process.layer == layer]
            await asyncio.gather(*(keeper.end(self._wanted.grace_s) for keeper in ending))
        if any(keeper.row.is_alive() for keeper in keepers):
            self._save()
        else:
            self._home.forget()
        _LOG.info("ended")

    def _turn_over_outputs(self) -> None:
        """Let each output that has become long begin anew; of one that cannot (a full disk) it is said once."""
        for name, keeper in self._keepers.items():
            output = deaths.output_file(keeper.row.process)
            try:
                tails.turn_over(output)
            except OSError as error:
                if name not in self._stuck:
                    _LOG.error("%s grows on, because it cannot be kept as ….1: %s", output, error.strerror)
                self._stuck.add(name)
            else:
                self._stuck.discard(name)


def _detach(log: Path) -> int:
    """Go on as a process of its own, without terminal; return a file to tell the one that waits that it started.

    The one that waits is the process that was called: it ends here, with status 0 if it was told.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        os._exit(0 if os.read(reading, len(STARTED)) == STARTED else 1)
    os.close(reading)
    os.setsid()
    output = os.open(log.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)
    return writing


def main() -> int:
    """Become the supervisor of a home, or leave that to the one that it has."""
    home, log = Home(Path(sys.argv[1])), Path(sys.argv[2]) / f"{NAME}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    waiting = _detach(log)
    logs.set_up(NAME, level="INFO", form="text", file=log)
    if not home.supervise():
        _LOG.error("there is a supervisor already")
        return 1
    asyncio.run(_supervise(home, waiting))
    return 0


async def _supervise(home: Home, waiting: int) -> None:
    supervisor = Supervisor(home)
    os.write(waiting, STARTED)
    os.close(waiting)
    await supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
