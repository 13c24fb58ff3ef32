"""JSON text as CouchDB reads and writes it.

Integers of any size stay integers, floats stay floats, the last of several members with one name counts, text that
is no valid Unicode (a lone surrogate) and numbers beyond a double are refused, and nesting is bounded.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Any, Final

import msgspec

from couchlet.errors import bad_request

encode = msgspec.json.encode
"""A value as compact JSON bytes, members in their order."""

MAX_DEPTH: Final = 1000
"""How deep arrays and objects may be nested: what is stored has to be compared, which takes frames of the stack."""

RECURSION_LIMIT: Final = 8000
"""The interpreter's limit that goes with it, at a few frames a level."""

_decoder = msgspec.json.Decoder()
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_AS_BYTES: Final = "surrogateescape"
_LONE_BYTE: Final = re.compile("[\ud800-\udfff]")
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def decode(text: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON.

    Raises:
        CouchError: 400 `bad_request`, as CouchDB answers everything that is not JSON.
    """
    raw = text.encode("utf-8", _AS_BYTES) if isinstance(text, str) else text
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(raw) > MAX_DEPTH:
        raise bad_request(f"The JSON is nested deeper than {MAX_DEPTH} levels.")
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise bad_request("invalid UTF-8 JSON") from error


def is_utf8(text: str) -> bool:
    """Whether there are no bytes in the text that were no UTF-8 when it was read (and became lone surrogates)."""
    return text.isascii() or _LONE_BYTE.search(text) is None


def readable(text: str) -> str:
    """Return the text with a mark in place of what was no UTF-8 when it was read."""
    return text if is_utf8(text) else text.encode("utf-8", _AS_BYTES).decode("utf-8", "replace")


def _depth(raw: bytes) -> int:
    """Return how deep brackets are nested, those inside strings not counted."""
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)
    return max(accumulate(_STEPS[bracket] for bracket in brackets), default=0)


def decode_stored(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON that this program wrote, so that a failure is a defect of the database file."""
    return _decoder.decode(text)
