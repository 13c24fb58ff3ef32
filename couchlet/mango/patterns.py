"""Regular expressions as CouchDB has them: Perl's syntax, matched on the bytes of UTF-8."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_HIGH_UPPER: Final = r"\xc0-\xd6\xd8-\xde"
_HIGH_LOWER: Final = r"\xaa\xb5\xba\xdf-\xf6\xf8-\xff"
"""Erlang takes the bytes for Latin-1, in which these are letters."""

_POSIX_CLASSES: Final = {
    "alpha": f"a-zA-Z{_HIGH_UPPER}{_HIGH_LOWER}",
    "digit": "0-9",
    "alnum": f"a-zA-Z0-9{_HIGH_UPPER}{_HIGH_LOWER}",
    "upper": f"A-Z{_HIGH_UPPER}",
    "lower": f"a-z{_HIGH_LOWER}",
    "space": r"\s",
    "punct": r"!-/:-@\[-`{-~\xa1-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7",
    "xdigit": "0-9A-Fa-f",
    "word": rf"\w{_HIGH_UPPER}{_HIGH_LOWER}",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "print": r"\x20-\x7e\xa0-\xff",
    "graph": r"\x21-\x7e\xa1-\xff",
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
