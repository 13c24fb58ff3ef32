"""Keeping several consumers of one selector out of each other's way.

All would nominate the same messages, the oldest, and all but one would lose each. So whoever loses moves to a lane of
its own: it reads on from a place between the oldest and the newest message that is chosen by chance, and comes back to
the front when the lane is at its end, and now and then, so that nothing urgent or old is passed over for long. Whoever
sees that another was where it would go on is careful: in a lane it moves to a new one, at the front it reaches for few
at first. Whoever is alone always reads at the front, in order. Where the queue begins and ends is believed for a
second, so that a new lane costs two queries as a rule.
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
_LONGEST_REACH: Final = 1024
_FIRST_REACH_IN_A_LANE: Final = 32
_LONGEST_REACH_IN_A_LANE: Final = 128
_PROBE: Final = 4
_IN_A_LANE_S: Final = 10.0
_BELIEVED_S: Final = 1.0
_TO_CHOOSE_FROM: Final = 200
_MET: Final = 0.3
_GAP: Final = 10.0
_SELECTORS_KEPT: Final = 5000


@dataclass(frozen=True)
class _Span:
    """Between which moments of creation the ready messages of a selector's most urgent priority lie."""

    priority: int
    oldest: str
    newest: str
    until_s: float
    """How long that is believed, a moment of :func:`~shared.clock.elapsed_s`."""


@dataclass
class _Lane:
    """Where one selector is read: in ``span`` from ``start`` (creation) on, or at the front without it.

    ``in_company`` is whether others were met since the queue was empty last, ``crowded`` whether so many that another
    place is to be chosen, ``upcoming`` the place in the index of the message behind the last one that was reached for.
    """

    in_company: bool = False
    crowded: bool = False
    reach: int = _FIRST_REACH
    span: _Span | None = None
    start: str = ""
    until_s: float = 0.0
    upcoming: tuple[int, str] | None = None

    @property
    def longest_reach(self) -> int:
        """How many to reach for at most: in company it is better to lose few."""
        return _LONGEST_REACH_IN_A_LANE if self.start or self.in_company else _LONGEST_REACH


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
        found = [] if lane.crowded else self._read(selector, lane, min(room, lane.reach))
        met = _is_anothers(lane, found)
        if lane.crowded or (met and lane.start):
            lane = self._lanes[selector] = self._new_lane(selector, lane.span)
            found = self._choose(selector, lane, room)
        limit = min(room, lane.reach)
        if met and not lane.start:
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
        elif upcoming is None or elapsed_s() > lane.until_s:
            self._lanes[selector] = _Lane(in_company=True, reach=_PROBE)
        else:
            lane.start = upcoming.creation_timestamp

    def claimed(self, selector: str, tried: Sequence[Message], lost: int) -> None:
        """Learn what became of the messages that were reached for."""
        lane = self._lanes.get(selector)
        if lane is None or not tried:
            return
        if lost:
            lane.in_company, lane.crowded = True, lost > _MET * len(tried)
        else:
            lane.reach = min(lane.reach * 2, lane.longest_reach)

    def _read(self, selector: str, lane: _Lane, limit: int) -> list[Message]:
        """Return what a lane has next, and one message more."""
        if lane.span and lane.start:
            return self._queue.ready_since(selector, lane.span.priority, lane.start, limit + 1)
        return self._queue.ready(selector, limit + 1)

    def _new_lane(self, selector: str, known: _Span | None) -> _Lane:
        """Return a lane whose place is not chosen yet."""
        span = known if known and elapsed_s() < known.until_s else self._span(selector)
        return _Lane(in_company=True, reach=_FIRST_REACH_IN_A_LANE if span else _FIRST_REACH, span=span)

    def _span(self, selector: str) -> _Span | None:
        """Return between which moments the ready messages lie; None where there is nothing between."""
        first = self._queue.ready(selector, 1)
        if not first:
            return None
        priority, oldest = _place(first[0])
        newest = self._queue.newest_ready(selector, priority)
        return _Span(priority, oldest, newest, elapsed_s() + _BELIEVED_S) if newest > oldest else None

    def _choose(self, selector: str, lane: _Lane, room: int) -> list[Message]:
        """Choose by chance where a lane begins, and return what it has there, and one message more.

        What was sent together is of nearly one moment, so chance has to choose among it, too. Where few are left, all
        consumers are close together, and each reaches for few.
        """
        if lane.span is None:
            return self._read(selector, lane, min(room, lane.reach))
        since = _between(lane.span.oldest, lane.span.newest)
        moments = self._queue.ready_moments(selector, lane.span.priority, since, _TO_CHOOSE_FROM)
        lane.start = random.choice(moments) if moments else since  # noqa: S311 (no secret)
        lane.reach = min(lane.reach, max(_PROBE, len(moments) // _PROBE))
        lane.until_s = elapsed_s() + _IN_A_LANE_S
        return self._read(selector, lane, min(room, lane.reach))


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
