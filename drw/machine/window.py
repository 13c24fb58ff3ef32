"""What a tmux window is started with: ``python -m drw.machine.window HOME NAME``, to keep a process running.

It takes the environment from ``HOME/wanted.json``, because a tmux server has one of its own, and a command line can be
read by everybody. How the process fares it writes to ``HOME/windows/NAME.json``. What dies is started again, with
back-off, as in the background; what somebody ends with Ctrl-C, or quits at its prompt, is not, because they have it
before them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drw.machine import pids, supervisor
from drw.machine.keeper import Keeper
from drw.machine.running import Home, Row, Wanted, Window
from shared import logs

if TYPE_CHECKING:
    from asyncio.subprocess import Process as Child
    from collections.abc import Callable, Mapping

_KEPT: Final = ("TMUX", "TMUX_PANE", "TERM", "COLORTERM")
"""What the window knows better than the terminal that the launcher was called from."""

_LOG = logging.getLogger("drw.machine.window")


class WindowKeeper(Keeper):
    """Keeps a process that has a terminal: that of this very process."""

    def __init__(self, row: Row, *, environ: Callable[[], Mapping[str, str]], changed: Callable[[], None]) -> None:
        """Take a row and the environment, as :class:`~drw.machine.keeper.Keeper` does."""
        self._interrupted = False
        super().__init__(row, environ=environ, changed=changed)

    def interrupt(self) -> None:
        """Note a Ctrl-C, which the process has got too."""
        self._interrupted = True

    async def _spawn(self) -> Child:
        process = self.row.process
        return await asyncio.create_subprocess_exec(*process.argv, env=self._environ())

    def _kill(self) -> None:
        pids.kill(self.row.pid, self.row.born)

    def _judge(self, status: int | None) -> tuple[str, bool]:
        if self._interrupted:
            return "was ended with Ctrl-C", True
        if status == 0 and self.row.process.prompts:
            return "was quit", True
        return super()._judge(status)


class _Runner:
    """The keeper of one window, and what it hears."""

    def __init__(self, home: Home, wanted: Wanted, name: str) -> None:
        self._home = home
        self._wanted = wanted
        process = next(each for each in wanted.processes if each.name == name)
        self._row = Row(process=process, window=os.environ["TMUX_PANE"])
        self._over = asyncio.Event()

    async def run(self) -> int:
        environ = {**self._wanted.environ, **{key: os.environ[key] for key in _KEPT if key in os.environ}}
        keeper = WindowKeeper(self._row, environ=lambda: environ, changed=self._changed)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._over.set)
        loop.add_signal_handler(signal.SIGINT, keeper.interrupt)
        told = asyncio.create_task(self._over.wait())
        await asyncio.wait({told, asyncio.create_task(keeper.over())}, return_when=asyncio.FIRST_COMPLETED)
        if self._row.phase == "failed":
            return 1
        await keeper.end(self._wanted.grace_s)
        return 0

    def _changed(self) -> None:
        row = self._row
        said = Window(
            keeper=os.getpid(),
            phase=row.phase,
            pid=row.pid,
            born=row.born,
            since=row.since,
            restarts=row.restarts,
            ending=row.ending,
            log_from=row.log_from,
        )
        try:
            self._home.write_window(row.process.name, said)
        except OSError:
            _LOG.exception("what runs cannot be written down")
        if row.phase == "failed":
            self._over.set()


def main() -> int:
    """Prepare the window, then keep the process in it."""
    home, name = Home(Path(sys.argv[1])), sys.argv[2]
    wanted = home.wanted()
    process = next(each for each in wanted.processes if each.name == name)
    _tmux("set-option", "-w", "remain-on-exit", "on")
    if not process.writes_log:
        _tmux("pipe-pane", f"cat >> {shlex.quote(str(process.log))}")
    # Who asks a person something has the screen for itself, as long as nothing is wrong.
    log = process.log.parent / f"{supervisor.NAME}.log"
    logs.set_up("window", level="INFO", form="text", file=log, quiet=process.prompts)
    return asyncio.run(_run(home, wanted, name))


async def _run(home: Home, wanted: Wanted, name: str) -> int:
    return await _Runner(home, wanted, name).run()


def _tmux(command: str, *arguments: str) -> None:
    # The command's name comes first, then the window that this runs in.
    subprocess.run(["tmux", command, "-t", os.environ["TMUX_PANE"], *arguments], check=False)  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main())
