"""Documents with their attachments as `multipart/related`, several as `multipart/mixed`, as CouchDB sends them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from couchlet import json_text
from couchlet.content_coding import content_type_text
from couchlet.revisions import Revision
from couchlet.storage.records import StoredDocument, attachments_of, stored_length
from couchlet.storage.transaction import Content
from couchlet.web.reply import base_headers, send_pieces
from couchlet.web.showing import ShowOptions, known_generation, show_content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from couchlet.storage.database import Database
    from couchlet.web.call import Call


class BulkPart(msgspec.Struct, frozen=True):
    """What `_bulk_get` found for one item: contents and missing revisions, or an error."""

    id: Any
    row: StoredDocument | None
    found: list[Content | Revision]
    error: dict[str, Any] | None
    since: tuple[Revision, ...] | None

    def options(self, options: ShowOptions) -> ShowOptions:
        """Return the options of the request with those of the item."""
        if not self.since:
            return options
        return msgspec.structs.replace(options, atts_since=self.since, attachments=True)


Layout = list[bytes | dict[str, Any]]
"""What a body is made of, in order: text as it is, and attachments whose content stands there."""


def _length(layout: Layout) -> int:
    return sum(len(part) if isinstance(part, bytes) else stored_length(part) for part in layout)


def _pieces(database: Database, layout: Layout) -> Iterator[bytes]:
    for part in layout:
        if isinstance(part, bytes):
            yield part
        elif stored_length(part):
            yield from database.reader.attachment_pieces(part["key"], 0, stored_length(part) - 1)


def _related(
    database: Database, row: StoredDocument, content: Content, options: ShowOptions, boundary: str, *, with_meta: bool
) -> tuple[str, Layout]:
    """Return the content type and the body of a document and the attachments that follow it."""
    options = msgspec.structs.replace(options, attachments=True, follows=True, att_encoding_info=True)
    text = show_content(database.reader, row, content, options, with_meta=with_meta)
    known = known_generation(row, content.revision, options)
    following = {
        name: fields for name, fields in attachments_of(content.attachments).items() if fields["revpos"] > known
    }
    if not following:
        return "application/json", [text]
    return f'multipart/related; boundary="{boundary}"', _layout(text, following, boundary)


def _layout(text: bytes, following: dict[str, dict[str, Any]], boundary: str) -> Layout:
    mark = boundary.encode()
    layout: Layout = [b"--" + mark + b"\r\nContent-Type: application/json\r\n\r\n" + text + b"\r\n--" + mark]
    for name, fields in following.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
        content_type = content_type_text(fields["content_type"]).replace("\r", " ").replace("\n", " ")
        head = (
            f'\r\nContent-Disposition: attachment; filename="{quoted}"'
            f"\r\nContent-Type: {content_type}\r\nContent-Length: {stored_length(fields)}"
        )
        if fields.get("encoding"):
            head += f"\r\nContent-Encoding: {fields['encoding']}"
        layout += [head.encode() + b"\r\n\r\n", fields, b"\r\n--" + mark]
    return [*layout, b"--"]


async def _send(
    call: Call,
    content_type: str,
    pieces: Iterator[bytes],
    headers: dict[str, str] | None = None,
    length: int | None = None,
) -> web.StreamResponse:
    response = web.StreamResponse(headers={**base_headers(), **(headers or {}), "Content-Type": content_type})
    response.content_length = length
    return await send_pieces(call, response, pieces)


async def multipart_document(
    call: Call,
    database: Database,
    row: StoredDocument,
    content: Content,
    options: ShowOptions,
    *,
    headers: dict[str, str],
    with_meta: bool,
) -> web.StreamResponse:
    """One document with its attachments; `with_meta` as for `show_content`."""
    content_type, layout = _related(database, row, content, options, secrets.token_hex(16), with_meta=with_meta)
    return await _send(call, content_type, _pieces(database, layout), headers, _length(layout))


async def multipart_revisions(
    call: Call,
    database: Database,
    row: StoredDocument | None,
    found: list[Content | Revision],
    options: ShowOptions,
) -> web.StreamResponse:
    """Several revisions of one document, each with its attachments."""
    boundary, inner = secrets.token_hex(16), secrets.token_hex(16)
    mark = boundary.encode()

    def pieces() -> Iterator[bytes]:
        yield b"--" + mark
        for item in found:
            if isinstance(item, Content):
                assert row is not None
                content_type, layout = _related(database, row, item, options, inner, with_meta=False)
                yield b"\r\nContent-Type: " + content_type.encode() + b"\r\n\r\n"
                yield from _pieces(database, layout)
            else:
                yield b'\r\nContent-Type: application/json; error="true"\r\n\r\n'
                yield json_text.encode({"missing": str(item)})
            yield b"\r\n--" + mark
        yield b"--"

    return await _send(call, f'multipart/mixed; boundary="{boundary}"', pieces())


async def multipart_bulk(
    call: Call, database: Database, found: list[BulkPart], options: ShowOptions
) -> web.StreamResponse:
    """Return the answer of `_bulk_get` in parts."""
    boundary, inner = "--" + secrets.token_hex(16), "--" + secrets.token_hex(16)
    mark = b"\r\n--" + boundary.encode()

    def pieces() -> Iterator[bytes]:
        for part in found:
            if part.error is not None:
                yield mark + b'\r\nContent-Type: application/json; error="true"\r\n\r\n'
                # In the order in which Erlang has the members of this map.
                yield json_text.encode({name: part.error[name] for name in ("rev", "reason", "id", "error")})
            for item in part.found:
                yield from _bulk_item(database, part, item, options, inner=inner, mark=mark)
        if found:
            yield mark + b"--\r\n"

    kind = "multipart/mixed" if call.accepts("multipart/mixed") else "multipart/related"
    return await _send(call, f'{kind}; boundary="{boundary}"', pieces())


def _bulk_item(
    database: Database, part: BulkPart, item: Content | Revision, options: ShowOptions, *, inner: str, mark: bytes
) -> Iterator[bytes]:
    if isinstance(item, Revision):
        yield mark + b'\r\nContent-Type: application/json; error="true"\r\n\r\n'
        yield json_text.encode({"rev": str(item), "error": "not_found", "reason": "missing"})
        return
    assert part.row is not None
    content_type, layout = _related(database, part.row, item, part.options(options), inner, with_meta=False)
    yield mark
    if content_type != "application/json":
        # Only here CouchDB leaves the quotes out.
        content_type = f"multipart/related; boundary={inner}"
        yield f"\r\nX-Doc-Id: {part.id}\r\nX-Rev-Id: {item.revision}".encode()
    yield b"\r\nContent-Type: " + content_type.encode() + b"\r\n\r\n"
    yield from _pieces(database, layout)
