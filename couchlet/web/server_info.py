"""The server itself: who it is, how it is, ids for documents, and a plain page for browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from couchlet import __version__
from couchlet.errors import CouchError, bad_request, not_found, not_implemented
from couchlet.web.pages import utils_page
from couchlet.web.reply import base_headers, etag_of, json_reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from couchlet.storage.database import Database
    from couchlet.web.call import Call

_MOST_UUIDS = 1000
_NODE: Final = "couchlet@127.0.0.1"


async def welcome(call: Call) -> web.StreamResponse:
    """`/`: the greeting by which clients know a CouchDB."""
    call.allow("GET", "HEAD")
    return json_reply(
        {
            "couchdb": "Welcome",
            "version": "3.5.0",
            "git_sha": "couchlet",
            "uuid": call.context.catalog.server_value("uuid"),
            "features": ["couchlet"],
            "vendor": {"name": "couchlet", "version": __version__},
        }
    )


async def up(call: Call) -> web.StreamResponse:
    """`/_up`: whether the server answers."""
    call.allow("GET", "HEAD")
    return json_reply({"status": "ok", "seeds": {}})


async def uuids(call: Call) -> web.StreamResponse:
    """`/_uuids`: fresh ids."""
    call.allow("GET")
    text = call.query.get("count", "1")
    if not (text.isascii() and text.isdigit()):
        raise bad_request("count must be a positive integer")
    digits = text.lstrip("0") or "0"
    if len(digits) > 4 or int(digits) > _MOST_UUIDS:  # noqa: PLR2004 - digits of the largest
        raise bad_request("count parameter too large")
    made = [call.context.uuids.next() for _ in range(int(digits))]
    return json_reply(
        {"uuids": made},
        headers={
            "Cache-Control": "no-cache",
            # Long past on purpose: nothing between here and the client may give the same ids again.
            "Expires": "Mon, 01 Jan 1990 00:00:00 GMT",
            "Pragma": "no-cache",
            "ETag": etag_of(made),
        },
    )


async def active_tasks(call: Call) -> web.StreamResponse:
    """`/_active_tasks`: the compactions that run, and the indexes that are being filled."""
    call.allow("GET", "HEAD")
    call.require_server_admin()
    catalog = call.context.catalog
    return json_reply([task for name in catalog.names() for task in _tasks(catalog.get(name))])


def _tasks(database: Database) -> Iterator[dict[str, Any]]:
    """Return what goes on in a database: its compaction, and indexes that are being filled."""
    common = {"node": _NODE, "database": database.name}
    if database.compacting:
        yield {"type": "database_compaction", **common}
    for index in database.indexes:
        if not index.is_complete:
            yield {
                "type": "indexer",
                **common,
                "design_document": index.definition.ddoc,
                "changes_done": index.through,
                "total_changes": index.goal,
                "progress": 100 * index.through // index.goal,
            }


async def membership(call: Call) -> web.StreamResponse:
    """`/_membership`: the one node there is."""
    call.allow("GET")
    return json_reply({"all_nodes": [_NODE], "cluster_nodes": [_NODE]})


async def replicate(call: Call) -> web.StreamResponse:
    """`/_replicate`: refused; another replicator can use this server as source and as target."""
    call.allow("POST")
    raise not_implemented(
        "couchlet does not replicate by itself: let Apache CouchDB or PouchDB replicate from or to it."
    )


async def node(call: Call) -> web.StreamResponse:
    """`/_node/...`: the name of the node; configuration and statistics are not here."""
    if len(call.parts) == 2 and call.parts[1] == "_local":  # noqa: PLR2004 - nothing behind the name
        call.allow("GET", "HEAD")
        return json_reply({"name": _NODE})
    raise not_implemented("couchlet is set up by its command line: see `couchlet --help`.")


async def not_here(call: Call) -> web.StreamResponse:
    """Return what only a cluster, a replicator or a search service has."""
    raise not_implemented(f"couchlet has no {call.parts[0]}: use Apache CouchDB for it.")


async def utils(call: Call) -> web.StreamResponse:
    """`/_utils/`: a page for people."""
    call.allow("GET", "HEAD")
    if call.parts[1:] not in ([], ["index.html"], ["session.html"]):
        raise not_found()
    if not call.raw_path.endswith(("/", ".html")):
        return web.Response(status=301, headers={**base_headers(), "Location": "/_utils/"})
    return utils_page()


async def favicon(call: Call) -> web.StreamResponse:
    """`/favicon.ico`: browsers ask for it; there is none."""
    raise CouchError(404, "not_found", "missing") if call.reads else bad_request("There is no such address.")
