"""Settling: one thread that writes the outcomes of handlers, as many together as are there."""

from __future__ import annotations

import logging
import queue
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared import errors
from shared.bus.outcomes import Dead, Done, GiveBack, Outcome, Retry, Snooze, settled
from shared.clock import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.envelope import Message
    from shared.bus.leases import Held, LeaseKeeper
    from shared.bus.listener import Listener
    from shared.bus.queue import Queue
    from shared.bus.writes import Result

_LOG = logging.getLogger(__name__)
_TRY_S: Final = 5.0
_MOST: Final = 500
_PAUSE_S: Final = 0.2
_REASON_LENGTH: Final = 300


@dataclass
class _Settlement:
    held: Held
    outcome: Outcome
    listener: Listener
    tried: Message | None = None
    """What was written last without an answer."""


class Settler:
    """Writes outcomes, by the revision of the claim; repeats until it is known what became of each."""

    def __init__(self, queue_: Queue, keeper: LeaseKeeper, *, on_settled: Callable[[Message], None]) -> None:
        """Take the queue, the keeper of the leases, and whom to tell of each message that was written."""
        self._queue = queue_
        self._keeper = keeper
        self._on_settled = on_settled
        self._waiting: queue.SimpleQueue[_Settlement | None] = queue.SimpleQueue()
        self._hard_stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def settle(self, held: Held, outcome: Outcome, listener: Listener) -> None:
        """Have an outcome written; returns at once."""
        self._waiting.put(_Settlement(held, outcome, listener))

    def drop(self, held: Held, listener: Listener) -> None:
        """Let go of a claim without a write: it is somebody else's, or its lease will run out."""
        self._keeper.release(held)
        listener.freed()
        self._on_settled(held.message)

    def stop(self, timeout_s: float) -> None:
        """Write what waits, for at most ``timeout_s``, and end the thread."""
        self._waiting.put(None)
        self._thread.join(timeout_s)
        self._hard_stop.set()

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            batch = [first]
            while len(batch) < _MOST and first is not None:
                try:
                    batch.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            self._write([each for each in batch if each is not None])
            if None in batch:
                return

    def _write(self, batch: list[_Settlement]) -> None:
        for each in batch:
            each.held.writing.acquire()
        while batch and not self._hard_stop.is_set():
            try:
                batch = self._write_once(batch)
            except errors.DatabaseError as error:
                _LOG.debug("outcomes wait: %s", error)
                self._hard_stop.wait(_PAUSE_S)
        for each in batch:
            each.held.writing.release()

    def _write_once(self, batch: list[_Settlement]) -> list[_Settlement]:
        """Write a batch; return what has to be written again, because its outcome is not known or was refused."""
        writable = [each for each in batch if self._is_writable(each)]
        messages = [self._settled(each) for each in writable]
        results = self._queue.settle(messages, until_s=elapsed_s() + _TRY_S)
        return [each for each, result in zip(writable, results, strict=True) if not self._is_finished_by(result, each)]

    def _is_writable(self, each: _Settlement) -> bool:
        """Tell whether an outcome still has to be written, and may be; finish it where not."""
        held, tried = each.held, each.tried
        if tried is not None and tried.last:
            found = self._queue.get(held.message.id)
            if found and found.last and found.last.op_id == tried.last.op_id:
                self._finish(each, found, written=True)
                return False
            held.doubtful = True
        if self._keeper.is_mine(held):
            return True
        self._finish(each, held.message, written=False)
        return False

    def _settled(self, each: _Settlement) -> Message:
        return settled(
            each.held.message,
            each.outcome,
            policy=each.listener.policy,
            by=self._queue.me,
            now=self._queue.clock.now(),
            chance=random.random(),  # noqa: S311 (jitter)
        )

    def _is_finished_by(self, result: Result, each: _Settlement) -> bool:
        if result.standing == "unknown":
            each.tried = result.message
            return False
        if result.standing == "refused":
            _LOG.error("outcome of message %s refused: %s", result.message.id, result.reason)
            if not isinstance(each.outcome, Dead):
                each.outcome = Dead(f"its outcome was refused: {result.reason}"[:_REASON_LENGTH])
                return False
        self._finish(each, result.message, written=result.standing == "written")
        return True

    def _finish(self, each: _Settlement, message: Message, *, written: bool) -> None:
        if written:
            _log(each.outcome, message)
        else:
            _LOG.warning("claim on message %s was lost; its result is dropped", message.id)
        each.held.writing.release()
        self._keeper.release(each.held)
        each.listener.freed()
        self._on_settled(message)


def _log(outcome: Outcome, message: Message) -> None:
    match outcome:
        case Done() | GiveBack():
            _LOG.debug("message %s: %s", message.id, message.state)
        case Snooze(waits):
            _LOG.info("message %s waits: %s", message.id, waits)
        case Retry(what) | Dead(what):
            _LOG.warning("message %s is %s after attempt %d: %s", message.id, message.state, message.attempts, what)
