"""``drw why``: for every place where an OUS can stand, what it waits for, who moves it on, and what to do."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from drw import cli, crew
from drw.crew import Worker
from drw.explain import why
from drw.explain.case import ITSELF, NOTHING, PERSON, Facts
from drw.letters import Letter
from shared import lifecycle, names
from shared.bus.pauses import Pause
from shared.cancels import Cancellation
from shared.clock import stamp
from shared.lifecycle import (
    DELIVERED,
    DELIVERY_IN_PROGRESS,
    INGESTING_PRODUCTS,
    PROCESSING,
    PROCESSING_PROBLEM,
    PRODUCTS_INGESTED,
    READY_FOR_PROCESSING,
    READY_FOR_REVIEW,
    REVIEWING,
    VERIFIED,
)
from shared.proofs import Unproved
from shared.status import HistoryEntry, Reviewer, StatusEntity

UID = "uid://X1/X1/Xb0"
PROGRAM = "2015.1.00657.S"
RUN = "2026-11-20T10:00:00.000"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LAUNCHED = stamp(NOW - timedelta(hours=3))
PRODUCTS = names.products_dir(PROGRAM, RUN)
WEBLOG = names.weblog(UID, RUN)


def ago(**span):
    return stamp(NOW - timedelta(**span))


def entity(state, substate="", *, note="", reviewer=None, run=RUN):
    return StatusEntity(
        id=names.document_id(UID),
        entity_id=UID,
        prog_id=PROGRAM,
        recipe="PipelineCalibration",
        state=state,
        substate=substate,
        executive="EU",
        timestamp=LAUNCHED,
        run=run,
        reviewer=reviewer,
        history=[HistoryEntry(LAUNCHED, "ada", state, note=note)],
    )


def letter(selector, state="ready", **fields):
    return Letter(
        **{"id": f"{selector}:1:a", "selector": selector, "state": state, "sent": ago(minutes=5), "ous": UID} | fields
    )


def worker(kind, executive="", stands="alive", **fields):
    where = f"{kind}.{executive}" if executive else kind
    known = {
        "id": f"{where}@h:1",
        "kind": kind,
        "executive": executive,
        "stands": stands,
        "host": "h",
        "at": ago(minutes=9),
    }
    return Worker(**known | fields)


XTSS, DRIVER, AQUA = worker("xtss"), worker("pipeline-driver", "EU"), worker("aqua-qa2")
CACHE, INGESTOR, TRACKER = worker("replicated-cache", "JAO"), worker("product-ingestor"), worker("data-tracker")
CREW = (XTSS, DRIVER, AQUA, CACHE, INGESTOR, TRACKER)
DEAD_DRIVER = worker("pipeline-driver", "EU", "dead")
PROCESS = "pipeline.process.EU"


def explain(entity_, *letters, workers=CREW, **facts):
    return why.explain(Facts(uid=UID, now=NOW, entity=entity_, letters=letters, workers=workers, **facts))


def without(*gone):
    return tuple(each for each in CREW if each not in gone)


def claimed(selector, by, *, left_s=30.0, **fields):
    until = stamp(NOW + timedelta(seconds=left_s))
    return letter(selector, "claimed", by=by.id, since=ago(minutes=2), until=until, due=until, **fields)


def taken_back(at=LAUNCHED):
    return Cancellation(UID, "ada", at, "not yet", ["launch"])


READY = entity(READY_FOR_PROCESSING, "PipelineCalibration", run="")
RUNNING = entity(PROCESSING, "PipelineCalibration", run="")
REVIEW = entity(READY_FOR_REVIEW)
HELD = entity(REVIEWING, reviewer=Reviewer("ada", AQUA.id))
PASSED = entity(VERIFIED)
INGESTING = entity(DELIVERY_IN_PROGRESS, INGESTING_PRODUCTS)
INGESTED = entity(DELIVERY_IN_PROGRESS, PRODUCTS_INGESTED)

PLACES = {
    "unknown": (lambda: explain(None), "unknown", PERSON, ["nobody has launched it", "drw launch --program PROGRAM"]),
    "a state that is none": (
        lambda: explain(entity("Lost")),
        "unknown state",
        PERSON,
        ["no state of the life cycle", "drw launch --force"],
    ),
    "no launch": (
        lambda: explain(READY),
        "no launch",
        PERSON,
        ["has waited for a launch for 3 h", f"'drw launch {UID}'"],
    ),
    "launch of earlier": (
        lambda: explain(READY, letter(PROCESS, "dead", launched=ago(days=9))),
        "no launch",
        PERSON,
        ["waited for a launch"],
    ),
    "cancelled before it began": (
        lambda: explain(READY, cancelled=taken_back()),
        "no launch",
        PERSON,
        ["cancelled by ada, saying 'not yet'", f"'drw launch {UID}'"],
    ),
    "cancelled before the last launch": (
        lambda: explain(READY, cancelled=taken_back(at=ago(days=1))),
        "no launch",
        PERSON,
        ["it has waited for a launch for 3 h"],
    ),
    "being cancelled": (
        lambda: explain(RUNNING, claimed(PROCESS, DRIVER, id="launch"), cancelled=taken_back()),
        "being cancelled",
        ITSELF,
        ["cancelled by ada", f"{DRIVER.id} ends its run"],
    ),
    "cancelled, and its driver is dead": (
        lambda: explain(
            RUNNING,
            claimed(PROCESS, DEAD_DRIVER, id="launch"),
            workers=(XTSS, DEAD_DRIVER),
            cancelled=taken_back(),
        ),
        "being cancelled",
        PERSON,
        ["cancelled by ada", f"'drw cancel {UID} --reason …' completes it"],
    ),
    "cancelled run": (
        lambda: explain(entity(PROCESSING_PROBLEM, note="cancelled: wrong recipe", run="")),
        "cancelled",
        PERSON,
        ["cancelled by ada, saying 'wrong recipe'", f"'drw launch {UID}'"],
    ),
    "drained driver": (
        lambda: explain(READY, letter(PROCESS), drained={DRIVER.id}),
        "drained",
        PERSON,
        [f"{DRIVER.id} is to take nothing new", f"'drw drain {DRIVER.id} --end'"],
    ),
    "one driver drained of two": (
        lambda: explain(
            READY,
            letter(PROCESS),
            workers=(*CREW, worker("pipeline-driver", "EU", id="pipeline-driver.EU@h:2")),
            drained={DRIVER.id},
        ),
        "waits for its turn",
        ITSELF,
        [],
    ),
    "failed review": (
        lambda: explain(entity(READY_FOR_PROCESSING, note="Fail: phases", run="")),
        "no launch",
        PERSON,
        ["'Fail: phases'", "waited for a launch"],
    ),
    "no driver": (
        lambda: explain(READY, letter(PROCESS), workers=without(DRIVER)),
        "no pipeline-driver alive",
        PERSON,
        ["pipeline-driver at EU", "start one: pipeline-driver EU"],
    ),
    "driver of another executive": (
        lambda: explain(READY, letter(PROCESS), workers=(*without(DRIVER), worker("pipeline-driver", "NA"))),
        "no pipeline-driver alive",
        PERSON,
        ["none is alive"],
    ),
    "dead driver": (
        lambda: explain(READY, letter(PROCESS), workers=(*without(DRIVER), worker("pipeline-driver", "EU", "dead"))),
        "no pipeline-driver alive",
        PERSON,
        ["none is alive"],
    ),
    "no xtss": (
        lambda: explain(READY, letter(PROCESS), workers=without(XTSS)),
        "no xtss alive",
        PERSON,
        ["start one: xtss"],
    ),
    "queued": (lambda: explain(READY, letter(PROCESS)), "waits for its turn", ITSELF, ["sent 5 min ago"]),
    "queued behind another": (
        lambda: explain(
            READY, letter(PROCESS), workers=(XTSS, worker("pipeline-driver", "EU", doing="runs uid://X1/X1/X9"))
        ),
        "waits for its turn",
        ITSELF,
        ["(pipeline-driver.EU@h:1 runs uid://X1/X1/X9)"],
    ),
    "paused": (
        lambda: explain(READY, letter(PROCESS), pauses=(Pause("pipeline.process.*", "bob", LAUNCHED, "full disk"),)),
        "paused",
        PERSON,
        ["bob paused pipeline.process.*", "'full disk'", "drw resume pipeline.process.*"],
    ),
    "paused for a while": (
        lambda: explain(READY, letter(PROCESS), pauses=(Pause(PROCESS, "bob", LAUNCHED, "test", until=ago(hours=-1)),)),
        "paused",
        ITSELF,
        ["until 2026-11-20 13:00:00 UTC"],
    ),
    "another selector paused": (
        lambda: explain(READY, letter(PROCESS), pauses=(Pause("ingest.JAO", "bob", LAUNCHED, "x"),)),
        "waits for its turn",
        ITSELF,
        [],
    ),
    "not before": (
        lambda: explain(READY, letter(PROCESS, "delayed", due=ago(hours=-2))),
        "not before",
        ITSELF,
        ["14:00:00"],
    ),
    "claimed, not begun": (
        lambda: explain(READY, claimed(PROCESS, DRIVER)),
        "at work",
        ITSELF,
        ["in the hands of pipeline-driver.EU@h:1 for 2 min"],
    ),
    "dead launch": (
        lambda: explain(READY, letter(PROCESS, "dead", launched=LAUNCHED, attempts=8, error="no recipe")),
        "dead letter",
        PERSON,
        ["8 attempts: no recipe", f"drw dead requeue {PROCESS}:1:a"],
    ),
    "driver running": (lambda: explain(RUNNING, claimed(PROCESS, DRIVER)), "at work", ITSELF, ["its pipeline run"]),
    "running at somebody unheard of": (
        lambda: explain(RUNNING, claimed(PROCESS, worker("stranger"))),
        "at work",
        ITSELF,
        ["stranger@h:1"],
    ),
    "running without xtss": (
        lambda: explain(RUNNING, claimed(PROCESS, DRIVER), workers=without(XTSS)),
        "no xtss alive",
        PERSON,
        ["start one: xtss"],
    ),
    "driver died, another lives": (
        lambda: explain(
            RUNNING, claimed(PROCESS, DEAD_DRIVER), workers=(DEAD_DRIVER, XTSS, worker("pipeline-driver", "EU", id="b"))
        ),
        "lease to lapse",
        ITSELF,
        ["has died", "its lease is over in 35 s"],
    ),
    "driver died, alone": (
        lambda: explain(RUNNING, claimed(PROCESS, DEAD_DRIVER), workers=(DEAD_DRIVER, XTSS)),
        "worker lost",
        PERSON,
        ["has died", "no other pipeline-driver at EU lives", "start one"],
    ),
    "driver ended, alone": (
        lambda: explain(RUNNING, claimed(PROCESS, DRIVER), workers=(worker("pipeline-driver", "EU", "ended"), XTSS)),
        "worker lost",
        PERSON,
        ["has ended"],
    ),
    "lease over": (
        lambda: explain(RUNNING, claimed(PROCESS, DEAD_DRIVER, left_s=-60), workers=CREW),
        "lease over",
        ITSELF,
        ["tried again now"],
    ),
    "claimed until nobody knows when": (
        lambda: explain(RUNNING, letter(PROCESS, "claimed", by=DRIVER.id, until="soon")),
        "lease over",
        ITSELF,
        ["tried again now"],
    ),
    "lease over, nobody alive": (
        lambda: explain(RUNNING, claimed(PROCESS, DEAD_DRIVER, left_s=-60), workers=(DEAD_DRIVER, XTSS)),
        "no pipeline-driver alive",
        PERSON,
        ["start one"],
    ),
    "run failed, tried again": (
        lambda: explain(RUNNING, letter(PROCESS, "delayed", due=ago(minutes=-3), attempts=1, error="killed")),
        "failed, tried again",
        ITSELF,
        ["1 attempt so far: killed", "in 3 min"],
    ),
    "dead run": (
        lambda: explain(RUNNING, letter(PROCESS, "dead", attempts=3, error="disk full")),
        "dead letter",
        PERSON,
        ["disk full", "drw dead requeue"],
    ),
    "nobody processes it": (
        lambda: explain(RUNNING),
        "nobody processes it",
        PERSON,
        ["no message says that anybody", f"drw cancel {UID}"],
    ),
    "ProcessingProblem": (
        lambda: explain(entity(PROCESSING_PROBLEM, note="the pipeline ended with 3")),
        "ProcessingProblem",
        PERSON,
        ["the pipeline ended with 3", "launch it again"],
    ),
    "ProcessingProblem without a word": (
        lambda: explain(entity(PROCESSING_PROBLEM)),
        "ProcessingProblem",
        PERSON,
        ["nobody said why"],
    ),
    "report on its way": (
        lambda: explain(REVIEW, letter("pipeline.report.JAO"), has_report=False, workers=without(AQUA)),
        "no aqua-qa2 alive",
        PERSON,
        ["start one: aqua-qa2 --listen"],
    ),
    "no report": (lambda: explain(REVIEW, has_report=False), "no report", PERSON, ["no message brings it"]),
    "replication waiting": (
        lambda: explain(REVIEW, letter("cached.JAO", name=PRODUCTS)),
        "waits for its turn",
        ITSELF,
        ["replication of its products to JAO"],
    ),
    "replication without replicator": (
        lambda: explain(REVIEW, letter("cached.JAO", name=WEBLOG), workers=without(CACHE)),
        "no replicated-cache alive",
        PERSON,
        ["replication of its weblog", "start one: replicated-cache -e JAO"],
    ),
    "source away": (
        lambda: explain(
            REVIEW, letter("cached.JAO", "delayed", name=PRODUCTS, waits="eu-host is away", due=ago(minutes=-2))
        ),
        "waits for something",
        ITSELF,
        ["eu-host is away", "in 2 min"],
    ),
    "dead replication": (
        lambda: explain(REVIEW, letter("cached.JAO", "dead", name=PRODUCTS, error="content differs")),
        "dead letter",
        PERSON,
        ["content differs"],
    ),
    "replication of another run": (
        lambda: explain(REVIEW, letter("cached.JAO", "dead", name="weblog-of-another.zip")),
        "waits for a reviewer",
        PERSON,
        [],
    ),
    "missing product": (
        lambda: explain(REVIEW, in_cache=False),
        "missing product",
        PERSON,
        ["the JAO cache lacks", f"drw check {UID}"],
    ),
    "waits for a reviewer": (
        lambda: explain(REVIEW, in_cache=True),
        "waits for a reviewer",
        PERSON,
        ["has waited for a reviewer for 3 h", f"aqua-qa2 --ous {UID}"],
    ),
    "reviewed by ada": (
        lambda: explain(HELD),
        "reviewed",
        PERSON,
        ["ada has been reviewing it for 3 h, at h", f"aqua-qa2 --take-over {UID}"],
    ),
    "reviewer died": (
        lambda: explain(HELD, workers=(worker("aqua-qa2", stands="dead"),)),
        "review left",
        PERSON,
        ["by ada", "last heard of 9 min ago", "anybody may review it"],
    ),
    "reviewer unheard of": (
        lambda: explain(HELD, workers=()),
        "review left",
        PERSON,
        ["whose program is not known"],
    ),
    "reviewing, nobody knows who": (
        lambda: explain(entity(REVIEWING)),
        "review left",
        PERSON,
        ["by somebody"],
    ),
    "verdict waiting": (
        lambda: explain(HELD, letter("verdict.JAO", run=RUN), workers=without(AQUA)),
        "no aqua-qa2 alive",
        PERSON,
        ["its reviewer's verdict"],
    ),
    "dead verdict of this review": (
        lambda: explain(HELD, letter("verdict.JAO", "dead", run=RUN, error="refused")),
        "dead letter",
        PERSON,
        ["refused"],
    ),
    "dead verdict of an earlier review": (
        lambda: explain(HELD, letter("verdict.JAO", "dead", run=RUN, sent=ago(days=2))),
        "reviewed",
        PERSON,
        [],
    ),
    "verdict half carried out": (
        lambda: explain(PASSED, claimed("verdict.JAO", AQUA, run=RUN)),
        "at work",
        ITSELF,
        ["its reviewer's verdict"],
    ),
    "ingestion waiting": (
        lambda: explain(entity(DELIVERY_IN_PROGRESS), letter("ingest.JAO"), workers=without(INGESTOR)),
        "no product-ingestor alive",
        PERSON,
        ["start one: product-ingestor"],
    ),
    "ingestion at work": (
        lambda: explain(INGESTING, claimed("ingest.JAO", INGESTOR), in_cache=False),
        "at work",
        ITSELF,
        ["the ingestion of its products"],
    ),
    "ingestion waits for replication": (
        lambda: explain(
            INGESTING,
            letter("ingest.JAO", "delayed", waits="no products", due=stamp(NOW)),
            letter("cached.JAO", name=PRODUCTS),
            workers=without(CACHE),
        ),
        "no replicated-cache alive",
        PERSON,
        ["replication of its products"],
    ),
    "ingestion waits for products that nobody brings": (
        lambda: explain(INGESTING, letter("ingest.JAO", "delayed", waits="no products"), in_cache=False),
        "missing product",
        PERSON,
        ["no message brings them"],
    ),
    "dead ingestion": (
        lambda: explain(INGESTING, letter("ingest.JAO", "dead", error="another content")),
        "dead letter",
        PERSON,
        ["another content"],
    ),
    "nobody ingests it": (lambda: explain(PASSED), "nobody ingests it", PERSON, ["no message has its products"]),
    "archive lacks a product": (
        lambda: explain(INGESTED, missing="product p is not in the archive"),
        "archive lacks",
        PERSON,
        ["product p is not in the archive"],
    ),
    "weblog on its way into the archive": (
        lambda: explain(INGESTED, letter("cached.JAO", name=WEBLOG), missing="weblog w is not in the archive"),
        "waits for its turn",
        ITSELF,
        ["replication of its weblog"],
    ),
    "no tracker": (
        lambda: explain(INGESTED, workers=without(TRACKER)),
        "no data-tracker alive",
        PERSON,
        ["start one: data-tracker"],
    ),
    "damaged in the archive": (
        lambda: explain(INGESTED, unproved=Unproved(RUN, ago(hours=2), "p in the archive has 4 bytes with sha256 ab")),
        "archive damaged",
        PERSON,
        ["found for 2 h: p in the archive has 4 bytes", f"drw check --repair {UID}"],
    ),
    "proof of delivery": (lambda: explain(INGESTED), "proof of delivery", ITSELF, ["reads its files back"]),
    "delivered": (
        lambda: explain(entity(DELIVERED), products=5),
        "delivered",
        NOTHING,
        [f"run {RUN} with 5 products has been in the archive for 3 h", "nothing is to be done"],
    ),
    "delivered, and incomplete": (
        lambda: explain(entity(DELIVERED), missing="product p has no metadata"),
        "delivered, and incomplete",
        PERSON,
        ["product p has no metadata", "drw check"],
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_place_says_what_it_waits_for_and_what_to_do(place):
    ask, expected, moved_by, words = PLACES[place]
    answer = ask()
    assert (answer.place, answer.moved_by) == (expected, moved_by), answer.sentence
    for each in words:
        assert each in answer.sentence


@pytest.mark.parametrize("place", PLACES)
def test_the_answer_is_one_sentence_about_the_ous(place):
    sentence = PLACES[place][0]().sentence
    assert sentence.startswith(f"{UID} is ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "  " not in sentence


@pytest.mark.parametrize("place", PLACES)
def test_the_commands_that_an_answer_names_can_be_typed(place):
    for typed in re.findall(r"'(drw .*?)'(?![a-z])", PLACES[place][0]().sentence):
        assert callable(cli.parser().parse_args(shlex.split(typed)[1:]).do)


def test_no_state_is_without_an_answer():
    for state in lifecycle.STATES:
        assert explain(entity(state)).state.startswith(state)


def test_an_open_message_counts_more_than_a_dead_one_and_the_newest_most():
    old = letter(PROCESS, "dead", id="old", sent=ago(minutes=1))
    assert explain(READY, old, claimed(PROCESS, DRIVER)).place == "at work"
    both = [letter(PROCESS, "dead", id=each, sent=ago(minutes=age)) for each, age in (("a", 9), ("b", 2))]
    assert "requeue b" in explain(RUNNING, *both).sentence


@pytest.mark.parametrize(
    ("selector", "kind"),
    [
        ("pipeline.process.NA", "pipeline-driver at NA"),
        ("cached.EU", "replicated-cache at EU"),
        ("verdict.JAO", "aqua-qa2"),
        ("xtss", "xtss"),
    ],
)
def test_who_handles_a_selector(selector, kind):
    assert crew.post(selector).name == kind


def test_nobody_of_ours_handles_a_stranger():
    assert crew.post("greet.EU") is None
