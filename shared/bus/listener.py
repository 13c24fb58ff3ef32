"""Handling messages: a listener's handler, the threads that run it, and what a handler is given.

A linear executor: a claimed message goes in, one outcome comes out and goes to the settler.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared import errors
from shared.bus import envelope
from shared.bus.outcomes import Done, GiveBack, of_error
from shared.logs import about

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.bus import Bus
    from shared.bus.envelope import Message
    from shared.bus.leases import Held, LeaseKeeper
    from shared.bus.outcomes import Outcome
    from shared.bus.retry import RetryPolicy
    from shared.bus.settler import Settler

    Handler = Callable[["Delivery"], Outcome | None]

_LOG = logging.getLogger(__name__)
_WILDCARD: Final = ".*"


@dataclass(frozen=True)
class Pattern:
    """What a listener listens on: one selector, or all that begin with a prefix (``cached.*``)."""

    text: str

    def __post_init__(self) -> None:
        """Refuse what is no selector."""
        envelope.selector(self.text.removesuffix(_WILDCARD))

    @property
    def is_range(self) -> bool:
        """Whether this covers many selectors."""
        return self.text.endswith(_WILDCARD)

    def covers(self, selector: str) -> bool:
        """Tell whether messages for a selector are meant."""
        return selector.startswith(self.text[:-1]) if self.is_range else selector == self.text


class Delivery:
    """A claimed message in the hands of its handler."""

    def __init__(self, bus: Bus, held: Held, policy: RetryPolicy) -> None:
        """Take the bus to send by, the claim, and the policy that counts its attempts."""
        self._bus = bus
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
        """Raise LeaseLost when the message is known to be somebody else's; to be asked before an effect."""
        if self._held.lost:
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
        return self._held.lost or self._bus.is_aborting

    def child_id(self, selector: str, name: str) -> str:
        """Return the id of the message that this one causes under ``name``: always the same."""
        return envelope.caused_id(selector, self.message.id, self.message.epoch, name)

    def send(self, selector: str, body: dict[str, Any], *, name: str, priority: int | None = None) -> str:
        """Send a message caused by this one and return its id.

        ``name`` says what the message is for; sending it again, in a second run of the handler too, sends nothing
        more. Raises as :meth:`Bus.send <shared.bus.bus.Bus.send>`, and LeaseLost.
        """
        self.check()
        message_id = self.child_id(selector, name)
        return self._bus.send(
            selector, body, message_id=message_id, cause=self.message.id, priority=priority or envelope.DEFAULT_PRIORITY
        )


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

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads to end; False when one has not within the time."""
        for thread in self._threads:
            thread.join(timeout_s)
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
        if not self._is_fresh(held):
            self._settler.drop(held, self._listener)
            return
        with about(message=held.message.id, ous=str(held.message.body.get("ousUID", ""))):
            outcome = self._outcome(Delivery(self._bus, held, self._listener.policy))
        if outcome is None or held.lost:
            self._settler.drop(held, self._listener)
        else:
            self._settler.settle(held, outcome, self._listener)

    def _is_fresh(self, held: Held) -> bool:
        """Make sure of half a lease before the work begins."""
        if held.remaining_s() < self._bus.lease_s / 2:
            try:
                self._keeper.renew([held])
            except errors.DatabaseError as error:
                _LOG.warning("message %s not begun, its lease cannot be renewed: %s", held.message.id, error)
                return False
        return not held.lost and held.remaining_s() >= self._bus.lease_s / 2

    def _outcome(self, delivery: Delivery) -> Outcome | None:
        try:
            return self._listener.handler(delivery) or Done()
        except Exception as error:  # noqa: BLE001 (a handler may raise anything; it becomes an outcome)
            if self._bus.is_aborting and not isinstance(error, errors.LeaseLost):
                return GiveBack(refund=False)
            outcome = of_error(error)
            expected = isinstance(error, errors.DrwError)
            _LOG.warning("%s", error or type(error).__name__, exc_info=None if expected else error)
            return outcome


def chance() -> float:
    """Return a number from 0 to 1 for jitter."""
    return random.random()  # noqa: S311 (jitter)
