"""The tables of the dashboard: which databases they show, and how a page of one is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared import delivery, ngas, reports, status
from shared.bus import envelope, queue
from shared.lifecycle import STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.dbcon import Database, DbConnection, Doc

PAGE: Final = 25
_UNREAD_SHOWN: Final = 100


@dataclass(frozen=True)
class Column:
    """A column: its heading, and what it shows of a document."""

    head: str
    cell: Callable[[Doc], Any]


@dataclass(frozen=True)
class Kind:
    """A table of documents: where they are kept and what is shown of them."""

    key: str
    title: str
    database: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Page:
    """One page of a table: its rows, how many there are in all, and where the next page begins."""

    kind: Kind
    rows: list[list[Any]]
    total: int
    after: str


def _field(name: str, head: str = "") -> Column:
    return Column(head or name, lambda doc: doc.get(name, ""))


KINDS: Final = (
    Kind(
        "ous",
        "OUS status",
        status.DATABASE,
        (
            _field("entityId", "OUS"),
            _field("progID", "program"),
            _field("state"),
            _field("substate"),
            _field("executive"),
            _field("recipe"),
            _field("timestamp", "since (UTC)"),
        ),
    ),
    Kind(
        "reports",
        "Pipeline reports",
        reports.DATABASE,
        (
            _field("ousUID", "OUS"),
            _field("timestamp", "run"),
            _field("source"),
            _field("productsDir", "products directory"),
            Column("report, characters", lambda doc: len(doc.get("encodedReport", ""))),
        ),
    ),
    Kind(
        "ngas",
        "NGAS documents",
        ngas.DATABASE,
        (_field("_id", "file"), _field("size", "bytes"), _field("sha256"), _field("writeTimestamp", "written (UTC)")),
    ),
    Kind(
        "metadata",
        "Products metadata",
        delivery.METADATA_DATABASE,
        (
            _field("_id", "product"),
            _field("ousUID", "OUS"),
            _field("progID", "program"),
            _field("timestamp", "run"),
            _field("size", "bytes"),
        ),
    ),
    Kind(
        "delivery",
        "Delivery status",
        delivery.STATUS_DATABASE,
        (
            _field("ousUID", "OUS"),
            _field("progID", "program"),
            _field("timestamp", "run"),
            Column("products", lambda doc: len(doc.get("dataProducts", ()))),
            Column("complete", lambda doc: "yes" if doc.get("complete") else "no"),
        ),
    ),
)
"""The seed's tables, but for that of the unread messages."""


def read_page(connection: DbConnection, kind: Kind, after: str = "") -> Page:
    """Return the page of a table that begins behind the document with id ``after``."""
    database = connection.database(kind.database)
    docs = _documents(database, after, PAGE + 1)
    shown, more = docs[:PAGE], docs[PAGE:]
    rows = [[column.cell(doc) for column in kind.columns] for doc in shown]
    return Page(kind, rows, _total(database), shown[-1]["_id"] if more else "")


def count_states(connection: DbConnection) -> dict[str, int]:
    """Return how many OUSs are in each state, in the order of life."""
    counts = dict.fromkeys(STATES, 0)
    for doc in connection.database(status.DATABASE).every():
        counts[doc.get("state", "")] = counts.get(doc.get("state", ""), 0) + 1
    return counts


def unread_messages(connection: DbConnection) -> list[list[str]]:
    """Return selector, state and id of the messages that wait or are worked on, as far as a survey shows them."""
    database = connection.database(queue.DATABASE)
    rows: list[list[str]] = []
    for index, states in ((queue.READY_INDEX, {envelope.READY}), (queue.DUE_INDEX, envelope.OPEN_STATES)):
        docs = database.find(
            {"selector": {"$gt": None}},
            index=index,
            sort=queue.INDEXES[index][0],
            limit=_UNREAD_SHOWN,
            fields=["_id", "selector", "state", "creationTimestamp"],
        )
        rows += [
            [doc["selector"], doc["state"], doc["creationTimestamp"], doc["_id"]]
            for doc in docs
            if doc["state"] in states
        ]
    return rows


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


def _total(database: Database) -> int:
    count: int = database.info()["doc_count"]
    return count - len(database.rows(startkey="_design/", endkey="_design0"))
