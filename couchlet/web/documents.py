"""One document: reading it in all its forms, writing, deleting and copying it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from couchlet import json_text
from couchlet.auth.rights import is_database_admin
from couchlet.documents import NewDocument, parse_document, validate_id
from couchlet.errors import CouchError, bad_request, method_not_allowed, not_found, not_implemented
from couchlet.revisions import Revision, holds, parse_revision, parse_revisions
from couchlet.storage.records import StoredDocument, attachments_of
from couchlet.storage.transaction import Content
from couchlet.web.copying import parse_destination
from couchlet.web.design_check import check_design
from couchlet.web.multipart_in import read_multipart_document
from couchlet.web.multipart_out import multipart_document, multipart_revisions
from couchlet.web.reply import etag_of, json_reply, not_modified, raw_json_reply
from couchlet.web.showing import ShowOptions, parse_show_options, show_content, show_local
from couchlet.web.users import before_write

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.web.call import Call


async def document(call: Call, id_: str) -> web.StreamResponse:
    """`/db/id`, answered by method."""
    database = call.database()
    if call.reads:
        return await _read(call, database, id_)
    if call.method == "PUT":
        return await _put(call, database, id_)
    if call.method == "DELETE":
        return await _delete(call, database, id_)
    if call.method == "COPY":
        return await _copy(call, database, id_)
    if call.method == "POST":
        validate_id(id_)
        call.require_json("multipart/form-data")
        raise not_implemented("couchlet takes no forms: send the document or its attachments with PUT.")
    raise method_not_allowed("DELETE,GET,HEAD,POST,PUT,COPY")


async def _read(call: Call, database: Database, id_: str) -> web.StreamResponse:
    options = parse_show_options(call.query)
    if id_.startswith("_local/"):
        return _read_local(call, database, id_)
    row = database.reader.document(id_)
    if "open_revs" in call.query:
        return await _read_open_revisions(call, database, row, options)
    revision = parse_revision(call.query["rev"]) if "rev" in call.query and not options.latest else None
    if row is None:
        raise not_found()
    content = _wanted(database, row, revision, options)
    etag = f'"{content.revision}"'
    headers = {}
    shown = None
    if revision is None and options.has_meta:
        shown = show_content(database.reader, row, content, options)
        tagged = not (options.revs_info or options.local_seq) and b"onflicts" not in shown[len(content.body) :]
    else:
        tagged = True
    if tagged:
        unchanged = not_modified(call, etag)
        if unchanged:
            return unchanged
        headers["ETag"] = etag
    if options.attachments and content.attachments and call.accepts("multipart/related"):
        return await multipart_document(call, database, row, content, options, headers=headers)
    if shown is None:
        shown = show_content(database.reader, row, content, options, with_meta=revision is None)
    return raw_json_reply(shown, headers=headers)


def _wanted(database: Database, row: StoredDocument, revision: Revision | None, options: ShowOptions) -> Content:
    """Return the content asked for: of the shown revision, if none is named."""
    if revision is None:
        if row.deleted and not options.deleted:
            raise not_found("deleted")
        return Content(row.shown, bool(row.deleted), row.body, row.attachments)
    content = database.reader.content(row, revision) if holds(row.tree, revision) else None
    if content is None:
        raise not_found()
    return content


def _read_local(call: Call, database: Database, id_: str) -> web.StreamResponse:
    found = database.reader.local(id_)
    if found is None:
        raise not_found()
    revision, body = found
    etag = etag_of(id_, revision, body)
    return not_modified(call, etag) or raw_json_reply(show_local(id_, revision, body), headers={"ETag": etag})


async def _read_open_revisions(
    call: Call, database: Database, row: StoredDocument | None, options: ShowOptions
) -> web.StreamResponse:
    """All leaves, or the revisions named; each found or missing."""
    wanted = None
    if call.query["open_revs"] != "all":
        wanted = parse_revisions(json_text.decode(call.query["open_revs"]))
    if row is None and wanted is None:
        raise not_found()
    found = open_revisions(database, row, wanted, latest=options.latest)
    if call.accepts("multipart/mixed"):
        return await multipart_revisions(call, database, row, found, options)
    parts = []
    for item in found:
        if isinstance(item, Content):
            assert row is not None
            text = show_content(database.reader, row, item, options, with_meta=False)
            parts.append(b'{"ok":' + text + b"}")
        else:
            parts.append(json_text.encode({"missing": str(item)}))
    return raw_json_reply(b"[" + b",".join(parts) + b"]")


def open_revisions(
    database: Database, row: StoredDocument | None, wanted: list[Revision] | None, *, latest: bool
) -> list[Content | Revision]:
    """Return the contents of all leaves, or of the revisions wanted; a revision itself stands for one that is missing.

    With `latest`, a revision that is no leaf any more stands for the leaves that came of it.
    """
    if row is None:
        return list(wanted or [])
    tree = row.tree
    result: list[Content | Revision] = []
    if wanted is None:
        leaves = sorted((branch.leaf for branch in tree), key=lambda leaf: leaf.rank)
    else:
        leaves = []
        for revision in wanted:
            descendants = [branch.leaf for branch in tree if branch.holds(revision)] if latest else []
            leaves.extend(leaf for leaf in descendants or [revision] if leaf not in leaves)
    for leaf in leaves:
        content = database.reader.content(row, leaf) if holds(tree, leaf) else None
        result.append(content or leaf)
    return result


def named_revision(call: Call) -> Revision | None:
    """Return the revision in the parameter `rev` or the header `If-Match`.

    Raises:
        CouchError: 400 if they differ, or one is no revision.
    """
    in_query = parse_revision(call.query["rev"]) if "rev" in call.query else None
    header = call.header("If-Match")
    in_header = parse_revision(header.strip().strip('"')) if header else None
    if in_query and in_header and in_query != in_header:
        raise bad_request("Document rev and etag have different values")
    return in_query or in_header


def name_revision(call: Call, document: NewDocument) -> None:
    """Let the address and headers name the revision that a document edits, if it does not itself.

    Raises:
        CouchError: 400 if they contradict each other.
    """
    outside = named_revision(call)
    if outside is None:
        return
    if document.revision is None:
        document.start, document.history = outside.generation, (outside.id,)
    elif document.revision != outside:
        raise bad_request(
            "Document rev from request body and query string have different values"
            if "rev" in call.query
            else "Document rev and etag have different values"
        )


async def _put(call: Call, database: Database, id_: str) -> web.StreamResponse:
    validate_id(id_)
    if (call.header("Content-Type") or "").startswith("multipart/related"):
        document = await read_multipart_document(call, database, id_)
    else:
        document = parse_document(await call.json(), id_)
    name_revision(call, document)
    new_edits = call.query.get("new_edits") != "false"
    if not new_edits and document.revision is None:
        raise bad_request("When `new_edits: false`, the document needs `_rev` or `_revisions` specified")
    return await save_one(call, database, document, new_edits=new_edits)


async def _delete(call: Call, database: Database, id_: str) -> web.StreamResponse:
    if id_.startswith("_local/"):
        found = database.reader.local(id_)
        if found is None:
            raise not_found()
    else:
        row = database.reader.document(id_)
        if row is None:
            raise not_found()
        if row.deleted:
            raise not_found("deleted")
    document = NewDocument(id=validate_id(id_), body=b"{}", deleted=True)
    name_revision(call, document)
    return await save_one(call, database, document, created_status=False, with_location=False)


async def _copy(call: Call, database: Database, id_: str) -> web.StreamResponse:
    target_text = call.header("Destination")
    if not target_text:
        raise bad_request("Destination header is mandatory for COPY.")
    target, target_revision = parse_destination(target_text)
    validate_id(target)
    row = database.reader.document(id_)
    if row is None:
        raise not_found()
    revision = named_revision(call)
    content = _wanted(database, row, revision, ShowOptions())
    copy = NewDocument(id=target, body=content.body, deleted=content.deleted)
    if target_revision:
        copy.start, copy.history = target_revision.generation, (target_revision.id,)
    copy.kept_attachments = attachments_of(content.attachments)
    return await save_one(call, database, copy)


async def save_one(
    call: Call,
    database: Database,
    document: NewDocument,
    *,
    new_edits: bool = True,
    created_status: bool | None = None,
    with_location: bool = True,
    with_etag: bool = True,
) -> web.StreamResponse:
    """Write one document and answer with its new revision.

    Raises:
        CouchError: 409 for a conflict, and whatever else is wrong with it.
    """
    check_design(document, is_admin_of(call, database))
    await before_write(database, document)
    outcome = (await database.edit([document], new_edits=new_edits))[0]
    if call.query.get("batch") == "ok" and call.method in {"PUT", "POST"}:
        # CouchDB answers before it writes, and so never tells of a conflict; here it is written all the same.
        return json_reply({"ok": True, "id": document.id}, 202)
    if isinstance(outcome, CouchError):
        raise outcome
    if created_status is None:
        # CouchDB answers 200 to an edit that deletes.
        created_status = not document.deleted
    headers = {}
    if with_etag:
        is_local = document.id.startswith("_local/")
        headers["ETag"] = etag_of(document.id, outcome, document.body) if is_local else f'"{outcome}"'
    if with_location:
        headers["Location"] = call.location(database.name, document.id)
    body = {"ok": True, "id": document.id, "rev": str(outcome)}
    return json_reply(body, 201 if created_status else 200, headers)


def is_admin_of(call: Call, database: Database) -> bool:
    """Whether the caller administrates the database."""
    return is_database_admin(call.user, database.security)
