"""Mango over HTTP: `_find`, `_explain` and `_index`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchlet import json_text
from couchlet.auth.rights import require_design_author
from couchlet.documents import NewDocument, validate_id
from couchlet.errors import CouchError, method_not_allowed, not_found, query_parse_error
from couchlet.mango.definitions import ALL_DOCS, IndexDefinition, IndexRequest, parse_index_request
from couchlet.mango.erlang_text import erlang_term
from couchlet.mango.options import parse_bulk_delete, parse_find
from couchlet.mango.planner import make_plan
from couchlet.web.explaining import explanation
from couchlet.web.query_run import run_query
from couchlet.web.reply import JsonStream, json_reply

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.web.call import Call

_TRIES = 5


async def find(call: Call) -> web.StreamResponse:
    """`_find`: documents that match a selector."""
    database = call.database()
    call.allow("POST")
    call.require_json()
    options = parse_find(await call.json())
    if options.partition:
        raise query_parse_error("`partition` parameter is not supported on this db")
    plan = make_plan([index.definition for index in database.indexes], options)
    if not all(index.is_complete for index in database.indexes if index.definition == plan.index):
        await database.complete_indexes()
    stream = JsonStream(call)
    await run_query(stream, database, plan, options)
    return await stream.end()


async def explain(call: Call) -> web.StreamResponse:
    """`_explain`: which index a query would use, and which part of it."""
    database = call.database()
    call.allow("POST")
    call.require_json()
    options = parse_find(await call.json())
    definitions = [index.definition for index in database.indexes]
    return json_reply(explanation(database.name, definitions, options))


async def index(call: Call) -> web.StreamResponse:
    """`_index`: list, make and delete indexes."""
    database = call.database()
    rest = call.parts[2:]
    if not rest:
        if call.method == "POST":
            return await _create(call, database)
        if call.reads:
            return _list(call, database)
        raise method_not_allowed("GET,POST")
    if rest == ["_bulk_delete"]:
        return await _bulk_delete(call, database)
    if rest[0] == "_design":
        rest = [f"_design/{rest[1]}", *rest[2:]] if len(rest) > 1 else rest
    if len(rest) != 3:  # noqa: PLR2004 - design document, type and name
        raise not_found()
    call.allow("DELETE")
    return await _delete(call, database, *rest)


def _list(call: Call, database: Database) -> web.StreamResponse:
    every = [ALL_DOCS, *(index.definition for index in database.indexes)]
    limit = _list_parameter(call, "limit", len(every), 1)
    skip = _list_parameter(call, "skip", 0, 0)
    shown = [definition.as_json() for definition in every[skip : skip + limit]]
    return json_reply({"total_rows": len(every), "indexes": shown})


def _list_parameter(call: Call, name: str, default: int, least: int) -> int:
    text = call.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise CouchError(500, "invalid_list_index_params", "Index parameter ranges: limit > 1, skip > 0")
    return int(text)


async def _create(call: Call, database: Database) -> web.StreamResponse:
    call.require_json()
    request = parse_index_request(await call.json())
    definition = request.definition
    validate_id(definition.ddoc)
    for _ in range(_TRIES):
        design, document = _design(database, definition.ddoc)
        before = json_text.encode(design)
        _add_index(design, request, is_new=database.reader.document(definition.ddoc) is None)
        document.body = json_text.encode(design)
        if document.history and document.body == before:
            return _created(definition, "exists")
        if await _save(call, database, document):
            return _created(definition, "created")
    raise _not_saved("Encountered a conflict while saving the design document.")


def _add_index(design: dict[str, Any], request: IndexRequest, *, is_new: bool) -> None:
    """Put an index into the body of its design document, of which it may be the first.

    Raises:
        CouchError: 400 if the two disagree about being partitioned.
    """
    name, view = request.definition.name, request.as_view()
    views = design.setdefault("views", {})
    known = design.get("options", {}).get("partitioned")
    # Older couchlets left the option out; what they made is found all the same.
    is_held = known is None and views.get(name, {}).get("map") == view["map"]
    views[name] = view
    if request.partitioned == known or is_held:
        return
    if not is_new:
        id_ = request.definition.ddoc
        reason = f"Requested partitioned option does not match existing value on design document {id_}"
        raise CouchError(400, "invalid_partitioned_option", reason)
    design["options"] = {"partitioned": request.partitioned}


def _created(definition: IndexDefinition, result: str) -> web.StreamResponse:
    return json_reply({"result": result, "id": definition.ddoc, "name": definition.name})


def _not_saved(reason: str) -> CouchError:
    return CouchError(500, "error_saving_ddoc", reason)


def _design(database: Database, id_: str) -> tuple[dict[str, Any], NewDocument]:
    """Return a design document's body, and the edit that will replace it."""
    row = database.reader.document(id_)
    if row is None or row.deleted:
        return {"language": "query"}, NewDocument(id=id_, body=b"{}")
    body = json_text.decode_stored(row.body)
    language = body.get("language")
    if language != "query":
        # CouchDB quotes what it finds of the member: name and value, or that there is none.
        found = f"{{{erlang_term('language')},{erlang_term(language)}}}" if "language" in body else "false"
        raise CouchError(400, "invalid_ddoc_lang", f"Existing design doc has an invalid language: {found}")
    shown = row.shown
    return body, NewDocument(id=id_, body=b"{}", start=shown.generation, history=(shown.id,))


async def _save(call: Call, database: Database, document: NewDocument) -> bool:
    """Write a design document; False if somebody else did so in between."""
    try:
        require_design_author(call.user, database.security)
    except CouchError as error:
        raise _not_saved(f"Unknown error while saving the design document: {error.error}") from error
    outcome = (await database.edit([document]))[0]
    if isinstance(outcome, CouchError):
        if outcome.error == "conflict":
            return False
        raise outcome
    return True


async def _delete(call: Call, database: Database, ddoc: str, type_: str, name: str) -> web.StreamResponse:
    id_ = ddoc if ddoc.startswith("_design/") else f"_design/{ddoc}"
    if type_ != "json" or not await _remove(call, database, id_, name):
        raise not_found()
    return json_reply({"ok": True})


async def _remove(call: Call, database: Database, id_: str, name: str) -> bool:
    """Take an index out of its design document, and the document away if it was the last; False if there is none."""
    for _ in range(_TRIES):
        if not any(held.definition.ddoc == id_ and held.definition.name == name for held in database.indexes):
            return False
        design, document = _design(database, id_)
        design.get("views", {}).pop(name, None)
        if not design.get("views"):
            design.pop("views", None)
        document.deleted = design == {"language": "query"}
        document.body = b"{}" if document.deleted else json_text.encode(design)
        if await _save(call, database, document):
            return True
    raise _not_saved("Encountered a conflict while saving the design document.")


async def _bulk_delete(call: Call, database: Database) -> web.StreamResponse:
    call.allow("POST")
    call.require_json()
    success, fail = [], []
    for given in parse_bulk_delete(await call.json_object()):
        id_ = given if given.startswith("_design/") else f"_design/{given}"
        names = [held.definition.name for held in database.indexes if held.definition.ddoc == id_]
        if len(names) == 1 and await _remove(call, database, id_, names[0]):
            success.append({"id": id_, "ok": True})
        else:
            fail.append({"id": id_, "error": "not_found"})
    # As CouchDB has it, the last one comes first.
    return json_reply({"success": success[::-1], "fail": fail[::-1]})
