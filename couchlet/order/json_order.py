"""CouchDB's order of JSON values: null, false, true, numbers, text, arrays, objects; as a comparison and as keys.

`json_key` turns a value into bytes that compare as the values do, so that an index is an ordinary table sorted by
bytes. Text follows `collation.sort_key`; arrays compare item by item, objects pair by pair in the order in which
the pairs stand, a shorter one before a longer one that begins alike. `raw_key` gives the other order that CouchDB
has, Erlang's own, which Mango uses for conditions on `_id`.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

from couchlet.order.collation import compare_text, sort_key

_END: Final = b"\x00"
_NULL: Final = b"\x01"
_FALSE: Final = b"\x02"
_TRUE: Final = b"\x03"
_NUMBER: Final = b"\x04"
_TEXT: Final = b"\x05"
_ARRAY: Final = b"\x06"
_OBJECT: Final = b"\x07"

ABOVE_ALL: Final = b"\xff"
"""Sorts after the key of every JSON value: the open upper end of a range."""

_ZERO_RESIDUE: Final = b"\x80"
_SIGN: Final = 1 << 63


def json_key(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Bytes that compare as CouchDB compares the values; the keys of values can be put one behind the other."""
    if isinstance(value, str):
        return _TEXT + sort_key(value)
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int | float):
        return _NUMBER + _number_key(value)
    if isinstance(value, dict):
        pairs = b"".join(b"\x01" + sort_key(name) + json_key(item) for name, item in value.items())
        return _OBJECT + pairs + _END
    return _ARRAY + b"".join(json_key(item) for item in value) + _END


def compare_json(left: Any, right: Any) -> int:  # noqa: ANN401 - any JSON values
    """Negative, zero or positive as `left` sorts before, with or after `right`."""
    if isinstance(left, str) and isinstance(right, str):
        return compare_text(left, right)
    if _is_number(left) and _is_number(right):
        return int(left > right) - int(left < right)
    left_key, right_key = json_key(left), json_key(right)
    return (left_key > right_key) - (left_key < right_key)


def compare_raw(left: Any, right: Any) -> int:  # noqa: ANN401 - any JSON values
    """As `compare_json`, in the order of Erlang's terms: numbers, atoms, objects, arrays, text by bytes."""
    left_key, right_key = _raw_key(left), _raw_key(right)
    return (left_key > right_key) - (left_key < right_key)


def _is_number(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number_key(value: float) -> bytes:
    """Return a number as its nearest double and what an integer has beyond it, so that large integers stay exact."""
    try:
        nearest = float(value)
    except OverflowError:
        nearest = math.inf if value > 0 else -math.inf
    bits = struct.unpack(">Q", struct.pack(">d", nearest + 0.0 or 0.0))[0]
    ordered = (bits ^ 0xFFFFFFFFFFFFFFFF) if bits & _SIGN else bits | _SIGN
    return struct.pack(">Q", ordered) + _residue_key(value, nearest)


def _residue_key(value: float, nearest: float) -> bytes:
    if isinstance(value, float) or nearest == value:
        return _ZERO_RESIDUE
    residue = value if math.isinf(nearest) else value - int(nearest)
    size = (abs(residue).bit_length() + 7) // 8
    # Sign and length first, then the digits: longer is further from zero. The length itself takes four bytes.
    if residue > 0:
        return b"\x81" + size.to_bytes(4, "big") + residue.to_bytes(size, "big")
    complement = (1 << 8 * size) - 1 + residue
    return b"\x7f" + (0xFFFFFFFF - size).to_bytes(4, "big") + complement.to_bytes(size, "big")


def _raw_key(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    if isinstance(value, bool) or value is None:
        # Atoms compare by their names: false, null, true.
        return b"\x02" + {False: b"1", None: b"2", True: b"3"}[value]
    if isinstance(value, int | float):
        return b"\x01" + _number_key(value)
    if isinstance(value, str):
        return b"\x05" + value.encode().replace(b"\x00", b"\x00\xff") + b"\x00\x00"
    if isinstance(value, dict):
        pairs = b"".join(b"\x01" + _raw_key(name) + _raw_key(item) for name, item in value.items())
        return b"\x03" + pairs + _END
    return b"\x04" + b"".join(_raw_key(item) for item in value) + _END
