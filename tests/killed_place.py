"""What an actor of test_killed.py finds before its work, and what is left of it."""

from __future__ import annotations

import base64
import itertools
import random
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors import pipeline
from shared import audit, delivery, lifecycle, manifest, messages, names, ngas, reports, status
from shared.bus import envelope, queue
from shared.cache import CacheDirectory
from shared.clock import stamp
from shared.status import Change, Signature

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from shared.dbcon import DbConnection

PROGRAM: Final = "2015.1.00657.S"
POSTED: Final = "posted"
"""The file in which a web address keeps what it was told."""

LONG_AGO: Final = "2020-01-01T00:00:00.000000"
READY, PROCESSING = lifecycle.READY_FOR_PROCESSING, lifecycle.PROCESSING
REVIEW, REVIEWING = lifecycle.READY_FOR_REVIEW, lifecycle.REVIEWING
VERIFIED, DELIVERING = lifecycle.VERIFIED, lifecycle.DELIVERY_IN_PROGRESS


@dataclass
class Case:
    """One OUS on which an actor works once: who it is, and of which run."""

    ous: str
    run: str

    @property
    def products_dir(self) -> str:
        return names.products_dir(PROGRAM, self.run)

    @property
    def weblog(self) -> str:
        return names.weblog(self.ous, self.run)


@dataclass
class Place:
    """One home: databases, caches, and what makes the state that an actor finds."""

    home: Path
    connection: DbConnection

    @property
    def eu(self) -> Path:
        return self.home / "eu-cache"

    @property
    def jao(self) -> Path:
        return self.home / "jao-cache"

    # What an actor finds

    def put(self, database: str, doc: dict[str, Any]) -> None:
        self.connection.database(database).put(doc)

    def entity(self, case: Case, *changes: Change) -> None:
        """Store an OUS that was launched and then changed."""
        moments = (stamp(datetime.now(UTC) + timedelta(microseconds=n)) for n in range(100))
        entity = status.created(case.ous, PROGRAM, names.DEFAULT_RECIPE, "EU", Signature(next(moments), "test"))
        for change in changes:
            entity = status.changed(entity, change, Signature(next(moments), "test"))
        self.connection.database(status.DATABASE).put(msgspec.to_builtins(entity))

    def reviewed(self, case: Case, *states: str) -> None:
        """Store an OUS whose run is whole, on its way through these states."""
        self.entity(
            case, Change(state=PROCESSING), Change(state=REVIEW, run=case.run), *(Change(state=s) for s in states)
        )

    def message(self, selector: str, body: messages._Body) -> None:
        now = datetime.now(UTC)
        message = envelope.new(envelope.new_id(selector, now), body.body(), created=now, sender="test")
        self.connection.database(queue.DATABASE).put(msgspec.to_builtins(message))

    def products(self, case: Case, cache: Path) -> tuple[messages.FileEntry, ...]:
        """Put a run's products directory, and its weblog, into a cache."""
        run, chance = _pipeline_run(case), random.Random(1)
        made = pipeline.write_products(run, pipeline.run_stages(run, chance), chance, cache)
        folder = names.products_path(PROGRAM, case.run, case.ous)
        shutil.copy(cache / folder / case.weblog, cache / case.weblog)
        return manifest.manifest_of(made)

    def report(self, case: Case) -> messages.PipelineReport:
        run, chance = _pipeline_run(case), random.Random(1)
        stages = pipeline.run_stages(run, chance)
        text = base64.b64encode(pipeline.report_xml(run, stages, pipeline.summary(run, stages, chance))).decode()
        return messages.PipelineReport(
            ousUID=case.ous, source="EU", report=text, timestamp=case.run, productsDir=case.products_dir
        )

    def archived(self, case: Case) -> None:
        """Have the archive hold all of a run, as ingestor and replicator leave it."""
        self.products(case, self.jao)
        archive = ngas.Archive(self.connection.database(ngas.DATABASE), self.connection.clock)
        records, kept = delivery.Records(self.connection), []
        cache = CacheDirectory(self.jao)
        for entry in (*cache.manifest(case.products_dir), *cache.manifest(case.weblog)):
            name = entry.path.rpartition("/")[2]
            if name == names.report(case.ous, case.run) or name in kept:
                continue
            if not name.endswith(".zip"):
                facts = {"prog_id": PROGRAM, "ous_uid": case.ous, "timestamp": case.run}
                records.keep_metadata(delivery.ProductMetadata(id=name, size=entry.size, sha256=entry.sha256, **facts))
                kept.append(name)
            archive.put(self.jao / entry.path, name, size=entry.size, sha256=entry.sha256)
        doc_id = names.document_id(case.ous)
        records.keep_status(
            delivery.DeliveryStatus(
                id=doc_id, prog_id=PROGRAM, ous_uid=case.ous, timestamp=case.run, data_products=kept, complete=True
            )
        )

    def put_under_taken_names(self, case: Case) -> None:
        """Add products whose file names are another run's already: with the same content, with another, in folders."""
        folder = names.products_path(PROGRAM, case.run, case.ous)
        contents = {"image.data": b"same", "spectrum.data": b"ours", "spw-1/fit.data": b"1", "spw-2/fit.data": b"2"}
        for product, content in contents.items():
            path = self.jao / folder / product
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        another = Case("uid://A1/A1/A1", "2020-01-01T00:00:00.001")
        archive = ngas.Archive(self.connection.database(ngas.DATABASE), self.connection.clock)
        for product, content in (("image.data", b"same"), ("spectrum.data", b"another's")):
            source = self.home / "anothers"
            source.write_bytes(content)
            entry = manifest.entry(source, product)
            archive.put(source, product, size=entry.size, sha256=entry.sha256)
            facts = {"prog_id": PROGRAM, "ous_uid": another.ous, "timestamp": another.run}
            metadata = delivery.ProductMetadata(id=product, size=entry.size, sha256=entry.sha256, **facts)
            assert delivery.Records(self.connection).keep_metadata(metadata)

    # What is left of it

    def begin(self) -> None:
        """Clear away what the case before has left."""
        for root in (self.eu, self.jao, self.home / "work", self.home / "tmp"):
            for entry in root.iterdir() if root.exists() else ():
                if entry.name not in {".drw-cache", "weblogs"}:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            for entry in (root / "weblogs").glob("*"):
                shutil.rmtree(entry)
        (self.home / POSTED).unlink(missing_ok=True)
        for name in (queue.DATABASE, status.DATABASE, audit.DATABASE):
            database = self.connection.database(name)
            database.bulk([{"_id": doc["_id"], "_rev": doc["_rev"], "_deleted": True} for doc in database.every()])

    def messages(self) -> list[dict[str, Any]]:
        docs = self.connection.database(queue.DATABASE).every()
        return [doc for doc in docs if envelope.is_message_id(doc["_id"])]

    def state(self, case: Case) -> str:
        doc = self.connection.database(status.DATABASE).get(names.document_id(case.ous))
        return doc["state"] if doc else ""

    def waiting(self, selectors: Collection[str], dead: int = 0) -> list[str]:
        """Return what is open on some selectors, but for what a dead process holds."""
        waiting = [
            doc for doc in self.messages() if doc["selector"] in selectors and doc["state"] in envelope.OPEN_STATES
        ]
        return [doc["_id"] for doc in waiting if not (doc.get("claim") or {}).get("by", "").endswith(f":{dead}")]

    def outcome(self, case: Case) -> list[str]:
        """Return what is there now, a line each, with the names of OUS and run taken out."""
        lines = [f"open {doc['selector']} {doc['state']}" for doc in self.messages() if doc["selector"] == "xtss"]
        lines = [line for line in lines if not line.endswith(" consumed")]
        lines += [self._message(doc) for doc in self.messages() if doc["selector"] != "xtss"]
        for name in (status.DATABASE, reports.DATABASE, delivery.METADATA_DATABASE, delivery.STATUS_DATABASE):
            lines += [f"{name}: {self._document(doc)}" for doc in self._documents(name, case)]
        lines += [f"archive: {doc['_id']} {'sha256' in doc}" for doc in self._documents(ngas.DATABASE, case)]
        for root in (self.eu, self.jao):
            lines += [f"file: {path.relative_to(self.home)}" for path in sorted(root.rglob("*")) if self._counts(path)]
        audited = self.connection.database(audit.DATABASE).every()
        lines += [
            f"audit: {doc['what']}"
            for doc in audited
            if doc["subject"] == case.ous and doc["what"] in {"launch", "cancel"}
        ]
        told = (self.home / POSTED).read_text().split() if (self.home / POSTED).exists() else []
        lines += [f"told: {each}" for each in range(len(set(told)))]
        lines += [f"stray: {path}" for path in (self.home / "tmp").iterdir()]
        return sorted(self._plain(line, case) for line in lines) + self._faults(case)

    def _documents(self, name: str, case: Case) -> list[dict[str, Any]]:
        docs = self.connection.database(name).every()
        stem = names._stem(case.ous, case.run).removesuffix(case.run)
        stems = (f"-{stem}", f"/{names.document_id(case.ous)}/")
        return [
            doc
            for doc in docs
            if doc.get("ousUID", doc.get("entityId")) == case.ous or any(each in doc["_id"] for each in stems)
        ]

    def _message(self, doc: dict[str, Any]) -> str:
        body = {key: value for key, value in doc["body"].items() if key not in {"files", "report", "session", "key"}}
        return f"message {doc['selector']} {doc['state']} {sorted(body.items())}"

    def _document(self, doc: dict[str, Any]) -> str:
        kept = {
            key: value for key, value in doc.items() if key not in {"_rev", "history", "sha256", "size", "reviewer"}
        }
        moves = [f"{each['state']} {each.get('substate', '')}" for each in doc.get("history", ())]
        moves = [move for move, _ in itertools.groupby(moves)]  # a review goes on in another process's name
        return f"{sorted((key, str(value)) for key, value in kept.items() if key != 'encodedReport')} {moves}"

    def _counts(self, path: Path) -> bool:
        return path.is_file() and "runs" not in path.parts and path.name != "placing"

    def _plain(self, text: str, case: Case) -> str:
        """Take out of a line what differs from case to case: OUS, run, moments."""
        runs = {case.run} | {doc["body"]["timestamp"] for doc in self.messages() if "timestamp" in doc["body"]}
        for run in runs:
            text = text.replace(names.products_dir(PROGRAM, run), "DIR").replace(run, "RUN")
        for name in (case.ous, names.document_id(case.ous), case.ous.removeprefix("uid://").replace("/", "-")):
            text = text.replace(name, "OUS")
        words = [word for word in text.split("'") if not _is_moment(word)]
        return "'".join(words)

    def _faults(self, case: Case) -> list[str]:
        """Return what is wrong whatever the outcome: content that is not what was announced."""
        wrong = []
        for doc in self.messages():
            files = [msgspec.convert(each, messages.FileEntry) for each in doc["body"].get("files", ())]
            if files and doc["state"] == envelope.CONSUMED:
                wrong += manifest.differences(self.jao / doc["body"]["name"], files)
        archive = ngas.Archive(self.connection.database(ngas.DATABASE), self.connection.clock)
        for doc in self._documents(ngas.DATABASE, case):
            wrong += filter(None, [archive.check(doc["_id"], size=doc["size"], sha256=doc["sha256"])])
        return wrong

    def let_time_pass(self, pid: int) -> None:
        """Have the leases and the signs of life of a dead process be long over."""
        mine = f":{pid}"
        database = self.connection.database(queue.DATABASE)
        for doc in self.messages():
            if doc["state"] == envelope.CLAIMED and doc["claim"]["by"].endswith(mine):
                database.put({**doc, "due": LONG_AGO, "claim": {**doc["claim"], "until": LONG_AGO}})
        actors = self.connection.database("actors")
        for doc in actors.every():
            if doc["pid"] == pid:
                actors.put({**doc, "at": LONG_AGO})


def _pipeline_run(case: Case) -> pipeline.Run:
    return pipeline.Run(PROGRAM, case.ous, "EU", names.DEFAULT_RECIPE, case.run, 0.0, 0.0)


def _is_moment(word: str) -> bool:
    return len(word) == len(LONG_AGO) and word[:2] == "20" and word[10] == "T"
