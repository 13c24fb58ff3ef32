"""One document: reading it in all its forms, writing, deleting and copying it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from couchlet import json_text
from couchlet.documents import NewDocument, parse_document, validate_id
from couchlet.errors import CouchError, bad_request, method_not_allowed, not_found, not_implemented
from couchlet.revisions import Revision, Tree, holds, parse_revision, parse_revisions, refuse_generation
from couchlet.storage.records import StoredDocument, attachments_of
from couchlet.storage.transaction import Content
from couchlet.web.copies import wants_more_copies
from couchlet.web.copying import parse_destination
from couchlet.web.design_check import check_design
from couchlet.web.multipart_in import read_multipart_document
from couchlet.web.multipart_out import multipart_document, multipart_revisions
from couchlet.web.reply import etag_of, json_reply, not_modified, raw_json_reply
from couchlet.web.showing import ShowOptions, parse_show_options, show_content, show_local
from couchlet.web.uploads import arrived_contents
from couchlet.web.users import check_user, hash_passwords

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
        if not call.header("Referer"):
            raise bad_request("Referer header required.")
        validate_id(id_)
        call.require_json("multipart/form-data")
        raise not_implemented("couchlet takes no forms: send the document or its attachments with PUT.")
    raise method_not_allowed("DELETE,GET,HEAD,POST,PUT,COPY")


async def _read(call: Call, database: Database, id_: str) -> web.StreamResponse:
    options = parse_show_options(call.parameters)
    opened = _opened(call)
    revision = read_revision(call)
    if options.latest:
        revision = None
    if id_.startswith("_local/") and opened is None and revision is None:
        return _read_local(call, database, id_, options)
    row = database.reader.document(id_)
    if opened is not None:
        return await _read_open_revisions(call, database, row, opened, options)
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
        return await multipart_document(
            call, database, row, content, options, headers=headers, with_meta=revision is None
        )
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


def _read_local(call: Call, database: Database, id_: str, options: ShowOptions) -> web.StreamResponse:
    found = database.reader.local(id_)
    if found is None:
        raise not_found()
    revision, body = found
    etag = etag_of(id_, revision, body)
    shown = show_local(id_, revision, body, with_history=options.revs)
    return not_modified(call, etag) or raw_json_reply(shown, headers={"ETag": etag})


Opened = list[Revision] | Literal["all"]
"""The revisions that are to be opened, or all leaves."""


def _opened(call: Call) -> Opened | None:
    """Return what `open_revs` names; None if it is not given, or names nothing."""
    text = dict(call.parameters).get("open_revs")
    if text is None:
        return None
    return "all" if text == "all" else parse_revisions(json_text.decode(text)) or None


async def _read_open_revisions(
    call: Call, database: Database, row: StoredDocument | None, wanted: Opened, options: ShowOptions
) -> web.StreamResponse:
    """All leaves, or the revisions named; each found or missing."""
    if row is None and wanted == "all":
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
    database: Database, row: StoredDocument | None, wanted: Opened, *, latest: bool
) -> list[Content | Revision]:
    """Return the contents of all leaves, or of the revisions wanted, from the lowest to the highest.

    Behind them come those that are missing, each as the revision itself. With `latest`, a revision that is no leaf
    any more stands for the leaves that came of it.
    """
    tree: Tree = row.tree if row else ()
    if wanted == "all":
        asked = {branch.leaf for branch in tree}
    elif latest:
        asked = {leaf for revision in wanted for leaf in _descendants(tree, revision) or [revision]}
    else:
        asked = set(wanted)
    found: list[Content | Revision] = []
    missing: list[Content | Revision] = []
    for revision in sorted(asked, key=lambda revision: revision.rank):
        content = database.reader.content(row, revision) if row and holds(tree, revision) else None
        (missing if content is None else found).append(content or revision)
    return found + missing


def _descendants(tree: Tree, revision: Revision) -> list[Revision]:
    """Return the leaves that came of a revision, itself if it is one."""
    return [branch.leaf for branch in tree if branch.holds(revision)]


def read_revision(call: Call) -> Revision | None:
    """Return the revision that is to be read: of several in the address, the last one.

    Raises:
        CouchError: 400 if it is no revision.
    """
    named = dict(call.parameters).get("rev")
    return None if named is None else parse_revision(named)


def named_revision(call: Call) -> Revision | None:
    """Return the revision in the parameter `rev` or the header `If-Match`.

    Raises:
        CouchError: 400 if they differ, or one is no revision.
    """
    in_query = parse_revision(call.query["rev"]) if "rev" in call.query else None
    header = call.header("If-Match")
    in_header = None if header is None else parse_revision(header.strip().strip('"'))
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
    refuse_generation(outside)
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
    # Without parameters, and so without a boundary, it is JSON to CouchDB, whatever it is called.
    if not (call.header("Content-Type") or "").startswith("multipart/related;"):
        return await _put_document(call, database, parse_document(await call.json(), id_))
    document = await read_multipart_document(call, database, id_)
    async with arrived_contents(database, document):
        return await _put_document(call, database, document)


async def _put_document(call: Call, database: Database, document: NewDocument) -> web.StreamResponse:
    name_revision(call, document)
    new_edits = dict(call.parameters).get("new_edits") != "false"
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
    if target_text is None:
        raise bad_request("Destination header is mandatory for COPY.")
    target, target_revision = parse_destination(target_text)
    validate_id(target)
    content = _content_to_copy(call, database, id_)
    copy = NewDocument(id=target, body=content.body, deleted=content.deleted)
    if target_revision:
        refuse_generation(target_revision)
        copy.start, copy.history = target_revision.generation, (target_revision.id,)
    copy.kept_attachments = attachments_of(content.attachments)
    return await save_one(call, database, copy, created_status=True, counts_copies=False)


def _content_to_copy(call: Call, database: Database, id_: str) -> Content:
    revision = named_revision(call)
    if id_.startswith("_local/"):
        found = database.reader.local(id_)
        if found is None or revision is not None:
            raise not_found()
        return Content(found[0], False, found[1], None)
    row = database.reader.document(id_)
    if row is None:
        raise not_found()
    return _wanted(database, row, revision, ShowOptions())


async def save_one(
    call: Call,
    database: Database,
    document: NewDocument,
    *,
    new_edits: bool = True,
    created_status: bool | None = None,
    with_location: bool = True,
    with_etag: bool = True,
    counts_copies: bool = True,
) -> web.StreamResponse:
    """Write one document and answer with its new revision.

    Raises:
        CouchError: 409 for a conflict, and whatever else is wrong with it.
    """
    if call.query.get("batch") == "ok" and call.method in {"PUT", "POST"} and document.kept_attachments is None:
        return await _save_unheard(call, database, document)
    is_short = counts_copies and wants_more_copies(call) and new_edits
    outcome = await _outcome(call, database, document, new_edits=new_edits)
    if created_status is None:
        # CouchDB answers 200 to an edit that deletes.
        created_status = not document.deleted
    headers = {}
    if with_etag:
        by_content = document.id.startswith("_local/") and call.method != "COPY"
        headers["ETag"] = etag_of(document.id, outcome, document.body) if by_content else f'"{outcome}"'
    if with_location:
        headers["Location"] = call.location(database.name, document.id)
    body = {"ok": True, "id": document.id, "rev": str(outcome)}
    return json_reply(body, 202 if is_short else 201 if created_status else 200, headers)


async def _outcome(call: Call, database: Database, document: NewDocument, *, new_edits: bool) -> Revision:
    check_design(document, call.user, database, new_edits=new_edits)
    await hash_passwords(database, [document])
    check_user(database, document)
    outcome = (await database.edit([document], new_edits=new_edits))[0]
    if isinstance(outcome, CouchError):
        raise outcome
    return outcome


async def _save_unheard(call: Call, database: Database, document: NewDocument) -> web.StreamResponse:
    """Write a document of a batch: CouchDB answers before it writes, and so never tells of what is wrong with it.

    It passes over `new_edits` then.

    Here it is written before the answer, and what is wrong with the server or not to be had here is told.
    """
    try:
        await _outcome(call, database, document, new_edits=True)
    except CouchError as error:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
    return json_reply({"ok": True, "id": document.id}, 202)
