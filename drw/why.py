"""What an OUS waits for, and the next safe thing to do. Pure: facts go in, an answer comes out.

Where an OUS stands is told by its state; what moves it on from there is a message in somebody's hands, a person, or
the data-tracker. So each state has a function here, and what can be with a message has one that all of them share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drw import ages, crew
from drw.columns import counted
from shared import lifecycle, messages, names
from shared.bus import envelope
from shared.bus.patterns import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from drw.crew import Post, Worker
    from drw.letters import Letter
    from shared.bus.pauses import Pause
    from shared.status import StatusEntity

NOTHING: Final = "nothing"
ITSELF: Final = "by itself"
PERSON: Final = "a person"
"""Who moves an OUS on: nobody, because it is delivered; the system, without anybody's help; or a person."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one OUS and of what may move it on.

    ``letters`` are its messages, open and dead; ``workers`` every actor by its signs of life. ``has_report`` is about
    the run that is reviewed; ``in_cache`` tells whether the JAO cache has its products and its weblog, None where that
    cache is not on this machine. ``missing`` is what the archive or the records lack of the run, ``products`` how many
    they have. ``spare_s`` is how far clocks may disagree (seconds).
    """

    uid: str
    now: datetime
    entity: StatusEntity | None
    letters: Sequence[Letter] = ()
    workers: Sequence[Worker] = ()
    pauses: Sequence[Pause] = ()
    has_report: bool = True
    in_cache: bool | None = None
    missing: str = ""
    products: int = 0
    spare_s: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an OUS waits for, and what to do. ``place`` names where it stands, ``moved_by`` who moves it on."""

    uid: str
    state: str
    place: str
    waits_for: str
    do: str
    moved_by: str

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        return f"{self.uid} is {self.state}: {self.waits_for}; {self.do}."


def explain(facts: Facts) -> Answer:
    """Return what an OUS waits for and the next safe thing to do."""
    entity = facts.entity
    if entity is None:
        return Answer(
            uid=facts.uid,
            state="unknown",
            place="unknown",
            waits_for="nobody has launched it",
            do=f"launch it with 'launcher PROGRAM {facts.uid}', or look with 'drw ous' for what there is",
            moved_by=PERSON,
        )
    return _BY_STATE.get(entity.state, _strange)(_Case(facts, entity))


@dataclass(frozen=True)
class _Case:
    """One OUS with its facts, and how answers about it are made."""

    facts: Facts
    entity: StatusEntity

    def answer(self, place: str, waits_for: str, do: str, moved_by: str) -> Answer:
        state = self.entity.state + (f" ({self.entity.substate})" if self.entity.state in _WITH_PROGRESS else "")
        state = state.replace(" ()", "")
        return Answer(uid=self.facts.uid, state=state, place=place, waits_for=waits_for, do=do, moved_by=moved_by)

    def letter(self, selector: str, name: str = "") -> Letter | None:
        """Return the message at a selector, if need be about one name: an open one before a dead one, the newest."""
        found = [each for each in self.facts.letters if each.selector == selector and name in {"", each.name}]
        return max(found, key=lambda each: (each.is_open, each.sent), default=None)

    def launch(self) -> str:
        """Return the command that launches this OUS as it was launched last."""
        entity = self.entity
        return f"{entity.prog_id} {entity.entity_id} {entity.recipe} {entity.executive}"

    def anybody(self, post: Post) -> list[Worker]:
        return [each for each in self.facts.workers if each.holds(post)]

    def age(self, text: str) -> str:
        return ages.since(text, self.facts.now)

    def left_s(self, text: str) -> float:
        """Return in how many seconds a stored moment comes; long ago for what is none."""
        passed_s = ages.passed_s(text, self.facts.now)
        return -_LONG_AGO_S if passed_s is None else -passed_s

    def note(self) -> str:
        return self.entity.history[-1].note if self.entity.history else ""


_LONG_AGO_S: Final = 1e9
_WITH_PROGRESS: Final = frozenset({lifecycle.VERIFIED, lifecycle.DELIVERY_IN_PROGRESS})


def _strange(case: _Case) -> Answer:
    return case.answer(
        "unknown state",
        "that is no state of the life cycle",
        f"'launcher --force {case.launch()}' begins anew, and 'drw ous {case.facts.uid}' shows who set it",
        PERSON,
    )


def _waiting_for_launch(case: _Case) -> Answer:
    letter = case.letter(messages.process_selector(case.entity.executive))
    if letter and letter.launched in {"", case.entity.timestamp}:
        return _message(case, letter, "its pipeline run")
    note = case.note()
    failed = f"its review ended with {note!r} and it" if note.startswith("Fail") else "it"
    return case.answer(
        "no launch",
        f"{failed} has waited for a launch for {case.age(case.entity.timestamp)}, and no message has it processed",
        f"launch it with 'launcher {case.launch()}'",
        PERSON,
    )


def _processing(case: _Case) -> Answer:
    letter = case.letter(messages.process_selector(case.entity.executive))
    if letter:
        return _message(case, letter, "its pipeline run")
    return case.answer(
        "nobody processes it",
        f"it has been there for {case.age(case.entity.timestamp)}, and no message says that anybody processes it",
        f"'drw check {case.facts.uid}' shows what is left of it, and 'launcher --force {case.launch()}' runs it anew",
        PERSON,
    )


def _problem(case: _Case) -> Answer:
    return case.answer(
        "ProcessingProblem",
        f"its run failed, {case.note() or 'nobody said why'}",
        f"read the log, mend the cause, and launch it again with 'launcher {case.launch()}'",
        PERSON,
    )


def _ready_for_review(case: _Case) -> Answer:
    run = case.entity.run
    if not case.facts.has_report:
        letter = case.letter(messages.REPORTS)
        if letter:
            return _message(case, letter, f"the report of run {run}")
        return case.answer(
            "no report",
            f"the report of run {run} is not there, and no message brings it",
            f"'drw check {case.facts.uid}' shows what is left of the run, and 'launcher --force {case.launch()}' runs "
            "it anew",
            PERSON,
        )
    return _replication(case) or case.answer(
        "waits for a reviewer",
        f"it has waited for a reviewer for {case.age(case.entity.timestamp)}",
        f"review it with 'aqua-qa2 --ous {case.facts.uid}', or at the prompt of aqua-qa2",
        PERSON,
    )


def _replication(case: _Case) -> Answer | None:
    """Return what there is to say of a run's way into the JAO cache, None if it has come."""
    if not case.entity.run:
        return None
    into_jao = messages.cached_selector("JAO")
    directory = names.products_dir(case.entity.prog_id, case.entity.run)
    weblog = names.weblog(case.entity.entity_id, case.entity.run)
    for name, what in ((directory, "products"), (weblog, "weblog")):
        letter = case.letter(into_jao, name)
        if letter:
            return _message(case, letter, f"the replication of its {what} to JAO")
    if case.facts.in_cache is False:
        return case.answer(
            "missing product",
            f"the JAO cache lacks the products or the weblog of run {case.entity.run}, and no message brings them",
            f"'drw check {case.facts.uid}' shows what is missing where",
            PERSON,
        )
    return None


def _reviewing(case: _Case) -> Answer:
    verdict = case.letter(messages.VERDICT)
    if verdict and (verdict.is_open or verdict.sent >= case.entity.timestamp):
        return _message(case, verdict, "its reviewer's verdict")
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


def _in_delivery(case: _Case) -> Answer:
    """Return what there is to say of an OUS that was passed and is not delivered."""
    verdict = case.letter(messages.VERDICT)
    if verdict and verdict.run in {"", case.entity.run} and case.entity.state == lifecycle.VERIFIED:
        return _message(case, verdict, "its reviewer's verdict")
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
    return (_replication(case) if waits else None) or _message(case, ingestion, "the ingestion of its products")


def _proof(case: _Case) -> Answer:
    """Return what there is to say while the data-tracker proves the delivery."""
    tracker = crew.Post(crew.TRACKER, "", "data-tracker")
    if case.facts.missing:
        replication = _replication(case)
        if replication:
            return replication
        return case.answer(
            "archive lacks",
            f"it is delivered once the archive holds all of run {case.entity.run}, and {case.facts.missing}",
            f"'drw check {case.facts.uid}' compares records, caches and archive",
            PERSON,
        )
    return _nobody_alive(case, tracker, "the proof of its delivery") or case.answer(
        "proof of delivery",
        "the data-tracker reads its files back from the archive",
        "nothing is to be done",
        ITSELF,
    )


def _delivered(case: _Case) -> Answer:
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


def _message(case: _Case, letter: Letter, work: str) -> Answer:
    """Return what there is to say of an OUS whose next step is a message."""
    post = crew.post(letter.selector)
    if letter.state == envelope.DEAD:
        return case.answer(
            "dead letter",
            f"{work} was given up after {counted(letter.attempts, 'attempt')}: {letter.error or 'nobody said why'}",
            f"mend that, then 'drw dead requeue {letter.id}'",
            PERSON,
        )
    if letter.state == envelope.CLAIMED:
        holding = _held(case, letter, work, post)
        if holding:
            return holding
    return (
        _paused(case, letter, work)
        or (_nobody_alive(case, post, work) if post else None)
        or _no_xtss(case, work)
        or _to_come(case, letter, work, post)
    )


def _held(case: _Case, letter: Letter, work: str, post: Post | None) -> Answer | None:
    """Return what there is to say of a message in somebody's hands; None once its lease is over."""
    left_s = case.left_s(letter.until) + case.facts.spare_s
    if left_s <= 0:
        return None
    holder = next((each for each in case.facts.workers if each.id == letter.by), None)
    if holder is None or holder.stands == "alive":
        lacks_xtss = _no_xtss(case, work)
        if lacks_xtss:
            return lacks_xtss
        return case.answer(
            "at work",
            f"{work} has been in the hands of {letter.by} for {case.age(letter.since)}",
            "nothing is to be done",
            ITSELF,
        )
    died = f"{letter.by}, which had {work}, {'has ended' if holder.stands == 'ended' else 'has died'}"
    lapses = f"its lease is over in {ages.span(left_s)}"
    if post and not case.anybody(post):
        return case.answer(
            "worker lost", f"{died}, {lapses}, and no other {post.name} lives", f"start one: {post.start}", PERSON
        )
    return case.answer("lease to lapse", f"{died}, and {lapses}", "then another goes on with it by itself", ITSELF)


def _paused(case: _Case, letter: Letter, work: str) -> Answer | None:
    for each in case.facts.pauses:
        if Pattern(each.pattern).covers(letter.selector):
            until = f" until {ages.at(each.until)} UTC" if each.until else ""
            return case.answer(
                "paused",
                f"{work} waits because {each.by} paused {each.pattern}{until}, saying {each.reason!r}",
                f"'drw resume {each.pattern}' lets it go on",
                ITSELF if each.until else PERSON,
            )
    return None


def _nobody_alive(case: _Case, post: Post, work: str) -> Answer | None:
    if case.anybody(post):
        return None
    return case.answer(
        f"no {post.kind} alive",
        f"{work} waits for a {post.name}, and none is alive",
        f"start one: {post.start}",
        PERSON,
    )


def _no_xtss(case: _Case, work: str) -> Answer | None:
    return _nobody_alive(case, crew.Post(crew.XTSS, "", "xtss"), work)


def _to_come(case: _Case, letter: Letter, work: str, post: Post | None) -> Answer:
    """Return what there is to say of a message that is ready, or will be."""
    workers = case.anybody(post) if post else []
    if letter.state == envelope.READY:
        busy = [each.doing for each in workers if each.doing]
        return case.answer(
            "waits for its turn",
            f"{work} waits for its turn{f' ({busy[0]})' if busy else ''}, sent {case.age(letter.sent)} ago",
            "nothing is to be done",
            ITSELF,
        )
    left_s = case.left_s(letter.due)
    again = f"it is tried again {f'in {ages.span(left_s)}' if left_s >= 1 else 'now'} by itself"
    if letter.state == envelope.CLAIMED:
        return case.answer("lease over", f"{work} was left by {letter.by}, and its lease is over", again, ITSELF)
    if letter.waits:
        return case.answer("waits for something", f"{work} waits: {letter.waits}", again, ITSELF)
    if letter.error:
        return case.answer(
            "failed, tried again",
            f"{work} failed, {counted(letter.attempts, 'attempt')} so far: {letter.error}",
            again,
            ITSELF,
        )
    return case.answer(
        "not before", f"{work} is not to begin before {ages.at(letter.due)} UTC", "nothing is to be done", ITSELF
    )


_BY_STATE: Final[dict[str, Callable[[_Case], Answer]]] = {
    lifecycle.READY_FOR_PROCESSING: _waiting_for_launch,
    lifecycle.PROCESSING: _processing,
    lifecycle.PROCESSING_PROBLEM: _problem,
    lifecycle.READY_FOR_REVIEW: _ready_for_review,
    lifecycle.REVIEWING: _reviewing,
    lifecycle.VERIFIED: _in_delivery,
    lifecycle.DELIVERY_IN_PROGRESS: _in_delivery,
    lifecycle.DELIVERED: _delivered,
}
