"""Parts of an attachment, by the header `Range`."""

from __future__ import annotations

import re
from typing import Final

from couchlet.errors import CouchError

MOST_RANGES: Final = 9
"""Who asks for more parts at once gets the whole, as from CouchDB."""

_RANGE: Final = re.compile(r"\s*(\d{0,18})\s*-\s*(\d{0,18})\s*\Z")

Span = tuple[int, int]
"""The first and the last byte of a part."""


def parse_ranges(header: str | None, length: int) -> list[Span]:
    """Return the parts wanted of a content of some bytes; none for the whole, or for a form that is passed over.

    Raises:
        CouchError: 416 if a part lies outside.
    """
    if header is None or not header.startswith("bytes="):
        return []
    spans = []
    for item in filter(None, header.removeprefix("bytes=").split(",")):
        match = _RANGE.match(item)
        if match is None or match[1] == match[2] == "":
            return []
        first, last = match[1], match[2]
        if (first, last) == ("0", ""):
            return []
        spans.append(_span(first, last, length))
    return spans if len(spans) <= MOST_RANGES else []


def _span(first: str, last: str, length: int) -> Span:
    if not first:
        # As CouchDB counts, of a content that is shorter than the end asked for the first byte stays away.
        start, end = length - min(int(last), length - 1), length - 1
    else:
        start, end = int(first), min(int(last or length), length - 1)
    if start > end or (first and last and int(last) < start):
        raise CouchError(416, "requested_range_not_satisfiable", "Requested range not satisfiable")
    return start, end


def content_range(span: Span, length: int) -> str:
    """Return the header that says which part of the whole this is."""
    return f"bytes {span[0]}-{span[1]}/{length}"
