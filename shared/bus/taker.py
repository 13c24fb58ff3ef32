"""Taking: the one loop of a process that finds messages for its listeners and claims them.

The feed's hints are the quick way (fetch those ids, claim them); looking through the index of one selector is the
thorough way, and a survey of both indexes over all selectors is the truth, made with progressive back-off. Only a
selector that has something is looked at, so a thousand selectors cost what their messages cost.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from typing import TYPE_CHECKING, Final

from shared import errors
from shared.bus import envelope
from shared.bus.queue import DUE_INDEX, READY_INDEX
from shared.clock import elapsed_s
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shared.bus.envelope import Message
    from shared.bus.leases import LeaseKeeper
    from shared.bus.listener import Listener
    from shared.bus.queue import Queue
    from shared.bus.retry import BackOff

_LOG = logging.getLogger(__name__)
_HINTS_AT_ONCE: Final = 100
_HINTS_KEPT: Final = 1000
_LOOK_AT_OTHERS_S: Final = 1.0
_MOST_SPREAD: Final = 8
_PAUSE_S: Final = 0.5


class Taker:
    """Nominates and claims for all listeners of a process. It is a :class:`~shared.bus.wake.Watcher` too."""

    def __init__(
        self,
        queue: Queue,
        keeper: LeaseKeeper,
        listeners: list[Listener],
        *,
        back_off: BackOff,
        stopping: threading.Event,
        wrote: Callable[[str], None],
    ) -> None:
        """Take the queue, whom to claim for, and when to stop; ``wrote`` hears of revisions that are no news."""
        self._queue = queue
        self._keeper = keeper
        self._listeners = listeners
        self._back_off = back_off
        self._stopping = stopping
        self._wrote = wrote
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._hints: list[str] = []
        self._hints_later: list[str] = []
        self._hinted: set[str] = set()
        self._maybe: dict[str, None] = {}
        self._due: set[str] = set()
        self._next_survey_s = 0.0
        self._next_later_s = 0.0
        self._empty_polls = 0
        self._spread = 1

    # What wakes the loop

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear of a change: a new message is looked at at once, another's write to an old one a little later."""
        if own or not envelope.is_message_id(doc_id) or not self._listener_of(envelope.selector_of(doc_id)):
            return
        with self._lock:
            hints = self._hints if generation == 1 else self._hints_later
            if len(hints) < _HINTS_KEPT:
                hints.append(doc_id)
            else:
                self._hinted.add(envelope.selector_of(doc_id))
        self._wake.set()

    def restarted(self) -> None:
        """Hear that changes may have been missed: survey at once."""
        self._next_survey_s = 0.0
        self._wake.set()

    def settled(self, message: Message) -> None:
        """Hear that one of our claims came to its end: there is room for another, or it is due again later."""
        if message.state == envelope.DELAYED and message.due:
            wait = (moment(message.due) - self._queue.clock.now()).total_seconds()
            self._next_survey_s = min(self._next_survey_s, elapsed_s() + max(wait, 0.0))
        self._wake.set()

    def wake(self) -> None:
        """Make the loop look at its flags."""
        self._wake.set()

    # The loop and its step

    def run(self) -> None:
        """Look, claim and wait until told to stop; a database that is away is waited for."""
        while True:
            self._wake.clear()
            if self._stopping.is_set():  # looked at after the clearing, so that no wake-up to stop is lost
                return
            try:
                wait_s = 0.0 if self.run_once() else self._wait_s()
            except errors.DatabaseAway:
                wait_s = _PAUSE_S
                self.restarted()
                self._wake.clear()
            except errors.DatabaseMissing as error:
                _LOG.error("%s", error)
                wait_s = self._back_off.longest_s
                self.restarted()
                self._wake.clear()
            self._wake.wait(wait_s)

    def run_once(self) -> bool:
        """Claim what can be claimed now; tell whether to come again at once, because there may be more."""
        if not any(listener.free() for listener in self._listeners):
            return False
        nominated = self._by_hints()
        if elapsed_s() >= self._next_survey_s:
            self._survey()
        nominated += self._by_due()
        nominated += self._by_index(nominated)
        return self._claim(nominated) > 0 or self._may_have_more()

    def _may_have_more(self) -> bool:
        listeners = (self._listener_of(selector) for selector in self._maybe)
        return any(listener.free() for listener in listeners if listener)

    def _wait_s(self) -> float:
        """Return how long to wait for a wake-up: for ever, as it were, while all hands are full."""
        if not any(listener.free() for listener in self._listeners):
            return self._back_off.longest_s
        until = [self._next_survey_s]
        if self._hints_later:
            until.append(self._next_later_s)
        return max(0.0, min(until) - elapsed_s())

    # Nominating

    def _by_hints(self) -> list[Message]:
        """Fetch what the feed told of; what is too much for that is left to the index."""
        with self._lock:
            ids, self._hints = self._hints, []
            self._maybe.update((selector, None) for selector in self._hinted)
            self._hinted.clear()
            if elapsed_s() >= self._next_later_s and self._hints_later:
                ids, self._hints_later = ids + self._hints_later, []
                self._next_later_s = elapsed_s() + _LOOK_AT_OTHERS_S
        wanted = [each for each in dict.fromkeys(ids) if not self._keeper.holds(each)]
        room = sum(listener.free() for listener in self._listeners)
        if len(wanted) > min(room, _HINTS_AT_ONCE) or any(envelope.selector_of(each) in self._maybe for each in wanted):
            self._maybe.update((envelope.selector_of(each), None) for each in wanted)
            return []
        return [message for message in self._queue.fetch(wanted) if message.is_open] if wanted else []

    def _survey(self) -> None:
        """Learn from both indexes where there is something for us, and when the next delayed message is due."""
        ready = [each for each in self._queue.survey(READY_INDEX) if self._listener_of(each.selector)]
        waiting = [each for each in self._queue.survey(DUE_INDEX) if self._listener_of(each.selector)]
        others = [each for each in waiting if not self._keeper.holds(each.id)]
        self._maybe.update((each.selector, None) for each in ready)
        due_in = {each.id: self._queue.due_in_s(each) for each in others}
        self._due = {each for each, wait in due_in.items() if wait <= 0}
        self._empty_polls = 0 if ready or self._due else self._empty_polls + 1
        wait_s = self._back_off.wait_s(self._empty_polls, random.random())  # noqa: S311 (jitter)
        next_due_s = min((wait for wait in due_in.values() if wait > 0), default=wait_s)
        self._next_survey_s = elapsed_s() + min(wait_s, next_due_s)

    def _by_due(self) -> list[Message]:
        """Fetch the delayed messages that are due and the claims that lapsed."""
        ids, self._due = self._due, set()
        return [message for message in self._queue.fetch(ids) if message.is_open] if ids else []

    def _by_index(self, already: list[Message]) -> list[Message]:
        """Look through the index for each selector that may have something, in rotation, as long as there is room."""
        nominated: list[Message] = []
        known = {message.id for message in already}
        for selector in list(self._maybe):
            listener = self._listener_of(selector)
            room = listener.free() - self._count(listener, [*already, *nominated]) if listener else 0
            if not listener:
                del self._maybe[selector]
            elif room > 0:
                nominated += self._look(selector, room, known)
        return nominated

    def _look(self, selector: str, room: int, known: set[str]) -> list[Message]:
        limit = room * self._spread
        found = self._queue.ready(selector, limit)
        del self._maybe[selector]
        if len(found) == limit:
            self._maybe[selector] = None  # there may be more: it goes to the end of the rotation
        fresh = [message for message in found if message.id not in known and not self._keeper.holds(message.id)]
        if len(fresh) <= room:
            return fresh
        chosen = sorted(random.sample(range(len(fresh)), room))
        return [fresh[at] for at in chosen]

    # Claiming

    def _claim(self, nominated: list[Message]) -> int:
        """Claim what was nominated, as far as there is room, and hand it over; return how many became ours."""
        claimed = 0
        for listener in self._listeners:
            meant = [message for message in nominated if self._listener_of(message.selector) is listener]
            room = listener.free()
            if len(meant) > room:
                self._maybe.update((message.selector, None) for message in meant[room:])
            if meant[:room]:
                claimed += self._claim_for(listener, meant[:room])
        return claimed

    def _claim_for(self, listener: Listener, messages: list[Message]) -> int:
        asked_s = elapsed_s()
        mine, conflicts = self._queue.claim(messages, listener.policy, secrets.token_hex(8))
        for message in mine:
            self._wrote(message.rev)
        listener.accept(self._keeper.hold(mine, asked_s))
        if conflicts:
            self._maybe.update((message.selector, None) for message in messages)
        crowded = conflicts * 10 > len(messages)
        self._spread = min(self._spread * 2, _MOST_SPREAD) if crowded else max(self._spread - 1, 1)
        return len(mine)

    def _listener_of(self, selector: str) -> Listener | None:
        return next((each for each in self._listeners if each.pattern.covers(selector)), None)

    def _count(self, listener: Listener, messages: Iterable[Message]) -> int:
        return sum(self._listener_of(message.selector) is listener for message in messages)
