"""Calls: a message whose reply is its settlement.

The executor writes ``result`` and ``consumed`` in one write; the client watches that very document. So replies cannot
leak, and a call that is asked again under the same id is executed once.
"""

from __future__ import annotations

import logging
import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared import errors
from shared.bus import envelope
from shared.bus.outcomes import Done, Outcome
from shared.clock import elapsed_s
from shared.names import moment, shown

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from shared.bus.bus import Bus
    from shared.bus.delivery import Delivery
    from shared.bus.envelope import Message

_LOG = logging.getLogger(__name__)
_ASK_AGAIN_S: Final = 0.05
_MOST_OF_IT: Final = 0.75

_WAITS: Final = (
    errors.DatabaseAway,
    errors.DatabaseMissing,
    errors.WrongPassword,
    errors.Forbidden,
    errors.OutcomeUnknown,
)
"""Errors that are not about the request: it is executed when they are over."""


class ExecutorClient:
    """Calls the executor that listens on one selector."""

    def __init__(self, bus: Bus, selector: str, *, deadline_s: float) -> None:
        """Take the bus, whom to call, and how long (seconds) to wait for an answer."""
        self._bus = bus
        self._selector = envelope.selector(selector)
        self._deadline_s = deadline_s

    def call(
        self, body: dict[str, Any], *, message_id: str | None = None, cause: str = "", deadline_s: float | None = None
    ) -> Any:  # noqa: ANN401 (the executor's reply, any JSON)
        """Have a request executed and return its reply.

        Asked again under the same ``message_id``, what was executed is not executed again: the reply is that of the
        first time. What was answered with an error, which changed nothing, is tried anew.
        Raises RemoteError for an error that the executor answered with, DeadlineExceeded when no answer came within
        ``deadline_s`` (seconds): a request that nobody has begun by then is withdrawn, and its text says so.
        """
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        until_s = elapsed_s() + deadline_s
        request = self._bus.compose(self._selector, body, message_id=message_id, cause=cause, expires_s=deadline_s)
        try:
            with self._bus.replies.expecting(request.id) as event:
                answered = self._answered(request, event, until_s)
        except KeyboardInterrupt:
            self._withdraw(request.id)  # nobody waits for it any more
            raise
        except errors.DeadlineExceeded as error:
            fate = "it was not begun and is withdrawn" if self._withdraw(request.id) else "it may still be executed"
            raise errors.DeadlineExceeded(
                f"{self._selector} did not answer message {request.id} within {deadline_s:g} s ({fate}): does it run?"
            ) from error
        return _reply(answered)

    def _withdraw(self, message_id: str) -> bool:
        """Expire a request that nobody has begun; tell whether it is sure now that it was not and will not be."""
        try:
            message = self._bus.queue.get(message_id)
            # What was begun has no deadline any more, also where its attempt was given back and does not count.
            if message is None or message.state != envelope.READY or message.attempts or message.expires is None:
                return message is not None and message.state == envelope.EXPIRED
            expired = envelope.expire(message, now=self._bus.queue.clock.now())
            written = self._bus.queue.write([expired], until_s=elapsed_s())[0]
        except errors.DatabaseError:
            return False
        if written.standing == "written":
            self._bus.queue.prune(written.message)
        return written.standing == "written"

    def _answered(self, request: Message, event: threading.Event, until_s: float) -> Message:
        """Ask, and return the request as it came to its end; where an earlier caller's time was over, ask anew."""
        while True:
            sent = self._ask(request, until_s)
            answered = self._bus.replies.wait(request.id, event, until_s) if sent.is_open else sent
            if answered.state != envelope.EXPIRED or not _expires_before(answered, request):
                return answered

    def _ask(self, request: Message, until_s: float) -> Message:
        """Send a request; one that was asked before and not executed gets a new deadline."""
        while True:
            left_s = until_s - elapsed_s()
            sent = self._bus.queue.send([request], within_s=left_s)[0]
            asked_before = sent.creation_timestamp != request.creation_timestamp
            if not asked_before or not _may_be_asked_again(sent, request):
                return sent
            expires = self._bus.queue.clock.now() + timedelta(seconds=left_s)
            again = envelope.ask_again(sent, expires=expires)
            if self._bus.queue.write([again], until_s=until_s)[0].standing == "written":
                return again
            if elapsed_s() > until_s:
                raise errors.OutcomeUnknown(f"message {request.id} changes too fast to be asked again")
            time.sleep(random.uniform(0, _ASK_AGAIN_S))  # noqa: S311 (jitter)


class Executor:
    """Executes the requests that come to one selector, and replies."""

    def __init__(
        self,
        bus: Bus,
        selector: str,
        execute: Callable[[Delivery], Any],
        *,
        slots: int = 1,
        batch: int = 1,
    ) -> None:
        """Listen on ``selector``; ``execute`` returns the reply (any JSON, up to 1 MB) or raises.

        What it raises becomes the error reply, but for errors that say that the database is away, refuses us, or that a
        write is unknown: the request then waits and is executed again, so what it does must not add up.

        ``slots`` are executed at once. ``batch`` is how many may be claimed, those at work among them, at least
        ``slots``: more than these wait for them though another executor may be idle, which is for quick work alone.
        """
        self._execute = execute
        bus.listen(selector, self._handle, slots=slots, batch=batch)

    def _handle(self, delivery: Delivery) -> Outcome:
        try:
            result = {"value": self._execute(delivery)}
            if len(msgspec.json.encode(result)) > envelope.RESULT_BYTES:
                result = {"error": {"kind": "Refused", "message": "the reply is larger than 1 MB"}}
        except _WAITS:
            raise
        except BaseException as error:  # whatever went wrong, the caller is to know
            if delivery.is_aborted and isinstance(error, errors.LeaseLost | errors.Stopped):
                raise
            if isinstance(error, errors.DrwError):
                _LOG.info("refused: %s", errors.text_of(error))
            else:
                _LOG.exception("a request failed")
            result = {"error": _error(error)}
        return Done(result)


def _may_be_asked_again(found: Message, request: Message) -> bool:
    """Tell whether a request was not executed, or answered with an error, which means that it changed nothing.

    One that still waits is left to, if it has at least most of our time.
    """
    if found.state == envelope.CONSUMED:
        return isinstance(found.result, dict) and "error" in found.result
    if found.state == envelope.READY:
        return _expires_before(found, request, share=_MOST_OF_IT)
    return found.state in {envelope.EXPIRED, envelope.DEAD}


def _expires_before(found: Message, request: Message, *, share: float = 1.0) -> bool:
    """Tell whether a request as it was found ends before ours would, or before a share of our time is over."""
    if not (found.expires and request.expires):
        return False
    begun, end = moment(request.creation_timestamp), moment(request.expires)
    return moment(found.expires) < begun + share * (end - begun)


def _error(error: BaseException) -> dict[str, str]:
    """Return an error as it is told to the caller: its kind, and its text as it can be stored."""
    kind = error.kind if isinstance(error, errors.RemoteError) else type(error).__name__
    reply = {"kind": kind, "message": envelope.storable(errors.text_of(error))}
    return reply | {"found": error.found} if isinstance(error, errors.StateRefused) else reply


class _Error(msgspec.Struct):
    kind: str
    message: str
    found: str = ""


class _Reply(msgspec.Struct):
    """What an executor leaves as the result: the value, or the error."""

    value: Any = None
    error: _Error | None = None


def _reply(message: Message) -> Any:  # noqa: ANN401 (the executor's reply, any JSON)
    if message.state == envelope.EXPIRED:
        raise errors.DeadlineExceeded(f"message {message.id} expired: nobody executed it")
    if message.state == envelope.DEAD:
        what = message.errors[-1].what if message.errors else "no reason noted"
        raise errors.RemoteError(f"message {message.id} is dead: {what}", kind="Dead")
    if envelope.is_discarded(message):
        raise errors.RemoteError(f"message {message.id} was {message.errors[-1].what}", kind="Discarded")
    try:
        reply = msgspec.convert(message.result or {}, _Reply)
    except msgspec.ValidationError as error:
        raise errors.RemoteError(
            f"who consumed message {message.id} does not answer calls: its result is {shown(message.result)}",
            kind="BadReply",
        ) from error
    if reply.error is None:
        return reply.value
    if reply.error.kind == "StateRefused":
        raise errors.StateRefused(reply.error.message, found=reply.error.found)
    raise errors.RemoteError(reply.error.message, kind=reply.error.kind)
