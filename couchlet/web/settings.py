"""A database's settings and upkeep: who may use it, how much history it keeps, compaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from couchlet.auth.rights import is_database_admin, no_majority, validate_security
from couchlet.errors import CouchError, bad_request, forbidden, not_found, unknown_error
from couchlet.storage.purging import DEFAULT_PURGED_INFOS_LIMIT
from couchlet.web.reply import json_reply

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.web.call import Call


async def security(call: Call) -> web.StreamResponse:
    """`_security`: administrators and members."""
    database = call.database()
    if call.method == "PUT":
        wanted = await call.json()
        if not is_database_admin(call.user, database.security):
            raise no_majority()
        if database.name == "_users":
            raise forbidden("You can't edit the security object of the user database.")
        await database.set_security(validate_security(wanted))
        return json_reply({"ok": True})
    call.allow("PUT", "GET")
    return json_reply(database.security)


async def revs_limit(call: Call) -> web.StreamResponse:
    """`_revs_limit`: how many revisions of history are kept."""
    database = call.database()
    if call.method == "PUT":
        limit = await call.json()
        # CouchDB answers 500 to both of these.
        if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
            raise unknown_error("function_clause")
        if not is_database_admin(call.user, database.security):
            name = "unauthorized" if call.user.name is None else "forbidden"
            raise CouchError(500, "badmatch", f'{{error,{{{name},<<"You are not a db or server admin.">>}}}}')
        await database.set_revs_limit(limit)
        return json_reply({"ok": True})
    call.allow("PUT", "GET")
    return json_reply(database.reader.revs_limit)


async def purged_infos_limit(call: Call) -> web.StreamResponse:
    """`_purged_infos_limit`: how many purges are remembered."""
    database = call.database(for_server_admins=True)
    if call.method == "PUT":
        limit = await call.json()
        if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
            raise bad_request("`purged_infos_limit` must be positive integer")
        await database.set_setting("purged_infos_limit", limit)
        return json_reply({"ok": True})
    call.allow("GET", "PUT")
    return json_reply(database.reader.setting("purged_infos_limit", DEFAULT_PURGED_INFOS_LIMIT))


async def compact(call: Call) -> web.StreamResponse:
    """`_compact` and `_compact/<design document>`: give disk space back, in the background."""
    database = call.database()
    call.require_database_admin(database)
    call.allow("POST")
    call.require_json()
    if len(call.parts) > 2:  # noqa: PLR2004 - a design document is named
        row = database.reader.document(f"_design/{call.parts[2]}")
        if row is None or row.deleted:
            raise not_found("missing" if row is None else "deleted")
    database.compact()
    return json_reply({"ok": True}, 202)


async def view_cleanup(call: Call) -> web.StreamResponse:
    """`_view_cleanup`: nothing is left over here, an index goes with its design document."""
    database = call.database()
    call.require_database_admin(database)
    call.allow("POST")
    return json_reply({"ok": True}, 202)


async def ensure_full_commit(call: Call) -> web.StreamResponse:
    """`_ensure_full_commit`: everything that was acknowledged is on disk already."""
    database = call.database()
    call.allow("POST")
    call.require_json()
    return json_reply({"ok": True, "instance_start_time": str(database.created)}, 201)


async def sync_shards(call: Call) -> web.StreamResponse:
    """`_sync_shards`: there is one copy, which is as new as itself."""
    call.database(for_server_admins=True)
    call.allow("POST")
    return json_reply({"ok": True}, 202)


async def shards(call: Call) -> web.StreamResponse:
    """`_shards`: the one shard on the one node."""
    call.database()
    call.allow("GET")
    nodes = ["couchlet@127.0.0.1"]
    if len(call.parts) > 2:  # noqa: PLR2004 - a document is named
        return json_reply({"range": "00000000-ffffffff", "nodes": nodes})
    return json_reply({"shards": {"00000000-ffffffff": nodes}})


async def partition(call: Call) -> web.StreamResponse:
    """`_partition`: no database here has partitions."""
    call.database()
    call.allow("GET")
    raise bad_request("database is not partitioned")
