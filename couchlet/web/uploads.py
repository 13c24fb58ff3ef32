"""Contents of attachments on their way in: stored piece by piece as they come, whatever their length."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from couchlet.documents import digest_text
from couchlet.storage.contents import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from couchlet.storage.database import Database


async def store_stream(database: Database, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
    """Store a content; returns its `key`, `length` and `digest`.

    Raises:
        CouchError: 5xx if the disk does not take it; what came in is dropped.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    pending = bytearray()
    length = 0
    key: int | None = None
    number = 0
    try:
        async for chunk in chunks:
            md5.update(chunk)
            length += len(chunk)
            pending += chunk
            while len(pending) >= PIECE_BYTES:
                piece = bytes(pending[:PIECE_BYTES])
                del pending[:PIECE_BYTES]
                key = await _store_piece(database, key, number, piece)
                number += 1
        if pending or key is None:
            key = await _store_piece(database, key, number, bytes(pending))
    except BaseException:
        if key is not None:
            await database.drop_content(key)
        raise
    return {"key": key, "length": length, "digest": digest_text(md5.digest())}


async def _store_piece(database: Database, key: int | None, number: int, piece: bytes) -> int:
    if key is None:
        return await database.begin_content(piece)
    await database.add_piece(key, number, piece)
    return key
