"""The actors of test_killed.py, each at every piece of its work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from killed_place import (
    DELIVERING,
    LONG_AGO,
    POSTED,
    PROCESSING,
    PROGRAM,
    READY,
    REVIEW,
    REVIEWING,
    VERIFIED,
    Case,
    Place,
)

from actors import data_tracker, launcher, notifier, product_ingestor, xtss
from actors.aqua_qa2 import prompt as aqua
from actors.pipeline_driver import driver
from actors.replicated_cache import replicator
from drw.cli import main as drw
from shared import lifecycle, messages, names, reports
from shared.bus import envelope, queue
from shared.cache import CacheDirectory
from shared.status import Change

Main = Callable[[Sequence[str]], int]
Aide = tuple[Main, tuple[str, ...]]
XTSS: Aide = (xtss.main, ("--strict",))
LISTENER: Aide = (aqua.main, ("--listen",))


class _Telling(BaseHTTPRequestHandler):
    """Keeps the key of everything that it is told."""

    def do_POST(self) -> None:
        with (Path(os.environ["DRW_HOME"]) / POSTED).open("a") as file:
            file.write(self.headers["Idempotency-Key"] + "\n")
        self.send_response(204)
        self.end_headers()


def _be_told(_: Sequence[str]) -> int:
    """Be the web address that the notifier tells."""
    port = urlsplit(os.environ["DRW_WEBHOOK_URL"]).port or 0
    HTTPServer(("127.0.0.1", port), _Telling).serve_forever()
    return 0


WEB: Aide = (_be_told, ())
_ANSWERS = {XTSS: messages.XTSS, LISTENER: messages.VERDICT, WEB: ""}


@dataclass(frozen=True)
class Scene:
    """An actor at one piece of its work: what it finds, how it is started, and how its work is known to be done."""

    find: Callable[[Place, Case], None]
    main: Main
    argv: Callable[[Place, Case], Sequence[object]]
    done: Callable[[Place, Case], bool] | None = None
    """None for a command that ends by itself, with status 0."""

    aides: tuple[Aide, ...] = (XTSS,)
    """Who has to be at work besides."""

    refusal: str = "(?!)"
    """What a command that ends with another status may say: that all is done."""

    left: Callable[[Place], list[str]] = lambda _: []
    """What counts of the outcome besides, a line each."""

    @property
    def answered(self) -> set[str]:
        """The selectors that those others listen to."""
        return {_ANSWERS[each] for each in self.aides}


def _consumed(place: Place, _: Case) -> bool:
    return all(doc["state"] in envelope.TERMINAL_STATES for doc in place.messages())


def _asks(operation: str, value: object, **more: Any) -> Callable[[Place, Case], None]:
    def find(place: Place, case: Case) -> None:
        if operation != "create":
            place.entity(case)
        place.message("xtss", messages.StateRequest(operation=operation, ousUID=case.ous, value=value, **more))

    return find


def _launched(place: Place, case: Case) -> None:
    place.entity(case)
    request = messages.ProcessRequest(progID=PROGRAM, ousUID=case.ous, recipe=names.DEFAULT_RECIPE)
    place.message("pipeline.process.EU", request)


def _announced(kind: str) -> Callable[[Place, Case], None]:
    def find(place: Place, case: Case) -> None:
        files = place.products(case, place.eu)
        name = case.products_dir if kind == "productsdir" else case.weblog
        if kind == "weblog":
            files = CacheDirectory(place.eu).manifest(name)
        place.message("cached.JAO", messages.CachedFile(fileType=kind, cachedAt="EU", name=name, files=files))

    return find


def _reported(place: Place, case: Case) -> None:
    place.reviewed(case)
    place.message(messages.REPORTS, place.report(case))


def _judged(flag: messages.Flag) -> Callable[[Place, Case], None]:
    def find(place: Place, case: Case) -> None:
        place.reviewed(case, REVIEWING)
        verdict = messages.Verdict(
            ousUID=case.ous, flag=flag, timestamp=case.run, productsDir=case.products_dir, reviewer="ada"
        )
        place.message(messages.VERDICT, verdict)

    return find


def _waits_for_review(place: Place, case: Case) -> None:
    place.reviewed(case)
    reports.Reports(place.connection.database(reports.DATABASE)).keep(place.report(case))


def _verified(place: Place, case: Case) -> None:
    place.reviewed(case, REVIEWING, VERIFIED, DELIVERING)
    place.products(case, place.jao)
    request = messages.IngestRequest(ousUID=case.ous, timestamp=case.run, productsDir=case.products_dir)
    place.message(messages.INGEST, request)


def _verified_with_taken_names(place: Place, case: Case) -> None:
    _verified(place, case)
    place.put_under_taken_names(case)


def _ingested(place: Place, case: Case) -> None:
    steps = (lifecycle.INGESTION_TRIGGERED, lifecycle.ANALYZING_PRODUCTS, lifecycle.INGESTING_PRODUCTS)
    changes = [Change(substate=each) for each in (*steps, lifecycle.PRODUCTS_INGESTED)]
    whole = (Change(state=PROCESSING), Change(state=REVIEW, run=case.run), Change(state=REVIEWING))
    place.archived(case)
    place.entity(case, *whole, Change(state=VERIFIED), Change(state=DELIVERING), *changes)


def _has_a_problem(place: Place, case: Case) -> None:
    """Leave an OUS that people are to be told of, by whoever was told to begin long ago."""
    place.put(queue.DATABASE, {"_id": "control:notifier:begun", "schema": 1, "since": LONG_AGO})
    place.entity(case, Change(state=PROCESSING), Change(state=lifecycle.PROCESSING_PROBLEM))


def _settled_long_ago(place: Place, _: Case) -> None:
    for number in range(250):
        made = envelope.new(f"work.EU:1:{number}", {}, created=datetime(2020, 1, 1, tzinfo=UTC), sender="test")
        settled = {"state": envelope.CONSUMED, "doneAt": LONG_AGO}
        place.put(queue.DATABASE, msgspec.to_builtins(made) | settled)


def _replicator(place: Place, _: Case) -> Sequence[object]:
    return ("-e", "JAO", "-lc", place.jao, "-euc", place.eu, "-p", "0")


SCENES = {
    "xtss creates": Scene(
        _asks("create", {"progID": PROGRAM, "recipe": names.DEFAULT_RECIPE, "executive": "EU"}),
        xtss.main,
        lambda *_: ["--strict"],
        _consumed,
        aides=(),
    ),
    "xtss changes": Scene(
        _asks("set", {"state": PROCESSING}, expected=(READY,)),
        xtss.main,
        lambda *_: ["--strict"],
        _consumed,
        aides=(),
    ),
    "launcher": Scene(lambda *_: None, launcher.main, lambda _, case: [PROGRAM, case.ous]),
    "driver": Scene(
        _launched,
        driver.main,
        lambda place, _: ["--failure-rate", "0", "EU", place.eu],
        lambda place, case: (
            place.state(case) == REVIEW
            and all(
                d["state"] == "consumed" for d in place.messages() if d["selector"] in {"xtss", "pipeline.process.EU"}
            )
        ),
    ),
    "driver fails": Scene(_launched, driver.main, lambda place, _: ["--failure-rate", "1", "EU", place.eu], _consumed),
    "cache, products": Scene(_announced("productsdir"), replicator.main, _replicator, _consumed),
    "cache, weblog": Scene(_announced("weblog"), replicator.main, _replicator, _consumed),
    "aqua, report": Scene(_reported, aqua.main, lambda *_: ["--listen"], _consumed),
    "aqua, pass": Scene(
        _judged("Pass"),
        aqua.main,
        lambda *_: ["--listen"],
        lambda place, case: (
            place.state(case) == DELIVERING
            and all(
                doc["state"] == "consumed" for doc in place.messages() if doc["selector"] in {"xtss", messages.VERDICT}
            )
        ),
    ),
    "aqua, fail": Scene(_judged("Fail"), aqua.main, lambda *_: ["--listen"], _consumed),
    # Started again after the verdict was given, the reviewer hears so; whoever listens carries it out.
    "reviewer": Scene(
        _waits_for_review,
        aqua.main,
        lambda _, case: ["--reviewer", "ada", "--ous", case.ous, "--flag", "P"],
        aides=(XTSS, LISTENER),
        refusal=r"is (Verified|DeliveryInProgress), not ReadyForReview|has a verdict, Pass, that",
    ),
    "ingestor": Scene(_verified, product_ingestor.main, lambda place, _: [place.jao], _consumed),
    "ingestor, taken names": Scene(
        _verified_with_taken_names, product_ingestor.main, lambda place, _: [place.jao], _consumed
    ),
    "tracker": Scene(
        _ingested,
        data_tracker.main,
        lambda *_: [],
        lambda place, case: place.state(case) == lifecycle.DELIVERED and _consumed(place, case),
    ),
    "notifier": Scene(
        _has_a_problem,
        notifier.main,
        lambda *_: [],
        lambda place, case: bool(place.messages()) and _consumed(place, case),
        aides=(WEB,),
    ),
    "janitor": Scene(_settled_long_ago, drw, lambda *_: ["janitor", "--once"], aides=()),
}
