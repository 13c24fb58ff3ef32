"""How large a document is by CouchDB's count, which is not the length of any JSON (``couch_ejson_size``)."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from couchlet.errors import unknown_error

_LONG_NUMBER: Final = re.compile(rb"[0-9]{309}")
_STEP: Final = 61
_LONG_NUMBER_IN_STEPS: Final = re.compile(rb"[0-9]{5}")
_FLOATS_BELOW_ONE: Final = ((1.0e-300, 3), (1.0e-100, 6), (1.0e-10, 5), (0.01, 4), (1.0, 3))
_FLOATS: Final = ((1.0e100, 5), (1.0e10, 4), (0.0, 3))


def is_larger(value: dict[str, Any], text: bytes, most: int) -> bool:
    """Tell whether a document's body, of which the JSON is at hand as text, has more than ``most`` bytes.

    Raises:
        CouchError: 500 `badarith` where it has a whole number beyond all floating-point numbers.
    """
    if len(text) <= most and not _has_long_number(text):
        return False  # no value counts for more than its shortest JSON has bytes
    return _size(value) > most


def _has_long_number(text: bytes) -> bool:
    """Whether a number may be beyond all floating-point numbers; hardly ever more than a sample has to be read."""
    return bool(_LONG_NUMBER_IN_STEPS.search(text[::_STEP]) and _LONG_NUMBER.search(text))


def _size(value: Any) -> int:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return 1 + sum(_size(key) + _size(each) + 2 for key, each in value.items()) if value else 2
    if isinstance(value, list):
        return 1 + sum(_size(each) + 1 for each in value) if value else 2
    if isinstance(value, str):
        return 2 + len(value.encode())
    if value is None or isinstance(value, bool):
        return 5 if value is False else 4
    return _size_of_integer(value) if isinstance(value, int) else _size_of_float(value)


def _size_of_integer(value: int) -> int:
    size, sign = abs(value), int(value < 0)
    try:
        return sign + (int(math.log10(float(size))) + 1 if size else 1)
    except OverflowError as error:
        raise unknown_error("badarith") from error


def _size_of_float(value: float) -> int:
    size, sign = abs(value), int(math.copysign(1, value) < 0 and value != 0)
    if size in {0.0, 1.0}:
        return 3 + sign
    if size < 1:
        return sign + next(count for limit, count in _FLOATS_BELOW_ONE if size <= limit)
    return sign + next(count for limit, count in _FLOATS if size >= limit)
