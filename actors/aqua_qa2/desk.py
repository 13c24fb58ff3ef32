"""The review desk: what waits for review, taking one, and giving a verdict. Without any terminal in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared import actor, heartbeats, lifecycle, report, reports
from shared.clock import elapsed_s
from shared.entities import Entities
from shared.errors import BadInput, DrwError, RemoteError, StateRefused
from shared.messages import VERDICT, Flag, Verdict
from shared.status import Change, Reviewer, StatusEntity

if TYPE_CHECKING:
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

    def waiting(self) -> list[StatusEntity]:
        """Return all OUSs that can be reviewed, those that wait longest first.

        They are ReadyForReview, or Reviewing by somebody whose program has died.
        """
        reviewing = self._entities.in_state(lifecycle.REVIEWING)
        abandoned = [each for each in reviewing if not self._holder_lives(each)]
        waiting = self._entities.in_state(lifecycle.READY_FOR_REVIEW)
        return sorted([*waiting, *abandoned], key=lambda each: each.timestamp)

    def _holder_lives(self, entity: StatusEntity) -> bool:
        """Tell whether the program of the reviewer who has an OUS lives."""
        session = entity.reviewer.session if entity.reviewer else ""
        if session == self._me.me or not session:
            return False
        doc = self._me.connection.database(actor.ACTORS_DATABASE).get(session)
        return heartbeats.is_alive(doc, self._me.connection.clock.now())

    def take(self, ous_uid: str, *, over: bool = False) -> tuple[StatusEntity, StoredReport]:
        """Begin the review of an OUS: set it to Reviewing, in this reviewer's name, and return it with its report.

        Of two who take it at once one is refused (StateRefused, with who has it and how to take it over). A review
        whose program has died can be taken by anybody; with ``over``, one that goes on can. BadInput where the OUS or
        its report is not there.
        """
        found = self._me.state.get(ous_uid)
        if found is None:
            raise BadInput(f"there is no OUS {ous_uid}")
        self._refuse(found, over=over)
        report = self._reports.of_run(ous_uid, found.run)
        if report is None:
            raise BadInput(f"the report of run {found.run} of {ous_uid} has not come yet: try again in a moment")
        before = found.reviewer
        taken = self._me.state.set(
            ous_uid,
            Change(state=lifecycle.REVIEWING, reviewer=Reviewer(self.reviewer, self._me.me)),
            expected=(found.state,),
            run=found.run,
            session=before.session if before else "",
            note=f"taken over from {before.name}" if before else "",
            by=self.reviewer,
        )
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

    def final_score(self, entity: StatusEntity) -> str:
        """Return the final score of the run to be reviewed, as text; a dash while its report is not there."""
        stored = self._reports.of_run(entity.entity_id, entity.run) if entity.run else None
        try:
            score = report.parse(stored.xml()).summary.final_score if stored else None
        except BadInput:
            return "unreadable"
        return "-" if score is None else f"{score:.2f}"

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

    def give_verdict(self, taken: StatusEntity, report: StoredReport, flag: Flag, comment: str) -> StatusEntity:
        """Give a verdict, wait until it is carried out, and return the OUS as it is then.

        When this has sent the verdict, it will be carried out whatever happens to this process.
        """
        verdict = Verdict(
            ousUID=taken.entity_id,
            flag=flag,
            timestamp=report.timestamp,
            productsDir=report.products_dir,
            reviewer=self.reviewer,
            session=self._me.me,
            comment=comment,
        )
        bus = self._me.bus
        message_id = bus.send(VERDICT, verdict.body(), dedup=f"verdict {taken.entity_id} {len(taken.history)}")
        event = bus.replies.expect(message_id)
        try:
            settled = bus.replies.wait(message_id, event, elapsed_s() + self._me.settings.rpc_deadline_s)
        finally:
            bus.replies.forget(message_id)
        if settled.state == "dead":
            raise RemoteError(settled.errors[-1].what if settled.errors else "the verdict could not be carried out")
        found = self._me.state.get(taken.entity_id)
        if found is None:
            raise DrwError(f"{taken.entity_id} has vanished")
        return found
