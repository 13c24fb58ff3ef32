"""Lines of text for a terminal, in pieces that have a style each. Pure; how a style looks is the terminal's affair.

Whatever others wrote comes in through :func:`said`, which spells out what is no plain character.
"""

from __future__ import annotations

import re
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
_WORD: Final = re.compile(r"\S+")
_TERM: Final = re.compile(r" *(?:\S+(?: \S+)* {2,})?")
"""A line's indentation, and the term that it explains: words with more than one blank behind them."""


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
    """Return text of others as lines of at most ``width`` characters, each indented.

    A word that is longer (a UID, an address) stays whole: the terminal breaks it on the screen only.
    """
    room = max(width - indent, BAR_WIDTH)
    folds = textwrap.wrap(visible(text), room, break_long_words=False, break_on_hyphens=False)
    return [line(" " * indent, (style, each)) for each in folds]


def wrapped(line_: Line, width: int) -> list[Line]:
    """Return a line as lines of at most ``width`` characters, broken between words as :func:`folded` does.

    It goes on below its text: behind its indentation, and behind the term that it explains where one stands in front.
    """
    text = plain(line_)
    indent = _indentation(text, width)
    ends: list[tuple[int, int]] = []
    start = end = 0
    for word in _WORD.finditer(text):
        room = width - indent if ends else width
        if word.end() - start > room and end > start:
            ends.append((start, end))
            start = word.start()
        end = word.end()
    first, *rest = [_part(line_, *each) for each in (*ends, (start, len(text)))]
    return [first, *(line(" " * indent, *each) for each in rest)]


def _indentation(text: str, width: int) -> int:
    """Return how far a line goes in below itself; a long term leaves too little room behind itself."""
    term = _TERM.match(text)
    indent = term.end() if term else 0
    return indent if indent <= width // 2 else len(text) - len(text.lstrip())


def _part(line_: Line, start: int, end: int) -> Line:
    """Return what stands from one character of a line to another."""
    pieces: list[Piece] = []
    for style, text in line_:
        part = text[max(start, 0) : max(end, 0)]
        if part:
            pieces.append((style, part))
        start, end = start - len(text), end - len(text)
    return tuple(pieces)


def score(value: float | None) -> Piece:
    """Return a score and ALMA's word for it: ``0.62 warning``."""
    word = band(value).value
    return word, word if value is None else f"{value:.2f} {word}"


def bar(value: float | None, *, blocks: bool, width: int = BAR_WIDTH) -> Piece:
    """Return a score from 0 to 1 as a bar, of blocks or, for terminals that have none, of signs."""
    full, empty = ("█", "░") if blocks else ("#", "-")
    length = round((value or 0.0) * width)
    return band(value).value, full * length + empty * (width - length)
