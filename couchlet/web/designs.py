"""What a design document would run: refused, because there is no JavaScript here; and facts of its indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from couchlet import json_text
from couchlet.errors import CouchError, method_not_allowed, not_found, not_implemented
from couchlet.web.attachments import attachment
from couchlet.web.reply import json_reply

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.web.call import Call

_MEMBERS: Final = {"_show": "shows", "_list": "lists", "_update": "updates"}
"""Where a design document has the functions of each kind."""
_COLLATOR: Final = "153.120"
"""What ICU calls the order of text that couchlet keeps to."""

_SCRIPTED = frozenset(("_view", "_show", "_list", "_update", "_rewrite", "_search", "_search_info", "_nouveau"))


async def design(call: Call, id_: str, rest: list[str]) -> web.StreamResponse:
    """Addresses below a design document that begin with an underscore."""
    database = call.database()
    row = database.reader.document(id_)
    if row is None or row.deleted:
        raise not_found("missing" if row is None else "deleted")
    if rest[0] in _SCRIPTED:
        _check_function(call, json_text.decode_stored(row.body), rest)
        return await scripted(call)
    if rest == ["_info"]:
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
                    "language": json_text.decode_stored(row.body).get("language", "javascript"),
                    "compact_running": database.compacting,
                    "collator_versions": [_COLLATOR],
                },
            }
        )
    return await attachment(call, id_, "/".join(rest))


def _check_function(call: Call, body: dict[str, Any], rest: list[str]) -> None:
    """Say that a function is missing, as CouchDB does, before saying that none is run here.

    Raises:
        CouchError: 404 or 405.
    """
    kind, name = rest[0], rest[1] if len(rest) > 1 else None
    if kind == "_view":
        is_query = call.method in {"GET", "HEAD", "POST"} and name is not None
        if not is_query:
            raise method_not_allowed("GET,POST,HEAD")
        if name not in body.get("views", {}):
            raise not_found("missing_named_view")
    elif kind in _MEMBERS and name is not None:
        member = _MEMBERS[kind]
        if member not in body or name not in body[member]:
            raise not_found(f"missing json key: {name if member in body else member}")


async def temporary_view(call: Call) -> web.StreamResponse:
    """`_temp_view`: CouchDB has had none for long."""
    call.database()
    raise CouchError(410, "gone", "Temporary views are not supported in CouchDB")


async def scripted(call: Call) -> web.StreamResponse:
    """Refuse what needs JavaScript."""
    call.database()
    raise not_implemented(
        "couchlet runs no JavaScript views, shows, lists or updates: query with _find and a Mango index, "
        "or use Apache CouchDB."
    )
