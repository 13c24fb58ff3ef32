"""Lines of text for a terminal, in pieces that have a style each. Pure; how a style looks is the terminal's affair.

Whatever others wrote comes in through :func:`said`, which spells out what is no plain character.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from shared.printable import visible
from shared.report import Band, band

if TYPE_CHECKING:
    from collections.abc import Iterable

Piece = tuple[str, str]
"""A style and a text; the style is one of :data:`STYLES`, or empty."""

Line = tuple[Piece, ...]

STYLES: Final = {
    "bold": "bold",
    "dim": "dim",
    "wrong": "red",
    Band.STANDARD.value: "green",
    Band.BELOW_STANDARD.value: "blue",
    Band.WARNING.value: "yellow",
    Band.ERROR.value: "red",
    Band.UNDEFINED.value: "dim",
}
"""What a style looks like, in rich's words. No meaning is in a colour alone: bands are always named too."""

BAR_WIDTH: Final = 20


def line(*pieces: Piece | str) -> Line:
    """Return a line; a bare text has no style."""
    return tuple(("", each) if isinstance(each, str) else each for each in pieces)


def said(text: str, style: str = "") -> Piece:
    """Return text of others as a piece."""
    return style, visible(text)


def plain(line_: Iterable[Piece]) -> str:
    """Return a line without its styles."""
    return "".join(text for _, text in line_)


def folded(text: str, width: int, *, indent: int, style: str = "") -> list[Line]:
    """Return text of others as lines of at most ``width`` characters, each indented; a long word is broken."""
    room = max(width - indent, BAR_WIDTH)
    return [line(" " * indent, (style, each)) for each in textwrap.wrap(visible(text), room)]


def score(value: float | None) -> Piece:
    """Return a score and ALMA's word for it: ``0.62 warning``."""
    word = band(value).value
    return word, word if value is None else f"{value:.2f} {word}"


def bar(value: float | None, *, blocks: bool) -> Piece:
    """Return a score from 0 to 1 as a bar, of blocks or, for terminals that have none, of signs."""
    full, empty = ("█", "░") if blocks else ("#", "-")
    length = round((value or 0.0) * BAR_WIDTH)
    return band(value).value, full * length + empty * (BAR_WIDTH - length)
