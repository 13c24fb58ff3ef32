"""Where a consumer reads the ready messages of a selector, and how several keep out of each other's way.

The index is read far ahead, and only the places in it; each message is read just before it is reached for, which also
tells of those that others took meanwhile. What was read is believed for a second, or until a new message is heard of,
so that nothing urgent is passed over for long.

Whoever is alone reads at the front, in order. Several would all reach for the oldest there, and all but one would lose
each. So whoever meets others moves to a lane of its own: it reads on from a place between the oldest and the newest
message that is chosen by chance, and comes back to the front when the lane is at its end, now and then, and within a
second where something more urgent has come.
"""

from __future__ import annotations

import random
from bisect import bisect
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from shared import errors
from shared.bus import envelope
from shared.clock import elapsed_s, stamp
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.bus.envelope import Message
    from shared.bus.queue import Place, Queue

_FIRST_REACH: Final = 128
_FIRST_REACH_IN_A_LANE: Final = 200
_LONGEST_REACH: Final = 1024
_FIRST_STEP: Final = 16
_LONGEST_STEP: Final = 256
_FEW: Final = 16
_A_PART: Final = 4
_IN_A_LANE_S: Final = 10.0
_BELIEVED_S: Final = 1.0
_MET: Final = 0.3
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

    ``places`` were read, are believed until ``believed_s`` and are still to be reached for; ``behind`` is the one after
    them. ``reach`` is how many to read the next time. ``in_company`` is whether others were met since the queue was
    empty last, ``crowded`` whether so many that another place is to be chosen. ``step`` is how many to reach for at
    once, more each time that none was lost: whoever begins does not know yet whether it is alone.
    """

    in_company: bool = False
    crowded: bool = False
    step: int = _FIRST_STEP
    reach: int = _FIRST_REACH
    span: _Span | None = None
    start: str = ""
    until_s: float = 0.0
    places: list[Place] = field(default_factory=list)
    behind: Place | None = None
    believed_s: float = 0.0

    def read(self, found: list[Place], reach: int) -> None:
        """Take what was read, one place more than the reach."""
        self.places, self.behind = found[:reach], found[reach] if len(found) > reach else None
        self.believed_s = elapsed_s() + _BELIEVED_S

    def take(self, room: int, until: int | None = None) -> list[Place]:
        """Return the next places to reach for; of the last ones, of which others want some too, a part anywhere.

        ``until`` is the least urgent priority among them.
        """
        known = len(self.places) if until is None else bisect(self.places, until, key=lambda place: place.priority)
        room, at = min(room, self.step, known), 0
        if self.in_company and self.behind is None:
            room = min(room, max(_FEW, known // _A_PART))
            at = random.randint(0, max(0, known - room))  # noqa: S311 (no secret)
        taken = self.places[at : at + room]
        del self.places[at : at + room]
        return taken

    def learn(self, reached: int, gone: int) -> None:
        """Note how many of those that were reached for were others'."""
        if gone:
            self.in_company, self.crowded = True, self.crowded or gone > _MET * reached
        else:
            self.step = min(self.step * 2, _LONGEST_STEP if self.in_company else _LONGEST_REACH)


class Lanes:
    """Nominates ready messages of a selector, out of others' way."""

    def __init__(self, queue: Queue, *, holds: Callable[[str], bool] = lambda _: False) -> None:
        """Take the queue to read, and what tells which messages are ours already."""
        self._queue = queue
        self._holds = holds
        self._lanes: dict[str, _Lane] = {}
        self._news: set[str] = set()

    def doubt(self, selector: str) -> None:
        """Hear that there is a new message: where it stands among those that were read is not known."""
        if len(self._news) > _SELECTORS_KEPT:
            self._news.clear()
        self._news.add(selector)

    def first(self, selector: str) -> Place | None:
        """Return the place that is to be reached for next; None where there is none. Raises DatabaseError."""
        lane = self._lane(selector)
        if not (lane.places or lane.start):
            self._read(selector, lane)
        return lane.places[0] if lane.places else None

    def look(self, selector: str, room: int, *, until: int | None = None) -> tuple[list[Message], bool]:
        """Return up to ``room`` messages that were ready just now, and whether these are all there are.

        ``until`` is the least urgent priority among them. What is past its time comes besides. Raises
        DatabaseError.
        """
        lane = self._lane(selector)
        is_old = elapsed_s() > lane.believed_s or (selector in self._news and not lane.start)
        if lane.crowded:
            lane = self._lanes[selector] = self._another_lane(selector, lane.span)
        elif is_old and self._is_passed_over(selector, lane):
            lane = self._lanes[selector] = self._front(selector)
        elif is_old or not lane.places:
            self._read(selector, lane)
        try:
            messages = self._reach(selector, lane, room, until)
        except errors.DatabaseError:  # what was taken from the lane for it is still to be read
            del self._lanes[selector]
            raise
        is_all = not (lane.places or lane.behind or lane.start or lane.crowded)  # a crowd's look ends early
        if not lane.places:
            self._go_on(selector, lane)
        return messages, is_all

    def claimed(self, selector: str, tried: Sequence[Message], lost: int) -> None:
        """Learn what became of the messages that were reached for."""
        lane = self._lanes.get(selector)
        if lane is not None:
            lane.learn(len(tried), lost)

    def _lane(self, selector: str) -> _Lane:
        if len(self._lanes) > _SELECTORS_KEPT:
            self._lanes.clear()
        return self._lanes.setdefault(selector, _Lane())

    def _reach(self, selector: str, lane: _Lane, room: int, until: int | None) -> list[Message]:
        """Return what is ready in the next places; what is past its time takes no room.

        Of a crowd's, only what stands before the first that another has: what follows, that one is about to take.
        """
        messages: list[Message] = []
        more, now = room, self._queue.clock.now()
        while more and lane.places and room > 0:
            taken, past = lane.take(more, until), 0
            ready = self._ready(selector, lane, taken)
            for at, place in enumerate(taken):
                if lane.crowded and place.id not in ready:
                    return messages
                if not room:
                    lane.places[:0] = taken[at:]
                    break
                if message := ready.get(place.id):
                    messages.append(message)
                    is_past = envelope.is_expired(message, now)
                    past, room = past + is_past, room - (not is_past)
            more = min(2 * past, _FIRST_REACH_IN_A_LANE)
        return messages

    def _ready(self, selector: str, lane: _Lane, taken: list[Place]) -> dict[str, Message]:
        """Return the messages of some places that are ready still, by their ids."""
        wanted = [place.id for place in taken if not self._holds(place.id)]
        found = {message.id: message for message in self._queue.fetch_readable(wanted)} if wanted else {}
        ready = {each: found[each] for each in found if _is_ready(found[each], selector)}
        gone = sum(not (each in ready or self._queue.stored.is_in_the_way(each)) for each in wanted)
        if gone:
            lane.learn(len(wanted), gone)
        return ready

    def _go_on(self, selector: str, lane: _Lane) -> None:
        """Note where to read next, and farther, now that all that was read is reached for."""
        lane.reach = min(lane.reach * 2, _LONGEST_REACH)
        if not lane.start:
            lane.in_company = lane.in_company and lane.behind is not None
        elif lane.behind is None or elapsed_s() > lane.until_s:
            self._lanes[selector] = _Lane(in_company=True)
        else:
            lane.start = lane.behind.created

    def _is_passed_over(self, selector: str, lane: _Lane) -> bool:
        """Tell whether something more urgent than what is read in a lane has come."""
        if not (lane.start and lane.span):
            return False
        first = self._queue.ready(selector, 1)
        return bool(first) and first[0].priority < lane.span.priority

    def _read(self, selector: str, lane: _Lane) -> None:
        if lane.places:  # what was read was too much to be of use in time
            lane.reach = max(_FIRST_REACH, lane.reach // 2)
            lane.start = lane.start and lane.places[0].created
        self._news.discard(selector)
        if lane.span and lane.start:
            found = self._queue.ready_since(selector, lane.span.priority, lane.start, lane.reach + 1)
        else:
            found = self._queue.ready(selector, lane.reach + 1)
        lane.read(found, lane.reach)

    def _front(self, selector: str) -> _Lane:
        """Return the front, for who is in company."""
        lane = _Lane(in_company=True)
        self._read(selector, lane)
        return lane

    def _another_lane(self, selector: str, known: _Span | None) -> _Lane:
        """Return a lane that begins at a place chosen by chance.

        What was sent together is of nearly one moment, so chance has to choose among what was found, too.
        """
        span = known if known and elapsed_s() < known.until_s else self._span(selector)
        if span is None:
            return self._front(selector)
        lane = _Lane(in_company=True, reach=_FIRST_REACH_IN_A_LANE, span=span, until_s=elapsed_s() + _IN_A_LANE_S)
        lane.start = _between(span.oldest, span.newest)
        found = self._queue.ready_since(selector, span.priority, lane.start, 2 * lane.reach + 1)
        skipped = random.randint(0, len(found) // 2)  # noqa: S311 (no secret)
        lane.read(found[skipped:], lane.reach)
        return lane

    def _span(self, selector: str) -> _Span | None:
        """Return between which moments the ready messages lie; None where there is nothing between.

        What was made at no moment that there is is read, and so parked: it is no message.
        """
        first = self._queue.ready(selector, 1)
        newest = self._queue.newest_ready(selector, first[0].priority) if first else None
        if newest is None:
            return None
        if odd := [place.id for place in (first[0], newest) if not _is_moment(place.created)]:
            self._queue.fetch_readable(odd)
            return None
        if newest.created <= first[0].created:
            return None
        return _Span(first[0].priority, first[0].created, newest.created, elapsed_s() + _BELIEVED_S)


def _is_ready(message: Message, selector: str) -> bool:
    return message.state == envelope.READY and message.selector == selector


def _is_moment(text: str) -> bool:
    try:
        moment(text)
    except (ValueError, OverflowError):
        return False
    return True


def _between(first: str, last: str) -> str:
    span_s = (moment(last) - moment(first)).total_seconds()
    return stamp(moment(first) + timedelta(seconds=random.uniform(0, span_s)))  # noqa: S311 (no secret)
