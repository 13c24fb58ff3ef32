"""Taking: the one loop of a process that finds messages for its listeners and claims them.

The feed's hints are the quick way (fetch those ids, claim them); looking through the index of one selector is the
thorough way; a survey of both indexes is the truth, made with progressive back-off. Only a selector that has something
is looked through, so a thousand selectors cost what their messages cost.
"""

from __future__ import annotations

import logging
import random
import secrets
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from shared import errors
from shared.bus import envelope
from shared.bus.agenda import Agenda
from shared.bus.lanes import Lanes
from shared.bus.leases import LOOK_EVERY
from shared.bus.queue import DUE_INDEX, READY_INDEX
from shared.bus.retry import BackOff
from shared.clock import elapsed_s
from shared.logs import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.envelope import Message
    from shared.bus.leases import LeaseKeeper
    from shared.bus.listener import Listener
    from shared.bus.pauses import Pauses
    from shared.bus.queue import Queue
    from shared.bus.wake import Feed

_LOG = logging.getLogger(__name__)
_OTHERS: Final = BackOff(first_s=1.0, longest_s=10.0, factor=2.0)
_AWAY: Final = BackOff(first_s=0.25, longest_s=1.0)
_LOST: Final = BackOff(first_s=0.04, longest_s=5.0, factor=2.0)
_LOST_AT_ONCE: Final = 1
_LOOKING_SHARE: Final = 0.25
"""For so much of a lease selectors are looked through before what was found is claimed."""

_STALE_S: Final = 300.0
"""What was found so long ago is not claimed any more: CouchDB would take a claim of what was purged meanwhile, which is
an hour at least after it was settled. What others have taken meanwhile the revision tells."""

_FIRST_SURVEY_S: Final = 0.5
_PUT_OFF_S: Final = 2.0
"""For so long a survey that is due waits while it is known what to take next."""

_SURVEYING_SHARE: Final = 0.05
"""For so much of the time the queue is surveyed at most: an index that has to catch up first is asked less often."""

_REFUSED: Final = BackOff(first_s=1.0, longest_s=30.0, factor=2.0)
_SUSPECT_LAPSES: Final = 2
_APART_SHARE: Final = 0.25
"""After so much of a lease it is looked again whether a suspect message can be taken."""

_HOLDERS_FIRST_S: Final = 3.0
"""After an outage holders have so long, or as long as it takes them to look after their leases, to go on with them."""


class Taker:
    """Nominates and claims for all listeners of a process. It is a :class:`~shared.bus.wake.Watcher` too."""

    def __init__(
        self,
        queue: Queue,
        keeper: LeaseKeeper,
        listeners: list[Listener],
        pauses: Pauses,
        *,
        back_off: BackOff,
        stopping: threading.Event,
        feed: Feed,
    ) -> None:
        """Take the queue, whom to claim for, what is paused, when to stop, and the feed that wakes it."""
        self._queue = queue
        self._keeper = keeper
        self._listeners = listeners
        self._pauses = pauses
        self._back_off = back_off
        self._stopping = stopping
        self._feed = feed
        self._agenda = Agenda()
        self._lanes = Lanes(queue, holds=keeper.holds)
        self._giving_way: set[int] = set()
        self._wake = threading.Event()
        self._others_s = 0.0
        self._empty_surveys = 0
        self._lost_in_a_row = 0
        self._vain_looks = 0
        self._others_wrote = False
        self._was_passed_over = False
        self._has_more = False
        self._connected_s = float("-inf")
        self._trouble = Trouble(_LOG, "no messages can be taken")
        self._is_away = False

    # What wakes the loop

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear of a change: a new message is fetched at once, others' writes to old ones have us survey a little later.

        Those may have been given back, or claimed by somebody who dies; most are neither.
        """
        selector = envelope.selector_of(doc_id)
        if own or not envelope.is_message_id(doc_id) or not self._listener_of(selector):
            return
        if generation == 1:
            self._lanes.doubt(selector)
            self._agenda.fetch_new(doc_id, selector, elapsed_s())
            self._wake.set()
        else:
            self._others_wrote = True
            if self._agenda.survey_by(self._next_look_at_others_s()):
                self._wake.set()

    def connected(self) -> None:
        """Hear that the database can be reached, perhaps after an outage in which leases ran out.

        Their holders may live, and have done the work, but could not say so: they are given a moment to. Where a line
        breaks all the time, one in each lease is enough.
        """
        now_s = elapsed_s()
        if now_s > self._connected_s + self._queue.lease_s:
            self._connected_s = now_s

    def _held_off_s(self) -> float:
        """Return for how long yet what lapsed is left to its holder."""
        patience_s = max(_HOLDERS_FIRST_S, self._queue.lease_s * LOOK_EVERY + 1.0)
        return patience_s if self._is_away else self._connected_s + patience_s - elapsed_s()

    def restarted(self) -> None:
        """Hear that changes may have been missed: survey at once."""
        self._agenda.survey_by(0.0)
        self._wake.set()

    def settled(self, message: Message) -> None:
        """Hear that one of our claims came to its end: there is room for another, or it is due again later."""
        in_s = self._queue.takeable_in_s(message)
        if in_s is not None:
            self._later(message.id, message.selector, in_s, message.priority)
        self._wake.set()

    def wake(self) -> None:
        """Make the loop look at what has changed."""
        self._wake.set()

    def _next_look_at_others_s(self) -> float:
        """Return the next moment at which to look at what others wrote: one a second serves them all.

        Where it is in vain, as beside somebody who does nothing but renew a lease for hours, it comes less and less
        often.
        """
        now_s = elapsed_s()
        if self._others_s < now_s:
            self._others_s = now_s + min(_OTHERS.wait_s(self._vain_looks), self._back_off.longest_s)
        return self._others_s

    def _later(self, message_id: str, selector: str, in_s: float, priority: int, *, lapsed: bool = False) -> None:
        """Note when a message may be taken, unless a survey comes by before; what is paused is surveyed after it."""
        if in_s < 2 * self._back_off.longest_s and not self._pauses.holds(selector):
            self._agenda.fetch(message_id, selector, elapsed_s(), priority=priority, in_s=in_s, lapsed=lapsed)

    # The loop and its step

    def run(self) -> None:
        """Look, claim and wait until told to stop; a database that is away or refuses is tried again."""
        failures = 0
        self._agenda.take_survey(elapsed_s())
        self._agenda.survey_by(elapsed_s() + _FIRST_SURVEY_S)  # the feed will have it made as soon as it is open
        while True:
            self._wake.clear()
            if self._stopping.is_set():  # looked at after the clearing, so that no wake-up to stop is lost
                return
            try:
                wait_s = 0.0 if self.run_once() else self._wait_s()
                failures = 0
                if self._is_away:
                    self._is_away = False
                    self.connected()
                self._feed.hurry(not self._has_more)
                self._trouble.over()
            except errors.DatabaseError as error:
                failures += 1
                self._feed.hurry(True)
                wait_s = self._failed(error, failures)
            self._wake.wait(wait_s)

    def _failed(self, error: errors.DatabaseError, failures: int) -> float:
        """Say what is wrong, once, and return how long to wait; then the queue is surveyed anew."""
        self._agenda.survey_by(0.0)
        self._is_away = True
        self._trouble.met(error)
        if isinstance(error, errors.DatabaseAway):
            return _AWAY.wait_s(failures)
        self._keeper.doubt_after(error)
        self._stopping.wait(_REFUSED.wait_s(failures))  # no wake-up mends it
        return 0.0

    def run_once(self) -> bool:
        """Claim what can be claimed now; tell whether anything was."""
        if self._pauses.refresh():
            self._agenda.survey_by(0.0)  # of what was held it was not noted when it is due
        if not any(listener.free() for listener in self._listeners):
            return False
        asked_s = elapsed_s()
        if self._agenda.take_survey(asked_s - (_PUT_OFF_S if self._has_more else 0.0)):
            self._survey()
        self._make_way()
        nominated = self._nominated(asked_s + self._queue.lease_s * _LOOKING_SHARE)
        if nominated and elapsed_s() - asked_s > _STALE_S:
            _LOG.warning("%d messages are not claimed because finding them took too long", len(nominated))
            self._agenda.survey_by(elapsed_s() + _OTHERS.first_s)
            return False
        return self._claim(nominated) > 0

    def _wait_s(self) -> float:
        """Return how long to wait for a wake-up: for ever, as it were, while all hands are full."""
        if not any(listener.free() for listener in self._listeners):
            return self._back_off.longest_s
        next_s = min(self._agenda.next_s(self._has_room), self._pauses.next_end_s())
        return min(max(self._pause_s(), next_s - elapsed_s()), self._back_off.longest_s)

    def _pause_s(self) -> float:
        """Return how long to wait because all that was reached for was others', time and again.

        They are about to take what is left; and a copy of the index that lags goes on showing what is long taken.
        """
        if self._lost_in_a_row <= _LOST_AT_ONCE:
            return 0.0
        return _LOST.wait_s(self._lost_in_a_row - _LOST_AT_ONCE) * random.uniform(0.5, 1)  # noqa: S311 (jitter)

    def _has_room(self, selector: str, lapsed: bool = False) -> bool:
        listener = self._listener_of(selector)
        if listener is None or self._pauses.holds(selector):
            return False
        return (listener.idle() if lapsed else self._places(listener)) > 0

    # Nominating

    def _survey(self) -> None:
        """Learn from both indexes where there is something for us, and when what is delayed is due."""
        patterns = [listener.pattern for listener in self._listeners]
        asked_s = elapsed_s()
        try:
            ready = self._queue.survey(READY_INDEX, patterns)
            waiting = self._queue.survey(DUE_INDEX, patterns)
        except errors.DatabaseError:
            self._agenda.survey_by(0.0)
            raise
        now_s, found, next_s = elapsed_s(), 0, float("inf")
        for each in ready:
            if self._listener_of(each.selector):
                self._agenda.look_through(each.selector)
                found += not (self._pauses.holds(each.selector) or self._queue.stored.is_in_the_way(each.id))
        for each in waiting:
            if not self._listener_of(each.selector) or self._queue.stored.is_in_the_way(each.id, each.rev):
                continue
            in_s, paused = self._queue.due_in_s(each.state, each.due), self._pauses.holds(each.selector)
            if not self._keeper.holds(each.id):
                self._later(each.id, each.selector, in_s, each.priority, lapsed=each.state == envelope.CLAIMED)
                found += in_s <= 0 and not paused
            if each.more and not paused:  # what was not read is due after this
                next_s = min(next_s, now_s + max(in_s, _OTHERS.first_s))
        self._empty_surveys = 0 if found else self._empty_surveys + 1
        self._vain_looks = self._vain_looks + 1 if self._others_wrote and not found else 0
        self._others_wrote = False
        wait_s = self._back_off.wait_s(self._empty_surveys, random.random())  # noqa: S311 (jitter)
        sparing_s = min((now_s - asked_s) / _SURVEYING_SHARE, self._back_off.longest_s)
        self._agenda.survey_by(max(min(now_s + wait_s, next_s), now_s + sparing_s))

    def _make_way(self) -> None:
        """Note which listeners have claimed ahead while what lapsed waits for them: they take nothing more ahead.

        What lapsed is for an idle slot, and a listener that fills up as soon as half of its batch is done has none.
        """
        listeners = (self._listener_of(selector) for selector in self._agenda.lapsed(elapsed_s()))
        self._giving_way = {id(listener) for listener in listeners if listener}

    def _places(self, listener: Listener) -> int:
        """Return how many more messages a listener may have now."""
        return listener.idle() if id(listener) in self._giving_way else listener.free()

    def _nominated(self, until_s: float) -> list[Message]:
        """Return the messages to reach for, as many as there is room for.

        What was seen and is due is fetched by its id, and the rest found by looking through selectors, as many as there
        is time for. Where the one left no room for the other, the other comes first the next time.
        """
        nominated: list[Message] = []
        ways: list[Callable[[list[Message]], list[Message]]]
        ways = [self._by_id, partial(self._by_selector, until_s=until_s)]
        for nominate in reversed(ways) if self._was_passed_over else ways:
            known = {message.id for message in nominated}
            nominated += [message for message in nominate(nominated) if message.id not in known]
        return nominated

    def _room(self, nominated: list[Message]) -> Counter[int]:
        """Return how many more messages each listener may have, by its identity."""
        room = Counter({id(listener): self._places(listener) for listener in self._listeners})
        room.subtract(id(self._listener_of(message.selector)) for message in nominated)
        return room

    def _by_id(self, already: list[Message]) -> list[Message]:
        """Fetch the messages of which we know that they may be taken now.

        What lapsed is taken for an idle slot only, never ahead: it may kill its worker, and others with it.
        """
        free = self._room(already)
        idle = Counter({id(listener): listener.idle() for listener in self._listeners})
        idle.subtract(id(self._listener_of(message.selector)) for message in already)

        def room(selector: str, lapsed: bool) -> bool:
            key = id(self._listener_of(selector))
            if self._pauses.holds(selector) or free[key] <= 0 or (lapsed and idle[key] <= 0):
                return False
            free[key] -= 1
            return True

        now_s = elapsed_s()
        taken = self._agenda.take_ids(now_s, room, ready=self._most_urgent(now_s))
        wanted = [each for each in taken if not self._keeper.holds(each)]
        nominated: list[Message] = []
        has_suspect = self._has_suspect()
        for message in self._queue.fetch_readable(wanted) if wanted else []:
            in_s = self._queue.takeable_in_s(message)
            if in_s is None:
                continue
            key, lapsed = id(self._listener_of(message.selector)), message.state == envelope.CLAIMED
            if lapsed:
                in_s = max(in_s, self._held_off_s())
            is_suspect = lapsed and envelope.lapses(message) + 1 >= _SUSPECT_LAPSES
            if is_suspect and has_suspect:
                in_s = max(in_s, self._queue.lease_s * _APART_SHARE)
            if in_s <= 0 and not (lapsed and idle[key] <= 0):
                nominated.append(message)
                idle[key] -= 1
                has_suspect = has_suspect or is_suspect
            else:
                self._later(message.id, message.selector, in_s, message.priority, lapsed=lapsed)
        return nominated

    def _most_urgent(self, now_s: float) -> dict[str, int]:
        """Return the priority of the first ready message of each selector of which something delayed is due."""
        wanted = [selector for selector in self._agenda.due(now_s) if self._agenda.has_to_look_through(selector)]
        first = {selector: self._lanes.first(selector) for selector in wanted if not self._pauses.holds(selector)}
        return {selector: place.priority for selector, place in first.items() if place}

    def _has_suspect(self) -> bool:
        """Tell whether a message is in hand whose lease ran out twice: it may be the one that ends its workers.

        One such at a time, so that of messages that lapsed together the innocent get to their end beside others.
        """
        return any(envelope.lapses(held.message) >= _SUSPECT_LAPSES for held in self._keeper.all())

    def _by_selector(self, already: list[Message], *, until_s: float) -> list[Message]:
        """Look through the index for each selector that may have something, as long as there is room, and time.

        What was found is to be claimed soon, before others have it; the rest comes first the next time.
        """
        nominated: list[Message] = []
        known = {message.id for message in already}
        room = self._room(already)
        unlooked, unfinished = [], []
        due = self._agenda.due(elapsed_s())
        for selector in self._agenda.take_selectors(self._has_room):
            key = id(self._listener_of(selector))
            if room[key] <= 0 or elapsed_s() > until_s:
                unlooked.append(selector)
                continue
            found, is_all = self._lanes.look(selector, room[key], until=due.get(selector))
            fresh = [each for each in found if each.id not in known]
            room[key] -= len(fresh)
            nominated += fresh
            if not is_all:
                self._lost_in_a_row += not found  # all that was seen is others', or ours already
                unfinished.append(selector)
        self._was_passed_over = bool(unlooked) and bool(already)
        self._has_more = bool(unfinished)
        for selector in [*unlooked, *unfinished]:  # in this order, so that a full one cannot hold back the others
            self._agenda.look_through(selector)
        return nominated

    # Claiming

    def _claim(self, nominated: list[Message]) -> int:
        """Claim what was nominated and hand it over; return how many became ours."""
        claimed = 0
        for listener in self._listeners:
            meant = [message for message in nominated if self._listener_of(message.selector) is listener]
            if meant:
                claimed += self._claim_for(listener, meant)
        return claimed

    def _claim_for(self, listener: Listener, messages: list[Message]) -> int:
        asked_s = elapsed_s()
        messages = sorted(messages, key=lambda message: (message.priority, message.creation_timestamp))
        mine, others, unsure = self._queue.claim(messages, listener.policy, secrets.token_hex(8))
        if unsure:
            self._agenda.survey_by(self._next_look_at_others_s())
        for message in mine:
            self._feed.own_writes.note(message.rev)
        self._lost_in_a_row = self._lost_in_a_row + 1 if others and not mine else 0
        listener.accept(self._keeper.hold(mine, asked_s))
        for selector in {message.selector for message in messages}:
            tried = [message for message in messages if message.selector == selector]
            lost = sum(message.id in others for message in tried)
            if lost:
                self._agenda.look_through(selector)
            self._lanes.claimed(selector, tried, lost)
        return len(mine)

    def _listener_of(self, selector: str) -> Listener | None:
        return next((each for each in self._listeners if each.pattern.covers(selector)), None)
