"""What is said of a process that ended when it should not have, or does not come up."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Final

from drw.machine import tails

if TYPE_CHECKING:
    from pathlib import Path

    from drw.machine.processes import Process
    from drw.machine.running import Row

LAST_LINES: Final = 10


def ending(status: int) -> str:
    """Return how a process ended, to follow its name; ``status`` is negative for a signal, as subprocess has it."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def output_file(process: Process) -> Path:
    """Return where the output of a background process goes: what it says outside its log, such as a traceback."""
    return process.log.with_suffix(".out") if process.writes_log else process.log


def says_ready(row: Row) -> bool:
    """Tell whether the log says, since its start, that the process serves."""
    return bool(re.search(row.process.ready, tails.since(row.process.log, row.log_from)))


def last_words(row: Row) -> list[str]:
    """Return the last lines of a process's log since its start, and what it said besides."""
    said = tails.last_lines(tails.since(row.process.log, row.log_from), LAST_LINES)
    elsewhere = row.process.writes_log and not row.window
    besides = tails.since(output_file(row.process), 0) if elsewhere else ""
    return (said + [line for line in tails.last_lines(besides, LAST_LINES) if line not in said])[-LAST_LINES:]


def report(row: Row, what: str, words: list[str]) -> str:
    """Return what there is to say of one process: ``what`` follows its name, its last words are below."""
    process = row.process
    if row.window:
        where = "its window"
    else:
        where = str(process.log if tails.size(process.log) > row.log_from else output_file(process))
    shown = "".join(f"\n    {line}" for line in words) or " (none)"
    return f"{process.name} {what}; the last lines of {where}:{shown}"
