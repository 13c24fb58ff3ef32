"""Kinds of arguments that several commands take, as argparse types."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from drw import ages
from shared.errors import BadInput
from shared.names import shown

_NUMBER: Final = re.compile(r"[0-9]{1,9}")


def number(text: str) -> int:
    """Return a whole number from 1 on; raise BadInput."""
    return _number(text, 1)


def number_or_none(text: str) -> int:
    """Return a whole number from 0 on, which stands for none; raise BadInput."""
    return _number(text, 0)


def _number(text: str, least: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise BadInput(f"{shown(text)} is no whole number from {least} on, of up to nine digits")
    return int(text)


def period_s(text: str) -> float:
    """Return how often something is to be done, in seconds, as a number above 0; raise BadInput."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= ages.LONGEST_S:
        raise BadInput(f"{shown(text)} is no number of seconds above 0, of {ages.LONGEST_S:.0f} at most")
    return value


def key(text: str) -> str:
    """Return the key of a message: any text but an empty one; raise BadInput."""
    if not text:
        raise BadInput(f"{shown(text)} is no key: give the message a name of its own, such as nightly-2026-11-21")
    return text


def text_of(file: str) -> bytes:
    """Return what a file holds, or standard input for ``-``; raise BadInput for what cannot be read."""
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{shown(file)} cannot be read: {why}") from error
