"""What AQUA does in the background: it stores the reports that come, and carries out the verdicts of reviewers.

A verdict is a message, so that what follows from it survives any crash: it is carried out by whichever aqua-qa2 has
the message, step by step, each of which may find that it was done before.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from shared import lifecycle, report, reports
from shared.bus import Dead, Done
from shared.errors import BadInput, Conflict, StateRefused
from shared.messages import INGEST, REPORTS, VERDICT, IngestRequest, PipelineReport, Verdict, read
from shared.status import Change

if TYPE_CHECKING:
    from shared.actor import Actor
    from shared.bus import Delivery, Outcome

_LOG = logging.getLogger(__name__)
_SLOTS: Final = 2


class Background:
    """The two listeners of AQUA."""

    def __init__(self, me: Actor) -> None:
        """Take the actor and begin to listen when it starts."""
        self._state = me.state
        self._reports = reports.Reports(me.connection.database(reports.DATABASE))
        me.bus.listen(REPORTS, self.store_report, slots=_SLOTS)
        me.bus.listen(VERDICT, self.carry_out, slots=_SLOTS)

    def store_report(self, delivery: Delivery) -> Outcome:
        """Keep the report of a run; what is none is refused here, where its sender can be told, not by every reader."""
        message = read(PipelineReport, delivery.body)
        try:
            report.parse(message.xml())
            if self._reports.keep(message):
                _LOG.info("report of run %s stored", message.productsDir)
        except (BadInput, Conflict) as error:
            return Dead(str(error))
        return Done()

    def carry_out(self, delivery: Delivery) -> Outcome:
        """Do what follows from a verdict: back to processing, or on to the archive."""
        verdict = read(Verdict, delivery.body)
        note = ": ".join(filter(None, (verdict.flag, verdict.comment)))
        failed = verdict.flag == "Fail"
        try:
            self._move(
                delivery,
                verdict,
                lifecycle.READY_FOR_PROCESSING if failed else lifecycle.VERIFIED,
                expected=lifecycle.REVIEWING,
                note=note,
            )
            if not failed:
                request = IngestRequest(
                    ousUID=verdict.ousUID, timestamp=verdict.timestamp, productsDir=verdict.productsDir
                )
                delivery.send(INGEST, request.body(), name="ingest")
                self._move(delivery, verdict, lifecycle.DELIVERY_IN_PROGRESS, expected=lifecycle.VERIFIED, note="")
        except StateRefused as error:
            return Dead(str(error))
        _LOG.info("%s by %s", verdict.flag, verdict.reviewer)
        return Done()

    def _move(self, delivery: Delivery, verdict: Verdict, state: str, *, expected: str, note: str) -> None:
        self._state.set(
            verdict.ousUID,
            Change(state=state),
            expected=(expected,),
            run=verdict.timestamp,
            session=verdict.session,
            note=note,
            by=verdict.reviewer,
            delivery=delivery,
            name=state,
        )
