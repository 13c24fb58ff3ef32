"""JSON text as CouchDB reads and writes it.

Integers of any size stay integers, floats stay floats, the last of several members with one name counts, text that
is no valid Unicode (a lone surrogate) and numbers beyond a double are refused, and nesting is bounded.
"""

from __future__ import annotations

from typing import Any

import msgspec

from couchlet.errors import bad_request

encode = msgspec.json.encode
"""A value as compact JSON bytes, members in their order."""

_decoder = msgspec.json.Decoder()


def decode(text: bytes | bytearray | memoryview | str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON.

    Raises:
        CouchError: 400 `bad_request`, as CouchDB answers everything that is not JSON.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise bad_request("invalid UTF-8 JSON") from error


def decode_stored(text: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON that this program wrote, so that a failure is a defect of the database file."""
    return _decoder.decode(text)
