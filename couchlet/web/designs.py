"""What a design document would run: refused, because there is no JavaScript here; and facts of its indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from couchlet.errors import not_found, not_implemented
from couchlet.web.attachments import attachment
from couchlet.web.reply import json_reply

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.web.call import Call

_SCRIPTED = frozenset(("_view", "_show", "_list", "_update", "_rewrite", "_search", "_search_info", "_nouveau"))


async def design(call: Call, id_: str, rest: list[str]) -> web.StreamResponse:
    """Addresses below a design document that begin with an underscore."""
    database = call.database()
    row = database.reader.document(id_)
    if rest[0] in _SCRIPTED:
        if row is None or row.deleted:
            raise not_found("missing" if row is None else "deleted")
        return await scripted(call)
    if rest == ["_info"]:
        if row is None or row.deleted:
            raise not_found("missing" if row is None else "deleted")
        call.allow("GET")
        return json_reply(
            {
                "name": id_.removeprefix("_design/"),
                "view_index": {
                    "updates_pending": {"minimum": 0, "preferred": 0, "total": 0},
                    "waiting_commit": False,
                    "waiting_clients": 0,
                    "updater_running": False,
                    "update_seq": database.counters.update_seq,
                    "sizes": {"file": 0, "external": 0, "active": 0},
                    "signature": database.uuid,
                    "purge_seq": database.counters.purge_seq,
                    "language": "query",
                    "compact_running": database.compacting,
                },
            }
        )
    return await attachment(call, id_, "/".join(rest))


async def scripted(call: Call) -> web.StreamResponse:
    """Refuse what needs JavaScript."""
    call.database()
    raise not_implemented(
        "couchlet runs no JavaScript views, shows, lists or updates: query with _find and a Mango index, "
        "or use Apache CouchDB."
    )
