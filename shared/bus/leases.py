"""Holding messages: what this process has claimed, and the thread that keeps the leases alive.

Every claim is renewed by heartbeat as long as it is held, whether its work has begun or not; never by age, because
pipelines run for hours. There is one write a message at a time: renewing passes over what is being settled.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from shared.bus.envelope import CLAIMED
from shared.clock import elapsed_s
from shared.errors import DatabaseError, DatabaseMissing, NotNow
from shared.logs import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shared.bus.envelope import Message
    from shared.bus.queue import Queue

_LOG = logging.getLogger(__name__)
_RENEW_AFTER: Final = 1 / 3
LOOK_EVERY: Final = 1 / 6
"""After so much of a lease the leases are looked after again."""


class Held:
    """A claim of this process: the message at its newest revision, and how long the lease is sure to last."""

    def __init__(self, message: Message, until_s: float) -> None:
        """Take the claimed message and the end of its lease, a moment of :func:`~shared.clock.elapsed_s`."""
        self.message = message
        self.claimed_rev = message.rev
        """The revision of the claim itself."""
        self.until_s = until_s
        self.lost = False
        self.aborted = False
        self.doubtful = False
        """Whether the answer to the last write was lost, so that the revision has to be read first."""
        self.writing = threading.Lock()
        """Held by whoever writes the message: there is one write a message at a time."""
        self._on_abort: list[Callable[[], None]] = []
        self._aborting = threading.Lock()

    @property
    def is_sure(self) -> bool:
        """Whether the message may be written to, or worked on, without being read first."""
        return self.remaining_s() > 0 and not self.doubtful

    def remaining_s(self) -> float:
        """Return for how many seconds the lease is sure to last; negative when it may be over."""
        return self.until_s - elapsed_s()

    def on_abort(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the work must end now: the claim is lost, or the process has to stop."""
        with self._aborting:
            self._on_abort.append(callback)
            late = self.aborted
        if late:
            callback()

    def off_abort(self, callback: Callable[[], None]) -> None:
        """Take ``callback`` back."""
        with self._aborting:
            self._on_abort.remove(callback)

    def abort(self) -> None:
        """Tell the handler to end now, from a thread of its own: what it does holds up no lease and no settlement."""
        with self._aborting:
            self.aborted = True
            callbacks = list(self._on_abort)
        if callbacks:
            threading.Thread(target=self._call, args=(callbacks,), name="abort", daemon=True).start()

    def _call(self, callbacks: Iterable[Callable[[], None]]) -> None:
        for callback in callbacks:
            try:
                callback()
            except BaseException:  # noqa: BLE001 (a handler's own; the others are to be called all the same)
                _LOG.exception("what was to end the work on message %s failed", self.message.id)


def until_when(held: Iterable[Held], longest_s: float) -> float:
    """Return until when a write of some claims is tried, a moment of :func:`~shared.clock.elapsed_s`.

    That is for ``longest_s`` at most, and no longer than a lease that lasts yet; of what was read just now, because its
    lease may be over, nothing is known but that.
    """
    now_s = elapsed_s()
    return min([now_s + longest_s, *(each.until_s for each in held if each.until_s > now_s)])


class LeaseKeeper:
    """Renews the leases of everything that this process holds, in batches, from one thread."""

    def __init__(self, queue: Queue, *, wrote: Callable[[str], None]) -> None:
        """Take the queue to write to; :meth:`start` starts the thread. ``wrote`` hears of what is no news."""
        self._queue = queue
        self._wrote = wrote
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        self._trouble = Trouble(_LOG, "leases cannot be renewed")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Start renewing."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the thread, waiting for it no longer than that (seconds); leases then run out by themselves."""
        self._stopped.set()
        self._thread.join(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def hold(self, messages: Iterable[Message], claimed_s: float) -> list[Held]:
        """Take claimed messages into care; ``claimed_s`` is the moment before the claim was asked for."""
        held = [Held(message, claimed_s + self._queue.lease_s) for message in messages]
        with self._lock:
            self._held.update((each.message.id, each) for each in held)
        return held

    def release(self, held: Held) -> None:
        """Stop renewing a claim that is settled or lost."""
        with self._lock:
            if self._held.get(held.message.id) is held:
                del self._held[held.message.id]

    def holds(self, message_id: str) -> bool:
        """Tell whether this process holds a message."""
        with self._lock:
            return message_id in self._held

    def _keeps(self, held: Held) -> bool:
        """Tell whether a claim is still in our care: it may have been settled while it was waited for."""
        with self._lock:
            return self._held.get(held.message.id) is held

    def all(self) -> list[Held]:
        """Return everything that is held."""
        with self._lock:
            return list(self._held.values())

    def doubt_all(self) -> None:
        """Have every claim read before it is written to again: the database may be another one now."""
        for each in self.all():
            each.doubtful = True

    def doubt_after(self, error: DatabaseError) -> None:
        """Doubt every claim if the database is not there: one of its name would be another one."""
        if isinstance(error, DatabaseMissing):
            self.doubt_all()

    def renew(self, wanted: Iterable[Held]) -> None:
        """Renew the leases of some claims now, but for those that are being written to; raises DatabaseError.

        Those that are sure come first: the others have to be read, and that may take its time.
        """
        claims = list(wanted)
        for is_sure in (True, False):
            locked = [each for each in claims if each.is_sure is is_sure and each.writing.acquire(blocking=False)]
            try:
                self._renew(self.are_mine([each for each in locked if self._keeps(each)]))
            finally:
                for each in locked:
                    each.writing.release()

    def _renew(self, mine: list[Held]) -> None:
        """Write renewals. One that too few copies took at once prolongs nothing: the others may have it lapse."""
        if not mine:
            return
        asked_s = elapsed_s()
        until_s = until_when(mine, self._queue.lease_s / 6)
        results = self._queue.renew([each.message for each in mine], until_s=until_s)
        for each, result in zip(mine, results, strict=True):
            if result.standing == "written":
                each.message = result.message
                if result.sure:
                    each.until_s = asked_s + self._queue.lease_s
                self._wrote(result.message.rev)
                self._trouble.over()
            elif result.standing == "refused":
                _LOG.warning("lease of message %s not renewed: %s", each.message.id, result.reason)
            else:
                each.doubtful = True

    def are_mine(self, claims: Sequence[Held]) -> list[Held]:
        """Return the claims that may be written to, after those that are not sure were read, in one request.

        To be called with ``writing`` of each. What could not be read is left out; raises DatabaseError where that is
        all.
        """
        unsure = [each for each in claims if not (each.lost or each.is_sure)]
        found = self._reread(unsure) if unsure else {}
        unread = [each for each in unsure if each.message.id not in found]
        for each in unsure:
            if each.message.id in found:
                self._take(each, found[each.message.id])
        return [each for each in claims if not each.lost and each not in unread]

    def _reread(self, unsure: Sequence[Held]) -> dict[str, Message | None]:
        claimed = {each.message.id: each.claimed_rev for each in unsure}
        timeout_s = max(self._queue.lease_s / 6, 1.0)
        return self._queue.stored.reread([each.message for each in unsure], claimed, timeout_s=timeout_s)

    def _take(self, held: Held, found: Message | None) -> None:
        """Take in how a message stands that was read."""
        if found is None or found.state != CLAIMED:
            _LOG.warning(
                "claim on message %s is lost: it was taken by somebody else, settled or purged", held.message.id
            )
            held.lost = True
            self.release(held)
            held.abort()
        else:
            held.message, held.doubtful = found, False

    def verify(self, held: Held) -> bool:
        """Tell whether a claim is still ours, for a handler before an effect; raises DatabaseError.

        A lease that is over is renewed: that nobody has taken the message yet, as far as the copies that answer know,
        would not keep anybody from it.
        """
        if held.lost or held.is_sure:
            return not held.lost
        with held.writing:
            if self.are_mine([held]) and held.remaining_s() <= 0:
                self._renew([held])
            if self.are_mine([held]) and held.remaining_s() <= 0:
                raise NotNow(f"the lease of message {held.message.id} is over, and cannot be renewed for now")
        return not held.lost

    def secure(self, held: Held) -> bool:
        """Make sure of half a lease before work begins; raises DatabaseError."""
        half_s = self._queue.lease_s / 2
        if held.remaining_s() < half_s:
            with held.writing:  # a renewal that is under way may have done it
                if held.remaining_s() < half_s:
                    self._renew(self.are_mine([held]))
                self.are_mine([held])
        return not held.lost and held.remaining_s() >= half_s

    def run_once(self) -> None:
        """Renew every claim of which a third of the lease is over, or whose revision is not sure."""
        limit_s = self._queue.lease_s * (1 - _RENEW_AFTER)
        self.renew(each for each in self.all() if each.doubtful or each.remaining_s() < limit_s)

    def _run(self) -> None:
        while not self._stopped.wait(self._queue.lease_s * LOOK_EVERY):
            try:
                self.run_once()
            except DatabaseError as error:
                self._trouble.met(error)
                self.doubt_after(error)
