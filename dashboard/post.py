"""The post: every message that is open or dead, kept up to date from the feed of the queue. No I/O.

Settled messages are only counted as they are settled: there may be millions.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter, deque
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from shared.bus import envelope
from shared.letters import Letter, letter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from shared.dbcon import Doc

STATES: Final = (envelope.READY, envelope.DELAYED, envelope.CLAIMED, envelope.DEAD)
"""The states of the messages that are kept."""

_SLOT_S: Final = 10
_RATE_S: Final = 300
_MINUTE_S: Final = 60
_NOTES: Final = 1000
"""So many notes of when messages were sent are kept however few messages there are."""
CONTROL: Final = ("control:", "_design/")
"""What the ids of documents begin with that are no messages."""

_MOST_KEPT: Final = 64
_SETTLED: Final = frozenset({envelope.CONSUMED, envelope.EXPIRED})


class Row(msgspec.Struct, frozen=True):
    """A selector: messages by state, when the oldest open one was sent (UTC), how many are settled a minute."""

    selector: str
    counts: dict[str, int]
    oldest: str
    rate: float
    settled: int
    """Settled since the dashboard started."""

    @property
    def open(self) -> int:
        """How many wait or are worked on."""
        return sum(count for state, count in self.counts.items() if state != envelope.DEAD)


class _Box:
    """The messages of one selector."""

    def __init__(self) -> None:
        self.letters: dict[str, Letter] = {}
        self.counts: Counter[str] = Counter()
        self.settled = 0
        self.slots: deque[tuple[int, int]] = deque()
        self._ages: list[tuple[str, str]] = []

    def put(self, fresh: Letter) -> None:
        before = self.drop(fresh.id)
        self.letters[fresh.id] = fresh
        self.counts[fresh.state] += 1
        is_noted = before is not None and before.is_open and before.sent == fresh.sent
        if fresh.is_open and not is_noted:
            self._note_age(fresh)

    def _note_age(self, fresh: Letter) -> None:
        """Note when an open message was sent; where most notes are of what is over, all of those are dropped."""
        heapq.heappush(self._ages, (fresh.sent, fresh.id))
        if len(self._ages) > max(_NOTES, 2 * len(self.letters)):
            self._ages = [(letter.sent, letter.id) for letter in self.letters.values() if letter.is_open]
            heapq.heapify(self._ages)

    def drop(self, message_id: str) -> Letter | None:
        gone = self.letters.pop(message_id, None)
        if gone:
            self.counts[gone.state] -= 1
        return gone

    def oldest(self) -> str:
        """Return when the oldest open message was sent; entries of those that are not open any more are dropped."""
        while self._ages:
            sent, message_id = self._ages[0]
            found = self.letters.get(message_id)
            if found and found.is_open and found.sent == sent:
                return sent
            heapq.heappop(self._ages)
        return ""

    def settle(self, slot: int) -> None:
        self.settled += 1
        if self.slots and self.slots[-1][0] == slot:
            self.slots[-1] = (slot, self.slots[-1][1] + 1)
        else:
            self.slots.append((slot, 1))
        while self.slots[0][0] <= slot - _RATE_S // _SLOT_S:
            self.slots.popleft()


class Post:
    """What is kept of the queue. Every method may be called from any thread; ``now_s`` tells the time in seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Begin with nothing."""
        self._now_s = now_s
        self._lock = threading.RLock()
        self._boxes: dict[str, _Box] = {}
        self._where: dict[str, str] = {}
        self._found: dict[tuple[frozenset[str], str, str], list[Letter]] = {}
        self._begun_s = now_s()

    def begin(self, letters: Iterable[Letter]) -> None:
        """Take in all that is open or dead, in place of what was known; what was settled stays counted."""
        found = {each.id: each for each in letters}
        with self._lock:
            self._found.clear()
            for message_id in self._where.keys() - found.keys():
                self._drop(message_id)
            for each in found.values():
                self._keep(each)

    def put(self, message_id: str, doc: Doc | None) -> None:
        """Take in a document of the queue, None for one that is gone; pauses and the like are passed over."""
        if message_id.startswith(CONTROL):
            return
        fresh = letter(doc) if doc else None
        with self._lock:
            self._found.clear()
            if fresh and fresh.state in STATES:
                self._keep(fresh)
                return
            self._drop(message_id)
            if fresh and fresh.state in _SETTLED:
                self._box(fresh.selector).settle(int(self._now_s()) // _SLOT_S)

    def known(self, ids: Iterable[str]) -> list[Letter]:
        """Return those of some messages that are open or dead."""
        with self._lock:
            return [self._boxes[self._where[each]].letters[each] for each in dict.fromkeys(ids) if each in self._where]

    def drop(self, letters: Iterable[Letter]) -> None:
        """Show some messages no more as they were known; the feed tells, or has told, what has become of them."""
        with self._lock:
            self._found.clear()
            for each in letters:
                if self._where.get(each.id) == each.selector and self._boxes[each.selector].letters[each.id] is each:
                    self._drop(each.id)

    def _keep(self, fresh: Letter) -> None:
        if self._where.get(fresh.id, fresh.selector) != fresh.selector:
            self._drop(fresh.id)
        self._where[fresh.id] = fresh.selector
        self._box(fresh.selector).put(fresh)

    def _drop(self, message_id: str) -> None:
        selector = self._where.pop(message_id, None)
        if selector is not None:
            self._boxes[selector].drop(message_id)

    def rows(self) -> list[Row]:
        """Return every selector that was met, by name."""
        with self._lock:
            return [self._row(selector, box) for selector, box in sorted(self._boxes.items())]

    def total(self, *states: str) -> int:
        """Return how many messages are in some states, of all selectors."""
        with self._lock:
            return sum(box.counts[state] for box in self._boxes.values() for state in states)

    def find(self, states: Collection[str] = STATES, *, selector: str = "", ous: str = "") -> Sequence[Letter]:
        """Return the messages in some states, of one selector or of all, of one OUS or of all; the oldest first.

        What was found is kept until something changes: many browsers ask for the same, and there may be very many.
        """
        wanted = (frozenset(states), selector, ous)
        with self._lock:
            if wanted not in self._found:
                if len(self._found) >= _MOST_KEPT:
                    self._found.clear()
                self._found[wanted] = self._looked_up(*wanted)
            return self._found[wanted]

    def _looked_up(self, states: Collection[str], selector: str, ous: str) -> list[Letter]:
        boxes = [self._boxes.get(selector, _Box())] if selector else self._boxes.values()
        found = [
            each
            for box in boxes
            for each in box.letters.values()
            if each.state in states and (not ous or each.ous == ous)
        ]
        return sorted(found, key=attrgetter("sent", "id"))

    def launched(self, selectors: Iterable[str]) -> frozenset[str]:
        """Return the UIDs of the OUSs that an open message of some selectors names."""
        with self._lock:
            boxes = [self._boxes[each] for each in selectors if each in self._boxes]
            return frozenset(each.ous for box in boxes for each in box.letters.values() if each.is_open and each.ous)

    def _box(self, selector: str) -> _Box:
        return self._boxes.setdefault(selector, _Box())

    def _row(self, selector: str, box: _Box) -> Row:
        now_s = self._now_s()
        since_s = min(max(now_s - self._begun_s, 1.0), _RATE_S)
        first = int(now_s) // _SLOT_S - _RATE_S // _SLOT_S
        settled = sum(count for slot, count in box.slots if slot > first)
        counts = {state: box.counts[state] for state in STATES}
        return Row(selector, counts, box.oldest(), settled / max(since_s, _MINUTE_S) * _MINUTE_S, box.settled)
