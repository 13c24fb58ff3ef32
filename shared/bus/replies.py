"""Waiting for messages to come to their end, above all for the replies of calls."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Final

from shared import errors
from shared.bus.retry import BackOff
from shared.clock import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.bus.envelope import Message
    from shared.bus.queue import Queue
    from shared.bus.wake import Feed

_LOG = logging.getLogger(__name__)
_AWAIT: Final = BackOff(first_s=0.5, longest_s=10.0, factor=1.7)
_SETTLED_GENERATION: Final = 3
_READ_S: Final = 5.0


class Replies:
    """Waits for settlements, woken by the feed. It is a :class:`~shared.bus.wake.Watcher`."""

    def __init__(self, queue: Queue, feed: Feed) -> None:
        """Take the queue to read from and the feed to be woken by."""
        self._queue = queue
        self._feed = feed
        self._waiting: dict[str, list[threading.Event]] = {}
        self._lock = threading.Lock()
        feed.watch(self, is_impatient=lambda: bool(self._waiting))

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Wake whoever waits for this message, once it can be settled: it was sent, then claimed, then settled."""
        del own
        if generation >= _SETTLED_GENERATION:
            for event in self._waiting.get(doc_id, ()):
                event.set()

    def restarted(self) -> None:
        """Wake all who wait: their answers may have come unseen."""
        with self._lock:
            events = list(chain.from_iterable(self._waiting.values()))
        for event in events:
            event.set()

    @contextmanager
    def expecting(self, message_id: str) -> Iterator[threading.Event]:
        """Watch a message, from before it is sent; the event is set whenever it may have come to its end."""
        event = threading.Event()
        with self._lock:
            self._waiting[message_id] = [*self._waiting.get(message_id, ()), event]
        try:
            self._feed.start()
            yield event
        finally:
            with self._lock:
                others = [each for each in self._waiting[message_id] if each is not event]
                self._waiting[message_id] = others
                if not others:
                    del self._waiting[message_id]

    def wait(self, message_id: str, event: threading.Event, until_s: float) -> Message:
        """Return a message once it came to its end; raise DeadlineExceeded at ``until_s``, and OutcomeUnknown."""
        polls = 0
        while (left_s := until_s - elapsed_s()) > 0:
            polls += 1
            event.wait(min(left_s, _AWAIT.wait_s(polls)))
            event.clear()
            try:
                message = self._queue.get(message_id, timeout_s=min(max(left_s, 0.5), _READ_S))
            except errors.DatabaseAway as error:
                _LOG.debug("reply to %s not read: %s", message_id, error)
                continue
            if message is None and (why := self._queue.stored.why_unread(message_id)):
                raise errors.OutcomeUnknown(f"the answer to message {message_id} cannot be read: {why}")
            if message is None:
                raise errors.OutcomeUnknown(f"message {message_id} is gone; it was settled long ago")
            if not message.is_open:
                return message
        raise errors.DeadlineExceeded(f"no answer to message {message_id} in time")
