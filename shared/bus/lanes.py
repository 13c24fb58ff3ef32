"""Keeping several consumers of one selector out of each other's way.

All would nominate the same messages, the oldest, and all but one would lose each. So whoever loses moves to a lane of
its own: it reads on from a place between the oldest and the newest message that is chosen by chance, and comes back to
the front when it meets another, when the lane is at its end, and now and then, so that nothing urgent or old is passed
over for long. Whoever is alone always reads at the front, in order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from shared.clock import stamp
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.bus.envelope import Message
    from shared.bus.queue import Queue

_FIRST_REACH: Final = 16
_REACH_IN_A_LANE: Final = 32
_BATCHES_IN_A_LANE: Final = 100
_TO_CHOOSE_FROM: Final = 200
_MET: Final = 0.3
_SELECTORS_KEPT: Final = 5000


@dataclass
class _Lane:
    """Where one selector is read: from ``start`` (creation) of one priority on, or at the front without it."""

    reach: int = _FIRST_REACH
    priority: int = 0
    start: str = ""
    batches: int = 0


class Lanes:
    """Nominates ready messages of a selector, out of others' way."""

    def __init__(self, queue: Queue) -> None:
        """Take the queue to read."""
        self._queue = queue
        self._lanes: dict[str, _Lane] = {}

    def look(self, selector: str, room: int) -> tuple[list[Message], bool]:
        """Return up to ``room`` ready messages, and whether these are all there are; raises DatabaseError."""
        lane = self._lanes.setdefault(selector, _Lane())
        if len(self._lanes) > _SELECTORS_KEPT:
            self._lanes = {selector: lane}
        limit = min(room, lane.reach)
        if not lane.start:
            found = self._queue.ready(selector, limit)
            return found, len(found) < limit
        found = self._queue.ready_since(selector, lane.priority, lane.start, limit)
        lane.batches -= 1
        if len(found) < limit or not lane.batches:
            self._lanes[selector] = _Lane()
        else:
            lane.start = found[-1].creation_timestamp
        return found, False

    def claimed(self, selector: str, tried: Sequence[Message], lost: int) -> None:
        """Learn what became of the messages that were reached for; raises DatabaseError."""
        lane = self._lanes.get(selector)
        if lane is None or not tried:
            return
        if lost > _MET * len(tried):
            self._lanes[selector] = self._new_lane(selector)
        elif not lost:
            lane.reach = lane.reach * 2 if not lane.start else min(lane.reach * 2, _REACH_IN_A_LANE)

    def _new_lane(self, selector: str) -> _Lane:
        first = self._queue.ready(selector, 1)
        newest = self._queue.newest_ready(selector, first[0].priority) if first else ""
        if not first or newest <= first[0].creation_timestamp:
            return _Lane()
        priority, since = first[0].priority, _between(first[0].creation_timestamp, newest)
        # What was sent together is of nearly one moment, so chance has to choose among it, too.
        found = self._queue.ready_since(selector, priority, since, _TO_CHOOSE_FROM)
        start = random.choice(found).creation_timestamp if found else since  # noqa: S311 (no secret)
        return _Lane(_REACH_IN_A_LANE, priority, start, _BATCHES_IN_A_LANE)


def _between(first: str, last: str) -> str:
    span_s = (moment(last) - moment(first)).total_seconds()
    return stamp(moment(first) + timedelta(seconds=random.uniform(0, span_s)))  # noqa: S311 (no secret)
