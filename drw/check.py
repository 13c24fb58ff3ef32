"""Checks that all is OK, as the seed's section of that name lists it: database, archive and caches, OUS by OUS."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.table import Table

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

_PRODUCTS: Final = 5
_OPEN_SHOWN: Final = 5


@dataclass
class Verdict:
    """What was found of one OUS, or of everything: facts to show, and what is wrong."""

    subject: str
    facts: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Checker:
    """Looks at what a delivered OUS must have left everywhere."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server."""
        self._connection = connection
        self._entities = connection.database(status.DATABASE)
        self._reports = reports.Reports(connection.database(reports.DATABASE))
        self._records = delivery.Records(connection)
        self._archive = ngas.Archive(connection.database(ngas.DATABASE), connection.clock)

    def ous(self, ous_uid: str, *, runs: int | None = None, products: int = _PRODUCTS) -> Verdict:
        """Check one OUS: Delivered, a report a run, a complete delivery, products and weblog proved in the archive."""
        verdict = Verdict(ous_uid)
        doc = self._entities.get(names.document_id(ous_uid))
        if doc is None:
            verdict.wrong.append("no status entity")
            return verdict
        entity = status.read(doc)
        verdict.facts.append(entity.state)
        if entity.state != DELIVERED:
            verdict.wrong.append(f"{entity.state} instead of {DELIVERED}")
        reported = self._reports.runs(ous_uid)
        verdict.facts.append(f"{len(reported)} reports")
        expected = runs if runs is not None else _reviewed_runs(entity)
        if len(reported) != expected:
            verdict.wrong.append(f"{len(reported)} pipeline reports for {expected} runs")
        self._check_delivery(entity, products, verdict)
        return verdict

    def _check_delivery(self, entity: StatusEntity, products: int, verdict: Verdict) -> None:
        found = self._records.status(entity.id)
        if found is None or not found.complete or found.timestamp != entity.run:
            verdict.wrong.append(f"no complete delivery status of run {entity.run}")
            return
        verdict.facts.append(f"{len(found.data_products)} products")
        if len(found.data_products) != products:
            verdict.wrong.append(f"{len(found.data_products)} products instead of {products}")
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
        verdict.facts.append("weblog archived" if not wrong else "no weblog")

    def no_open_message(self) -> Verdict:
        """Check that no message waits or is worked on; the dead ones are counted too."""
        verdict = Verdict("message bus")
        database = self._connection.database(queue.DATABASE)
        messages = [doc for doc in database.every() if envelope.is_message_id(doc["_id"])]
        open_ = [doc["_id"] for doc in messages if doc.get("state") in envelope.OPEN_STATES]
        dead = [doc["_id"] for doc in messages if doc.get("state") == envelope.DEAD]
        verdict.facts.append(f"{len(messages)} messages, {len(open_)} open, {len(dead)} dead")
        if open_:
            verdict.wrong.append(f"{len(open_)} open messages: {', '.join(open_[:_OPEN_SHOWN])}")
        if dead:
            verdict.wrong.append(f"{len(dead)} dead messages: {', '.join(dead[:_OPEN_SHOWN])}")
        return verdict

    def caches_alike(self, first: Path, second: Path) -> Verdict:
        """Check that two caches hold the same, byte for byte."""
        verdict = Verdict(f"{first.name} = {second.name}")
        try:
            one, other = (_content(path) for path in (first, second))
        except DrwError as error:
            verdict.wrong.append(str(error))
            return verdict
        verdict.facts.append(f"{len(one)} files, {sum(entry.size for entry in one)} bytes")
        differing = sorted({entry.path for entry in set(one) ^ set(other)})
        if differing:
            verdict.wrong.append(f"{len(differing)} files differ: {', '.join(differing[:_OPEN_SHOWN])}")
        return verdict


def print_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    """Print what was found as a table, a line each."""
    table = Table(title="Checking that all is OK", title_justify="left")
    for head in ("what", "found", "OK"):
        table.add_column(head, overflow="fold")
    for each in verdicts:
        table.add_row(each.subject, ", ".join(each.facts), "yes" if not each.wrong else "NO: " + "; ".join(each.wrong))
    console.print(table, markup=False)


def _reviewed_runs(entity: StatusEntity) -> int:
    return sum(entry.state == "ReadyForReview" and entry.note.startswith("run ") for entry in entity.history)


def _content(cache: Path) -> Sequence[FileEntry]:
    found: list[FileEntry] = []
    for path in sorted(cache.iterdir()):
        if path.name != MARKER:
            found += manifest.manifest_of(path)
    return found
