"""Working on messages: a linear executor. A claimed message goes in, one outcome comes out and goes to the settler."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from shared import errors
from shared.bus import envelope
from shared.bus.delivery import Delivery
from shared.bus.outcomes import Done, Expire, GiveBack, Outcome, Retry, of_error
from shared.logs import about
from shared.names import shown

if TYPE_CHECKING:
    from shared.bus.delivery import Sender
    from shared.bus.leases import Held, LeaseKeeper
    from shared.bus.listener import Listener
    from shared.bus.pauses import Pauses
    from shared.bus.settler import Settler
    from shared.clock import Clock

_LOG = logging.getLogger(__name__)


class Work:
    """One run of a handler."""

    def __init__(
        self,
        listener: Listener,
        *,
        sender: Sender,
        clock: Clock,
        keeper: LeaseKeeper,
        settler: Settler,
        pauses: Pauses,
    ) -> None:
        """Take the listener, what its handler sends by, the database's time, its claims' keepers, what is paused."""
        self._listener = listener
        self._sender = sender
        self._clock = clock
        self._keeper = keeper
        self._settler = settler
        self._pauses = pauses

    def run_once(self, held: Held) -> None:
        """Handle one message and pass its outcome on; nothing that a handler does ends the thread."""
        ous = held.message.body.get("ousUID")
        with about(message=held.message.id, ous=ous if isinstance(ous, str) else ""):
            outcome = self._before(held) or self._outcome(held)
        if outcome is None or held.lost:
            self._settler.drop(held, self._listener)
        else:
            self._settler.settle(held, outcome, self._listener)

    def _before(self, held: Held) -> Outcome | None:
        """Return what becomes of a message whose work must not begin: too late, paused, or its lease is not sure."""
        if envelope.is_expired(held.message, self._clock.now()):
            return Expire()
        if self._pauses.holds(held.message.selector):
            return GiveBack(refund=True)
        try:
            sure = self._keeper.secure(held)
        except errors.DatabaseError as error:
            _LOG.warning("not begun, because its lease cannot be renewed: %s", error)
            sure = False
        return None if sure else GiveBack(refund=True)

    def _outcome(self, held: Held) -> Outcome | None:
        delivery = Delivery(self._sender, self._keeper, held, self._listener.policy)
        try:
            return _of_return(self._listener.handler(delivery))
        except BaseException as error:  # noqa: BLE001 (a handler may raise anything; it becomes an outcome)
            if held.aborted and not held.lost:
                return GiveBack(refund=False)
            return _of_raise(error)


def _of_return(returned: object) -> Outcome:
    if returned is None:
        return Done()
    if not isinstance(returned, Outcome):
        return Retry(f"the handler returned {shown(returned)}, not Done, Retry, Snooze or Dead")
    return returned


def _of_raise(error: BaseException) -> Outcome | None:
    outcome: Outcome | None = Retry("the handler raised what can be neither shown nor logged")
    with suppress(BaseException):  # whatever is asked of somebody else's exception may raise, logging it too
        outcome = of_error(error)
        foreseen = isinstance(error, errors.DrwError)
        _LOG.warning("%s", errors.text_of(error), exc_info=None if foreseen else error)
    return outcome
