"""Databases as a whole: making, deleting, describing and listing them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from couchlet.documents import parse_document
from couchlet.errors import bad_request, not_implemented
from couchlet.web.documents import save_one
from couchlet.web.listing_options import parse_listing
from couchlet.web.reply import etag_of, json_reply, not_modified
from couchlet.web.sequences import packed_sequence

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.web.call import Call


_PLACEMENT: Final = re.compile(r"[^:,]+:0*[1-9]\d*(,[^:,]+:0*[1-9]\d*)*", re.ASCII)


async def database(call: Call) -> web.StreamResponse:
    """`/db`: make it, delete it, describe it, or add a document to it."""
    name = call.parts[0]
    if call.method == "PUT":
        return await _create(call, name)
    if call.method == "DELETE":
        call.require_server_admin()
        if "rev" in call.query:
            raise bad_request(
                "You tried to DELETE a database with a ?=rev parameter. Did you mean to DELETE a document instead?"
            )
        await call.context.catalog.delete(name)
        return json_reply({"ok": True})
    found = call.database()
    if call.method == "POST":
        return await _add_document(call, found)
    call.allow("DELETE", "GET", "HEAD", "POST")
    return json_reply(describe(found))


async def _create(call: Call, name: str) -> web.StreamResponse:
    call.require_server_admin()
    partitioned = call.query.get("partitioned", "false")
    if partitioned not in {"true", "false"}:
        raise bad_request("Invalid `partitioned` parameter")
    if partitioned == "true":
        raise not_implemented("couchlet has no partitioned databases: leave `partitioned` out.")
    for parameter in ("q", "n"):
        value = call.query.get(parameter, "1")
        if not (value.isascii() and value.isdigit()) or not value.strip("0"):
            raise bad_request(f"The `{parameter}` value should be a positive integer.")
    if not _PLACEMENT.fullmatch(call.query.get("placement", "any:1")):
        raise bad_request("The `placement` value should be in a format `zone:n`.")
    if call.query.get("engine", "couch") != "couch":
        raise bad_request("invalid_engine_extension")
    await call.context.catalog.create(name)
    return json_reply({"ok": True}, 201, {"Location": call.location(name)})


async def _add_document(call: Call, found: Database) -> web.StreamResponse:
    call.require_json()
    document = parse_document(await call.json())
    if not document.id:
        document.id = call.context.uuids.next()
        document.start, document.history = 0, ()
    return await save_one(call, found, document, created_status=True, with_etag=False)


def describe(found: Database) -> dict[str, Any]:
    """Return what `GET /db` says of a database."""
    counters = found.counters
    return {
        "instance_start_time": str(found.created),
        "db_name": found.name,
        "purge_seq": packed_sequence(found, counters.purge_seq),
        "update_seq": packed_sequence(found, counters.update_seq),
        "sizes": found.sizes(),
        "props": {},
        "doc_del_count": counters.deleted,
        "doc_count": counters.living,
        "disk_format_version": 8,
        "compact_running": found.compacting,
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    }


async def all_databases(call: Call) -> web.StreamResponse:
    """`/_all_dbs`: the names, sorted, as far as asked."""
    call.allow("GET", "HEAD")
    names = _selected(call)
    etag = etag_of(names)
    return not_modified(call, etag) or json_reply(names, headers={"ETag": etag})


def _selected(call: Call) -> list[str]:
    listing = parse_listing(call.parameters)
    names = call.context.catalog.names()
    if listing.descending:
        names.reverse()
    names = [name for name in names if listing.contains(name)]
    end = None if listing.limit is None else listing.skip + listing.limit
    return names[listing.skip : end]


async def databases_info(call: Call) -> web.StreamResponse:
    """`/_dbs_info`: descriptions of several databases, named or listed."""
    call.allow("GET", "HEAD", "POST")
    if call.method == "POST":
        call.require_json()
        body = await call.json_object()
        if "keys" not in body:
            raise bad_request("`keys` member must exist.")
        names = body["keys"]
        if not isinstance(names, list):
            raise bad_request("`keys` member must be an array.")
        if len(names) > 100:  # noqa: PLR2004 - CouchDB's `max_db_number_for_dbs_info_req`
            raise bad_request("too_many_keys")
    else:
        names = _selected(call)
    catalog = call.context.catalog
    found = [
        {"key": name, "info": describe(catalog.get(name))}
        if isinstance(name, str) and catalog.exists(name)
        else {"key": name, "error": "not_found"}
        for name in names
    ]
    etag = etag_of(found)
    if call.reads:
        return not_modified(call, etag) or json_reply(found, headers={"ETag": etag})
    return json_reply(found)
