"""The dashboard's tables of messages: those that wait or are worked on, and the dead ones with their reasons."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from dashboard import cells
from dashboard.cells import Cell, Page
from dashboard.tables import PAGE
from shared.bus import envelope, queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dbcon import Database, DbConnection, Doc

UNREAD: Final = "unread"
DEAD: Final = "dead"
_MOST: Final = 1000
"""As many are counted, and can be paged through, because the page is read anew every second."""

_SELECTORS: Final[dict[str, dict[str, Any]]] = {
    queue.READY_INDEX: {"selector": {"$gt": None}},
    queue.DUE_INDEX: {"selector": {"$gt": None}},
    queue.ENDED_INDEX: {"state": envelope.DEAD, "doneAt": {"$gt": None}},
}


def unread(connection: DbConnection, start: int = 0) -> Page:
    """Return a page of the messages that wait or are worked on: the ready ones, then those that have a due time."""
    heads = ("selector", "state", "sent (UTC)", "due (UTC)", "attempts", "why", "message")
    return _page(connection, (UNREAD, "Unread messages"), (queue.READY_INDEX, queue.DUE_INDEX), heads, start)


def dead(connection: DbConnection, start: int = 0) -> Page:
    """Return a page of the messages that could not be handled and wait for an operator, the oldest first."""
    heads = ("selector", "dead since (UTC)", "attempts", "why", "message")
    return _page(connection, (DEAD, "Dead messages"), (queue.ENDED_INDEX,), heads, start)


def _page(
    connection: DbConnection, name: tuple[str, str], indexes: Sequence[str], heads: Sequence[str], start: int
) -> Page:
    database = connection.database(queue.DATABASE)
    ids = [doc["_id"] for index in indexes for doc in _ids(database, index)]
    shown = ids[start : start + PAGE]
    row = _dead_row if name[0] == DEAD else _unread_row
    rows = [row(doc) for doc in database.fetch(shown) if doc] if shown else []
    after = str(start + PAGE) if start + PAGE < len(ids) else ""
    remark = f"More than {_MOST} of a kind: only so many are counted and listed." if len(ids) >= _MOST else ""
    return Page(*name, heads, rows, len(ids), after, remark)


def _ids(database: Database, index: str) -> list[Doc]:
    return database.find(
        _SELECTORS[index], index=index, sort=queue.INDEXES[index][0], limit=_MOST, fields=["_id", "state"]
    )


def _unread_row(doc: Doc) -> list[Cell]:
    return [
        cells.plain(doc.get("selector")),
        cells.plain(doc.get("state")),
        cells.at(doc.get("creationTimestamp")),
        cells.at(doc.get("due")),
        cells.plain(doc.get("attempts", 0)),
        cells.prose(_why_open(doc)),
        cells.prose(doc["_id"]),
    ]


def _dead_row(doc: Doc) -> list[Cell]:
    return [
        cells.plain(doc.get("selector") or envelope.selector_of(doc["_id"])),
        cells.at(doc.get("doneAt")),
        cells.plain(doc.get("attempts", 0)),
        cells.prose(_last_error(doc) or "no reason given", "bad"),
        cells.prose(doc["_id"]),
    ]


def _why_open(doc: Doc) -> str:
    """Return who works on a message, or what it waits for, and what went wrong last."""
    claim = doc.get("claim")
    if doc.get("state") == envelope.CLAIMED and isinstance(claim, dict):
        return f"with {claim.get('by', 'somebody')}"
    if doc.get("waits"):
        return f"waits: {doc['waits']}"
    error = _last_error(doc)
    return f"failed: {error}" if error else ""


def _last_error(doc: Doc) -> str:
    failures = doc.get("errors")
    if not isinstance(failures, list) or not failures or not isinstance(failures[-1], dict):
        return ""
    return str(failures[-1].get("what", ""))
