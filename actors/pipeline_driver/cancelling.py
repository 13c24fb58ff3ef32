"""What a driver does about launches that a person has cancelled: before the run, while it goes on, and after it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from shared import cancels
from shared.bus import Done
from shared.errors import DatabaseError, DrwError

if TYPE_CHECKING:
    from threading import Event

    from shared.actor import Actor
    from shared.bus import Delivery, Message
    from shared.cancels import Cancellation

_LOG = logging.getLogger(__name__)


class RunCancelled(DrwError):
    """The launch that a message is was cancelled."""

    def __init__(self, cancellation: Cancellation) -> None:
        """Take the cancellation."""
        super().__init__(f"{cancellation.ous} was cancelled by {cancellation.by}: {cancellation.reason}")
        self.cancellation = cancellation


class Cancelling:
    """Tells a driver of cancellations, and ends what was cancelled."""

    def __init__(self, me: Actor) -> None:
        """Take the driver's actor; its feed tells of cancellations from now on."""
        self._me = me
        self._cancellations = cancels.Cancellations(me.bus.queue.database)
        me.bus.feed.watch(self._cancellations)
        self.watching = self._cancellations.watching

    def check(self, message: Message) -> None:
        """Raise RunCancelled where the launch that a message is was cancelled; DatabaseError where nobody can tell."""
        found = self._cancellations.of(message)
        if found is not None:
            raise RunCancelled(found)

    def heard(self, news: Event, message: Message) -> bool:
        """Tell, while a run goes on, whether it was cancelled; the database is asked only when there is ``news``."""
        if not news.is_set():
            return False
        news.clear()
        try:
            return self._cancellations.of(message) is not None
        except DatabaseError as error:
            _LOG.debug("whether this run was cancelled is asked again: %s", error)
            news.set()
            return False

    def end(self, delivery: Delivery, cancelled: RunCancelled) -> Done:
        """Have the OUS leave Processing and settle the message; whoever did so before may have died in between."""
        delivery.check()
        cancels.end(self._me.state, delivery.message, cancelled.cancellation)
        _LOG.info("%s", cancelled)
        return Done()
