"""A document with its attachments that comes as `multipart/related`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, MultipartReader
from aiohttp.web_exceptions import HTTPException

from couchlet import json_text
from couchlet.content_coding import GZIP
from couchlet.documents import NewDocument, parse_document
from couchlet.errors import CouchError, bad_request
from couchlet.web.call import Call, too_large
from couchlet.web.uploads import store_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from couchlet.storage.database import Database

_CHUNK_BYTES = 64 * 1024


async def read_multipart_document(call: Call, database: Database, id_: str) -> NewDocument:
    """Return the document in the first part, with the contents in the parts after it stored.

    Raises:
        CouchError: 400 if the parts are not what the document announces.
    """
    await call.ask_for_body()
    try:
        reader = MultipartReader(call.request.headers, call.request.content)
        first = await reader.next()
        if not isinstance(first, BodyPartReader):
            raise bad_request("The first part of the body must be the document.")
        document = parse_document(json_text.decode(await _read_document(call, first)), id_)
        await _store_parts(database, reader, document)
    except (ValueError, AssertionError, RuntimeError, HTTPException) as error:
        raise bad_request(f"The parts of the body cannot be read: {error}") from error
    return document


async def _read_document(call: Call, part: BodyPartReader) -> bytes:
    text = bytearray()
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        text += chunk
        if len(text) > call.context.settings.max_request_bytes:
            raise too_large()
    return bytes(text)


async def _store_parts(database: Database, reader: MultipartReader, document: NewDocument) -> None:
    """Store what follows; a part belongs to the attachment that it names, or else to the next one announced."""
    announced = {name: fields for name, fields in document.attachments.items() if fields.follows}
    stored: dict[str, dict[str, Any]] = {}
    try:
        while announced:
            part = await _next_part(reader, ", ".join(announced))
            name = part.filename if part.filename in announced else next(iter(announced))
            assert name is not None
            attachment = announced.pop(name)
            encoding = GZIP if attachment.encoding == GZIP else None
            fields = await store_stream(database, _chunks(part), attachment.content_type, encoding)
            stored[name] = fields
            if encoding and attachment.length is not None:
                # Only the sender knows how long the plain content is.
                fields["length"] = attachment.length
    except BaseException:
        for fields in stored.values():
            await database.drop_content(fields["key"])
        raise
    document.kept_attachments = stored


async def _next_part(reader: MultipartReader, awaited: str) -> BodyPartReader:
    part = await reader.next()
    if part is None:
        raise CouchError(412, "missing_stub", f"The body has no part for the attachment {awaited}.")
    if not isinstance(part, BodyPartReader):
        raise bad_request("Parts of the body must not have parts themselves.")
    return part


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        yield bytes(chunk)
