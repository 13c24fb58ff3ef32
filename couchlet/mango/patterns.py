"""Regular expressions as CouchDB has them: Perl's syntax, matched on the bytes of UTF-8."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_POSIX_CLASSES: Final = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "punct": r"!-/:-@\[-`{-~",
    "xdigit": "0-9A-Fa-f",
    "word": r"\w",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "print": r"\x20-\x7e",
    "graph": r"\x21-\x7e",
}
_TO_PYTHON: Final = (
    (re.compile(r"\[:(\w+):\]"), lambda found: _POSIX_CLASSES.get(found[1], found[0])),
    (re.compile(r"\(\?<(?=[A-Za-z_])"), lambda _: "(?P<"),
    (re.compile(r"(?<!\\)((?:\\\\)*)\\z"), lambda found: found[1] + r"\Z"),
    (re.compile(r"(?<!\\)((?:\\\\)*)\\h"), lambda found: found[1] + r"[ \t]"),
)


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> re.Pattern[bytes] | None:
    """Compile a pattern; nothing if it is none."""
    for construct, replacement in _TO_PYTHON:
        pattern = construct.sub(replacement, pattern)
    try:
        return re.compile(pattern.encode())
    except (re.error, RecursionError, OverflowError, ValueError):
        return None
