"""Listening: a handler for a pattern of selectors, the threads that serve it, and how much it can take."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

from shared.clock import elapsed_s
from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.delivery import Delivery
    from shared.bus.leases import Held
    from shared.bus.outcomes import Outcome
    from shared.bus.patterns import Pattern
    from shared.bus.retry import RetryPolicy

    Handler = Callable[[Delivery], Outcome | None]


class Listener:
    """One handler for a pattern of selectors: up to ``slots`` run at once, up to ``batch`` are begun or wait for it.

    As many again may be handled and on their way to being settled, so that claiming need not wait for settling.
    """

    def __init__(
        self, pattern: Pattern, handler: Handler, *, slots: int = 1, batch: int = 1, policy: RetryPolicy
    ) -> None:
        """Take what to listen on and how; ``batch`` is raised to ``slots`` where it is less.

        Raises BadInput where either is no whole number from 1 on: nothing would ever be handled.
        """
        for name, count in {"slots": slots, "batch": batch}.items():
            if not isinstance(count, int) or count < 1:
                raise BadInput(f"{name} of {pattern.text} cannot be {shown(count)}: it is a whole number, 1 or more")
        self.pattern = pattern
        self.handler = handler
        self.slots = slots
        self.batch = max(batch, slots)
        self.policy = policy
        self._unhandled = self._unsettled = 0
        self._waiting: queue.SimpleQueue[Held | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, work: Callable[[Held], None]) -> None:
        """Start the threads, each of which does ``work`` on one message after another."""
        for number in range(self.slots):
            thread = threading.Thread(target=self._run, args=(work,), name=f"{self.pattern.text}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether every thread runs."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def is_here(self) -> bool:
        """Whether it is one of these threads that asks."""
        return threading.current_thread() in self._threads

    def free(self) -> int:
        """Return how many more messages may be claimed.

        While every slot is busy, none until half of the batch is free: many claims cost little more than one.
        """
        with self._lock:
            free = min(self.batch - self._unhandled, 2 * self.batch - self._unhandled - self._unsettled)
            idle = self._unhandled < self.slots
        return free if idle or free >= (self.batch + 1) // 2 else 0

    def idle(self) -> int:
        """Return how many slots have nothing to do."""
        with self._lock:
            return max(0, self.slots - self._unhandled)

    def accept(self, held: list[Held]) -> None:
        """Take claimed messages to be handled."""
        with self._lock:
            self._unhandled += len(held)
        for each in held:
            self._waiting.put(each)

    def handled(self) -> None:
        """Note that the handler is through with a message, which now is to be settled."""
        with self._lock:
            self._unhandled -= 1
            self._unsettled += 1

    def freed(self) -> None:
        """Note that a message is settled or lost."""
        with self._lock:
            self._unsettled -= 1

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

    def _run(self, work: Callable[[Held], None]) -> None:
        while (held := self._waiting.get()) is not None:
            work(held)
