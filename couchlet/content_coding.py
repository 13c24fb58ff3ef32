"""Contents of attachments, compressed: text is kept as gzip, as CouchDB keeps it, and given out either way.

The parameters are CouchDB's (types, level and window), so that a content has the digest that it has there: CouchDB
takes the digest of what it stores.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

GZIP: Final = "gzip"
_GZIP_WINDOW: Final = 31
_LEVEL: Final = 8
_PIECE_BYTES: Final = 256 * 1024
_BYTES: Final = range(256)
_COMPRESSIBLE: Final = frozenset(("application/javascript", "application/json", "application/xml"))


ContentType = str | list[Any]
"""A content type as a document names it: text, or, as CouchDB takes it too, a list of text, bytes and such lists."""


def content_type_text(value: object) -> str:
    """Return a content type as text: lists are what Erlang calls an iolist.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(chr(item) if type(item) is int and item in _BYTES else content_type_text(item) for item in value)
    raise ValueError("not a content type")


def is_compressible(content_type: ContentType) -> bool:
    """Say whether a content of this type is kept compressed."""
    plain = content_type_text(content_type).partition(";")[0].strip().lower()
    return plain.startswith("text/") or plain in _COMPRESSIBLE


class Compressor:
    """Makes a gzip stream of what it is fed."""

    def __init__(self) -> None:
        """Begin a stream."""
        self._stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def feed(self, data: bytes) -> bytes:
        """Return what is ready after some more of the content."""
        return self._stream.compress(data)

    def end(self) -> bytes:
        """Return the rest of the stream."""
        return self._stream.flush()


def compressed(data: bytes) -> bytes:
    """Return a whole content as gzip."""
    compressor = Compressor()
    return compressor.feed(data) + compressor.end()


def expanded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give the plain content of a gzip stream, in pieces of bounded size, however far it expands."""
    expander = zlib.decompressobj(wbits=_GZIP_WINDOW)
    for piece in pieces:
        data = piece
        while data:
            plain = expander.decompress(data, _PIECE_BYTES)
            if plain:
                yield plain
            data = expander.unconsumed_tail
    rest = expander.flush()
    if rest:
        yield rest


def plain_content(fields: dict[str, Any], data: bytes) -> bytes:
    """Return a whole content, expanded if it is kept compressed; one that is no valid gzip is given as it is."""
    if fields.get("encoding") != GZIP:
        return data
    try:
        return b"".join(expanded([data]))
    except zlib.error:
        return data
