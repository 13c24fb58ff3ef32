"""Handling messages: a listener's handler, the threads that run it, and what a handler is given.

A linear executor: a claimed message goes in, one outcome comes out and goes to the settler.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any

from shared import errors
from shared.bus import envelope
from shared.bus.outcomes import Done, Expire, GiveBack, Outcome, Retry, of_error
from shared.clock import elapsed_s
from shared.logs import about
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.bus import Bus
    from shared.bus.envelope import Message
    from shared.bus.leases import Held, LeaseKeeper
    from shared.bus.patterns import Pattern
    from shared.bus.retry import RetryPolicy
    from shared.bus.settler import Settler

    Handler = Callable[["Delivery"], Outcome | None]

_LOG = logging.getLogger(__name__)


class Delivery:
    """A claimed message in the hands of its handler."""

    def __init__(self, bus: Bus, keeper: LeaseKeeper, held: Held, policy: RetryPolicy) -> None:
        """Take the bus to send by, the claim and its keeper, and the policy that counts its attempts."""
        self._bus = bus
        self._keeper = keeper
        self._held = held
        self._policy = policy

    @property
    def message(self) -> Message:
        """The message, as it was claimed or last renewed."""
        return self._held.message

    @property
    def body(self) -> dict[str, Any]:
        """What the message says."""
        return self._held.message.body

    @property
    def is_last_attempt(self) -> bool:
        """Whether a Retry now would make the message dead."""
        return self._policy.is_spent(self._held.message.attempts)

    def check(self) -> None:
        """Raise LeaseLost when the message is somebody else's; to be asked before an effect.

        While the lease lasts this costs nothing; after it (this process may have slept) the message is read.
        """
        if not self._keeper.verify(self._held):
            raise errors.LeaseLost(f"message {self.message.id} was taken over by somebody else")

    def on_abort(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called, from another thread, when the work must end now."""
        self._held.on_abort(callback)

    def off_abort(self, callback: Callable[[], None]) -> None:
        """Take ``callback`` back."""
        self._held.off_abort(callback)

    @property
    def is_aborted(self) -> bool:
        """Whether the work must end now: the claim is lost, or the process stops for good."""
        return self._held.aborted

    def child_id(self, selector: str, name: str) -> str:
        """Return the id of the message that this one causes under ``name``: always the same."""
        return envelope.caused_id(selector, self.message.id, self.message.epoch, name)

    def send(self, selector: str, body: dict[str, Any], *, name: str, priority: int = envelope.DEFAULT_PRIORITY) -> str:
        """Send a message caused by this one and return its id.

        ``name`` says what the message is for; sending it again, in a second run of the handler too, sends nothing
        more. Raises as :meth:`Bus.send <shared.bus.bus.Bus.send>`, and LeaseLost.
        """
        self.check()
        message_id = self.child_id(selector, name)
        return self._bus.send(selector, body, message_id=message_id, cause=self.message.id, priority=priority)


class Listener:
    """One handler for a pattern of selectors: up to ``slots`` run at once, up to ``batch`` messages are held."""

    def __init__(
        self, pattern: Pattern, handler: Handler, *, slots: int = 1, batch: int = 1, policy: RetryPolicy
    ) -> None:
        """Take what to listen on and how; ``batch`` is raised to ``slots`` where it is less."""
        self.pattern = pattern
        self.handler = handler
        self.slots = slots
        self.batch = max(batch, slots)
        self.policy = policy
        self._held = 0
        self._waiting: queue.SimpleQueue[Held | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, bus: Bus, keeper: LeaseKeeper, settler: Settler) -> None:
        """Start the threads that run the handler."""
        work = _Work(self, bus, keeper, settler)
        for number in range(self.slots):
            thread = threading.Thread(target=self._run, args=(work,), name=f"{self.pattern.text}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs."""
        return all(thread.is_alive() for thread in self._threads)

    def free(self) -> int:
        """Return how many more messages may be claimed.

        While every slot is busy, none until half of the batch is free: many claims cost little more than one.
        """
        with self._lock:
            free = self.batch - self._held
            idle = self._held < self.slots
        return free if idle or free >= (self.batch + 1) // 2 else 0

    def accept(self, held: list[Held]) -> None:
        """Take claimed messages to be handled."""
        with self._lock:
            self._held += len(held)
        for each in held:
            self._waiting.put(each)

    def freed(self) -> None:
        """Note that a message is settled or lost."""
        with self._lock:
            self._held -= 1

    def unbegun(self) -> list[Held]:
        """Take back what no thread has begun, and end the threads once they are free."""
        taken: list[Held] = []
        while True:
            try:
                each = self._waiting.get_nowait()
            except queue.Empty:
                break
            if each is not None:
                taken.append(each)
        for _ in self._threads:
            self._waiting.put(None)
        return taken

    def join(self, until_s: float) -> bool:
        """Wait for all threads to end, until a moment of :func:`~shared.clock.elapsed_s`; False when one has not."""
        for thread in self._threads:
            thread.join(max(0.0, until_s - elapsed_s()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, work: _Work) -> None:
        while (held := self._waiting.get()) is not None:
            work.run_once(held)


class _Work:
    """One run of a handler."""

    def __init__(self, listener: Listener, bus: Bus, keeper: LeaseKeeper, settler: Settler) -> None:
        self._listener = listener
        self._bus = bus
        self._keeper = keeper
        self._settler = settler

    def run_once(self, held: Held) -> None:
        """Handle one message and pass its outcome on; nothing that a handler does ends the thread."""
        with about(message=held.message.id, ous=str(held.message.body.get("ousUID", ""))):
            outcome = self._before(held) or self._outcome(held)
        if outcome is None or held.lost:
            self._settler.drop(held, self._listener)
        else:
            self._settler.settle(held, outcome, self._listener)

    def _before(self, held: Held) -> Outcome | None:
        """Return what becomes of a message whose work must not begin: its time is over, or its lease is not sure."""
        if envelope.is_expired(held.message, self._bus.queue.clock.now()):
            return Expire()
        try:
            sure = self._keeper.secure(held)
        except errors.DatabaseError as error:
            _LOG.warning("not begun, because its lease cannot be renewed: %s", error)
            sure = False
        return None if sure else GiveBack(refund=True)

    def _outcome(self, held: Held) -> Outcome | None:
        delivery = Delivery(self._bus, self._keeper, held, self._listener.policy)
        try:
            outcome = self._listener.handler(delivery)
        except BaseException as error:  # noqa: BLE001 (a handler may raise anything; it becomes an outcome)
            if held.aborted and not held.lost:
                return GiveBack(refund=False)
            foreseen = isinstance(error, errors.DrwError)
            _LOG.warning("%s", str(error) or type(error).__name__, exc_info=None if foreseen else error)
            return of_error(error)
        if outcome is None:
            return Done()
        if not isinstance(outcome, Outcome):
            return Retry(f"the handler returned {shown(outcome)}, not Done, Retry, Snooze or Dead")
        return outcome
