"""Starting processes in the background, through the supervisor that owns them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drw.machine import deaths, pids, supervisor, tails
from drw.machine.running import Home, Row, State
from shared.errors import DrwError, ProgramError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from drw.machine.processes import Process
    from drw.machine.running import Wanted

START_S: Final = 60.0
"""How long processes may take until they serve."""

_LOOK_S: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Started:
    """What came of a start: everything that runs now, and the names of what was started and what ran already."""

    rows: tuple[Row, ...]
    started: tuple[str, ...]
    already: tuple[str, ...]


def start(
    processes: Sequence[Process],
    *,
    environ: Mapping[str, str],
    home: Path,
    logs: Path,
    grace_s: float = 10.0,
    limit_s: float = START_S,
) -> Started:
    """Start what does not run yet, and return when all of it serves.

    ProgramError names what died at its start, or says nothing within ``limit_s``, with its last lines; the others, and
    the supervisor, go on then. ``environ`` is the whole environment of what is started now and from now on; ``grace_s``
    is how long each may take to end.
    """
    place = Home(home)
    with place.launching():
        make_folder(logs)
        before = place.state()
        refuse_other_mode(before, "background")
        already = tuple(process.name for process in processes if _runs(before, process.name))
        wanted = _want(place, before, processes, environ, grace_s)
        _tell_supervisor(place, before, logs)
        rows = _wait(place, wanted.order, [process.name for process in processes], logs, limit_s)
    started = tuple(process.name for process in processes if process.name not in already)
    return Started(rows=rows, started=started, already=already)


def make_folder(path: Path) -> None:
    """Make a folder that is missing; DrwError if that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DrwError(f"the folder {path} cannot be made: {error.strerror}") from error


def refuse_other_mode(before: State, mode: str) -> None:
    """Raise ProgramError if something was started in the other of the two ways and still runs."""
    alive = before.alive()
    if alive and before.mode != mode:
        names = ", ".join(row.process.name for row in alive)
        where = "under tmux" if before.mode == "tmux" else "in the background"
        raise ProgramError(f"{names} already run {where}: end that first with ./launch-all.sh --stop")


def _runs(state: State, name: str) -> bool:
    row = state.row(name)
    return row is not None and row.is_alive()


def _want(
    place: Home, before: State, processes: Sequence[Process], environ: Mapping[str, str], grace_s: float
) -> Wanted:
    """Write down what is to run from now on: this, and what runs already."""
    wanted = place.wanted()
    asked = {process.name: process for process in processes}
    kept = {row.process.name: row.process for row in before.rows} if place.is_supervised() else {}
    wanted.order += 1
    # What is logged but not yet written must be in the log when a process dies.
    wanted.environ = {"PYTHONUNBUFFERED": "1", **environ}
    wanted.grace_s = grace_s
    wanted.processes = [*(kept | asked).values()]
    place.write(wanted)
    return wanted


def _tell_supervisor(place: Home, before: State, logs: Path) -> None:
    if place.is_supervised():
        if pids.is_alive(before.supervisor, before.supervisor_born):
            os.kill(before.supervisor, signal.SIGHUP)
        return
    argv = [sys.executable, "-P", "-m", "drw.machine.supervisor", str(place.path), str(logs)]
    done = subprocess.run(argv, cwd=place.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 (ours)
    if done.returncode:
        raise ProgramError(f"the supervisor died at its start; {_supervisor_says(logs)}\n{done.stderr}".rstrip())


def _supervisor_says(logs: Path) -> str:
    log = logs / f"{supervisor.NAME}.log"
    lines = [
        line
        for file in (log, log.with_suffix(".out"))
        for line in tails.last_lines(tails.since(file, 0), deaths.LAST_LINES)
    ]
    return f"the last lines of {log}:" + "".join(f"\n    {line}" for line in lines)


def _wait(place: Home, order: int, names: Sequence[str], logs: Path, limit_s: float) -> tuple[Row, ...]:
    """Wait until the supervisor has taken up the order, and everything named serves or has died."""
    deadline = time.monotonic() + limit_s
    while True:
        state = place.state()
        rows = [row for row in state.rows if row.process.name in names] if state.order >= order else []
        if rows and all(row.phase != "starting" for row in rows):
            break
        if not place.is_supervised():
            raise ProgramError(f"the supervisor has died; {_supervisor_says(logs)}")
        if time.monotonic() > deadline:
            break
        time.sleep(_LOOK_S)
    if dead := [_complaint(row, limit_s) for row in rows if row.phase != "ready"]:
        raise ProgramError("\n".join(dead))
    if not rows:
        raise ProgramError(f"the supervisor does not answer; {_supervisor_says(logs)}")
    return tuple(state.rows)


def _complaint(row: Row, limit_s: float) -> str:
    slow = row.phase == "starting"
    what = f"runs, but did not say that it is ready within {limit_s:g} s" if slow else f"{row.ending} at its start"
    return deaths.report(row, what, deaths.last_words(row))
