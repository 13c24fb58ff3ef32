"""Text of others as it may stand on a terminal. Pure."""

from __future__ import annotations


def visible(text: str) -> str:
    r"""Return one line of text with everything that is no plain character spelled out.

    Control sequences, marks that turn the direction of writing, characters of no width and lone surrogates are written
    as escapes (``\x1b``), so that whoever wrote a report or a comment cannot move the reader's cursor or hide
    anything. Line ends and tabs become blanks.
    """
    if text.isprintable():
        return text
    return "".join(_spelled(each) for each in text)


def visible_lines(text: str) -> str:
    """As :func:`visible`, for text of several lines, which stay lines."""
    return "\n".join(map(visible, text.split("\n")))


def is_utf8(text: str) -> bool:
    """Tell whether text from outside was UTF-8: of bytes that are none, Python makes lone surrogates."""
    return all(not "\ud800" <= each <= "\udfff" for each in text)


def _spelled(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character in "\t\n\r" else ascii(character)[1:-1]
