"""The tables of the dashboard that show documents, one a row: which databases they show, and how a page is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from dashboard import cells
from dashboard.cells import PAGE, Cell, Order, Page
from shared import audit, delivery, lifecycle, names, ngas, reports, status
from shared.bus import queue
from shared.messages import process_selector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dashboard.board import Board
    from shared.dbcon import Database, DbConnection, Doc

_OWN: Final = Order()
_MOST_LAUNCHES: Final = 10_000


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
    """By which other heads than the first it can be sorted, and by which field of the board's cards that is."""


def _field(name: str, head: str = "", show: Callable[[Any], Cell] = cells.plain) -> Column:
    return Column(head or name, lambda doc, _: show(doc.get(name, "")))


def remark(doc: Doc, view: View) -> Cell:
    """Return what somebody should know of an OUS: who reviews it, why it failed, that it waits for a launch."""
    history = doc.get("history") or [{}]
    note = str(history[-1].get("note", "")) if isinstance(history[-1], dict) else ""
    reviewer = doc.get("reviewer")
    state = doc.get("state")
    if state == lifecycle.REVIEWING and isinstance(reviewer, dict):
        return cells.prose(f"reviewed by {reviewer.get('name', 'somebody')}")
    if state == lifecycle.PROCESSING_PROBLEM:
        return cells.prose(note or "no reason given", "bad")
    if state != lifecycle.READY_FOR_PROCESSING:
        return cells.prose("")
    if doc.get("entityId") in view.launched:
        return cells.prose(f"{note}; launched again" if note.startswith("Fail") else note)
    return cells.prose(f"{note}; waits for a launch" if note else "waits for a launch", "bad")


def view_of(connection: DbConnection, weblogs: str, docs: Sequence[Doc]) -> View:
    """Return what rows show besides their documents; open launches are looked for only where one matters."""
    if not any(doc.get("state") == lifecycle.READY_FOR_PROCESSING for doc in docs):
        return View(weblogs)
    return View(weblogs, frozenset(open_launches(connection.database(queue.DATABASE))))


def open_launches(database: Database) -> Iterator[str]:
    """Yield the UIDs of the OUSs that have a launch which nobody has finished."""
    for executive in names.EXECUTIVES:
        selector = {"selector": process_selector(executive)}
        for index in (queue.READY_INDEX, queue.DUE_INDEX):
            sort = queue.INDEXES[index][0]
            for doc in database.find(selector, index=index, sort=sort, limit=_MOST_LAUNCHES, fields=["body"]):
                body = doc.get("body")
                if isinstance(body, dict):
                    yield str(body.get("ousUID"))


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
        sorts={"program": "program", "state": "state", "executive": "executive", "since (UTC)": "changed"},
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
    ),
    Kind(
        "ngas",
        "NGAS documents",
        ngas.DATABASE,
        (
            _field("_id", "file"),
            _field("size", "bytes"),
            _field("sha256", show=cells.checksum),
            _field("writeTimestamp", "written (UTC)", cells.at),
        ),
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
            _field("size", "bytes"),
            _field("sha256", show=cells.checksum),
        ),
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
    ),
)
"""The seed's tables, but for that of the unread messages; and what people did."""


def read_page(
    connection: DbConnection, board: Board, kind: Kind, weblogs: str, *, after: str = "", order: Order = _OWN
) -> Page:
    """Return the page of a table behind ``after``: an id in the table's own order, a number in any other."""
    by = order.by if order.by in kind.sorts.values() else ""
    if by:
        start = int(after) if after.isascii() and after[:9].isdigit() else 0
        docs, more = _sorted(board, connection.database(kind.database), start, order)
        onward = str(start + PAGE) if more else ""
    else:
        found = documents(connection, kind, after, PAGE + 1, descending=order.descending)
        docs, more = found[:PAGE], len(found) > PAGE
        onward = docs[-1]["_id"] if more else ""
    view = view_of(connection, weblogs, docs if kind.database == status.DATABASE else ())
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
        order=Order(by, order.descending),
    )


def _sorted(board: Board, database: Database, start: int, order: Order) -> tuple[list[Doc], bool]:
    """Return OUSs by what the board knows of them, from number ``start`` on, and whether there are more."""
    cards = sorted(board.find(board.counts()), key=attrgetter(order.by, "id"), reverse=order.descending)
    docs = database.fetch([card.id for card in cards[start : start + PAGE]])
    return [doc for doc in docs if doc], len(cards) > start + PAGE


def documents(connection: DbConnection, kind: Kind, after: str, limit: int, *, descending: bool = False) -> list[Doc]:
    """Return documents of a table behind the one with id ``after``; reports without their content."""
    database = connection.database(kind.database)
    if kind.database == reports.DATABASE:
        return _reports(database, after, limit, descending=descending)
    return (_documents_down if descending else _documents)(database, after, limit)


def _reports(database: Database, after: str, limit: int, *, descending: bool) -> list[Doc]:
    """Return reports by OUS and run, read through the index: each may have megabytes, which nobody looks at here."""
    run, _, doc_id = after.rpartition(".")
    beyond, direction = ("$lt", "desc") if descending else ("$gt", "asc")
    wheres: list[Doc] = [{"ousUID": {"$gt": None}}]
    if run:
        uid = names.uid_of_document(doc_id)
        wheres = [{"ousUID": uid, "timestamp": {beyond: run}}, {"ousUID": {beyond: uid}}]
    found: list[Doc] = []
    for where in wheres:
        found += database.find(
            where,
            index=reports.OUS_INDEX,
            sort=[{field: direction} for field in reports.INDEXES[reports.OUS_INDEX]],
            limit=limit - len(found),
            fields=["_id", "ousUID", "timestamp", "source", "productsDir"],
        )
        if len(found) >= limit:
            break
    return found


def total(connection: DbConnection, kind: Kind) -> int:
    """Return how many documents a table has."""
    return _total(connection.database(kind.database))


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


def _total(database: Database) -> int:
    count: int = database.info()["doc_count"]
    return count - len(database.rows(startkey="_design/", endkey="_design0"))
