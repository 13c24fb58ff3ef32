"""The dashboard's page of one OUS: what it is, every change of it, its runs, products, messages and delivery."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from dashboard import cells, mail, reporting
from dashboard.cells import Cell, Page
from dashboard.drawing import Stretch, duration, stretches
from dashboard.tables import View, remark
from shared import cancels, delivery, lifecycle, names, ngas, reports, status
from shared.bus import envelope, queue
from shared.errors import BadInput
from shared.letters import FIELDS, letter
from shared.names import moment
from shared.status import entries

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from dashboard.context import Site
    from dashboard.reporting import Reading
    from shared.dbcon import DbConnection, Doc

_FIELDS: Final = ("progID", "recipe", "state", "substate", "executive")
_MOST_SETTLED: Final = 500


@dataclass(frozen=True)
class Life:
    """What there is to know of one OUS."""

    uid: str
    doc_id: str
    facts: list[tuple[str, Cell]]
    history: Page
    stretches: list[Stretch]
    runs: Page
    run_names: list[str]
    report: Reading | None
    products: Page
    delivered: str
    messages: Page


def read(site: Site, doc_id: str, launched: frozenset[str]) -> Life | None:
    """Return what there is to know of the OUS with this document id, None where there is none.

    ``launched`` are the OUSs that have an open launch.
    """
    connection, weblog_url = site.connection, site.weblog_url
    doc = connection.database(status.DATABASE).get(doc_id)
    if doc is None:
        return None
    uid = str(doc.get("entityId", doc_id))
    facts = [(name, cells.plain(doc.get(name))) for name in _FIELDS]
    facts += [("since (UTC)", cells.at(doc.get("timestamp")))]
    facts += [("run", cells.plain(doc.get("run"))), ("remark", remark(doc, View(weblog_url, launched)))]
    if doc.get("state") == lifecycle.READY_FOR_PROCESSING and uid not in launched:
        facts += [("cancelled", _cancelled(connection, doc, uid))]
    runs, run_names = _runs(connection, uid, doc, weblog_url)
    latest = reporting.of_runs(site, doc_id, run_names[-1:])
    products, delivered = _delivery(site, doc_id, uid)
    return Life(
        uid,
        doc_id,
        [fact for fact in facts if fact[1].text],
        _history(doc),
        _stretches(doc, connection.clock.now()),
        runs,
        run_names,
        latest[0] if latest else None,
        products,
        delivered,
        _messages(site, uid),
    )


def _cancelled(connection: DbConnection, doc: Doc, uid: str) -> Cell:
    """Return by whom the launch of an OUS was taken back, and why; nothing where none was since its last change."""
    try:
        found = cancels.of_ous(connection.database(queue.DATABASE), uid)
    except BadInput as error:
        return cells.prose(str(error), "bad")
    if found is None or found.at < str(doc.get("timestamp", "")):
        return cells.plain("")
    return cells.prose(f"its launch, by {found.by} at {found.at[:19].replace('T', ' ')} UTC: {found.reason}")


def _history(doc: Doc) -> Page:
    changes = entries(doc)
    stays = [*(_between(one, other) for one, other in pairwise(changes)), "until now"]
    heads = ("when (UTC)", "state", "substate", "by", "note", "stayed")
    rows = [
        [
            cells.at(each.get("at")),
            cells.plain(each.get("state")),
            cells.plain(each.get("substate")),
            cells.plain(each.get("by")),
            cells.prose(str(each.get("note", ""))),
            cells.plain(stay),
        ]
        for each, stay in zip(changes, stays, strict=False)
    ]
    return Page("history", "Timeline", heads, rows[::-1], len(rows), remark="The latest change is first.")


def _stretches(doc: Doc, now: datetime) -> list[Stretch]:
    found = []
    for each in entries(doc):
        try:
            found.append((str(each["state"]), moment(each["at"])))
        except (KeyError, TypeError, ValueError):
            continue  # the timeline shows such an entry as it is
    return stretches(found, now)


def _between(one: dict[str, Any], other: dict[str, Any]) -> str:
    try:
        return duration(max((moment(other["at"]) - moment(one["at"])).total_seconds(), 0))
    except (KeyError, TypeError, ValueError):
        return ""


def _runs(connection: DbConnection, uid: str, doc: Doc, weblog_url: str) -> tuple[Page, list[str]]:
    """Return the runs that have a report, and their names; a page never lists more than so many, and says so."""
    found = reports.Reports(connection.database(reports.DATABASE)).listed(uid)
    heads = ("run", "source", "products directory", "weblog", "which", "report")
    doc_id = str(doc["_id"])
    rows = [
        [
            cells.plain(each.get("timestamp")),
            cells.plain(each.get("source")),
            cells.plain(each.get("productsDir")),
            cells.weblog(weblog_url, uid, each.get("timestamp")),
            cells.plain("reviewed or delivered" if each.get("timestamp") == doc.get("run") else ""),
            Cell("report", href=f"/ous/{quote(doc_id)}/runs?a={quote(str(each.get('timestamp')))}"),
        ]
        for each in found
    ]
    remark_ = (
        f"More than {reports.MOST_RUNS} runs: the later ones are not listed." if len(rows) == reports.MOST_RUNS else ""
    )
    return Page("runs", "Runs with a report", heads, rows, len(rows), remark=remark_), [row[0].text for row in rows]


def _delivery(site: Site, doc_id: str, uid: str) -> tuple[Page, str]:
    """Return the products of the delivered run, each with its copies, and how the delivery stands in words."""
    heads = ("product", "bytes", "sha256", "archive", "JAO cache", "EU cache")
    doc = site.connection.database(delivery.STATUS_DATABASE).get(doc_id)
    if doc is None:
        return Page("products", "Products", heads, [], 0), "Nothing of this OUS has been ingested yet."
    named = doc.get("dataProducts")
    listed = [str(each) for each in named] if isinstance(named, list) else []
    metadata = site.connection.database(delivery.METADATA_DATABASE).fetch(listed) if listed else []
    archived = site.connection.database(ngas.DATABASE).fetch(listed) if listed else []
    folder = _folder(doc, uid)
    caches = [
        cache if cache.is_dir() else None for cache in (site.settings.jao_cache_dir(), site.settings.eu_cache_dir())
    ]
    rows = [
        [cells.plain(name), cells.number((known or {}).get("size")), cells.checksum((known or {}).get("sha256"))]
        + [_archived(known, stored)]
        + [_cached(cache, folder, name, known) for cache in caches]
        for name, known, stored in zip(listed, metadata, archived, strict=True)
    ]
    stands = "complete: the archive has all of the run" if doc.get("complete") else "not complete yet"
    return Page("products", "Products", heads, rows, len(rows)), f"Run {doc.get('timestamp', '')}: {stands}."


def _folder(doc: Doc, uid: str) -> str:
    try:
        return names.products_path(str(doc.get("progID")), str(doc.get("timestamp")), uid)
    except BadInput:
        return ""


def _archived(known: Doc | None, stored: Doc | None) -> Cell:
    if not stored or "sha256" not in stored:
        return Cell("missing", look="bad")
    same = known and stored["sha256"] == known.get("sha256")
    return Cell("there, same sha256", look="good") if same else Cell("there, another content", look="bad")


def _cached(cache: Path | None, folder: str, name: str, known: Doc | None) -> Cell:
    """Tell by name and size, which cost nothing to read, whether a cache on this machine has a file."""
    if cache is None:
        return Cell("not on this machine")
    try:
        # A product whose file name another run has is archived under its path in the cache.
        path = names.relative_path(name)
        path = path if path.startswith(f"{folder}/") else f"{folder}/{names.file_name(name)}"
        size = (cache / path).stat().st_size if folder else -1
    except (OSError, BadInput):
        return Cell("no copy")
    same = known and size == known.get("size")
    return Cell("there, same size", look="good") if same else Cell(f"there, {size} bytes", look="bad")


def _messages(site: Site, uid: str) -> Page:
    """Return the messages that name an OUS: the open and dead ones, and those among the latest that were settled."""
    database = site.connection.database(queue.DATABASE)
    settled = database.find(
        {"state": envelope.CONSUMED, "doneAt": {"$gt": None}},
        index=queue.ENDED_INDEX,
        sort=[{field: "desc"} for field in queue.INDEXES[queue.ENDED_INDEX][0]],
        limit=_MOST_SETTLED,
        fields=list(FIELDS),
    )
    found = [*site.live.post.find(ous=uid)] + [each for each in map(letter, settled) if each.ous == uid]
    said = ""
    if len(settled) == _MOST_SETTLED:
        said = f"Of the settled messages, the latest {_MOST_SETTLED} were looked through: older ones are not listed."
    return Page(
        "messages", "Messages about it", mail.HEADS, [mail.row(each) for each in found], len(found), remark=said
    )
