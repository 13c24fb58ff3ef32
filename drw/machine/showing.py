"""Showing what runs where."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Console

from drw import columns
from drw.columns import Line, say
from drw.machine import pids, processes

if TYPE_CHECKING:
    from collections.abc import Collection

    from drw.machine.running import Row, State

HEADS: Final = ("name", "state", "pid", "since", "restarts", "address")
SUPERVISOR: Final = "supervisor"
_WORDS: Final = {"starting": "starts", "ready": "runs", "waiting": "waits", "failed": "ended", "gone": "gone"}
_STYLES: Final = {"waiting": "yellow", "failed": "red", "gone": "red"}
_ORDER: Final = (
    processes.COUCHLET,
    "xtss",
    "replicated-cache-EU",
    "replicated-cache-JAO",
    "pipeline-driver-EU",
    processes.REVIEWER,
    "product-ingestor",
    "data-tracker",
    "dashboard",
    processes.NOTIFIER,
)
"""How the table is ordered: what was started again keeps its place."""


def show(state: State, *, already: Collection[str] = (), again: str = "./launch-all.sh") -> None:
    """Print what runs where; ``again`` is the command that starts what does not."""
    console = Console()
    if not state.rows:
        return
    lines = [_line(row, again) for row in sorted(state.rows, key=_place)]
    if state.mode == "background":
        lines.insert(0, _supervisor(state, again))
    columns.print_table(console, HEADS, lines)
    folders = sorted({str(row.process.log.parent) for row in state.rows})
    say(console, f"times are UTC; logs in {', '.join(folders)}")
    old = [row.process.name for row in sorted(state.rows, key=_place) if row.process.name in already]
    if old:
        say(console, "all of it ran already" if len(old) == len(state.rows) else f"ran already: {', '.join(old)}")


def is_well(state: State) -> bool:
    """Tell whether all that was started runs, and what looks after it too."""
    return all(row.phase == "ready" for row in state.rows) and (state.mode == "tmux" or is_looked_after(state))


def is_looked_after(state: State) -> bool:
    """Tell whether the supervisor lives."""
    return pids.is_alive(state.supervisor, state.supervisor_born)


def _place(row: Row) -> int:
    return _ORDER.index(row.process.name) if row.process.name in _ORDER else len(_ORDER)


def _supervisor(state: State, again: str) -> Line:
    lives = is_looked_after(state)
    cells = (SUPERVISOR, "runs" if lives else "dead", str(state.supervisor), _time(state.supervisor_since), "", "")
    if lives:
        return Line(cells)
    return Line(cells, f"nothing is started again while it is dead: {again} brings it back", "red")


def _line(row: Row, again: str) -> Line:
    process = row.process
    cells = (
        process.name,
        _WORDS[row.phase],
        str(row.shown_pid()),
        _time(row.since),
        str(row.restarts),
        process.address.rstrip("/"),
    )
    return Line(cells, _note(row, again), _STYLES.get(row.phase, ""))


def _note(row: Row, again: str) -> str:
    match row.phase:
        case "waiting":
            return f"{row.ending}; it is started again soon; why it ended is in its log"
        case "failed":
            return f"{row.ending}; its log says why; {again} starts it again"
        case "gone":
            return f"it ended while nobody looked after it: {again} starts it again"
        case _:
            return ""


def _time(text: str) -> str:
    """Return the time of day of a moment of today, the date of an earlier one."""
    today = datetime.now(UTC).date().isoformat()
    return text[11:19] if text.startswith(today) else text[:10]
