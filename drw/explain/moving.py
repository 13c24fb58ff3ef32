"""What there is to say of an OUS that is moved on by a message: who has it, or what keeps it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drw import ages, crew
from drw.columns import counted, listed
from drw.explain.case import ITSELF, PERSON
from shared import messages, names
from shared.bus import envelope
from shared.bus.patterns import Pattern
from shared.clock import span

if TYPE_CHECKING:
    from drw.crew import Post
    from drw.explain.case import Answer, Case
    from drw.letters import Letter


def message(case: Case, letter: Letter, work: str) -> Answer:
    """Return what there is to say of an OUS whose next step is a message."""
    post = crew.post(letter.selector)
    if case.is_cancelled(letter):
        return _being_cancelled(case, letter)
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
        or (nobody_alive(case, post, work) if post else None)
        or _no_xtss(case, work)
        or _to_come(case, letter, work, post)
    )


def _being_cancelled(case: Case, letter: Letter) -> Answer:
    """Return what there is to say of a launch that was taken back, and whose message is not over yet."""
    cancelled = case.facts.cancelled
    assert cancelled is not None
    said = f"its launch was cancelled by {cancelled.by}, saying {cancelled.reason!r}"
    holder = next((each for each in case.facts.workers if each.id == letter.by), None)
    if letter.state == envelope.CLAIMED and holder and holder.stands == "alive":
        return case.answer("being cancelled", f"{said}, and {letter.by} ends its run", "nothing is to be done", ITSELF)
    return case.answer(
        "being cancelled",
        f"{said}, and nobody who lives has its run to end",
        f"'drw cancel {case.facts.uid} --reason …' completes it",
        PERSON,
    )


def _held(case: Case, letter: Letter, work: str, post: Post | None) -> Answer | None:
    """Return what there is to say of a message in somebody's hands; None once its lease is over."""
    left_s = case.left_s(letter.until) + case.facts.spare_s
    if left_s <= 0:
        return None
    holder = next((each for each in case.facts.workers if each.id == letter.by), None)
    if holder is None or holder.stands == "alive":
        lacks_xtss = _no_xtss(case, work)
        if lacks_xtss:
            return lacks_xtss
        runs = letter.selector.startswith(messages.PROCESS)
        return case.answer(
            "at work",
            f"{work} has been in the hands of {letter.by} for {case.age(letter.since)}",
            f"nothing is to be done, but 'drw cancel {case.facts.uid} --reason …' would end it"
            if runs
            else "nothing is to be done",
            ITSELF,
        )
    died = f"{letter.by}, which had {work}, {'has ended' if holder.stands == 'ended' else 'has died'}"
    lapses = f"its lease is over in {span(left_s)}"
    if post and not case.anybody(post):
        return case.answer(
            "worker lost", f"{died}, {lapses}, and no other {post.name} lives", f"start one: {post.start}", PERSON
        )
    return case.answer("lease to lapse", f"{died}, and {lapses}", "then another goes on with it by itself", ITSELF)


def _paused(case: Case, letter: Letter, work: str) -> Answer | None:
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


def nobody_alive(case: Case, post: Post, work: str) -> Answer | None:
    """Return what there is to say where nobody takes a post's work; None where somebody does."""
    if case.takers(post):
        return None
    drained = [each.id for each in case.anybody(post)]
    if drained:
        return case.answer(
            "drained",
            f"{work} waits for {post.name}, and {listed(drained)} is to take nothing new",
            f"'drw drain {drained[0]} --end' lets it, or start another: {post.start}",
            PERSON,
        )
    return case.answer(
        f"no {post.kind} alive",
        f"{work} waits for {post.name}, and none is alive",
        f"start one: {post.start}",
        PERSON,
    )


def _no_xtss(case: Case, work: str) -> Answer | None:
    return nobody_alive(case, crew.Post(crew.XTSS, "", "xtss"), work)


def _to_come(case: Case, letter: Letter, work: str, post: Post | None) -> Answer:
    """Return what there is to say of a message that is ready, or will be."""
    workers = case.anybody(post) if post else []
    if letter.state == envelope.READY:
        busy = [f"{each.id} {each.doing}" for each in workers if each.doing]
        return case.answer(
            "waits for its turn",
            f"{work} waits for its turn{f' ({busy[0]})' if busy else ''}, sent {case.age(letter.sent)} ago",
            "nothing is to be done",
            ITSELF,
        )
    left_s = case.left_s(letter.due)
    again = f"it is tried again {f'in {span(left_s)}' if left_s >= 1 else 'now'} by itself"
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


def replication(case: Case) -> Answer | None:
    """Return what there is to say of a run's way into the JAO cache, None if it has come."""
    if not case.entity.run:
        return None
    into_jao = messages.cached_selector("JAO")
    directory = names.products_dir(case.entity.prog_id, case.entity.run)
    weblog = names.weblog(case.entity.entity_id, case.entity.run)
    for name, what in ((directory, "products"), (weblog, "weblog")):
        letter = case.letter(into_jao, name)
        if letter:
            return message(case, letter, f"the replication of its {what} to JAO")
    if case.facts.in_cache is False:
        return case.answer(
            "missing product",
            f"the JAO cache lacks the products or the weblog of run {case.entity.run}, and no message brings them",
            f"'drw check {case.facts.uid}' shows what is missing where",
            PERSON,
        )
    return None
