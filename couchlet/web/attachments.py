"""One attachment: reading it whole or in part, writing and deleting it."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from couchlet.content_coding import expanded
from couchlet.documents import NewDocument, validate_attachment_name, validate_id
from couchlet.errors import CouchError, not_found, unknown_error
from couchlet.revisions import Revision, holds
from couchlet.storage.records import StoredDocument, attachments_of, stored_length
from couchlet.storage.transaction import Content
from couchlet.web.byte_ranges import Span, content_range, parse_ranges
from couchlet.web.documents import named_revision, read_revision, save_one
from couchlet.web.reply import base_headers, not_modified, send_pieces
from couchlet.web.uploads import arrived_contents, store_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from couchlet.storage.database import Database
    from couchlet.web.call import Call

_ACTIVE: Final = re.compile(r"html|xml|xsl|svg|script|wasm|^multipart/|^message/|[\x00-\x1f\x7f]", re.IGNORECASE)
_DEFAULT_TYPE: Final = "application/octet-stream"


async def attachment(call: Call, id_: str, name: str) -> web.StreamResponse:
    """`/db/id/name`, answered by method."""
    database = call.database()
    if call.reads:
        return await _read(call, database, id_, name)
    call.allow("DELETE", "GET", "HEAD", "PUT")
    validate_attachment_name(name)
    validate_id(id_)
    if id_.startswith("_local/"):
        raise CouchError(400, "bad_request", "_local documents do not accept attachments.")
    if call.method == "PUT":
        return await _write(call, database, id_, name)
    return await _delete(call, database, id_, name)


def safe_type(content_type: str) -> str:
    """Return the type to serve a content with: one that browsers would run is served as plain bytes."""
    return _DEFAULT_TYPE if _ACTIVE.search(content_type) or "/" not in content_type else content_type


def _content(database: Database, id_: str, revision: Revision | None) -> tuple[StoredDocument, Content]:
    row = database.reader.document(id_)
    if row is None:
        raise not_found()
    if revision is None:
        if row.deleted:
            raise not_found("deleted")
        return row, Content(row.shown, False, row.body, row.attachments)
    content = database.reader.content(row, revision) if holds(row.tree, revision) else None
    if content is None:
        raise not_found()
    return row, content


async def _read(call: Call, database: Database, id_: str, name: str) -> web.StreamResponse:
    _, content = _content(database, id_, read_revision(call))
    fields = attachments_of(content.attachments).get(name)
    if fields is None:
        raise not_found("Document is missing attachment")
    if not isinstance(fields["content_type"], str):
        # CouchDB takes a list for a type in a document, but makes no header of it.
        raise unknown_error("badarg")
    etag = f'"{fields["digest"].removeprefix("md5-")}"'
    unchanged = not_modified(call, etag)
    if unchanged:
        return unchanged
    headers = {
        **base_headers(),
        "ETag": etag,
        "Cache-Control": "must-revalidate",
        "Content-Type": safe_type(fields["content_type"]),
        "Content-Security-Policy": "sandbox",
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "none" if fields.get("encoding") else "bytes",
    }
    if fields.get("encoding"):
        return await _send_encoded(call, database, fields, headers)
    length = fields["length"]
    spans = parse_ranges(call.header("Range"), length)
    if len(spans) > 1:
        return await _send_parts(call, database, fields, spans, headers)
    first, last = spans[0] if spans else (0, length - 1)
    if spans:
        headers["Content-Range"] = content_range(spans[0], length)
    response = web.StreamResponse(status=206 if spans else 200, headers=headers)
    response.content_length = last - first + 1
    pieces = database.reader.attachment_pieces(fields["key"], first, last) if length else iter(())
    return await send_pieces(call, response, pieces)


async def _send_encoded(
    call: Call, database: Database, fields: dict[str, Any], headers: dict[str, str]
) -> web.StreamResponse:
    """Give a compressed content as it is to who takes gzip, else expanded."""
    stored = stored_length(fields)
    pieces = database.reader.attachment_pieces(fields["key"], 0, stored - 1)
    if _takes_gzip(call.header("Accept-Encoding") or ""):
        response = web.StreamResponse(headers={**headers, "Content-Encoding": fields["encoding"]})
        response.content_length = _whole(call, stored)
        return await send_pieces(call, response, pieces)
    response = web.StreamResponse(headers=headers)
    if stored != fields["length"]:
        # Otherwise it came compressed, so that its plain length is not known.
        response.content_length = _whole(call, fields["length"])
    return await send_pieces(call, response, expanded(pieces))


def _takes_gzip(header: str) -> bool:
    """Whether an `Accept-Encoding` names gzip, or all codings, and not to refuse them."""
    qualities = {}
    for item in header.lower().split(","):
        name, _, quality = item.partition(";")
        qualities[name.strip()] = quality.replace(" ", "")
    asked = qualities.get("gzip", qualities.get("*"))
    return asked is not None and re.fullmatch(r"q=0(\.0*)?", asked) is None


def _whole(call: Call, length: int) -> int:
    """Return the length of a content that is given whole whatever part is wanted; only a part outside is refused."""
    parse_ranges(call.header("Range"), length)
    return length


async def _send_parts(
    call: Call, database: Database, fields: dict[str, Any], spans: list[Span], headers: dict[str, str]
) -> web.StreamResponse:
    """Give several parts, as `multipart/byteranges`."""
    boundary, part_type = secrets.token_hex(16), headers["Content-Type"]
    left = {name: value for name, value in headers.items() if name not in {"ETag", "Accept-Ranges", "Cache-Control"}}
    response = web.StreamResponse(
        status=206, headers={**left, "Content-Type": f'multipart/byteranges; boundary="{boundary}"'}
    )

    def pieces() -> Iterator[bytes]:
        for span in spans:
            named = content_range(span, fields["length"])
            yield f"--{boundary}\r\nContent-Type: {part_type}\r\nContent-Range: {named}\r\n\r\n".encode()
            yield from database.reader.attachment_pieces(fields["key"], *span)
            yield b"\r\n"
        yield f"--{boundary}--".encode()

    return await send_pieces(call, response, pieces())


async def _write(call: Call, database: Database, id_: str, name: str) -> web.StreamResponse:
    encoding = (call.header("Content-Encoding") or "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        raise CouchError(415, "bad_content_type", "Only gzip and identity content-encodings are supported")
    document = _edit_of(call, database, id_)
    named = call.header("Content-Type")
    content_type = _DEFAULT_TYPE if named is None else named  # an empty one counts for the revision, as in CouchDB
    fields = await store_stream(database, call.chunks(), content_type, None if encoding == "identity" else encoding)
    others = dict(document.kept_attachments or {})
    others.pop(name, None)
    # In CouchDB's order, which counts for the revision: what is new comes first, also in place of an older one.
    document.kept_attachments = {name: fields} | others
    async with arrived_contents(database, document):
        response = await save_one(call, database, document, created_status=True, with_etag=False, with_location=False)
    host = call.location(database.name).rpartition("/")[0]
    response.headers["Location"] = f"{host}/{database.name}/{call.location(id_, name).split('/', 3)[3]}"
    return response


def _edit_of(call: Call, database: Database, id_: str) -> NewDocument:
    """Return the document as it is at the revision named, deleted if that is; a new one if none is named."""
    revision = named_revision(call)
    if revision is None:
        return NewDocument(id=id_, body=b"{}")
    row = database.reader.document(id_)
    content = database.reader.content(row, revision) if row and holds(row.tree, revision) else None
    if content is None:
        raise CouchError(409, "not_found", "missing_rev")
    return NewDocument(
        id=id_,
        body=content.body,
        deleted=content.deleted,
        start=revision.generation,
        history=(revision.id,),
        kept_attachments=attachments_of(content.attachments),
    )


async def _delete(call: Call, database: Database, id_: str, name: str) -> web.StreamResponse:
    await call.body()
    if named_revision(call) is None:
        _, content = _content(database, id_, None)
        if name not in attachments_of(content.attachments):
            raise not_found("Document is missing attachment")
    document = _edit_of(call, database, id_)
    kept = dict(document.kept_attachments or {})
    if document.revision is not None and name not in kept:
        raise not_found("Document is missing attachment")
    kept.pop(name, None)
    document.kept_attachments = kept
    return await save_one(
        call, database, document, created_status=False, with_etag=False, with_location=False, counts_copies=False
    )
