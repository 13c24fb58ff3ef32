"""The stored message, and every transition that it can make.

Pure: a message and the time go in, a new message comes out, nothing is read or written. Each transition is one named
function, so the state machine can be read off this file::

                  send                       claim                 done
    (nothing) ----------> ready <---------+--------> claimed ------------> consumed
        |                   ^   give_back |             |   dead
        | send, delayed     | due, requeue+-------------+------------> dead
        v                   |                           | retry, snooze
      delayed --------------+<--------------------------+
        |                                   expire: ready or delayed, past its time -----> expired

What has ended begins anew by hand, or as it is asked for again: ``requeue`` and ``ask_again`` lead back to ready, and
``discard`` from dead to consumed.

A delayed message that is due, and a claimed one whose lease is over, are claimed directly, without a write in
between. Every function returns the message with a new ``last``: whose write this was, so that a writer who lost the
answer can tell by reading. The revision is left as it was read: the write must meet it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

import msgspec

from shared.clock import stamp
from shared.errors import BadInput, Refused
from shared.names import moment, shown
from shared.readable_json import DEEPEST

SCHEMA: Final = 1
READY: Final = "ready"
DELAYED: Final = "delayed"
CLAIMED: Final = "claimed"
CONSUMED: Final = "consumed"
DEAD: Final = "dead"
EXPIRED: Final = "expired"
OPEN_STATES: Final = frozenset({READY, DELAYED, CLAIMED})
TERMINAL_STATES: Final = frozenset({CONSUMED, DEAD, EXPIRED})

PRIORITIES: Final = range(10)
DEFAULT_PRIORITY: Final = 5
_MARGIN: Final = timedelta(days=366)
"""How far from a stored time we ever reckon."""

ERRORS_KEPT: Final = 20
_LAPSED: Final = "lease expired"
_DISCARD: Final = "discard"
ERROR_LENGTH: Final = 2000
RESULT_BYTES: Final = 1_000_000
BODY_BYTES: Final = 6_800_000
"""CouchDB takes documents of up to 8,000,000 bytes; the rest is for a result, and what the bus adds."""

BODY_LEVELS: Final = DEEPEST - 10
"""How deep a body may be nested: of an answer with messages in it, what is deeper than ``DEEPEST`` may be left out."""

_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_SELECTOR: Final = re.compile(r"[a-z][A-Za-z0-9._-]{0,127}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt that failed, as kept in ``errors``: when (UTC), in whose hands, what went wrong."""

    at: str
    by: str
    what: str


class Claim(msgspec.Struct, frozen=True):
    """Who works on a message: ``by`` whom, under which random ``token``, ``since`` when and ``until`` when (UTC)."""

    by: str
    token: str
    since: str
    until: str


class Last(msgspec.Struct, frozen=True, rename="camel"):
    """The newest write: the writer's ``token``, the transition's name and a random id of this very write."""

    token: str
    op: str
    op_id: str


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A message as it is stored in ``msgq``. Times are UTC text, so that their order is that of time."""

    id: str = msgspec.field(name="_id")
    """``<selector>:<UTC milliseconds>:<random>``, or ``<selector>:<hash of the cause>:<name>``; by the sender."""
    rev: str = msgspec.field(name="_rev", default="")
    """CouchDB's revision that this was read at, and that a write must meet; empty before the first write."""
    schema: int = msgspec.field(default_factory=lambda: SCHEMA)
    """The version of this shape; a newer one than the program knows is left alone. Always stored."""
    selector: str
    """Whom it is for; by the sender, never changed."""
    state: str
    """One of the six states; by each transition."""
    priority: int = msgspec.field(default_factory=lambda: DEFAULT_PRIORITY)
    """0, most urgent, to 9; by the sender. Always stored, because the index of ready messages has it."""
    creation_timestamp: str
    """When it was sent, strictly rising for one sender and selector; by the sender."""
    sender: str
    """The process that sent it."""
    cause: str = ""
    """The id of the message in whose handler it was sent; by the sender."""
    epoch: int = 0
    """How often an operator edited it; with the id it is what the ids of its children are made from."""
    body: dict[str, Any]
    """What it says; by the sender, and by an operator who edits it."""
    digest: str
    """SHA-256 of the body as sent, to tell a repeated send from another message under the same id."""
    attempts: int = 0
    """Claims so far that were not given back or snoozed; by each claim."""
    errors: list[Failure] = []
    """The failed attempts, the newest 20; by whoever noted the failure."""
    waits: str = ""
    """What it waits for since it was last snoozed, in words; by its last handler.

    A claim keeps it, because a claimed message may expire before its handler begins: then this is why.
    """
    claim: Claim | None = None
    """Who works on it; by the claimer."""
    last: Last | None = None
    """Whose write this revision is; by each transition."""
    due: str | None = None
    """When it may be taken: not-before while delayed, the end of the lease while claimed; absent otherwise."""
    expires: str | None = None
    """From when on it must not be handled any more; by the sender."""
    done_at: str | None = None
    """When it came to its end; by the transition to consumed, dead or expired."""
    result: Any = None
    """The reply of an RPC; by its executor."""

    @property
    def is_open(self) -> bool:
        """Whether work is still to be done for it: ready, delayed or claimed."""
        return self.state in OPEN_STATES


def selector(text: object) -> str:
    """Return ``text`` if it can be a selector such as ``pipeline.process.EU``; raise BadInput otherwise."""
    if isinstance(text, str) and _SELECTOR.fullmatch(text):
        return text
    raise BadInput(
        f"{shown(text)} is not a selector: it begins with a small letter and has letters, digits, '.', '_' and '-'"
    )


def selector_of(message_id: str) -> str:
    """Return the selector that a message id begins with, and that no ``:`` can be part of."""
    return message_id.partition(":")[0]


def is_message_id(doc_id: str) -> bool:
    """Tell whether a document of ``msgq`` is a message: control and design documents are not."""
    return ":" in doc_id and not doc_id.startswith(("control:", "_design/"))


def fits(body: dict[str, Any]) -> bool:
    """Tell whether a body is small enough for a message; raise Refused for what is not JSON."""
    return len(_encoded(body)) <= BODY_BYTES


def digest(body: dict[str, Any]) -> str:
    """Return the SHA-256 of a body, the same however its keys are ordered; raise Refused for what is no body."""
    data = _encoded(body)
    if len(data) > BODY_BYTES:
        raise Refused(f"the body of a message has {len(data)} bytes, more than the {BODY_BYTES} that CouchDB can keep")
    if data.count(b"[") + data.count(b"{") > BODY_LEVELS and not _ends_within(BODY_LEVELS, body):
        raise Refused(f"the body of a message is nested more than {BODY_LEVELS} levels deep")
    return hashlib.sha256(data).hexdigest()


def _encoded(body: dict[str, Any]) -> bytes:
    if not isinstance(body, dict):
        raise Refused(f"the body of a message must be a JSON object, and {shown(body)} is none")
    try:
        return _CANONICAL.encode(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"the body of a message must be a JSON object: {error}") from error


def _ends_within(levels: int, body: object) -> bool:
    """Tell whether JSON is nested no deeper, without going as deep oneself."""
    level: list[Any] = [body]
    for _ in range(levels):
        parts = chain.from_iterable(each.values() if isinstance(each, dict) else each for each in level)
        level = [part for part in parts if isinstance(part, dict | list | tuple)]
    return not level


def new_id(to: str, created: datetime) -> str:
    """Return the id of a message without a cause: selector, time in milliseconds, 48 random bits."""
    return f"{to}:{int(created.timestamp() * 1000)}:{os.urandom(6).hex()}"


def caused_id(to: str, cause_id: str, epoch: int, name: str) -> str:
    """Return the id of a message caused by another: the same for the same cause and name, whoever sends it again."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{shown(name)} cannot name a message: it has letters, digits, '.', '_', ':' and '-'")
    hashed = hashlib.sha256(f"{epoch}\n{cause_id}".encode()).hexdigest()[:32]
    return f"{to}:{hashed}:{name}"


def worded(name: str, *words: str) -> str:
    """Return the name of a message that says these words, for :func:`caused_id`: with other words it is another one.

    Words may differ when it is sent again (an error's text, who asks), and no two bodies may have one id.
    """
    hashed = hashlib.sha256("\n".join(words).encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return f"{name}-{hashed}"


def last(token: str, op: str) -> Last:
    """Return the note that identifies a write: the writer's token and a random id for this very write."""
    return Last(token, op, os.urandom(8).hex())


def new(
    message_id: str,
    body: dict[str, Any],
    *,
    created: datetime,
    sender: str,
    cause: str = "",
    priority: int = DEFAULT_PRIORITY,
    not_before: datetime | None = None,
    expires: datetime | None = None,
) -> Message:
    """Return a message to be sent: ready, or delayed until ``not_before``. Raises BadInput and Refused."""
    if not isinstance(priority, int) or isinstance(priority, bool) or priority not in PRIORITIES:
        raise BadInput(f"{shown(priority)} is not a priority: it is a whole number from 0, most urgent, to 9")
    if not isinstance(cause, str):
        raise BadInput(f"{shown(cause)} is no cause: it is the id of a message")
    return Message(
        id=message_id,
        selector=selector(selector_of(message_id)),
        state=DELAYED if not_before else READY,
        priority=priority,
        creation_timestamp=stamp(created),
        sender=sender,
        cause=cause,
        body=body,
        digest=digest(body),
        due=stamp(not_before) if not_before else None,
        expires=stamp(expires) if expires else None,
        last=last("", "send"),
    )


def is_expired(message: Message, now: datetime) -> bool:
    """Tell whether a message whose work has not begun is past its time.

    Once work has begun, ``expires`` is dropped when the message comes back: ``expired`` means surely never handled.
    """
    return message.expires is not None and moment(message.expires) <= now


def check(message: Message) -> None:
    """Raise BadInput for a stored message that no program of ours can have written: such a one is nobody's work."""
    selector(message.selector)
    for text in (message.creation_timestamp, message.due, message.expires):
        try:
            _ = text and moment(text) + _MARGIN
        except (ValueError, OverflowError) as error:
            raise BadInput(f"{shown(text)} is not a time") from error
    if message.state == CLAIMED and message.claim is None:
        raise BadInput("it is claimed, and by nobody")
    if message.state in {CLAIMED, DELAYED} and not message.due:
        raise BadInput(f"it is {message.state}, and until when it does not say")


def claim(message: Message, *, by: str, token: str, now: datetime, lease_s: float) -> Message:
    """Take a message that is ready, due, or left by a lapsed lease (which counts as a failed attempt)."""
    until = stamp(now + timedelta(seconds=lease_s))
    return _changed(
        _with_lapse(message, now),
        state=CLAIMED,
        attempts=message.attempts + 1,
        claim=Claim(by, token, stamp(now), until),
        due=until,
        last=last(token, "claim"),
    )


def renew(message: Message, *, until: datetime) -> Message:
    """Prolong the lease of a claimed message."""
    held = _held(message)
    claim_ = Claim(held.by, held.token, held.since, stamp(until))
    return _changed(message, claim=claim_, due=claim_.until, last=last(held.token, "renew"))


def done(message: Message, *, now: datetime, result: object = None) -> Message:
    """End a message whose work is done; ``result`` is the reply of an RPC."""
    return _changed(message, **_ended(CONSUMED, now), waits="", result=result, last=last(_held(message).token, "done"))


def retry(message: Message, *, what: str, now: datetime, due: datetime) -> Message:
    """Put a message back for another attempt at ``due``, with the failure noted."""
    held = _held(message)
    return _changed(
        message,
        state=DELAYED,
        errors=_noted(message, what, held.by, now),
        waits="",
        claim=None,
        expires=None,
        due=stamp(due),
        last=last(held.token, "retry"),
    )


def snooze(message: Message, *, waits: str, due: datetime, begun: bool) -> Message:
    """Put a message back until ``due`` because something that it needs is away; this spends no attempt."""
    return _changed(
        message,
        state=DELAYED,
        attempts=message.attempts - 1,
        waits=storable(waits),
        claim=None,
        expires=None if begun else message.expires,
        due=stamp(due),
        last=last(_held(message).token, "snooze"),
    )


def give_back(message: Message, *, refund: bool) -> Message:
    """Make a message ready again because its holder stops; ``refund`` when its handler had not begun."""
    return _changed(
        message,
        state=READY,
        attempts=message.attempts - refund,
        waits=message.waits if refund else "",
        claim=None,
        expires=message.expires if refund else None,
        due=None,
        last=last(_held(message).token, "give_back"),
    )


def dead(message: Message, *, what: str, by: str, now: datetime) -> Message:
    """Park a message that cannot be handled, for an operator to requeue or discard."""
    token = message.claim.token if message.claim else ""
    noted = _noted(message, what, by, now)
    return _changed(message, **_ended(DEAD, now), waits="", errors=noted, last=last(token, "dead"))


def bury_lapsed(message: Message, *, by: str, now: datetime) -> Message:
    """Park a message whose last permitted attempt ended with its worker: the lease ran out."""
    lapsed = _with_lapse(message, now)
    return _changed(lapsed, **_ended(DEAD, now), last=last(by, "bury_lapsed"))


def expire(message: Message, *, now: datetime) -> Message:
    """End a message that nobody took in time; it was surely not handled since."""
    return _changed(message, **_ended(EXPIRED, now), last=last("", "expire"))


def ask_again(message: Message, *, expires: datetime) -> Message:
    """Make an RPC ready again, with a new deadline, under the same id.

    That may be done with one that was not executed, and with one that was answered with an error, which changed
    nothing.
    """
    return _changed(
        message,
        state=READY,
        attempts=0,
        claim=None,
        expires=stamp(expires),
        done_at=None,
        result=None,
        last=last("", "ask_again"),
    )


def requeue(message: Message, *, by: str, body: dict[str, Any] | None = None) -> Message:
    """Make a dead message ready again by an operator's hand; an edited ``body`` begins a new epoch."""
    if message.state != DEAD:
        raise BadInput(f"message {message.id} is {message.state}: only dead messages can be requeued")
    edited = body is not None and digest(body) != message.digest
    return _changed(
        message,
        state=READY,
        attempts=0,
        claim=None,
        expires=None,
        due=None,
        done_at=None,
        body=body if edited else message.body,
        digest=digest(body) if edited and body is not None else message.digest,
        epoch=message.epoch + edited,
        last=last(by, "requeue"),
    )


def discard(message: Message, *, by: str, now: datetime, why: str) -> Message:
    """End a dead message by an operator's hand, the reason noted beside its errors."""
    if message.state != DEAD:
        raise BadInput(f"message {message.id} is {message.state}: only dead messages can be discarded")
    noted = _noted(message, f"discarded: {why}", by, now)
    return _changed(message, **_ended(CONSUMED, now), errors=noted, last=last(by, _DISCARD))


def is_discarded(message: Message) -> bool:
    """Tell whether a person ended a message that was dead; it keeps the name of its newest transition."""
    return message.state == CONSUMED and message.last is not None and message.last.op == _DISCARD


def _held(message: Message) -> Claim:
    if message.claim is None:
        raise BadInput(f"message {message.id} is {message.state}, not claimed")
    return message.claim


def lapses(message: Message) -> int:
    """Return how often the lease of a message ran out, as far as its errors are kept."""
    return sum(failure.what == _LAPSED for failure in message.errors)


def _with_lapse(message: Message, now: datetime) -> Message:
    if message.state != CLAIMED or message.claim is None:
        return message
    noted = _noted(message, _LAPSED, message.claim.by, now)
    return msgspec.structs.replace(message, waits="", errors=noted, expires=None)


def _noted(message: Message, what: str, by: str, now: datetime) -> list[Failure]:
    return [*message.errors, Failure(stamp(now), by, storable(what))][-ERRORS_KEPT:]


def storable(text: str) -> str:
    """Return what is to be said of a message as it can be stored: an error's text may hold what no JSON can."""
    return text.encode("utf-8", "backslashreplace").decode()[:ERROR_LENGTH]


def _ended(state: str, now: datetime) -> dict[str, Any]:
    return {"state": state, "done_at": stamp(now), "due": None}


def _changed(message: Message, **fields: object) -> Message:
    return msgspec.structs.replace(message, **fields)
