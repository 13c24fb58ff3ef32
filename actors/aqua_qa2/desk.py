"""The review desk: what waits for review, taking one, and giving a verdict. Without any terminal in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.aqua_qa2 import holding
from actors.aqua_qa2.listing import Row
from actors.aqua_qa2.scores import ScoreBook
from shared import actor, heartbeats, lifecycle, reports, review
from shared.clock import elapsed_s
from shared.entities import Entities
from shared.errors import BadInput, DrwError, RemoteError, StateRefused
from shared.messages import VERDICT, Flag, Verdict
from shared.status import Change, Reviewer, StatusEntity

if TYPE_CHECKING:
    from datetime import datetime

    from actors.aqua_qa2.scores import Scores
    from shared.actor import Actor
    from shared.reports import StoredReport

FLAGS: Final[dict[str, Flag]] = {"P": "Pass", "S": "Semipass", "F": "Fail"}
"""The QA2 flags by the letter that a reviewer types."""


class Desk:
    """A reviewer's place at AQUA."""

    def __init__(self, me: Actor, reviewer: str) -> None:
        """Take the actor and the name under which reviews go into the history."""
        self._me = me
        self.reviewer = reviewer
        self._entities = Entities(me.connection)
        self._reports = reports.Reports(me.connection.database(reports.DATABASE))
        self._scores = ScoreBook(me.connection.database(reports.DATABASE))

    def now(self) -> datetime:
        """Return the database's time."""
        return self._me.connection.clock.now()

    def rows(self, most_reports: int | None = None) -> list[Row]:
        """Return everything that waits for review or is being reviewed, what waits longest first.

        Where a number of reports is given no more are read, and the scores of the others are left for the next time.
        """
        found = [
            *self._entities.in_state(lifecycle.READY_FOR_REVIEW),
            *self._entities.in_state(lifecycle.REVIEWING),
        ]
        entities = sorted(found, key=lambda each: (_waiting_since(each), each.entity_id))
        scores = self._scores.of(entities, most_reports)
        return [self._row(*each) for each in zip(entities, scores, strict=True)]

    def _row(self, entity: StatusEntity, scores: Scores) -> Row:
        holder = entity.reviewer
        return Row(
            entity=entity,
            since=_waiting_since(entity),
            scores=scores,
            reviewer=holder.name if holder else "",
            left=bool(holder) and not self._holder_lives(entity) and not self._is_mine(entity),
            mine=self._is_mine(entity),
        )

    def _is_mine(self, entity: StatusEntity) -> bool:
        return entity.reviewer is not None and entity.reviewer.session == self._me.me

    def _holder_lives(self, entity: StatusEntity) -> bool:
        """Tell whether the program of the reviewer who has an OUS lives, if it is another than this one."""
        session = entity.reviewer.session if entity.reviewer else ""
        if session == self._me.me or not session:
            return False
        doc = self._me.connection.database(actor.ACTORS_DATABASE).get(session)
        return heartbeats.is_alive(doc, self._me.connection.clock.now())

    def take(self, ous_uid: str, *, over: bool = False) -> tuple[StatusEntity, StoredReport]:
        """Begin the review of an OUS: set it to Reviewing, in this reviewer's name, and return it with its report.

        Of two who take it at once one is refused (StateRefused, with who has it and how to take it over). A review
        whose program has died can be taken by anybody; with ``over``, one that goes on can. BadInput where there is no
        such OUS, DrwError while its report has not come. A review in which a verdict was given is over for everybody:
        it is carried out.
        """
        found = self._me.state.get(ous_uid)
        if found is None:
            raise BadInput(f"there is no OUS {ous_uid}")
        self._refuse(found, over=over)
        report = self._reports.of_run(ous_uid, found.run)
        if report is None:
            raise DrwError(f"the report of run {found.run} of {ous_uid} has not come yet: try again in a moment")
        before = found.reviewer
        try:
            taken = self._me.state.set(
                ous_uid,
                Change(state=lifecycle.REVIEWING, reviewer=Reviewer(self.reviewer, self._me.me)),
                expected=(found.state,),
                run=found.run,
                session=before.session if before else "",
                note=f"taken over from {before.name}" if before else "",
                by=self.reviewer,
            )
        except StateRefused:
            # Somebody was quicker: the sentence says who.
            self._refuse(self._me.state.get(ous_uid) or found, over=False)
            raise
        return taken, report

    def _refuse(self, found: StatusEntity, *, over: bool) -> None:
        """Raise StateRefused for an OUS that cannot be reviewed, or is being reviewed."""
        if found.state not in {lifecycle.READY_FOR_REVIEW, lifecycle.REVIEWING}:
            raise StateRefused(
                f"{found.entity_id} is {found.state}, not {lifecycle.READY_FOR_REVIEW}", found=found.state
            )
        if found.state == lifecycle.REVIEWING and found.reviewer and not over and self._holder_lives(found):
            raise StateRefused(
                f"{found.entity_id} is being reviewed by {found.reviewer.name}, since {found.timestamp[:19]} UTC: "
                f"'aqua-qa2 --take-over {found.entity_id}' reviews it instead",
                found=found.state,
            )
        if found.state == lifecycle.REVIEWING and (given := holding.verdict_on(found, self._me.bus.queue)):
            raise StateRefused(
                f"{found.entity_id} has a verdict, {given.body.get('flag')}, that is about to be carried out: "
                f"'drw why {found.entity_id}' says what it waits for",
                found=found.state,
            )

    def earlier(self, taken: StatusEntity) -> dict[str, Scores]:
        """Return the runs of an OUS before the one that is reviewed, oldest first, with their scores."""
        runs = [run for run in self._reports.runs(taken.entity_id) if run != taken.run]
        return self._scores.of_runs(taken.entity_id, runs)

    def give_back(self, taken: StatusEntity, why: str) -> None:
        """End a review without a verdict: the OUS is ReadyForReview again."""
        self._me.state.set(
            taken.entity_id,
            Change(state=lifecycle.READY_FOR_REVIEW),
            expected=(lifecycle.REVIEWING,),
            session=self._me.me,
            note=why,
            by=self.reviewer,
        )

    def leave(self, why: str) -> list[str]:
        """Give back whatever this process still has, but for what it has given a verdict on; return the UIDs.

        A reviewer can be interrupted at any point, also between taking an OUS and knowing that it is taken.
        """
        mine = [each for each in self._entities.in_state(lifecycle.REVIEWING) if self._is_mine(each)]
        left = [each for each in mine if holding.verdict_on(each, self._me.bus.queue) is None]
        for each in left:
            self.give_back(each, why)
        return [each.entity_id for each in left]

    def give_verdict(
        self, taken: StatusEntity, report: StoredReport, flag: Flag, comment: str, reason: str = ""
    ) -> StatusEntity:
        """Give a verdict, wait until it is carried out, and return the OUS as it is then.

        When this has sent the verdict, it will be carried out whatever happens to this process: DeadlineExceeded says
        that it will be later. RemoteError says that it cannot be, and why.
        """
        verdict = Verdict(
            ousUID=taken.entity_id,
            flag=flag,
            timestamp=report.timestamp,
            productsDir=report.products_dir,
            reviewer=self.reviewer,
            session=self._me.me,
            comment=review.remark(reason, comment),
        )
        bus = self._me.bus
        message_id = bus.send(VERDICT, verdict.body(), dedup=holding.verdict_key(taken))
        with bus.replies.expecting(message_id) as event:
            settled = bus.replies.wait(message_id, event, elapsed_s() + self._me.settings.rpc_deadline_s)
        if settled.state == "dead":
            raise RemoteError(settled.errors[-1].what if settled.errors else "the verdict could not be carried out")
        found = self._me.state.get(taken.entity_id)
        if found is None:
            raise DrwError(f"{taken.entity_id} has vanished")
        return found


def given(flag: Flag, ous_uid: str) -> str:
    """Return what to say of a verdict that is given, and whose DeadlineExceeded says that it is not carried out yet."""
    return f"{flag}: the verdict on {ous_uid} is given, and is carried out as soon as the state system answers"


def _waiting_since(entity: StatusEntity) -> str:
    return review.waiting_since(entity.history) or entity.timestamp
