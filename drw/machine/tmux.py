"""Starting processes in the windows of a tmux session, one each.

In each window a keeper (:mod:`drw.machine.window`) starts the process again when that dies. A window whose process
is not started again stays, with what was said last, until the next start.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from drw.machine import background, deaths, pids, tails
from drw.machine.running import Home, Row, now, status
from shared.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from drw.machine.processes import Process
    from drw.machine.running import State

SESSION: Final = "drw"
_WINDOW_FORMAT: Final = "#{window_id} #{pane_pid}"
_SIZE: Final = ("-x", "200", "-y", "50")
_LOOK_S: Final = 0.1
_NEW_SERVER_S: Final = 3.0
_WAS_ENDING: Final = "server exited unexpectedly"
"""What tmux says when its last session has just ended, and its server with it: nothing was done."""


def is_there() -> bool:
    """Tell whether tmux is installed."""
    return shutil.which("tmux") is not None


def how_to_look() -> str:
    """Return the command that shows the session: within tmux, another one cannot be attached to."""
    return f"tmux {'switch-client' if os.environ.get('TMUX') else 'attach'} -t {SESSION}"


def start(
    processes: Sequence[Process],
    *,
    environ: Mapping[str, str],
    home: Path,
    logs: Path,
    grace_s: float = 10.0,
    limit_s: float = background.START_S,
) -> background.Started:
    """Start what does not run yet, each in a window; otherwise as :func:`drw.machine.background.start`."""
    place = Home(home)
    with place.launching():
        background.make_folder(logs)
        state = place.state()
        background.refuse_other_mode(state, "tmux")
        # The keeper of one that has failed may still be about to end.
        already = tuple(row.process.name for row in state.alive() if row.phase != "failed")
        missing = [process for process in processes if process.name not in already]
        wanted = place.wanted()
        wanted.processes, wanted.environ, wanted.grace_s = missing, dict(environ), grace_s
        place.write(wanted)
        names = {process.name for process in missing}
        close_windows([row for row in state.rows if row.process.name in names])
        state.mode = "tmux"
        for process in missing:
            _place(state, _open_window(place, process))
            place.write(state)
        _wait(place, {process.name for process in processes}, limit_s)
    return background.Started(
        rows=tuple(status(home).rows), started=tuple(process.name for process in missing), already=already
    )


def _place(state: State, row: Row) -> None:
    """Put a row where the earlier one of the same name was, else at the end."""
    names = [each.process.name for each in state.rows]
    if row.process.name in names:
        state.rows[names.index(row.process.name)] = row
    else:
        state.rows.append(row)


def close_windows(rows: Sequence[Row]) -> None:
    """Close the windows that were opened for these rows; a window id that means another one by now is left alone."""
    opened = {f"{row.window} {row.pid}": row.window for row in rows if row.window}
    if not opened or not is_there():
        return
    there = _tmux("list-windows", "-a", "-F", _WINDOW_FORMAT, check=False).splitlines()
    for line in there:
        if line in opened:
            _tmux("kill-window", "-t", opened[line], check=False)


def _open_window(place: Home, process: Process) -> Row:
    """Run a process in a new window, by way of :mod:`drw.machine.window`, which keeps it."""
    row = Row(process=process, since=now(), log_from=tails.size(process.log))
    run = [sys.executable, "-P", "-m", "drw.machine.window", str(place.path), process.name]
    options = ["-d", "-P", "-F", _WINDOW_FORMAT, "-n", process.name, "-c", str(place.path)]
    if _has_session():
        said = _tmux("new-window", *options, "-t", f"={SESSION}:", *run)
    else:
        said = _tmux("new-session", *options, "-s", SESSION, *_SIZE, *run)
    row.window, _, pid = said.strip().partition(" ")
    row.pid = int(pid)
    row.born = pids.birth(row.pid)
    return row


def _has_session() -> bool:
    argv = ["tmux", "has-session", "-t", f"={SESSION}"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0  # noqa: S603


def _wait(place: Home, names: Container[str], limit_s: float) -> None:
    """Wait until everything named serves or has died."""
    deadline = time.monotonic() + limit_s
    while True:
        rows = [row for row in status(place.path).rows if row.process.name in names]
        if time.monotonic() > deadline or all(row.phase != "starting" for row in rows):
            break
        time.sleep(_LOOK_S)
    if dead := [_complaint(row, limit_s) for row in rows if row.phase != "ready"]:
        raise ProgramError("\n".join(dead))


def _complaint(row: Row, limit_s: float) -> str:
    slow = row.phase == "starting"
    died = f"{row.ending or 'died'} at its start"
    what = f"runs, but did not say that it is ready within {limit_s:g} s" if slow else died
    return deaths.report(row, what, tails.last_lines(_screen(row), deaths.LAST_LINES))


def _screen(row: Row) -> str:
    """Return what is to be read in a window, with some of what has scrolled away."""
    return _tmux("capture-pane", "-p", "-S", "-100", "-t", row.window, check=False)


def _tmux(*arguments: str, check: bool = True) -> str:
    """Have tmux do something and return what it prints; a server that was just ending is asked again, as a new one."""
    until_s = time.monotonic() + _NEW_SERVER_S
    while True:
        done = subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607 (the user's own)
        if _WAS_ENDING not in done.stderr or time.monotonic() > until_s:
            break
        time.sleep(_LOOK_S)
    if check and done.returncode:
        raise ProgramError(f"tmux {arguments[0]} failed: {done.stderr.strip()}; try --background")
    return done.stdout
