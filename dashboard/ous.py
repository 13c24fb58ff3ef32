"""The dashboard's page of one OUS: what it is, every change of it, and every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dashboard import cells
from dashboard.cells import Cell, Page
from dashboard.tables import remark, view_of
from shared import reports, status

if TYPE_CHECKING:
    from shared.dbcon import DbConnection, Doc

_FIELDS = ("progID", "recipe", "state", "substate", "executive")
_MOST_RUNS = 1000


@dataclass(frozen=True)
class Life:
    """What there is to know of one OUS."""

    uid: str
    facts: list[tuple[str, Cell]]
    history: Page
    runs: Page


def read(connection: DbConnection, doc_id: str, weblog_url: str) -> Life | None:
    """Return what there is to know of the OUS with this document id, None where there is none."""
    doc = connection.database(status.DATABASE).get(doc_id)
    if doc is None:
        return None
    uid = str(doc.get("entityId", doc_id))
    facts = [(name, cells.plain(doc.get(name))) for name in _FIELDS]
    facts += [("since (UTC)", cells.at(doc.get("timestamp")))]
    facts += [("run", cells.plain(doc.get("run"))), ("remark", remark(doc, view_of(connection, weblog_url, [doc])))]
    return Life(uid, [fact for fact in facts if fact[1].text], _history(doc), _runs(connection, uid, doc, weblog_url))


def _history(doc: Doc) -> Page:
    entries = [each for each in doc.get("history") or [] if isinstance(each, dict)]
    heads = ("when (UTC)", "state", "substate", "by", "note")
    rows = [
        [
            cells.at(each.get("at")),
            cells.plain(each.get("state")),
            cells.plain(each.get("substate")),
            cells.plain(each.get("by")),
            cells.prose(str(each.get("note", ""))),
        ]
        for each in entries
    ]
    return Page("history", "History", heads, rows, len(rows))


def _runs(connection: DbConnection, uid: str, doc: Doc, weblog_url: str) -> Page:
    """Return the runs that have a report; a page never lists more than so many, and says so."""
    found = connection.database(reports.DATABASE).find(
        {"ousUID": uid, "timestamp": {"$gt": None}},
        index=reports.OUS_INDEX,
        sort=reports.INDEXES[reports.OUS_INDEX],
        limit=_MOST_RUNS,
        fields=["timestamp", "source", "productsDir"],
    )
    heads = ("run", "source", "products directory", "weblog", "which")
    rows = [
        [
            cells.plain(each.get("timestamp")),
            cells.plain(each.get("source")),
            cells.plain(each.get("productsDir")),
            cells.weblog(weblog_url, uid, each.get("timestamp")),
            cells.plain("reviewed or delivered" if each.get("timestamp") == doc.get("run") else ""),
        ]
        for each in found
    ]
    remark_ = f"More than {_MOST_RUNS} runs: the later ones are not listed." if len(rows) == _MOST_RUNS else ""
    return Page("runs", "Runs with a report", heads, rows, len(rows), remark=remark_)
