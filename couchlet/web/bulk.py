"""Many documents in one request: writing and reading them."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from couchlet import json_text
from couchlet.documents import NewDocument, parse_document, validate_id
from couchlet.errors import CouchError, bad_request, unknown_error
from couchlet.revisions import Revision, branches_by_root, parse_revision
from couchlet.storage.transaction import Content
from couchlet.web.copies import wants_more_copies
from couchlet.web.design_check import check_design
from couchlet.web.documents import open_revisions
from couchlet.web.multipart_out import BulkPart, multipart_bulk
from couchlet.web.pacing import Turn
from couchlet.web.reply import JsonStream, json_reply, raw_json_reply
from couchlet.web.showing import ShowOptions, parse_show_options, show_content
from couchlet.web.users import check_user, hash_passwords

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.storage.records import StoredDocument
    from couchlet.web.call import Call

_UNACCEPTABLE = ("open_revs", "new_edits", "w", "rev", "atts_since")


async def bulk_docs(call: Call) -> web.StreamResponse:
    """`_bulk_docs`: write documents, each with an outcome of its own."""
    database = call.database()
    call.allow("POST")
    call.require_json()
    body = await call.json_object()
    if "docs" not in body:
        raise bad_request("POST body must include `docs` parameter.")
    if not isinstance(body["docs"], list):
        raise bad_request("`docs` parameter must be an array.")
    new_edits = body.get("new_edits", True)
    documents = [_parse(value, new_edits) for value in body["docs"]]
    if not isinstance(new_edits, bool):
        raise bad_request("`new_edits` parameter must be a boolean.")
    for document in documents:
        if not document.id:
            document.id = call.context.uuids.next()
    if new_edits and body.get("all_or_nothing") is True:
        return json_reply([_not_atomic(document) for document in documents], HTTPStatus.EXPECTATION_FAILED)
    is_short = bool(documents) and wants_more_copies(call, body) and new_edits
    refusals = await _refusals(call, database, documents, new_edits=new_edits)
    taken = [document for document in documents if id(document) not in refusals] if refusals else documents
    refused = [document for document in documents if id(document) in refusals] if refusals else []
    written = iter(await database.edit(taken, new_edits=new_edits, refused=refused))
    outcomes = [refusals.get(id(document)) or next(written) for document in documents]
    end = b',"accepted":true}' if is_short else b"}"
    rows = [
        _row(document, outcome, end if new_edits else b"")
        for document, outcome in zip(documents, outcomes, strict=True)
    ]
    is_accepted = is_short and any(isinstance(outcome, Revision) for outcome in outcomes)
    return raw_json_reply(b"[" + b",".join(row for row in rows if row) + b"]", 202 if is_accepted else 201)


def _parse(value: Any, new_edits: Any) -> NewDocument:  # noqa: ANN401 - any JSON values
    """Take a document out of JSON: of several that are wrong, the first is the answer.

    Raises:
        CouchError: what is wrong with it; 500 for a `new_edits` that is no boolean, on which CouchDB fails.
    """
    document = parse_document(value)
    if not isinstance(new_edits, bool):
        raise unknown_error("function_clause")
    if not new_edits and document.revision is None:
        raise bad_request("When `new_edits: false`, the document needs `_rev` or `_revisions` specified")
    return document


def _not_atomic(document: NewDocument) -> dict[str, str]:
    """Return a row of the answer to `all_or_nothing`, which a CouchDB of several nodes cannot keep, nor does this."""
    revision = document.revision or "0-"
    reason = "all_or_nothing is not supported"
    return {"id": document.id, "rev": str(revision), "error": "not_implemented", "reason": reason}


async def _refusals(
    call: Call, database: Database, documents: list[NewDocument], *, new_edits: bool
) -> dict[int, CouchError]:
    """Return the documents that this caller may not write, by identity, and why.

    Raises:
        CouchError: 403 or 500 for a password that cannot be hashed, 412 for a stub of what is not there.
    """
    refused: dict[int, CouchError] = {}
    is_users = database.name == "_users"
    if is_users:
        await hash_passwords(database, documents)
    for document in documents:
        if not is_users and document.id[0] != "_":
            continue
        try:
            check_design(document, call.user, database, new_edits=new_edits)
            check_user(database, document)
        except CouchError as error:
            if error.status == HTTPStatus.PRECONDITION_FAILED:
                # What is wrong with a stub refuses the whole request.
                raise
            refused[id(document)] = error
    return refused


def _row(document: NewDocument, outcome: Revision | CouchError, end: bytes) -> bytes:
    """One document's row in the answer, which ends so if it was written; a replicated one has none then."""
    if isinstance(outcome, CouchError):
        row: dict[str, Any] = {"id": document.id}
        if not end:
            row["rev"] = str(document.revision)
        return json_text.encode(row | outcome.as_row())
    if not end:
        return b""
    return b'{"ok":true,"id":%b,"rev":"%b"%b' % (json_text.encode(document.id), str(outcome).encode(), end)


async def bulk_get(call: Call) -> web.StreamResponse:
    """`_bulk_get`: read revisions of documents."""
    database = call.database()
    call.allow("POST")
    call.require_json()
    for name in _UNACCEPTABLE:
        if name in call.query:
            raise bad_request(f'"{name}" query parameter is not acceptable')
    body = await call.json_object()
    if "docs" not in body:
        raise bad_request("Missing JSON list of 'docs'.")
    asked = body["docs"]
    if not isinstance(asked, list):
        raise unknown_error("function_clause")
    options = parse_show_options(call.parameters)
    ids = [item["id"] for item in asked if isinstance(item, dict) and isinstance(item.get("id"), str)]
    rows = database.reader.documents(ids)
    found = [_look_up(database, rows, item, options) for item in asked]
    if not call.accepts("application/json") and (call.accepts("multipart/mixed") or call.accepts("multipart/related")):
        return await multipart_bulk(call, database, found, options)
    stream, turn, separator = JsonStream(call), Turn(), b'{"results":['
    for part in found:
        await stream.add(separator + _result(database, part, options))
        await turn.give_up_if_long()
        separator = b","
    await stream.add((b"" if found else separator) + b"]}\n")
    return await stream.end()


def _look_up(database: Database, rows: dict[str, StoredDocument], item: Any, options: ShowOptions) -> BulkPart:  # noqa: ANN401
    """Return what one item of a request asks for, or what is wrong with it.

    Raises:
        CouchError: 500, as from CouchDB, for an id that is no text.
    """
    if not isinstance(item, dict) or not item:
        return _refused(None, None, bad_request("document must be a JSON object"))
    if "id" not in item:
        return _refused(None, None, bad_request("document id missed"))
    if not isinstance(item["id"], str):
        raise unknown_error("function_clause")
    try:
        id_ = validate_id(item["id"])
    except CouchError as error:
        return _refused(item["id"], None, error)
    named, since = [item["rev"]] if "rev" in item else [], item.get("atts_since", [])
    if not isinstance(since, list):
        return _refused(id_, since, bad_request("att_since value must be array of revs."))
    revisions = []
    for text in (*named, *since):
        try:
            revisions.append(parse_revision(text))
        except CouchError as error:
            return _refused(id_, text, error)
    row = rows.get(id_)
    found = open_revisions(database, row, revisions[:1] if named else "all", latest=options.latest)
    if row is not None and len(found) > 1:
        order = [branch.leaf for branch in branches_by_root(row.tree)]
        found.sort(key=lambda item: order.index(item.revision if isinstance(item, Content) else item))
    failure = None if found else _failure(id_, "undefined", "not_found", "missing")
    return BulkPart(id_, row, found, failure, tuple(revisions[len(named) :]) or None)


def _refused(id_: Any, rev: Any, error: CouchError) -> BulkPart:  # noqa: ANN401 - any JSON value
    return BulkPart(id_, None, [], _failure(id_, rev, error.error, error.reason), None)


def _failure(id_: Any, rev: Any, error: str, reason: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    return {"id": id_, "rev": rev, "error": error, "reason": reason}


def _result(database: Database, part: BulkPart, options: ShowOptions) -> bytes:
    head = b'{"id":' + json_text.encode(part.id) + b',"docs":['
    if part.error is not None:
        return head + b'{"error":' + json_text.encode(part.error) + b"}]}"
    shown = []
    options = part.options(options)
    for item in part.found:
        if isinstance(item, Content):
            assert part.row is not None
            text = show_content(database.reader, part.row, item, options, with_meta=False)
            shown.append(b'{"ok":' + text + b"}")
        else:
            failure = _failure(part.id, str(item), "not_found", "missing")
            shown.append(b'{"error":' + json_text.encode(failure) + b"}")
    return head + b",".join(shown) + b"]}"
