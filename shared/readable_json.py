"""What can be read of JSON in which strangers may write: as much as any program of ours can take.

CouchDB stores documents nested as deep, and numbers as long, as somebody likes. A program that cannot decode one of
them must not fail with everything that lies beside it. Pure.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

DEEPEST: Final = 100
"""What we write ourselves is a dozen levels deep."""

LONGEST_DIGITS: Final = 1000
TOO_DEEP: Final = "(nested too deep to be read)"
TOO_LONG: Final = "(a number too long to be read)"

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]|-?[0-9]{%d,}[0-9.eE+-]*' % LONGEST_DIGITS, re.DOTALL)


def decode(text: bytes, kind: type[T]) -> T:
    """Return JSON decoded; what is nested deeper than :data:`DEEPEST`, or too long a number, is a text that says so.

    Raises msgspec.DecodeError for what is no JSON, no UTF-8, or cut off, or not of the kind that is expected (Any for
    any).
    """
    try:
        return _decoded(text, kind)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"it is no UTF-8: {error}") from error


def _decoded(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (RecursionError, msgspec.ValidationError):
        return msgspec.json.decode(_readable(text), type=kind)


def _readable(text: bytes) -> bytes:
    kept, begin, depth = [], 0, 0
    for token in _TOKEN.finditer(text):
        opens, closes = token[0] in b"[{", token[0] in b"]}"
        depth += opens
        if opens and depth == DEEPEST + 1:
            kept += [text[begin : token.start()], msgspec.json.encode(TOO_DEEP)]
        if closes and depth == DEEPEST + 1:
            begin = token.end()
        depth -= closes
        if depth <= DEEPEST and not opens and not closes and token[0][:1] != b'"':
            kept += [text[begin : token.start()], msgspec.json.encode(TOO_LONG)]
            begin = token.end()
    return b"".join((*kept, text[begin:])) if depth <= DEEPEST else text[:0]
