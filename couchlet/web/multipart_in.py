"""A document with its attachments that comes as `multipart/related`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, MultipartReader
from aiohttp.web_exceptions import HTTPException

from couchlet import json_text
from couchlet.content_coding import GZIP
from couchlet.documents import AttachmentInput, NewDocument, digest_text, parse_document
from couchlet.errors import CouchError, bad_content_type, bad_request, unknown_error
from couchlet.web.call import Call, too_large
from couchlet.web.reply import JSON
from couchlet.web.uploads import store_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from couchlet.storage.database import Database

_CHUNK_BYTES = 64 * 1024


async def read_multipart_document(call: Call, database: Database, id_: str) -> NewDocument:
    """Return the document in the first part, with the contents in the parts after it stored.

    Raises:
        CouchError: 400 if the parts are not what the document announces; 500, as from CouchDB, if there are none.
    """
    await call.ask_for_body()
    try:
        reader = MultipartReader(call.request.headers, call.request.content)
        first = await _first_part(reader)
        if (first.headers.get("Content-Type") or "").partition(";")[0].strip() != JSON:
            raise bad_content_type(JSON)
        document = parse_document(json_text.decode(await _read_document(call, first)), id_, has_parts=True)
        await _store_parts(database, reader, document)
    except (ValueError, AssertionError, RuntimeError, HTTPException) as error:
        raise bad_request(f"The parts of the body cannot be read: {error}") from error
    return document


async def _first_part(reader: MultipartReader) -> BodyPartReader:
    try:
        part = await reader.next()
    except ValueError:
        part = None
    if not isinstance(part, BodyPartReader):
        raise CouchError(500, "error", "expected more data")
    return part


async def _read_document(call: Call, part: BodyPartReader) -> bytes:
    text = bytearray()
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        text += chunk
        if len(text) > call.context.settings.max_request_bytes:
            raise too_large()
    return bytes(text)


async def _store_parts(database: Database, reader: MultipartReader, document: NewDocument) -> None:
    """Store what follows; the parts belong to the attachments that are announced in their order, whatever names say."""
    stored: dict[str, dict[str, Any]] = {}
    try:
        for name, attachment in document.attachments.items():
            if not attachment.follows:
                continue
            part = await _next_part(reader)
            encoding = GZIP if attachment.encoding == GZIP else None
            chunks = _expected(_chunks(part), attachment)
            fields = await store_stream(database, chunks, attachment.content_type, encoding)
            stored[name] = fields
            if encoding and attachment.length is not None:
                # Only the sender knows how long the plain content is.
                fields["length"] = attachment.length
    except BaseException:
        for fields in stored.values():
            await database.drop_content(fields["key"])
        raise
    document.kept_attachments = stored


async def _next_part(reader: MultipartReader) -> BodyPartReader:
    part = await reader.next()
    if part is None:
        raise _shorter()
    if not isinstance(part, BodyPartReader):
        raise bad_request("Parts of the body must not have parts themselves.")
    return part


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        yield bytes(chunk)


async def _expected(chunks: AsyncIterator[bytes], attachment: AttachmentInput) -> AsyncIterator[bytes]:
    """Give the chunks as they come, if they are as long as announced, and have the digest if one is announced.

    Raises:
        CouchError: 400 for another length; 500, as from CouchDB, if none is announced and for another digest.
    """
    left = attachment.sent_length
    if left is None:
        raise unknown_error("function_clause")
    digest = attachment.digest if attachment.digest and attachment.digest.startswith("md5-") else None
    md5 = hashlib.md5(usedforsecurity=False)
    async for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise bad_request("attachment longer than expected")
        if digest:
            md5.update(chunk)
        yield chunk
    if left > 0:
        raise _shorter()
    if digest and digest != digest_text(md5.digest()):
        raise unknown_error("function_clause")


def _shorter() -> CouchError:
    return bad_request("attachment shorter than expected")
