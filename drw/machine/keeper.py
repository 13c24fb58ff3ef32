"""Keeping one process running: start it, notice when it serves, start it again when it ends, end it when told.

::

    starting --says so--> ready
       |  ^                 |
     ends |               ends
       v  |                 v
      waiting  <------------+        ended with status 2 (its arguments are wrong), or is no program: failed
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from asyncio.subprocess import DEVNULL
from typing import TYPE_CHECKING, Final

from drw.machine import deaths, pids, tails
from drw.machine.running import Row, now

if TYPE_CHECKING:
    from asyncio.subprocess import Process as Child
    from collections.abc import Callable, Mapping

    from drw.machine.processes import Process

USAGE_ERROR: Final = 2
KILL_S: Final = 5.0
"""How long to wait for a killed process to be gone; one that the kernel holds (a dead disk) is left behind."""

_FOR_GOOD: Final = {errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR}
"""Why a start fails that will fail again: there is no such program. Anything else (memory, a full disk) passes."""

_READY_LOOK_S: Final = 0.05
_SLOW_LOOK_S: Final = 0.25
_SOON_S: Final = 60.0
_STEADY_S: Final = 60.0
_LONGEST_WAIT_S: Final = 60.0
_LOG = logging.getLogger("drw.machine.supervisor")


def wait_s(deaths_in_a_row: int) -> float:
    """Return how long to wait before the next start (seconds): one at first, doubled each time, a minute at most."""
    return min(2.0 ** min(deaths_in_a_row - 1, 10), _LONGEST_WAIT_S)


class Keeper:
    """Keeps one process; its :attr:`row` says how it fares, and ``changed`` is called whenever that changes."""

    def __init__(self, row: Row, *, environ: Callable[[], Mapping[str, str]], changed: Callable[[], None]) -> None:
        """Take a row, of something that is to be started or that runs already, and what tells the environment."""
        self.row = row
        self._environ = environ
        self._changed = changed
        self._found = row.pid > 0
        self._ending = False
        self._awake = asyncio.Event()
        self._task = asyncio.create_task(self._keep())
        self._task.add_done_callback(self._look_at_fault)

    def retry(self, process: Process) -> None:
        """Start at once, as given, what waits for its next start or has failed; leave alone what runs."""
        if self.row.phase in {"waiting", "failed"}:
            self.row.process = process
            self.row.phase = "starting"
            self._awake.set()

    async def end(self, grace_s: float) -> None:
        """End the process and do not start it again: ask it, and kill it with its group when the grace is over."""
        self._ending = True
        self._awake.set()
        pids.terminate(self.row.pid, self.row.born)
        if not await self._is_over(grace_s):
            _LOG.warning("%s has not ended within %g s: it is killed", self.row.process.name, grace_s)
            self._kill()
            if not await self._is_over(KILL_S):
                _LOG.error("%s (pid %d) cannot be killed", self.row.process.name, self.row.pid)

    async def over(self) -> None:
        """Wait until nothing is kept any more: after :meth:`end`, or a fault in here."""
        await asyncio.wait({self._task})

    def _kill(self) -> None:
        pids.kill_group(self.row.pid, self.row.born)

    async def _is_over(self, limit_s: float) -> bool:
        done, _ = await asyncio.wait({self._task}, timeout=limit_s)
        return bool(done)

    def _look_at_fault(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (fault := task.exception()):
            _LOG.critical("%s is not kept any more", self.row.process.name, exc_info=fault)

    async def _keep(self) -> None:
        in_a_row = 0
        loop = asyncio.get_running_loop()
        while not self._ending:
            began = loop.time()
            ending, hopeless = await self._live()
            in_a_row = 1 if loop.time() - began > _STEADY_S else in_a_row + 1
            if not self._ending:
                await self._pause(ending, None if hopeless else wait_s(in_a_row))

    async def _pause(self, ending: str, pause_s: float | None) -> None:
        """Wait before the next start; until :meth:`retry` if a start would be in vain."""
        self._awake.clear()
        self.row.ending = ending
        self.row.phase = "failed" if pause_s is None else "waiting"
        what_next = "it is not started again by itself" if pause_s is None else f"it is started again in {pause_s:g} s"
        words = deaths.last_words(self.row) or ["nothing"]
        _LOG.error("%s %s; %s; it said: %s", self.row.process.name, ending, what_next, words[-1])
        self._changed()
        try:
            await asyncio.wait_for(self._awake.wait(), pause_s)
        except TimeoutError:
            self.row.phase = "starting"
        self.row.restarts += 1

    async def _live(self) -> tuple[str, bool]:
        """Live with the process, started or found alive, to its end; return how it ended, and whether for good."""
        try:
            child = None if self._found else await self._start()
        except OSError as error:
            return f"cannot be started: {error.strerror}", error.errno in _FOR_GOOD
        self._found = False
        ended = asyncio.ensure_future(self._ended(child))
        await self._watch_start(ended)
        return self._judge(await ended)

    def _judge(self, status: int | None) -> tuple[str, bool]:
        """Return how the process ended, in words, and whether it is of no use to start it again."""
        return ("ended" if status is None else deaths.ending(status)), status == USAGE_ERROR

    async def _start(self) -> Child:
        row, process = self.row, self.row.process
        process.log.parent.mkdir(parents=True, exist_ok=True)
        row.phase, row.since, row.log_from = "starting", now(), tails.size(process.log)
        row.pid, row.born = 0, ""
        child = await self._spawn()
        row.pid, row.born = child.pid, pids.birth(child.pid)
        self._changed()
        _LOG.info("%s started as pid %d", process.name, child.pid)
        if self._ending:
            pids.terminate(row.pid, row.born)
        return child

    async def _spawn(self) -> Child:
        """Start the process without a terminal, as the leader of a group of its own."""
        process = self.row.process
        fresh = os.O_TRUNC if process.writes_log else 0
        output = os.open(deaths.output_file(process), os.O_WRONLY | os.O_CREAT | os.O_APPEND | fresh, 0o644)
        try:
            return await asyncio.create_subprocess_exec(
                *process.argv,
                env=self._environ(),
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)

    async def _ended(self, child: Child | None) -> int | None:
        """Wait for the end; the status is known only of a process that was started by this supervisor."""
        if child is not None:
            return await child.wait()
        while self.row.is_alive():  # noqa: ASYNC110 (nobody is told of the end of somebody else's child)
            await asyncio.sleep(_SLOW_LOOK_S)
        return None

    async def _watch_start(self, ended: asyncio.Future[int | None]) -> None:
        """Note when the process says that it serves; look less often when it has not done so soon."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.row.phase == "starting" and not ended.done():
            if deaths.says_ready(self.row):
                self.row.phase = "ready"
                _LOG.info("%s is ready", self.row.process.name)
                self._changed()
            else:
                look_s = _READY_LOOK_S if loop.time() - began < _SOON_S else _SLOW_LOOK_S
                await asyncio.wait({ended}, timeout=look_s)
