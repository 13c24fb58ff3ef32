"""The events that all browsers are sent: one list for everybody, of which each remembers how far it has read.

A browser that was away says the id of the last event it had, and gets what it missed. One that was away for longer
than the list reaches back is told to begin anew. Nothing is kept for a browser, so a thousand slow ones cost nothing.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT: Final = 4096
"""As many events can be caught up with."""


class Stream:
    """A list of the latest events, numbered from one on; their ids carry a word that is new with each process."""

    def __init__(self, kept: int = KEPT) -> None:
        """Take how many events are kept."""
        self._epoch = secrets.token_hex(4)
        self._events: deque[bytes] = deque(maxlen=kept)
        self._last = 0
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], None]] = []
        self.watching = 0
        """How many browsers hold a line, as whoever serves them says."""

    @property
    def position(self) -> str:
        """The id of the newest event."""
        return self._id(self._last)

    def on_event(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called, by whichever thread publishes, after every event."""
        self._wakers.append(wake)

    def publish(self, event: str, data: Any) -> None:  # noqa: ANN401 (any JSON)
        """Add an event for everybody."""
        with self._lock:
            self._last += 1
            self._events.append(encoded(event, data, self._id(self._last)))
        for wake in self._wakers:
            wake()

    def after(self, position: str) -> tuple[list[bytes], str]:
        """Return the events behind a position, and the position behind them; ``reload`` where they are not kept."""
        with self._lock:
            missed = self._missed(position)
            if missed is None:
                return [encoded("reload", {}, self.position)], self.position
            return (list(self._events)[len(self._events) - missed :] if missed else []), self.position

    def _missed(self, position: str) -> int | None:
        epoch, _, number = position.partition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdigit()):
            return None
        missed = self._last - int(number[:20])
        return missed if 0 <= missed <= len(self._events) else None

    def _id(self, number: int) -> str:
        return f"{self._epoch}-{number}"


def encoded(event: str, data: Any, position: str = "") -> bytes:  # noqa: ANN401 (any JSON)
    """Return an event as it goes over the line."""
    head = f"id: {position}\n" if position else ""
    return f"{head}event: {event}\ndata: {msgspec.json.encode(data).decode()}\n\n".encode()
