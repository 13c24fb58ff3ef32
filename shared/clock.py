"""What time it is for everybody: the database's time, learnt from the ``Date`` of its answers.

Machines' clocks disagree, so times that other machines will compare with (when a claim ends, when a message may be
taken) are given in the database's time. Between answers time goes on by a clock that is monotonic and does not stop
while the machine sleeps.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_DATE_RESOLUTION_S: Final = 1.0


def elapsed_s() -> float:
    """Return seconds since an arbitrary moment, never going back, suspended time included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """The database's time in UTC, as narrowly as the answers so far tell it.

    An HTTP ``Date`` has whole seconds: an answer dated ``d`` that was asked for at ``a`` and had come at ``b`` tells
    that the offset of the two clocks lies between ``d - b`` and ``d + 1 - a``. Every answer narrows that interval; one
    that contradicts it (a clock was set, another node answered) replaces it.
    """

    def __init__(self) -> None:
        """Start from this machine's own time, which the first answer replaces."""
        self._lock = threading.Lock()
        self._low = self._high = time.time() - elapsed_s()
        self._sampled = False
        self._last = datetime.min.replace(tzinfo=UTC)

    def learn(self, date: str, asked_s: float, answered_s: float) -> None:
        """Take in the ``Date`` of an answer; the two moments are those of :func:`elapsed_s`."""
        try:
            dated = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return  # a proxy's own idea of a date teaches nothing
        low, high = dated - answered_s, dated + _DATE_RESOLUTION_S - asked_s
        with self._lock:
            agrees = self._sampled and low <= self._high and high >= self._low
            self._low = max(self._low, low) if agrees else low
            self._high = min(self._high, high) if agrees else high
            self._sampled = True

    def now(self) -> datetime:
        """Return the database's time, aware, UTC; it never goes back within a process."""
        with self._lock:
            offset = (self._low + self._high) / 2
            self._last = max(self._last, datetime.fromtimestamp(elapsed_s() + offset, UTC))
            return self._last


class Ticker:
    """Gives strictly rising moments, a microsecond apart at least."""

    def __init__(self, clock: Clock) -> None:
        """Take the clock to follow."""
        self._clock = clock
        self._lock = threading.Lock()
        self._last = datetime.min.replace(tzinfo=UTC)

    def next(self) -> datetime:
        """Return the clock's time, or the first moment after the one returned last."""
        with self._lock:
            self._last = max(self._clock.now(), self._last + timedelta(microseconds=1))
            return self._last


def stamp(moment: datetime) -> str:
    """Return a moment as it is stored: UTC, microseconds, always as long, so that text order is time order."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
