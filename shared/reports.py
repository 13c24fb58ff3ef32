"""The pipeline reports as kept in ``pipeline-reports``, one a run."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

import msgspec

from shared import names
from shared.errors import BadInput, Conflict

if TYPE_CHECKING:
    from shared.dbcon import Database, Doc
    from shared.messages import PipelineReport

DATABASE: Final = "pipeline-reports"
OUS_INDEX: Final = "ous"
INDEXES: Final = {OUS_INDEX: ["ousUID", "timestamp"]}
SCHEMA: Final = 1
MOST_RUNS: Final = 1000
"""So many runs of an OUS are listed at most."""

_PAGE: Final = 200


class StoredReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run's report as stored: whose it is, where and when it was made, and its XML in BASE64."""

    id: str = msgspec.field(name="_id")
    schema: int = SCHEMA
    ous_uid: str = msgspec.field(name="ousUID")
    source: str
    timestamp: str
    products_dir: str = msgspec.field(name="productsDir")
    encoded_report: str = msgspec.field(name="encodedReport")

    def xml(self) -> bytes:
        """Return the report's text; raise BadInput where it is not BASE64."""
        try:
            return base64.b64decode(self.encoded_report)
        except ValueError as error:
            raise BadInput(f"the report of run {self.timestamp} in {DATABASE} is not BASE64: {error}") from error


class Reports:
    """Keeps and reads reports."""

    def __init__(self, database: Database) -> None:
        """Take the database."""
        self._database = database

    def keep(self, report: PipelineReport) -> bool:
        """Store a report; return False where it is stored already. Raises Conflict for another under its id."""
        stored = StoredReport(
            id=names.report_id(report.ousUID, report.timestamp),
            ous_uid=report.ousUID,
            source=report.source,
            timestamp=report.timestamp,
            products_dir=report.productsDir,
            encoded_report=report.report,
        )
        found = self._database.get(stored.id)
        if found is None:
            try:
                self._database.put(msgspec.to_builtins(stored))
            except Conflict:
                found = self._database.get(stored.id) or {}  # another process has the same message, or had it
            else:
                return True
        if found.get("encodedReport") != stored.encoded_report:
            raise Conflict(f"run {report.timestamp} of {report.ousUID} has another report already")
        return False

    def of_run(self, ous_uid: str, run: str) -> StoredReport | None:
        """Return the report of a run, or None while it has not come."""
        doc = self._database.get(names.report_id(ous_uid, run))
        return _read(doc) if doc else None

    def runs(self, ous_uid: str) -> list[str]:
        """Return the timestamps of all runs of an OUS that have a report, oldest first."""
        found: list[str] = []
        behind: object = ""
        while True:
            docs = self._find(ous_uid, behind, _PAGE, ["timestamp"])
            found += [doc["timestamp"] for doc in docs if _is_of_a_run(doc)]
            if len(docs) < _PAGE:
                return found
            behind = docs[-1]["timestamp"]

    def listed(self, ous_uid: str) -> list[Doc]:
        """Return what is known of the runs of an OUS that have a report, oldest first, without the reports themselves.

        These are ``timestamp``, ``source`` and ``productsDir``; what is of no run is left out.
        """
        docs = self._find(ous_uid, None, MOST_RUNS, ["timestamp", "source", "productsDir"])
        return [doc for doc in docs if _is_of_a_run(doc)]

    def _find(self, ous_uid: str, behind: object, limit: int, fields: list[str]) -> list[Doc]:
        return self._database.find(
            {"ousUID": ous_uid, "timestamp": {"$gt": behind}},
            index=OUS_INDEX,
            sort=INDEXES[OUS_INDEX],
            limit=limit,
            fields=fields,
        )


def _is_of_a_run(doc: Doc) -> bool:
    try:
        names.timestamp(doc["timestamp"])
    except BadInput:
        return False
    return True


def _read(doc: dict[str, object]) -> StoredReport:
    try:
        return msgspec.convert(doc, StoredReport)
    except msgspec.ValidationError as error:
        raise BadInput(f"document {doc.get('_id')} of {DATABASE} is no pipeline report: {error}") from error
