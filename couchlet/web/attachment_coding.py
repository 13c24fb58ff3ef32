"""Contents of attachments that came compressed are kept so, and given out plain to who cannot read them."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE_BYTES = 256 * 1024


def expanded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Return the plain content of a gzip stream, in pieces of bounded size, however far it expands."""
    expander = zlib.decompressobj(wbits=31)
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
    if fields.get("encoding") != "gzip":
        return data
    try:
        return b"".join(expanded([data]))
    except zlib.error:
        return data
