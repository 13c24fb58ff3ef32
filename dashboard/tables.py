"""The tables of the dashboard that show documents, one a row: which databases they show, and how a page is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from dashboard import cells
from dashboard.cells import PAGE, Cell, Order, Page
from shared import audit, delivery, lifecycle, listing, ngas, reports, status
from shared.errors import BadInput
from shared.launching import LAUNCHED
from shared.names import shown
from shared.status import entries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dashboard.board import Board
    from shared.dbcon import Database, DbConnection, Doc

_OWN: Final = Order()
_CARD: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class View:
    """What a row shows besides its document: where weblogs are, and which OUSs have a launch that is still open."""

    weblogs: str
    launched: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Column:
    """A column: its heading, and what it shows of a document."""

    head: str
    cell: Callable[[Doc, View], Cell]


@dataclass(frozen=True)
class Kind:
    """A table of documents: where they are kept and what is shown of them."""

    key: str
    title: str
    database: str
    columns: tuple[Column, ...]
    sorts: Mapping[str, str] = field(default_factory=dict)
    """By which other heads than the first it can be sorted: the field that is, of OUSs that of the board's cards."""
    own: str = ""
    """By which field it is sorted of itself; empty for the id."""
    only: tuple[str, ...] = ()
    """Which fields are read; all if empty."""


def _field(name: str, head: str = "", show: Callable[[Any], Cell] = cells.plain) -> Column:
    return Column(head or name, lambda doc, _: show(doc.get(name, "")))


def remark(doc: Doc, view: View) -> Cell:
    """Return what somebody should know of an OUS: who reviews it, why it failed, that it waits for a launch."""
    note = str((entries(doc) or [{}])[-1].get("note", ""))
    reviewer = doc.get("reviewer")
    state = doc.get("state")
    if state == lifecycle.REVIEWING and isinstance(reviewer, dict):
        return cells.prose(f"reviewed by {reviewer.get('name', 'somebody')}")
    if state == lifecycle.PROCESSING_PROBLEM:
        return cells.prose(note or "no reason given", "bad")
    if state != lifecycle.READY_FOR_PROCESSING:
        return cells.prose("")
    if str(doc.get("entityId")) in view.launched:
        return cells.prose(f"{note}; launched again" if note.startswith("Fail") else note)
    note = "" if note.startswith(LAUNCHED) else note  # it was cancelled, or its message discarded
    return cells.prose(f"{note}; waits for a launch" if note else "waits for a launch", "bad")


KINDS: Final = (
    Kind(
        "ous",
        "OUS status",
        status.DATABASE,
        (
            _field("entityId", "OUS", cells.ous),
            _field("progID", "program"),
            _field("state"),
            _field("substate"),
            _field("executive"),
            _field("timestamp", "since (UTC)", cells.at),
            Column("weblog", lambda doc, view: cells.weblog(view.weblogs, doc.get("entityId"), doc.get("run"))),
            Column("remark", remark),
        ),
        sorts={
            "program": "program",
            "state": "state",
            "substate": "substate",
            "executive": "executive",
            "since (UTC)": "changed",
        },
    ),
    Kind(
        "reports",
        "Pipeline reports",
        reports.DATABASE,
        (
            _field("ousUID", "OUS", cells.ous),
            _field("timestamp", "run"),
            _field("source"),
            _field("productsDir", "products directory"),
            Column("weblog", lambda doc, view: cells.weblog(view.weblogs, doc.get("ousUID"), doc.get("timestamp"))),
        ),
        sorts={"run": "timestamp", "source": "source", "products directory": "productsDir"},
        own="ousUID",
        # A report may have megabytes, which nobody looks at here.
        only=("_id", "ousUID", "timestamp", "source", "productsDir"),
    ),
    Kind(
        "ngas",
        "NGAS documents",
        ngas.DATABASE,
        (
            _field("_id", "file"),
            _field("size", "bytes", cells.number),
            _field("sha256", show=cells.checksum),
            _field("writeTimestamp", "written (UTC)", cells.at),
        ),
        sorts={"bytes": "size", "written (UTC)": "writeTimestamp"},
    ),
    Kind(
        "metadata",
        "Products metadata",
        delivery.METADATA_DATABASE,
        (
            _field("_id", "product"),
            _field("ousUID", "OUS", cells.ous),
            _field("progID", "program"),
            _field("timestamp", "run"),
            _field("size", "bytes", cells.number),
            _field("sha256", show=cells.checksum),
        ),
        sorts={"OUS": "ousUID", "program": "progID", "run": "timestamp", "bytes": "size"},
    ),
    Kind(
        "delivery",
        "Delivery status",
        delivery.STATUS_DATABASE,
        (
            _field("ousUID", "OUS", cells.ous),
            _field("progID", "program"),
            _field("timestamp", "run"),
            Column("products", lambda doc, _: cells.count(doc.get("dataProducts"))),
            Column("complete", lambda doc, _: cells.plain("yes" if doc.get("complete") else "no")),
        ),
        sorts={"program": "progID", "run": "timestamp", "complete": "complete"},
    ),
    Kind(
        "audit",
        "Audit",
        audit.DATABASE,
        (
            _field("at", "when (UTC)", cells.at),
            _field("who"),
            _field("what"),
            _field("subject", show=lambda value: cells.prose(str(value))),
            _field("why", show=lambda value: cells.prose(str(value))),
        ),
        sorts={"who": "who", "what": "what", "subject": "subject"},
    ),
)
"""The seed's tables, but for that of the unread messages; and what people did."""


def read_page(
    connection: DbConnection,
    board: Board,
    kind: Kind,
    view: View,
    *,
    after: str = "",
    start: int = 0,
    order: Order = _OWN,
) -> Page:
    """Return the page of a table behind the place ``after``, with ``start`` rows before it, as ``view`` shows them."""
    order = order if order.by in kind.sorts.values() else Order("", order.descending)
    docs, onward = read(connection, board, kind, after=after, limit=PAGE, order=order)
    rows = [[column.cell(doc, view) for column in kind.columns] for doc in docs]
    heads = [column.head for column in kind.columns]
    return Page(
        kind.key,
        kind.title,
        heads,
        rows,
        total(connection, kind),
        onward,
        where=f"/table/{kind.key}",
        sorts={heads[0]: "", **kind.sorts},
        order=order,
        start=start if after else 0,
    )


def read(
    connection: DbConnection, board: Board, kind: Kind, *, after: str, limit: int, order: Order
) -> tuple[list[Doc], str]:
    """Return at most ``limit`` documents of a table, and the place behind them, empty where there is nothing more.

    ``after`` is such a place, empty for the beginning; raises BadInput for what is none.
    """
    database = connection.database(kind.database)
    if order.by and kind.database == status.DATABASE:
        return _by_card(board, database, _card(after), limit, order)
    if field_ := order.by or kind.own:
        by = listing.Listing(database, field_, descending=order.descending, only=kind.only)
        return by.read(after, limit)
    found = (_documents_down if order.descending else _documents)(database, after, limit + 1)
    return found[:limit], found[limit - 1]["_id"] if len(found) > limit else ""


def _card(after: str) -> int:
    """Return the number to go on at, 0 for the beginning; raise BadInput."""
    if after and not _CARD.fullmatch(after):
        raise BadInput(f"{shown(after)} is no place in this list: begin at its first page")
    return int(after or 0)


def _by_card(board: Board, database: Database, start: int, limit: int, order: Order) -> tuple[list[Doc], str]:
    """Return OUSs by what the board knows of them, from number ``start`` on, and the number to go on at."""
    cards = sorted(board.find(board.counts()), key=attrgetter(order.by, "id"), reverse=order.descending)
    docs = database.fetch([card.id for card in cards[start : start + limit]])
    return [doc for doc in docs if doc], str(start + limit) if start + limit < len(cards) else ""


def total(connection: DbConnection, kind: Kind) -> int:
    """Return how many documents a table has."""
    return connection.database(kind.database).count()


def _documents(database: Database, after: str, limit: int) -> list[Doc]:
    """Return documents in the order of their ids; design documents, which begin with an underscore, are left out."""
    query: dict[str, Any] = {"limit": limit, "include_docs": True}
    rows: list[Doc] = []
    if after < "_design/":
        rows = database.rows(**query, startkey=after + "\x00" if after else "", endkey="_design/", inclusive_end=False)
    if len(rows) < limit:
        start = max(after + "\x00", "_design0")
        rows += database.rows(**query | {"limit": limit - len(rows)}, startkey=start)
    return [row["doc"] for row in rows if row.get("doc")]


def _documents_down(database: Database, after: str, limit: int) -> list[Doc]:
    """As :func:`_documents`, from the last id to the first."""
    query: dict[str, Any] = {"include_docs": True, "descending": True}
    rows: list[Doc] = []
    if not after or after > "_design0":
        start = {"startkey": after, "skip": 1} if after else {}
        rows = database.rows(**query, **start, limit=limit, endkey="_design0")
    if len(rows) < limit:
        start = {"startkey": after, "skip": 1} if after and after < "_design/" else {"startkey": "_design/"}
        rows += database.rows(**query, **start, limit=limit - len(rows))
    return [row["doc"] for row in rows if row.get("doc")]
