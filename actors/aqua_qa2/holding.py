"""Who holds an OUS for review, and since when nobody does.

A review belongs to a process. One that ends gives back what it had; one that is killed, or whose machine is lost, says
nothing any more, and what it had goes back a lease after its last sign of life. What it has given a verdict on is not
given back: the verdict is a message and is carried out without it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from shared import actor, heartbeats, lifecycle
from shared.bus import envelope
from shared.entities import Entities
from shared.errors import DatabaseError, OutcomeUnknown, RemoteError, StateRefused
from shared.logs import Trouble
from shared.messages import VERDICT
from shared.names import moment
from shared.status import Change

if TYPE_CHECKING:
    from datetime import datetime

    from shared.actor import Actor
    from shared.bus import Message
    from shared.bus.queue import Queue
    from shared.status import StatusEntity

_LOG = logging.getLogger(__name__)
_UNSEEN_LEASES: Final = 10
"""Who never gave a sign of life is no aqua-qa2 of ours, and waited for so many times as long."""


def verdict_key(taken: StatusEntity) -> str:
    """Return what tells the verdict of this very review from all others: of one review there is one verdict."""
    return f"verdict {taken.entity_id} {len(taken.history)}"


def verdict_on(taken: StatusEntity, queue: Queue) -> Message | None:
    """Return the verdict that was given in this review, or None where none was; one that is dead is none."""
    found = queue.get(envelope.caused_id(VERDICT, verdict_key(taken), 0, "once"))
    return None if found is None or found.state == envelope.DEAD else found


def is_abandoned(taken: StatusEntity, sign: dict[str, Any] | None, now: datetime, lease_s: float) -> bool:
    """Tell whether a review can be given back: its process does not live, and was last heard of a lease ago.

    ``sign`` is the process's sign of life, None where it never gave one. A review without a process (somebody set the
    state by hand) is nobody's to give back.
    """
    if taken.reviewer is None or not taken.reviewer.session or heartbeats.is_alive(sign, now):
        return False
    heard = str(sign.get("at", "")) if sign else ""
    patience_s = lease_s if sign else _UNSEEN_LEASES * lease_s
    try:
        return (now - max(moment(heard or taken.timestamp), moment(taken.timestamp))).total_seconds() > patience_s
    except ValueError:
        return True


class Returns:
    """Gives back the reviews whose process has died without a word."""

    def __init__(self, me: Actor) -> None:
        """Take the actor that looks after them."""
        self._me = me
        self._entities = Entities(me.connection)

    def run(self) -> None:
        """Look now and then, until the actor stops."""
        trouble = Trouble(_LOG, "abandoned reviews are not given back")
        while not self._me.stopping.wait(self._me.settings.heartbeat_s):
            try:
                self.run_once()
            except (DatabaseError, OutcomeUnknown) as error:
                trouble.met(error)
            else:
                trouble.over()

    def run_once(self) -> int:
        """Give back every abandoned review; return how many were."""
        return sum(
            self._give_back(each) for each in self._entities.in_state(lifecycle.REVIEWING) if self._is_left(each)
        )

    def _is_left(self, taken: StatusEntity) -> bool:
        holder = taken.reviewer
        if holder is None or not holder.session or holder.session == self._me.me:
            return False
        connection = self._me.connection
        sign = connection.database(actor.ACTORS_DATABASE).get(holder.session)
        if not is_abandoned(taken, sign, connection.clock.now(), self._me.settings.lease_s):
            return False
        return verdict_on(taken, self._me.bus.queue) is None

    def _give_back(self, taken: StatusEntity) -> bool:
        assert taken.reviewer is not None
        try:
            self._me.state.set(
                taken.entity_id,
                Change(state=lifecycle.READY_FOR_REVIEW),
                expected=(lifecycle.REVIEWING,),
                run=taken.run,
                session=taken.reviewer.session,
                note=f"given back: the program of {taken.reviewer.name} died",
            )
        except StateRefused as error:
            _LOG.debug("not given back: %s", error)  # another was quicker, or somebody took it over
            return False
        except RemoteError as error:
            # This OUS's affair, as a document that was made by hand: the others are given back all the same.
            _LOG.warning("%s cannot be given back, which is tried again: %s", taken.entity_id, error)
            return False
        _LOG.info("%s is given back: the program of %s died", taken.entity_id, taken.reviewer.name)
        return True
