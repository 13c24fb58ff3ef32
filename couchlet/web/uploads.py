"""Contents of attachments on their way in: stored piece by piece as they come, whatever their length."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from couchlet.content_coding import GZIP, Compressor, ContentType, is_compressible
from couchlet.documents import digest_text
from couchlet.errors import CouchError
from couchlet.storage.contents import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from couchlet.documents import NewDocument
    from couchlet.storage.database import Database


async def store_stream(
    database: Database, chunks: AsyncIterator[bytes], content_type: ContentType, encoding: str | None = None
) -> dict[str, Any]:
    """Store a content; returns what is known of it. `encoding` is the one that it comes in.

    Raises:
        CouchError: 5xx if the disk does not take it; what came in is dropped.
    """
    md5 = hashlib.md5(usedforsecurity=False)
    compressor = Compressor() if encoding is None and is_compressible(content_type) else None
    pending = bytearray()
    length = stored = number = 0
    key: int | None = None
    try:
        async for chunk in _coded(chunks, compressor):
            length += chunk.plain_bytes
            stored += len(chunk.data)
            md5.update(chunk.data)
            pending += chunk.data
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
    fields = {"content_type": content_type, "key": key, "length": length, "digest": digest_text(md5.digest())}
    if compressor or encoding:
        fields |= {"encoding": encoding or GZIP, "stored": stored}
    return fields


@asynccontextmanager
async def arrived_contents(database: Database, document: NewDocument) -> AsyncIterator[None]:
    """While a document is written whose attachments have just come: if it is refused, their contents are dropped.

    Where it is not known whether it is written, they stay until a compaction finds that nothing refers to them.
    """
    kept = document.kept_attachments or {}
    keys = [fields["key"] for fields in kept.values() if "revpos" not in fields]
    try:
        yield
    except CouchError:
        for key in keys:
            await database.drop_content(key)
        raise
    finally:
        database.in_flight.difference_update(keys)


class _Chunk(NamedTuple):
    data: bytes
    plain_bytes: int


async def _coded(chunks: AsyncIterator[bytes], compressor: Compressor | None) -> AsyncIterator[_Chunk]:
    """Give what is to be stored, and how many bytes of the content it took."""
    async for chunk in chunks:
        yield _Chunk(compressor.feed(chunk) if compressor else chunk, len(chunk))
    if compressor:
        yield _Chunk(compressor.end(), 0)


async def _store_piece(database: Database, key: int | None, number: int, piece: bytes) -> int:
    if key is None:
        return await database.begin_content(piece)
    await database.add_piece(key, number, piece)
    return key
