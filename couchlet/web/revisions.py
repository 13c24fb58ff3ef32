"""Comparing revisions, for replication, and purging them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from couchlet.errors import bad_request, unknown_error
from couchlet.revisions import Revision, Tree, holds, parse_revisions, possible_ancestors
from couchlet.web.copies import wants_more_copies
from couchlet.web.reply import json_reply

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.web.call import Call

_MOST_PURGED_IDS = 100
_MOST_PURGED_REVISIONS = 1000


async def _asked(call: Call, database: Database) -> list[tuple[str, Tree, list[Revision]]]:
    """Return what a request asks of each document: its tree, and those revisions that it lacks."""
    call.allow("POST")
    call.require_json()
    body = await call.json_object()
    rows = database.reader.documents(body)
    result = []
    for id_, revisions in body.items():
        # A list may be a text, in Erlang.
        if not isinstance(revisions, list) or not all(isinstance(revision, str | list) for revision in revisions):
            raise unknown_error("function_clause")
        row = rows.get(id_)
        tree: Tree = row.tree if row else ()
        missing = _missing(tree, parse_revisions(revisions))
        if tree:
            # Of a document that is not here at all, CouchDB leaves them in their order.
            missing.sort(key=lambda revision: revision.rank)
        result.append((id_, tree, missing))
    return result


def _missing(tree: Tree, asked: list[Revision]) -> list[Revision]:
    """Return the revisions that a tree lacks; one that it has is crossed out once, as in CouchDB."""
    known = {revision for revision in asked if holds(tree, revision)}
    missing = []
    for revision in asked:
        if revision in known:
            known.remove(revision)
        else:
            missing.append(revision)
    return missing


async def revs_diff(call: Call) -> web.StreamResponse:
    """`_revs_diff`: which of these revisions are not here, and what they may descend from."""
    answer: dict[str, dict[str, list[str]]] = {}
    for id_, tree, missing in await _asked(call, call.database()):
        if missing:
            answer[id_] = {"missing": [str(revision) for revision in missing]}
            ancestors = possible_ancestors(tree, missing)
            if ancestors:
                answer[id_]["possible_ancestors"] = [str(revision) for revision in ancestors]
    return json_reply(answer)


async def missing_revs(call: Call) -> web.StreamResponse:
    """`_missing_revs`: which of these revisions are not here."""
    asked = await _asked(call, call.database())
    answer = {id_: [str(revision) for revision in missing] for id_, _, missing in asked if missing}
    return json_reply({"missing_revs": answer})


async def purge(call: Call) -> web.StreamResponse:
    """`_purge`: remove leaves without a tombstone; a server administrator's matter."""
    database = call.database(for_server_admins=True)
    call.allow("POST")
    call.require_json()
    requests = {id_: parse_revisions(revisions) for id_, revisions in (await call.json_object()).items()}
    if len(requests) > _MOST_PURGED_IDS:
        raise bad_request("Exceeded maximum number of documents.")
    if sum(map(len, requests.values())) > _MOST_PURGED_REVISIONS:
        raise bad_request("Exceeded maximum number of revisions.")
    is_short = wants_more_copies(call, needs_integer=False)
    removed = await database.purge(requests)
    purged = {id_: [str(revision) for revision in revisions] for id_, revisions in removed.items()}
    return json_reply({"purge_seq": None, "purged": purged}, 202 if is_short else 201)


async def purged_infos(call: Call) -> web.StreamResponse:
    """`_purged_infos`: the purges that are remembered."""
    database = call.database()
    call.allow("GET")
    infos = database.reader.purged_infos()
    return json_reply({"purged_infos": [{"id": id_, "revs": [*map(str, revisions)]} for id_, revisions in infos]})
