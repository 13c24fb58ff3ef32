"""Bookmarks of `_find`: the place behind which the next page begins."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from couchlet import json_text
from couchlet.errors import CouchError

NO_BOOKMARK: Final = "nil"
"""What stands in an answer that has no place to go on from."""


_PREFIX: Final = "g1AAAA"


class Place(msgspec.Struct, frozen=True):
    """A row: its key in the index (empty in the order of ids), and the document's id."""

    key: bytes
    id: str


_read_place: Final = msgspec.json.Decoder(Place).decode
"""Made here, because msgspec must not work out a type in several threads at once: that ends the process."""


def pack_bookmark(place: Place) -> str:
    """Return a bookmark as clients see it."""
    text = msgspec.json.encode(place)
    return _PREFIX + base64.urlsafe_b64encode(text).decode("ascii").rstrip("=")


def parse_bookmark(text: str | None) -> Place | None:
    """Return the place that a bookmark stands for.

    Raises:
        CouchError: 400 `invalid_bookmark`.
    """
    if text is None:
        return None
    packed = text.removeprefix(_PREFIX)
    try:
        decoded = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        return _read_place(decoded)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        shown = json_text.encode(text).decode()
        raise CouchError(400, "invalid_bookmark", f"Invalid bookmark value: {shown}") from error
