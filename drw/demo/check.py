"""Checks that all is OK, as the seed's section of that name lists it: database, archive and caches, OUS by OUS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from drw import columns
from drw.columns import Line, counted
from shared import delivery, manifest, names, ngas, reports, status
from shared.bus import envelope, queue
from shared.cache import MARKER
from shared.errors import DrwError
from shared.lifecycle import DELIVERED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from shared.dbcon import DbConnection
    from shared.messages import FileEntry
    from shared.status import StatusEntity

HEADS: Final = ("OUS", "state", "reports", "products", "weblog", "OK")
_PRODUCTS: Final = 5
_OPEN_SHOWN: Final = 5


@dataclass
class Verdict:
    """What was found of one OUS, or of everything: what to show of it, and what is wrong."""

    subject: str
    fact: str = ""
    wrong: list[str] = field(default_factory=list)


@dataclass
class OusVerdict(Verdict):
    """What was found of one OUS."""

    state: str = "-"
    reports: int = 0
    products: int = 0
    weblog: str = "-"


class Checker:
    """Looks at what a delivered OUS must have left everywhere."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server."""
        self._connection = connection
        self._entities = connection.database(status.DATABASE)
        self._reports = reports.Reports(connection.database(reports.DATABASE))
        self._records = delivery.Records(connection)
        self._archive = ngas.Archive(connection.database(ngas.DATABASE), connection.clock)

    def ous(self, ous_uid: str, *, runs: int | None = None, products: int = _PRODUCTS) -> OusVerdict:
        """Check one OUS: Delivered, a report a run, a complete delivery, products and weblog proved in the archive."""
        verdict = OusVerdict(ous_uid)
        doc = self._entities.get(names.document_id(ous_uid))
        if doc is None:
            verdict.wrong.append("no status entity")
            return verdict
        entity = status.read(doc)
        verdict.state = entity.state
        if entity.state != DELIVERED:
            verdict.wrong.append(f"{entity.state} instead of {DELIVERED}")
        verdict.reports = len(self._reports.runs(ous_uid))
        expected = runs if runs is not None else _reviewed_runs(entity)
        if verdict.reports != expected:
            verdict.wrong.append(f"{counted(verdict.reports, 'pipeline report')} for {counted(expected, 'run')}")
        self._check_delivery(entity, products, verdict)
        return verdict

    def _check_delivery(self, entity: StatusEntity, products: int, verdict: OusVerdict) -> None:
        found = self._records.status(entity.id)
        if found is None or not found.complete or found.timestamp != entity.run:
            verdict.wrong.append(f"no complete delivery status of run {entity.run}")
            return
        verdict.products = len(found.data_products)
        if verdict.products != products:
            verdict.wrong.append(f"{counted(verdict.products, 'product')} instead of {products}")
        for name in found.data_products:
            metadata = self._records.metadata(name)
            if metadata is None:
                verdict.wrong.append(f"no metadata of {name}")
            else:
                verdict.wrong += filter(None, [self._archive.check(name, size=metadata.size, sha256=metadata.sha256)])
        weblog = names.weblog(entity.entity_id, found.timestamp)
        archived = self._archive.describe(weblog)
        wrong = self._archive.check(weblog, size=archived.size, sha256=archived.sha256) if archived else "no weblog"
        verdict.wrong += filter(None, [wrong])
        verdict.weblog = "no" if wrong else "yes"

    def no_open_message(self) -> Verdict:
        """Check that no message waits or is worked on; the dead ones are counted too."""
        verdict = Verdict("message bus")
        database = self._connection.database(queue.DATABASE)
        messages = [doc for doc in database.every() if envelope.is_message_id(doc["_id"])]
        open_ = [doc["_id"] for doc in messages if doc.get("state") in envelope.OPEN_STATES]
        dead = [doc["_id"] for doc in messages if doc.get("state") == envelope.DEAD]
        verdict.fact = f"{counted(len(messages), 'message')}, {len(open_)} open, {len(dead)} dead"
        if open_:
            verdict.wrong.append(f"{counted(len(open_), 'open message')}: {_some(open_)}")
        if dead:
            verdict.wrong.append(f"{counted(len(dead), 'dead message')}: {_some(dead)} (see: drw dead list)")
        return verdict

    def caches_alike(self, first: Path, second: Path) -> Verdict:
        """Check that two caches hold the same, byte for byte."""
        verdict = Verdict(f"{first.name} = {second.name}")
        try:
            one, other = (_content(path) for path in (first, second))
        except DrwError as error:
            verdict.wrong.append(str(error))
            return verdict
        verdict.fact = f"{counted(len(one), 'file')}, {counted(sum(entry.size for entry in one), 'byte')}"
        differing = sorted({entry.path for entry in set(one) ^ set(other)})
        if differing:
            verdict.wrong.append(f"{counted(len(differing), 'file')} not alike: {_some(differing)}")
        return verdict


def print_verdicts(ouss: Sequence[OusVerdict], others: Sequence[Verdict], console: Console) -> None:
    """Print what was found: a table of the OUSs, then a line for each of the others."""
    columns.say(console, "Checking that all is OK", style="bold")
    lines = [
        Line(
            (each.subject, each.state, str(each.reports), str(each.products), each.weblog, _yes(each)),
            "; ".join(each.wrong),
            "red" if each.wrong else "",
        )
        for each in ouss
    ]
    if lines:
        columns.print_table(console, HEADS, lines)
    else:
        columns.say(console, "there is no OUS yet")
    for each in others:
        columns.say(console, f"{each.subject}: {each.fact}: {'OK' if not each.wrong else 'NOT OK'}")
        for wrong in each.wrong:
            columns.say(console, f"    {wrong}", style="red")


def _yes(verdict: Verdict) -> str:
    return "NO" if verdict.wrong else "yes"


def _some(names_: Sequence[str]) -> str:
    more = f" and {len(names_) - _OPEN_SHOWN} more" if len(names_) > _OPEN_SHOWN else ""
    return ", ".join(names_[:_OPEN_SHOWN]) + more


def _reviewed_runs(entity: StatusEntity) -> int:
    return sum(entry.state == "ReadyForReview" and entry.note.startswith("run ") for entry in entity.history)


def _content(cache: Path) -> Sequence[FileEntry]:
    found: list[FileEntry] = []
    for path in sorted(cache.iterdir()):
        if path.name != MARKER:
            found += manifest.manifest_of(path)
    return found
