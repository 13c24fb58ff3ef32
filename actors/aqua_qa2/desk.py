"""The review desk: what waits for review, taking one, and giving a verdict. Without any terminal in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared import lifecycle, reports, status
from shared.clock import elapsed_s
from shared.errors import BadInput, DrwError, RemoteError, StateRefused
from shared.messages import VERDICT, Flag, Verdict
from shared.status import Change, Reviewer, StatusEntity

if TYPE_CHECKING:
    from shared.actor import Actor
    from shared.reports import StoredReport

FLAGS: Final[dict[str, Flag]] = {"P": "Pass", "S": "Semipass", "F": "Fail"}
"""The QA2 flags by the letter that a reviewer types."""

_PAGE: Final = 200


class Desk:
    """A reviewer's place at AQUA."""

    def __init__(self, me: Actor, reviewer: str) -> None:
        """Take the actor and the name under which reviews go into the history."""
        self._me = me
        self.reviewer = reviewer
        self._entities = me.connection.database(status.DATABASE)
        self._reports = reports.Reports(me.connection.database(reports.DATABASE))

    def waiting(self) -> list[StatusEntity]:
        """Return all OUSs that are ReadyForReview, those that wait longest first."""
        found: dict[str, StatusEntity] = {}
        since = ""
        while True:
            docs = self._entities.find(
                {"state": lifecycle.READY_FOR_REVIEW, "substate": "", "timestamp": {"$gte": since}},
                index=status.STATE_INDEX,
                sort=status.INDEXES[status.STATE_INDEX],
                limit=_PAGE,
            )
            fresh = {doc["_id"]: status.read(doc) for doc in docs if doc["_id"] not in found}
            found |= fresh
            if len(docs) < _PAGE or not fresh:
                return list(found.values())
            since = docs[-1]["timestamp"]

    def take(self, ous_uid: str) -> tuple[StatusEntity, StoredReport]:
        """Begin the review of an OUS: set it to Reviewing, in this reviewer's name, and return it with its report.

        Of two who take it at once one is refused (StateRefused, with who has it). BadInput where the OUS or its report
        is not there.
        """
        found = self._me.state.get(ous_uid)
        if found is None:
            raise BadInput(f"there is no OUS {ous_uid}")
        if found.state == lifecycle.REVIEWING and found.reviewer:
            raise StateRefused(f"{ous_uid} is being reviewed by {found.reviewer.name}", found=found.state)
        if found.state != lifecycle.READY_FOR_REVIEW:
            raise StateRefused(f"{ous_uid} is {found.state}, not {lifecycle.READY_FOR_REVIEW}", found=found.state)
        report = self._reports.of_run(ous_uid, found.run)
        if report is None:
            raise BadInput(f"the report of run {found.run} of {ous_uid} has not come yet: try again in a moment")
        change = Change(state=lifecycle.REVIEWING, reviewer=Reviewer(self.reviewer))
        taken = self._me.state.set(ous_uid, change, expected=(lifecycle.READY_FOR_REVIEW,), by=self.reviewer)
        return taken, report

    def give_back(self, taken: StatusEntity, why: str) -> None:
        """End a review without a verdict: the OUS is ReadyForReview again."""
        self._me.state.set(
            taken.entity_id,
            Change(state=lifecycle.READY_FOR_REVIEW),
            expected=(lifecycle.REVIEWING,),
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
