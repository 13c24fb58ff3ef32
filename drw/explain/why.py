"""What an OUS waits for, and the next safe thing to do. Pure: facts go in, an answer comes out.

Where an OUS stands is told by its state; what moves it on from there is a message in somebody's hands, a person, or
the data-tracker. So each state has a function here, and what can be with a message is in :mod:`drw.explain.moving`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drw import crew
from drw.columns import counted
from drw.explain import moving
from drw.explain.case import ITSELF, NOTHING, PERSON, Answer, Case
from shared import cancels, lifecycle, messages, review
from shared.bus import envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from drw.explain.case import Facts


def explain(facts: Facts) -> Answer:
    """Return what an OUS waits for and the next safe thing to do."""
    entity = facts.entity
    if entity is None:
        return Answer(
            uid=facts.uid,
            state="unknown",
            place="unknown",
            waits_for="nobody has launched it",
            do=f"launch it with 'drw launch --program PROGRAM {facts.uid}', or look with 'drw ous' for what there is",
            moved_by=PERSON,
        )
    return _BY_STATE.get(entity.state, _strange)(Case(facts, entity))


def _strange(case: Case) -> Answer:
    return case.answer(
        "unknown state",
        "that is no state of the life cycle",
        f"'drw launch --force {case.facts.uid}' begins anew, and 'drw ous {case.facts.uid}' shows who set it",
        PERSON,
    )


def _waiting_for_launch(case: Case) -> Answer:
    letter = case.letter(messages.process_selector(case.entity.executive))
    if letter and letter.launched in {"", case.entity.timestamp}:
        return moving.message(case, letter, "its pipeline run")
    note, cancelled = case.note(), case.facts.cancelled
    before = "it"
    if note.startswith("Fail"):
        before = f"its review ended with {note!r} and it"
    elif cancelled and cancelled.at >= case.entity.timestamp:
        before = f"its launch was cancelled by {cancelled.by}, saying {cancelled.reason!r}, and it"
    return case.answer(
        "no launch",
        f"{before} has waited for a launch for {case.age(case.entity.timestamp)}, and no message has it processed",
        f"launch it with 'drw launch {case.facts.uid}'",
        PERSON,
    )


def _processing(case: Case) -> Answer:
    letter = case.letter(messages.process_selector(case.entity.executive))
    if letter:
        return moving.message(case, letter, "its pipeline run")
    return case.answer(
        "nobody processes it",
        f"it has been there for {case.age(case.entity.timestamp)}, and no message says that anybody processes it",
        f"'drw cancel {case.facts.uid} --reason …' leaves it in ProcessingProblem, and 'drw launch' then runs it anew",
        PERSON,
    )


def _problem(case: Case) -> Answer:
    cancelled = case.note().partition(cancels.NOTE)[2]
    if cancelled:
        return case.answer(
            "cancelled",
            f"its run was cancelled by {case.entity.history[-1].by}, saying {cancelled!r}",
            f"launch it again with 'drw launch {case.facts.uid}' when it is to run",
            PERSON,
        )
    return case.answer(
        "ProcessingProblem",
        f"its run failed, {case.note() or 'nobody said why'}",
        f"read the log, mend the cause, and launch it again with 'drw launch {case.facts.uid}'",
        PERSON,
    )


def _ready_for_review(case: Case) -> Answer:
    run = case.entity.run
    if not case.facts.has_report:
        letter = case.letter(messages.REPORTS)
        if letter:
            return moving.message(case, letter, f"the report of run {run}")
        return case.answer(
            "no report",
            f"the report of run {run} is not there, and no message brings it",
            f"'drw check {case.facts.uid}' shows what is left of the run, and 'drw launch --force {case.facts.uid}' "
            "runs it anew",
            PERSON,
        )
    since = review.waiting_since(case.entity.history) or case.entity.timestamp
    return moving.replication(case) or case.answer(
        "waits for a reviewer",
        f"it has waited for a reviewer for {case.age(since)}",
        f"review it with 'aqua-qa2 --ous {case.facts.uid}', or at the prompt of aqua-qa2",
        PERSON,
    )


def _reviewing(case: Case) -> Answer:
    verdict = case.letter(messages.VERDICT)
    if verdict and (verdict.is_open or verdict.sent >= case.entity.timestamp):
        return moving.message(case, verdict, "its reviewer's verdict")
    reviewer = case.entity.reviewer
    name = reviewer.name if reviewer else "somebody"
    session = next((each for each in case.facts.workers if reviewer and each.id == reviewer.session), None)
    if session and session.stands == "alive":
        return case.answer(
            "reviewed",
            f"{name} has been reviewing it for {case.age(case.entity.timestamp)}, at {session.host}",
            f"wait for the verdict, or take it over from {name} with 'aqua-qa2 --take-over {case.facts.uid}'",
            PERSON,
        )
    gone = f"whose program was last heard of {case.age(session.at)} ago" if session else "whose program is not known"
    return case.answer(
        "review left",
        f"its review by {name}, {gone}, was left without a verdict",
        f"anybody may review it now with 'aqua-qa2 --ous {case.facts.uid}'",
        PERSON,
    )


def _in_delivery(case: Case) -> Answer:
    """Return what there is to say of an OUS that was passed and is not delivered."""
    verdict = case.letter(messages.VERDICT)
    if verdict and verdict.run in {"", case.entity.run} and case.entity.state == lifecycle.VERIFIED:
        return moving.message(case, verdict, "its reviewer's verdict")
    if case.entity.substate == lifecycle.PRODUCTS_INGESTED:
        return _proof(case)
    ingestion = case.letter(messages.INGEST)
    if ingestion is None:
        return case.answer(
            "nobody ingests it",
            "it was passed, and no message has its products ingested",
            f"'drw check {case.facts.uid}' shows what the archive lacks",
            PERSON,
        )
    waits = ingestion.state != envelope.CLAIMED
    way = moving.replication(case) if waits else None
    return way or moving.message(case, ingestion, "the ingestion of its products")


def _proof(case: Case) -> Answer:
    """Return what there is to say while the data-tracker proves the delivery."""
    tracker = crew.Post(crew.TRACKER, "", "data-tracker")
    if case.facts.missing:
        replication = moving.replication(case)
        if replication:
            return replication
        return case.answer(
            "archive lacks",
            f"it is delivered once the archive holds all of run {case.entity.run}, and {case.facts.missing}",
            f"'drw check {case.facts.uid}' compares records, caches and archive",
            PERSON,
        )
    absent = moving.nobody_alive(case, tracker, "the proof of its delivery")
    if absent:
        return absent
    unproved = case.facts.unproved
    if unproved:
        return case.answer(
            "archive damaged",
            f"its files do not read back whole, as the data-tracker has found for {case.age(unproved.since)}: "
            f"{unproved.what}",
            f"'drw check --repair {case.facts.uid}' reads them back too, and mends what the caches have",
            PERSON,
        )
    return case.answer(
        "proof of delivery",
        "the data-tracker reads its files back from the archive",
        "nothing is to be done",
        ITSELF,
    )


def _delivered(case: Case) -> Answer:
    if case.facts.missing:
        return case.answer(
            "delivered, and incomplete",
            f"it was delivered, but {case.facts.missing}",
            f"'drw check {case.facts.uid}' compares records, caches and archive",
            PERSON,
        )
    held = counted(case.facts.products, "product")
    return case.answer(
        "delivered",
        f"run {case.entity.run} with {held} has been in the archive for {case.age(case.entity.timestamp)}",
        "nothing is to be done",
        NOTHING,
    )


_BY_STATE: Final[dict[str, Callable[[Case], Answer]]] = {
    lifecycle.READY_FOR_PROCESSING: _waiting_for_launch,
    lifecycle.PROCESSING: _processing,
    lifecycle.PROCESSING_PROBLEM: _problem,
    lifecycle.READY_FOR_REVIEW: _ready_for_review,
    lifecycle.REVIEWING: _reviewing,
    lifecycle.VERIFIED: _in_delivery,
    lifecycle.DELIVERY_IN_PROGRESS: _in_delivery,
    lifecycle.DELIVERED: _delivered,
}
