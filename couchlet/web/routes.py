"""Which part of the program answers which address."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from couchlet.errors import CouchError, bad_request, unauthorized
from couchlet.web import (
    attachments,
    bulk,
    changes,
    databases,
    designs,
    documents,
    finding,
    listing,
    revisions,
    server_info,
    sessions,
    settings,
)
from couchlet.web.call import Call
from couchlet.web.reply import base_headers

Handler = Callable[[Call], Awaitable[web.StreamResponse]]

_SERVER: Final[dict[str, Handler]] = {
    "_all_dbs": databases.all_databases,
    "_dbs_info": databases.databases_info,
    "_up": server_info.up,
    "_uuids": server_info.uuids,
    "_session": sessions.session,
    "_active_tasks": server_info.active_tasks,
    "_membership": server_info.membership,
    "_replicate": server_info.replicate,
    "_scheduler": server_info.not_here,
    "_node": server_info.node,
    "_cluster_setup": server_info.not_here,
    "_db_updates": server_info.not_here,
    "_reshard": server_info.not_here,
    "_search_analyze": server_info.not_here,
    "_nouveau_analyze": server_info.not_here,
    "_utils": server_info.utils,
    "favicon.ico": server_info.favicon,
}

_FOR_ALL: Final = frozenset(("_up", "_uuids", "_session", "_active_tasks", "_stats"))
"""Names that begin with an underscore and are not for administrators only; what is below them is."""

_DATABASES: Final = frozenset(("_users", "_replicator"))
"""Names that begin with an underscore and are databases, with rights of their own."""

_DATABASE: Final[dict[str, Handler]] = {
    "_all_docs": listing.all_docs,
    "_design_docs": listing.all_docs,
    "_local_docs": listing.all_docs,
    "_bulk_docs": bulk.bulk_docs,
    "_bulk_get": bulk.bulk_get,
    "_changes": changes.changes,
    "_find": finding.find,
    "_explain": finding.explain,
    "_index": finding.index,
    "_purge": revisions.purge,
    "_purged_infos": revisions.purged_infos,
    "_purged_infos_limit": settings.purged_infos_limit,
    "_revs_diff": revisions.revs_diff,
    "_missing_revs": revisions.missing_revs,
    "_revs_limit": settings.revs_limit,
    "_security": settings.security,
    "_compact": settings.compact,
    "_view_cleanup": settings.view_cleanup,
    "_ensure_full_commit": settings.ensure_full_commit,
    "_sync_shards": settings.sync_shards,
    "_shards": settings.shards,
    "_partition": settings.partition,
    "_temp_view": designs.temporary_view,
    "_search_cleanup": settings.view_cleanup,
}

_WITH_MORE_BELOW: Final = frozenset(
    (
        "_all_docs",
        "_design_docs",
        "_local_docs",
        "_changes",
        "_find",
        "_explain",
        "_index",
        "_compact",
        "_view_cleanup",
        "_sync_shards",
        "_shards",
        "_partition",
        "_temp_view",
        "_search_cleanup",
    )
)
"""Names that answer whatever is below them too; below the others CouchDB looks for an attachment."""


async def answer(call: Call) -> web.StreamResponse:
    """Answer a request.

    Raises:
        CouchError: the answer is an error.
    """
    parts = call.parts
    if not parts:
        return await server_info.welcome(call)
    _check_rights(call)
    handler = _SERVER.get(parts[0])
    if handler is not None:
        return await handler(call)
    if len(parts) == 1:
        return await databases.database(call)
    handler = _DATABASE.get(parts[1])
    if handler is not None and (len(parts) == 2 or parts[1] in _WITH_MORE_BELOW):  # noqa: PLR2004 - nothing below it
        return await handler(call)
    return await _document(call)


def _check_rights(call: Call) -> None:
    """Refuse what is the server's own to who is no administrator, whatever the method, and whether it is there or not.

    Raises:
        CouchError: 401.
    """
    name, below = call.parts[0], call.parts[1:]
    if name in _DATABASES:
        if below[:1] in (["_all_docs"], ["_changes"]):
            call.require_server_admin()
    elif name == "_replicate" and not below:
        if call.user.name is None:
            raise unauthorized("You are not an authenticated user")
    elif name == "_utils" and call.reads:
        return
    elif name.startswith("_") and (below or name not in _FOR_ALL):
        call.require_server_admin()


async def _document(call: Call) -> web.StreamResponse:
    """Addresses of documents and attachments; `_design/x` and `_local/x` may be written with a plain slash."""
    parts = call.parts
    # Whoever may not use the database is told so, whatever is wrong with the address.
    call.database()
    if parts[1] == "_local":
        if len(parts) == 2:  # noqa: PLR2004 - database and `_local`
            raise _no_local_id()
        if len(parts) > 3:  # noqa: PLR2004 - a part beyond the id
            raise bad_request("_local documents do not accept attachments.")
        return await documents.document(call, f"_local/{parts[2]}")
    if parts[1:] == ["_local/"]:
        raise _no_local_id()
    if call.reads and parts[1].startswith("_design/"):
        return _to_plain_slash(call)
    if parts[1] == "_design" and len(parts) > 2:  # noqa: PLR2004 - there is a name
        id_, rest = f"_design/{parts[2]}", parts[3:]
        if rest and rest[0].startswith("_"):
            return await designs.design(call, id_, rest)
    else:
        id_, rest = parts[1], parts[2:]
    if rest:
        return await attachments.attachment(call, id_, "/".join(rest))
    return await documents.document(call, id_)


def _no_local_id() -> CouchError:
    return bad_request("Invalid _local document id.")


def _to_plain_slash(call: Call) -> web.StreamResponse:
    """Send a reader of `_design%2Fx` to `_design/x`, as CouchDB does."""
    call.database()
    address = re.sub("_design%2f", "_design/", call.request.raw_path, count=1, flags=re.IGNORECASE)
    return web.Response(status=301, headers={**base_headers(), "Location": call.location() + address.lstrip("/")})
