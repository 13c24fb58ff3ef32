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

LONGEST_S: Final = 36500 * 86400.0
"""A hundred years are as good as for ever, and can be counted with (seconds)."""

_DATE_AGE_S: Final = 2.5
"""How long ago the second may have begun that a ``Date`` names: CouchDB (MochiWeb) looks at its clock once a second, at
a moment of its own on each node, and a node that has much to do is late with that."""

_SPANS_S: Final = (("d", 86400), ("h", 3600), ("min", 60))
_CONVINCING: Final = 3
_STAMP_LENGTH: Final = len("2018-07-19T08:01:10.228000")


def elapsed_s() -> float:
    """Return seconds since an arbitrary moment, never going back, suspended time included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Clock:
    """The database's time in UTC, as narrowly as the answers so far tell it.

    An HTTP ``Date`` has whole seconds, and CouchDB's may be older than that by more than another: an answer dated ``d``
    that was asked for at ``a`` and had come at ``b`` tells that the offset of the two clocks lies between ``d - b`` and
    ``d + 2.5 - a``. Every answer narrows that interval. One that contradicts it is an error of somebody's until three
    in a row agree with each other: then a clock was set. Within the interval, this machine's own clock is believed.
    """

    def __init__(self) -> None:
        """Start from this machine's own time, which the first answer replaces."""
        self._lock = threading.Lock()
        self._own = time.time() - elapsed_s()
        self._interval = (self._own, self._own)
        self._sampled = False
        self._doubt: tuple[float, float] | None = None
        self._contradictions = 0

    def learn(self, date: str, asked_s: float, answered_s: float) -> None:
        """Take in the ``Date`` of an answer; the two moments are those of :func:`elapsed_s`."""
        try:
            dated = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return  # a proxy's own idea of a date teaches nothing
        told = (dated - answered_s, dated + _DATE_AGE_S - asked_s)
        with self._lock:
            if not self._sampled:
                self._interval, self._sampled = told, True
            elif narrowed := _common(self._interval, told):
                self._interval, self._contradictions = narrowed, 0
            else:
                self._contradict(told)

    def _contradict(self, told: tuple[float, float]) -> None:
        agreed = _common(self._doubt, told) if self._doubt and self._contradictions else None
        self._doubt = agreed or told
        self._contradictions = self._contradictions + 1 if agreed else 1
        if self._contradictions >= _CONVINCING:
            self._interval, self._contradictions = self._doubt, 0

    @property
    def is_learnt(self) -> bool:
        """Whether an answer has told the database's time."""
        return self._sampled

    def now(self) -> datetime:
        """Return the database's time, aware, UTC: this machine's own as long as that may be right.

        It can go back by what a better knowledge of it corrects.
        """
        with self._lock:
            low, high = self._interval
            return datetime.fromtimestamp(elapsed_s() + min(max(self._own, low), high), UTC)


def _common(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float] | None:
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else None


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
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:_STAMP_LENGTH]


def span(seconds: float) -> str:
    """Return a span in its largest unit of which there are two at least: ``5 s``, ``3 min``, ``2 h``, ``4 d``."""
    for unit, length_s in _SPANS_S:
        if seconds >= 2 * length_s:
            return f"{int(seconds // length_s)} {unit}"
    return f"{max(int(seconds), 0)} s"
