"""Ending what was started here, and nothing else: gracefully, then hard, the database last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from drw.machine import pids, tmux
from drw.machine.running import Home
from shared.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drw.machine.running import Row, State

KILL_S: Final = 5.0
"""How long to wait for killed processes to be gone."""

_LOOK_S: Final = 0.05


def stop(home: Path) -> tuple[str, ...]:
    """End everything that was started in this home; return the names of what ran.

    ProgramError names what even a kill did not end.
    """
    place = Home(home)
    if not place.path.is_dir():
        return ()
    with place.launching():
        state, grace_s = place.state(), place.wanted().grace_s
        ran = tuple(row.process.name for row in state.alive())
        _end_supervisor(place, state, grace_s)
        # The supervisor has ended them all, unless it was killed, before or just now.
        _end_rows(place.state().rows, grace_s)
        left = place.state().alive()
        if left:
            names = ", ".join(f"{row.process.name} (pid {row.pid})" for row in left)
            raise ProgramError(f"{names} cannot be ended: look at what holds them, then try again")
        tmux.close_windows(state.rows)
        place.forget()
    return ran


def _end_supervisor(place: Home, state: State, grace_s: float) -> None:
    """Have the supervisor end everything; kill it if it does not come to an end itself.

    ProgramError where even that is in vain, as it is where the file that says which process it is was removed.
    """
    if not place.is_supervised():
        return
    pid, born = state.supervisor, state.supervisor_born
    pids.terminate(pid, born)
    layers = len({row.process.layer for row in state.rows})
    for limit_s, harder in ((layers * (grace_s + KILL_S) + KILL_S, True), (KILL_S, False)):
        deadline = time.monotonic() + limit_s
        while time.monotonic() <= deadline:
            if not place.is_supervised():
                return
            time.sleep(_LOOK_S)
        if harder:
            pids.kill_group(pid, born)
    raise ProgramError(
        f"what supervises {place.path} cannot be ended: end the process that holds {place.path / 'supervisor.lock'} by "
        "hand, then try again"
    )


def _end_rows(rows: Sequence[Row], grace_s: float) -> None:
    for layer in sorted({row.process.layer for row in rows}, reverse=True):
        ending = [row for row in rows if row.process.layer == layer]
        for row in ending:
            if pids.is_alive(row.pid, row.born):
                pids.terminate(row.pid, row.born)
            else:  # its keeper was killed
                pids.terminate(row.child, row.child_born)
        if not _are_gone(ending, grace_s):
            for row in ending:
                pids.kill_group(row.pid, row.born)
                pids.kill(row.child, row.child_born)
            _are_gone(ending, KILL_S)


def _are_gone(rows: Sequence[Row], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while any(row.is_alive() for row in rows):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True
