"""The flow of OUSs: how many came into each state and when, how long they stayed, and what failed. No I/O.

It is added up from the histories as the feed brings them, and once from all of them when the dashboard starts.
"""

from __future__ import annotations

import threading
from collections import Counter
from statistics import quantiles
from typing import TYPE_CHECKING, Final

import msgspec

from shared import lifecycle
from shared.names import moment
from shared.status import entries

if TYPE_CHECKING:
    from datetime import datetime

    from shared.dbcon import Doc

HOUR: Final = len("2026-11-20T23")
DAY: Final = len("2026-11-20")
_P90: Final = 8


class Stay(msgspec.Struct, frozen=True):
    """How long OUSs stayed in a state before they left it (seconds): how many did, the median, the ninth decile."""

    state: str
    count: int
    median_s: float
    p90_s: float


class Flow:
    """What is added up. Every method may be called from any thread."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._counted: dict[str, int] = {}
        self._last: dict[str, tuple[str, datetime]] = {}
        self._entered: Counter[tuple[str, str]] = Counter()
        self._stays: dict[str, list[float]] = {}

    def put(self, doc: Doc) -> None:
        """Take in what a status entity's history has more than before."""
        doc_id, history = str(doc.get("_id")), entries(doc)
        with self._lock:
            for entry in history[self._counted.get(doc_id, 0) :]:
                self._add(doc_id, entry.get("state"), entry.get("at"))
            self._counted[doc_id] = max(len(history), self._counted.get(doc_id, 0))

    def _add(self, doc_id: str, state: object, at: object) -> None:
        if not isinstance(state, str) or not isinstance(at, str):
            return
        try:
            when = moment(at)
        except ValueError:
            return
        before = self._last.get(doc_id)
        if before and before[0] == state:
            return
        if before:
            self._stays.setdefault(before[0], []).append(max((when - before[1]).total_seconds(), 0.0))
        self._last[doc_id] = (state, when)
        self._entered[when.isoformat()[:HOUR], state] += 1

    def entered(self, unit: int = HOUR) -> dict[str, Counter[str]]:
        """Return, for each hour or day in which anything moved, how many OUSs came into each state."""
        with self._lock:
            found: dict[str, Counter[str]] = {}
            for (hour, state), count in self._entered.items():
                found.setdefault(hour[:unit], Counter())[state] += count
        return dict(sorted(found.items()))

    def stays(self) -> list[Stay]:
        """Return how long OUSs stayed in each state, in the order of life; those they are still in do not count."""
        with self._lock:
            copied = {state: list(self._stays.get(state, ())) for state in lifecycle.STATES}
        return [_stay(state, times) for state, times in copied.items()]

    def total(self, state: str) -> int:
        """Return how often OUSs came into a state."""
        with self._lock:
            return sum(count for (_, entered), count in self._entered.items() if entered == state)


def _stay(state: str, times_s: list[float]) -> Stay:
    if not times_s:
        return Stay(state, 0, 0.0, 0.0)
    deciles = quantiles(times_s, n=10, method="inclusive") if len(times_s) > 1 else [times_s[0]] * 9
    return Stay(state, len(times_s), deciles[4], deciles[_P90])
