"""Tables for terminals: nothing in them is ever broken, so that every name and address can be copied.

A table that is too wide for its terminal has each line go on below itself, indented, from one column to the next. What
is piped has no width to keep to.
"""

from __future__ import annotations

import os
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.printable import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

_GAP: Final = 2
_INDENT: Final = 4


@dataclass(frozen=True)
class Line:
    """A line of a table: its cells, what there is to say about it below, and the colour for a terminal."""

    cells: tuple[str, ...]
    note: str = ""
    style: str = ""


def width_of(console: Console) -> int | None:
    """Return how wide a console's terminal is, None for a file or a pipe."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS") else None


def print_table(console: Console, heads: Sequence[str], lines: Sequence[Line]) -> None:
    """Print a table."""
    for text, style in laid_out(heads, lines, width_of(console)):
        say(console, text, style=style)


def say(console: Console, text: str = "", *, style: str = "") -> None:
    """Print text as it is, line by line: a terminal that is narrower breaks it only on the screen.

    What others wrote is in much of it, so what is no plain character is spelled out.
    """
    text = "\n".join(visible(each) for each in text.split("\n"))
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)


def laid_out(heads: Sequence[str], lines: Sequence[Line], width: int | None) -> Iterator[tuple[str, str]]:
    """Yield each printed line of a table, and its colour."""
    lines = [Line(tuple(map(visible, line.cells)), visible(line.note), line.style) for line in lines]
    widths = [max(map(len, column)) for column in zip(heads, *(line.cells for line in lines), strict=True)]
    stretches = _stretches(widths, width)
    for line in (Line(tuple(heads), style="bold"), *lines):
        for number, stretch in enumerate(stretches):
            text = "".join(line.cells[column].ljust(widths[column] + _GAP) for column in stretch).rstrip()
            if text or not number:
                yield (" " * _INDENT if number else "") + text, line.style
        for text in _folded(line.note, width):
            yield " " * _INDENT + text, line.style


def _stretches(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Return which columns go onto one line together."""
    stretches: list[list[int]] = [[]]
    used = 0
    for column, wanted in enumerate(widths):
        if stretches[-1] and width is not None and used + wanted > width:
            stretches.append([])
            used = _INDENT
        stretches[-1].append(column)
        used += wanted + _GAP
    return stretches


def _folded(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text] if text else []
    room = max(width - _INDENT, 20)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)


def counted(count: int, what: str, many: str = "") -> str:
    """Return a number and its noun: ``1 file``, ``2 files``, ``2 entries``."""
    return f"{count} {what if count == 1 else many or what + 's'}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return names as in a sentence: ``one``, ``one and two``, ``one, two and three``; ``last`` may be "or"."""
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
