"""Settling: one thread that writes the outcomes of handlers, as many together as are there.

What cannot be settled yet is tried again later, each by itself, so that it holds up no other.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared import errors
from shared.bus.leases import until_when
from shared.bus.outcomes import Dead, Done, Expire, GiveBack, Outcome, Retry, Snooze, settled
from shared.bus.retry import BackOff
from shared.clock import elapsed_s
from shared.logs import Trouble

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
_PAUSE: Final = BackOff(first_s=0.1, longest_s=2.0, factor=2.0)
_REASON_LENGTH: Final = 300


@dataclass
class _Settlement:
    held: Held
    outcome: Outcome
    listener: Listener
    tried: Message | None = None
    """What was written last."""
    unanswered: bool = False
    """Whether it is not known what became of that."""
    tries: int = 0
    again_s: float = 0.0
    """When to try again, a moment of :func:`~shared.clock.elapsed_s`."""
    is_over: bool = False

    @property
    def is_sure(self) -> bool:
        """Whether the outcome can be written without the message being read first."""
        return not self.unanswered and self.held.is_sure

    def again(self) -> Message | None:
        """Return what was written last if it is to be written once more: to the same revision, so the same bytes.

        Of these CouchDB makes the same new revision, also where a copy that is away just now took them the first time.
        """
        return self.tried if self.tried and self.tried.rev == self.held.message.rev else None


class Settler:
    """Writes outcomes, by the revision of the claim; repeats until it is known what became of each."""

    def __init__(
        self,
        queue_: Queue,
        keeper: LeaseKeeper,
        *,
        on_handled: Callable[[], None],
        on_settled: Callable[[Message], None],
    ) -> None:
        """Take the queue, the keeper of the leases, and whom to tell of each message that was handled and let go."""
        self._queue = queue_
        self._keeper = keeper
        self._on_handled = on_handled
        self._on_settled = on_settled
        self._waiting: queue.SimpleQueue[_Settlement | None] = queue.SimpleQueue()
        self._trouble = Trouble(_LOG, "outcomes of messages cannot be written")
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
        listener.handled()
        self._on_handled()

    def drop(self, held: Held, listener: Listener) -> None:
        """Let go of a claim without a write, because it is somebody else's."""
        listener.handled()
        self._let_go(held, listener, held.message)

    def stop(self, timeout_s: float) -> None:
        """Write what waits, for at most ``timeout_s``, and end the thread."""
        self._waiting.put(None)
        self._thread.join(timeout_s)
        self._hard_stop.set()
        self._waiting.put(None)  # it may wait to try again

    def _run(self) -> None:
        """Write what comes, and what is not decided again later: one that cannot be settled holds up no other."""
        pending: list[_Settlement] = []
        is_last = False
        while not self._hard_stop.is_set() and not (is_last and not pending):
            batch = self._next(min((each.again_s for each in pending), default=None))
            is_last = is_last or None in batch
            fresh = [each for each in batch if each is not None]
            for each in fresh:
                each.held.writing.acquire()
            now_s = elapsed_s()
            due = [*fresh, *(each for each in pending if each.again_s <= now_s)]
            later = [each for each in pending if each.again_s > now_s]
            pending = later + [self._put_off(each) for each in self._attempt(due)]
        for each in pending:
            each.held.writing.release()

    def _next(self, until_s: float | None) -> list[_Settlement | None]:
        """Return what is to be settled now, waiting for it until a moment, or for as long as it takes; None ends it."""
        batch: list[_Settlement | None] = []
        try:
            batch.append(self._waiting.get(timeout=None if until_s is None else max(0.0, until_s - elapsed_s())))
            while len(batch) < _MOST and batch[-1] is not None:
                batch.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _put_off(self, each: _Settlement) -> _Settlement:
        each.tries += 1
        each.again_s = elapsed_s() + _PAUSE.wait_s(each.tries, random.random())  # noqa: S311 (jitter)
        return each

    def _attempt(self, due: list[_Settlement]) -> list[_Settlement]:
        """Write what may be written; let go of what is settled or lost, and return the rest."""
        sure, unsure = [each for each in due if each.is_sure], [each for each in due if not each.is_sure]
        self._write_once(sure)
        self._write_once(self._looked_up(unsure))
        return [each for each in due if not each.is_over]

    def _looked_up(self, unsure: list[_Settlement]) -> list[_Settlement]:
        """Read how messages stand, let go of those with nothing left to write, and return those that are to be."""
        self._recognise([each for each in unsure if each.unanswered])
        claimed = [each for each in unsure if not each.unanswered]
        mine: list[Held] = []
        try:
            mine = self._keeper.are_mine([each.held for each in claimed])
        except errors.DatabaseError as error:
            self._trouble.met(error)
        for each in claimed:
            if each.held.lost:
                self._finish(each, each.held.message, written=False)
        return [each for each in claimed if each.held in mine]

    def _recognise(self, tried: list[_Settlement]) -> None:
        """Read whether writes without an answer happened."""
        try:
            found = self._queue.stored.written([each.tried for each in tried if each.tried]) if tried else {}
        except errors.DatabaseError as error:
            self._trouble.met(error)
            return
        for each in tried:
            if stored := found.get(each.held.message.id):
                self._finish(each, stored, written=True)
            elif each.held.message.id in found:
                each.held.doubtful, each.unanswered = True, False

    def _write_once(self, writable: list[_Settlement]) -> None:
        if not writable:
            return
        messages = [each.again() or self._settled(each) for each in writable]
        until_s = until_when((each.held for each in writable), _TRY_S)
        try:
            results = self._queue.write(messages, until_s=until_s)
        except errors.DatabaseError as error:
            self._trouble.met(error)
            self._keeper.doubt_after(error)
            return
        for each, result in zip(writable, results, strict=True):
            self._take(each, result)

    def _settled(self, each: _Settlement) -> Message:
        return settled(
            each.held.message,
            each.outcome,
            policy=each.listener.policy,
            by=self._queue.me,
            now=self._queue.clock.now(),
            chance=random.random(),  # noqa: S311 (jitter)
        )

    def _take(self, each: _Settlement, result: Result) -> None:
        """Take in the result of a write; what is not over by it is tried again."""
        if result.standing == "written":
            self._trouble.over()
            self._finish(each, result.message, written=True)
        elif result.standing == "refused":
            self._refused(each, result)
        else:
            each.tried, each.unanswered, each.held.doubtful = result.message, True, True

    def _refused(self, each: _Settlement, result: Result) -> None:
        _LOG.error("outcome of message %s refused: %s", result.message.id, result.reason)
        if isinstance(each.outcome, Dead):
            self._finish(each, each.held.message, written=False)
        else:
            each.outcome, each.tried = Dead(f"its outcome was refused: {result.reason}"[:_REASON_LENGTH]), None

    def _finish(self, each: _Settlement, message: Message, *, written: bool) -> None:
        each.is_over = True
        if written:
            self._queue.prune(message)
            _log(each.outcome, message)
        else:
            _LOG.warning("result of message %s is dropped", message.id)
        self._let_go(each.held, each.listener, message)
        each.held.writing.release()

    def _let_go(self, held: Held, listener: Listener, message: Message) -> None:
        self._keeper.release(held)
        listener.freed()
        self._on_settled(message)


def _log(outcome: Outcome, message: Message) -> None:
    match outcome:
        case Done() | GiveBack() | Expire():
            _LOG.debug("message %s: %s", message.id, message.state)
        case Snooze(waits):
            _LOG.info("message %s waits: %s", message.id, waits)
        case Retry(what) | Dead(what):
            _LOG.warning("message %s is %s after attempt %d: %s", message.id, message.state, message.attempts, what)
