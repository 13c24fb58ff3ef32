"""What a handler says of a message: values, not exceptions.

Pure. :func:`settled` turns an outcome into the message's next state.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from shared import errors
from shared.bus import envelope
from shared.names import moment, shown

if TYPE_CHECKING:
    from shared.bus.envelope import Message
    from shared.bus.retry import RetryPolicy

_SNOOZE_SHARE: Final = 0.1
_LONGEST_SNOOZE_S: Final = 30.0
LONGEST_S: Final = 366 * 86400.0
"""No outcome puts a message off for longer (seconds)."""

_PASSING: Final = (
    errors.OutcomeUnknown,
    errors.SourceAway,
    errors.CacheAway,
    errors.DiskFull,
    errors.DatabaseMissing,
    errors.Forbidden,
    errors.WrongPassword,
)
"""What is no fault of the message, and ends, or is mended by somebody. (CouchDB answers 401 too where it could not read
who a user is.)"""


@dataclass(frozen=True)
class Done:
    """The work is done. ``result`` (any JSON, up to 1 MB) is kept with the message.

    Calls are answered by an :class:`~shared.bus.rpc.Executor`, whose results have a form of their own: a handler that
    is called without one returns ``Done({"value": reply})``.
    """

    result: Any = None


@dataclass(frozen=True)
class Retry:
    """The work failed and may succeed later; ``what`` is kept. Past the policy's attempts the message is dead.

    ``after_s`` (seconds) overrides the policy's back-off.
    """

    what: str
    after_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be stored, where the handler says it."""
        _check(self.what, self.after_s)


@dataclass(frozen=True)
class Snooze:
    """Something that the work needs is away, as ``waits`` says; this spends no attempt.

    ``for_s`` (seconds) is how long to wait; by default a tenth of the message's age, up to half a minute. ``begun`` is
    whether the work may have had an effect: what has not begun can still expire.
    """

    waits: str
    for_s: float | None = None
    begun: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be stored, where the handler says it."""
        _check(self.waits, self.for_s)


@dataclass(frozen=True)
class Dead:
    """The message can never be handled, as ``what`` says; an operator may requeue or discard it."""

    what: str

    def __post_init__(self) -> None:
        """Refuse what cannot be stored, where the handler says it."""
        _check(self.what, None)


@dataclass(frozen=True)
class GiveBack:
    """The process stops: somebody else may have the message. ``refund`` says that its work had not begun."""

    refund: bool


@dataclass(frozen=True)
class Expire:
    """The time of the message was over before its work began."""


Outcome = Done | Retry | Snooze | Dead | GiveBack | Expire


def _check(text: object, span_s: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{shown(text)} is no text: an outcome says in words why")
    if span_s is not None and not (isinstance(span_s, int | float) and 0 <= span_s <= LONGEST_S):
        raise ValueError(f"{shown(span_s)} is no time to wait: seconds, from 0 to {LONGEST_S:.0f}")


def of_error(error: BaseException) -> Outcome | None:
    """Return what an exception that a handler raised says of its message; None when the claim is lost anyway."""
    if isinstance(error, errors.LeaseLost):
        return None
    text = errors.text_of(error)
    if isinstance(error, errors.BadMessage):
        return Dead(text)
    if isinstance(error, errors.DatabaseAway):
        return Snooze(text, for_s=1.0)
    if isinstance(error, _PASSING):
        return Snooze(text)
    if isinstance(error, errors.DrwError):
        return Retry(text)
    return Retry(f"{type(error).__name__}: {text}")


def settled(  # noqa: PLR0911 (one line an outcome)
    message: Message, outcome: Outcome, *, policy: RetryPolicy, by: str, now: datetime, chance: float
) -> Message:
    """Return the message as it is after this outcome; ``chance`` (0 to 1) is the jitter's."""
    match outcome:
        case Done(result):
            return envelope.done(message, now=now, result=result)
        case Snooze(waits, for_s, begun):
            wait = for_s if for_s is not None else _snooze_s(message, now, policy)
            return envelope.snooze(message, waits=waits, due=now + timedelta(seconds=wait), begun=begun)
        case Retry(what, _) if policy.is_spent(message.attempts):
            return envelope.dead(message, what=what, by=by, now=now)
        case Retry(what, after_s):
            wait = after_s if after_s is not None else policy.wait_s(message.attempts, chance)
            return envelope.retry(message, what=what, now=now, due=now + timedelta(seconds=wait))
        case Dead(what):
            return envelope.dead(message, what=what, by=by, now=now)
        case GiveBack(refund):
            return envelope.give_back(message, refund=refund)
        case Expire():
            return envelope.expire(message, now=now)


def _snooze_s(message: Message, now: datetime, policy: RetryPolicy) -> float:
    age = (now - moment(message.creation_timestamp)).total_seconds()
    return min(max(policy.first_s, age * _SNOOZE_SHARE), _LONGEST_SNOOZE_S, policy.longest_s)
