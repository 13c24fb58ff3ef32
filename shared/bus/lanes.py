"""Keeping several consumers of one selector out of each other's way.

All would nominate the same messages, the oldest, and all but one would lose each. So whoever loses moves to a lane of
its own: it reads on from a place between the oldest and the newest message that is chosen by chance, and comes back to
the front when the lane is at its end, and now and then, so that nothing urgent or old is passed over for long. Whoever
sees that another was where it would go on is careful: in a lane it moves to a new one, at the front it reaches for few
at first. Whoever is alone always reads at the front, in order.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from shared.clock import elapsed_s, stamp
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.bus.envelope import Message
    from shared.bus.queue import Queue

_FIRST_REACH: Final = 16
_REACH_IN_A_LANE: Final = 64
_PROBE: Final = 4
_IN_A_LANE_S: Final = 10.0
_LONGEST_REACH: Final = 1024
_TO_CHOOSE_FROM: Final = 200
_MET: Final = 0.3
_GAP: Final = 10.0
_SELECTORS_KEPT: Final = 5000


@dataclass
class _Lane:
    """Where one selector is read: from ``start`` (creation) of one priority on, or at the front without it.

    ``in_company`` is whether others were met since the queue was empty last, ``upcoming`` the place in the index of the
    message behind the last one that was reached for.
    """

    in_company: bool = False
    reach: int = _FIRST_REACH
    priority: int = 0
    start: str = ""
    until_s: float = 0.0
    upcoming: tuple[int, str] | None = None


class Lanes:
    """Nominates ready messages of a selector, out of others' way."""

    def __init__(self, queue: Queue) -> None:
        """Take the queue to read."""
        self._queue = queue
        self._lanes: dict[str, _Lane] = {}

    def look(self, selector: str, room: int) -> tuple[list[Message], bool]:
        """Return up to ``room`` ready messages, and whether these are all there are; raises DatabaseError."""
        if len(self._lanes) > _SELECTORS_KEPT:
            self._lanes.clear()
        lane = self._lanes.setdefault(selector, _Lane())
        limit = min(room, lane.reach)
        found = self._read(selector, lane, limit)
        if _is_anothers(lane, found):
            if lane.start:
                lane = self._lanes[selector] = self._new_lane(selector)
                limit = min(room, lane.reach)
                found = self._read(selector, lane, limit)
            else:
                limit = min(limit, _PROBE)
        if lane.in_company:
            limit = _up_to_a_gap(found, limit)
        is_all = len(found) <= limit
        self._go_on(selector, lane, found[limit] if len(found) > limit else None, is_all=is_all)
        return found[:limit], is_all and not lane.start

    def _go_on(self, selector: str, lane: _Lane, upcoming: Message | None, *, is_all: bool) -> None:
        lane.upcoming = _place(upcoming) if upcoming else None
        if not lane.start:
            lane.in_company = lane.in_company and not is_all
            return
        if upcoming is None or elapsed_s() > lane.until_s:
            self._lanes[selector] = _Lane(in_company=True)
        else:
            lane.start = upcoming.creation_timestamp

    def claimed(self, selector: str, tried: Sequence[Message], lost: int) -> None:
        """Learn what became of the messages that were reached for; raises DatabaseError."""
        lane = self._lanes.get(selector)
        if lane is None or not tried:
            return
        if lost > _MET * len(tried):
            self._lanes[selector] = self._new_lane(selector)
        elif lost:
            lane.in_company = True
        else:
            lane.reach = min(lane.reach * 2, _REACH_IN_A_LANE if lane.start else _LONGEST_REACH)

    def _read(self, selector: str, lane: _Lane, limit: int) -> list[Message]:
        """Return what a lane has next, and one message more."""
        if lane.start:
            return self._queue.ready_since(selector, lane.priority, lane.start, limit + 1)
        return self._queue.ready(selector, limit + 1)

    def _new_lane(self, selector: str) -> _Lane:
        first = self._queue.ready(selector, 1)
        newest = self._queue.newest_ready(selector, first[0].priority) if first else ""
        if not first or newest <= first[0].creation_timestamp:
            return _Lane(in_company=True)
        priority, since = first[0].priority, _between(first[0].creation_timestamp, newest)
        # What was sent together is of nearly one moment, so chance has to choose among it, too.
        moments = self._queue.ready_moments(selector, priority, since, _TO_CHOOSE_FROM)
        start = random.choice(moments) if moments else since  # noqa: S311 (no secret)
        return _Lane(in_company=True, priority=priority, start=start, until_s=elapsed_s() + _IN_A_LANE_S)


def _place(message: Message) -> tuple[int, str]:
    return message.priority, message.creation_timestamp


def _is_anothers(lane: _Lane, found: Sequence[Message]) -> bool:
    """Tell whether the message that was to come next is gone: somebody else takes messages here."""
    return lane.upcoming is not None and bool(found) and _place(found[0]) > lane.upcoming


def _up_to_a_gap(found: Sequence[Message], limit: int) -> int:
    """Return how many messages to reach for: ``limit``, or those before a gap that nine of ten others are far below.

    Where one is, another may have taken what was there, and be at work on what follows. To stop there costs little;
    the next look tells.
    """
    made = [moment(message.creation_timestamp).timestamp() for message in found[: limit + 1]]
    steps = [after - before for before, after in pairwise(made)]
    if len(steps) < _PROBE:
        return limit
    usual = sorted(steps)[len(steps) * 9 // 10 - 1]
    return next((at for at, step in enumerate(steps, 1) if step > _GAP * usual), limit)


def _between(first: str, last: str) -> str:
    span_s = (moment(last) - moment(first)).total_seconds()
    return stamp(moment(first) + timedelta(seconds=random.uniform(0, span_s)))  # noqa: S311 (no secret)
