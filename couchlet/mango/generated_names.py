"""The names of indexes that a request leaves unnamed: a hash of the request, the very one that CouchDB makes.

CouchDB hashes the request in the form in which Erlang writes terms outside (External Term Format, documented in
Erlang's ERTS manual, `erl_ext_dist`), so that is what is made here.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

_VERSION: Final = b"\x83"
_LARGEST_BYTE: Final = 0xFF
_LONGEST_STRING: Final = 0xFFFF
_SMALLEST_INTEGER: Final = -(2**31)
_LARGEST_INTEGER: Final = 2**31 - 1


def generated_name(body: dict[str, Any]) -> str:
    """Return the name of the index that a request to `_index` describes."""
    options = [
        (_atom("ddoc"), _text_or_atom(body.get("ddoc"), "auto_name")),
        (_atom("def"), _value(body["index"])),
        (_atom("name"), _text_or_atom(body.get("name"), "auto_name")),
        (_atom("partitioned"), _value(body["partitioned"]) if "partitioned" in body else _atom("db_default")),
        (_atom("type"), _value(body.get("type", "json"))),
        (_atom("w"), _value(body.get("w", 2))),
    ]
    term = _tuple(_value(body["index"]), _list([_tuple(*option) for option in options]))
    return hashlib.sha1(_VERSION + term, usedforsecurity=False).hexdigest()


def _text_or_atom(value: str | None, otherwise: str) -> bytes:
    return _atom(otherwise) if value is None else _value(value)


def _atom(name: str) -> bytes:
    return b"d" + struct.pack(">H", len(name)) + name.encode("ascii")


def _tuple(*items: bytes) -> bytes:
    return b"h" + bytes([len(items)]) + b"".join(items)


def _list(items: list[bytes]) -> bytes:
    if not items:
        return b"j"
    return b"l" + struct.pack(">I", len(items)) + b"".join(items) + b"j"


def _value(value: Any) -> bytes:  # noqa: ANN401, PLR0911 - any JSON value, a branch for each type
    """Return a JSON value: objects are lists of pairs inside a tuple, text is a binary."""
    if value is None:
        return _atom("null")
    if isinstance(value, bool):
        return _atom("true" if value else "false")
    if isinstance(value, str):
        encoded = value.encode()
        return b"m" + struct.pack(">I", len(encoded)) + encoded
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return b"F" + struct.pack(">d", value)
    if isinstance(value, dict):
        return _tuple(_list([_tuple(_value(name), _value(item)) for name, item in value.items()]))
    if (
        value
        and len(value) <= _LONGEST_STRING
        and all(type(item) is int and 0 <= item <= _LARGEST_BYTE for item in value)
    ):
        # A list of small integers could be text to Erlang, and is written like it.
        return b"k" + struct.pack(">H", len(value)) + bytes(value)
    return _list([_value(item) for item in value])


def _integer(value: int) -> bytes:
    if 0 <= value <= _LARGEST_BYTE:
        return bytes([97, value])
    if _SMALLEST_INTEGER <= value <= _LARGEST_INTEGER:
        return b"b" + struct.pack(">i", value)
    size = (abs(value).bit_length() + 7) // 8
    sign = bytes([int(value < 0)])
    digits = abs(value).to_bytes(size, "little")
    if size <= _LARGEST_BYTE:
        return b"n" + bytes([size]) + sign + digits
    return b"o" + struct.pack(">I", size) + sign + digits
