"""Groups: one message for every service that has subscribed, whether or not one of its processes is alive.

The sender writes one message to the group, so that it cannot die half way. Expanding it, into a copy for each
subscribed service, is the work of a handler like any other, done by whichever subscriber claims it; the copies have
their ids from the group message and the service, so that it may be done twice. The processes of one service compete
for its copies.

A subscription is a control document of ``msgq``, ``control:subscription:<group>:<service>``, and stays until it is
taken back. A message to a group without any subscription waits for the first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from shared.bus import envelope
from shared.bus.outcomes import Snooze
from shared.clock import elapsed_s, stamp
from shared.errors import BadInput, OutcomeUnknown, Refused
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.bus.delivery import Delivery
    from shared.bus.envelope import Message
    from shared.bus.outcomes import Outcome
    from shared.bus.queue import Queue
    from shared.dbcon import Database, Doc

_PREFIX: Final = "control:subscription:"
_SCHEMA: Final = 1
_SERVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_WITHIN_S: Final = 10.0


def copy_selector(group: str, service: str) -> str:
    """Return the selector at which a service gets its copies: ``state.change.to.dashboard``; raise BadInput."""
    if not _SERVICE.fullmatch(service):
        raise BadInput(f"{shown(service)} cannot name a service: it has letters, digits, '_' and '-'")
    return envelope.selector(f"{envelope.selector(group)}.to.{service}")


def subscribe(database: Database, group: str, service: str, *, by: str, now: datetime) -> str:
    """Subscribe a service to a group, for good; idempotent. Return the selector of its copies."""
    selector = copy_selector(group, service)
    made = {"schema": _SCHEMA, "group": group, "service": service, "selector": selector, "by": by, "since": stamp(now)}
    database.mutate(f"{_PREFIX}{group}:{service}", lambda doc: None if doc else made)
    return selector


class Subscription(msgspec.Struct, frozen=True):
    """A service that gets a copy of each message to a group, and by whose process it was subscribed, since when."""

    group: str
    service: str
    by: str = ""
    since: str = ""
    rev: str = ""

    @property
    def selector(self) -> str:
        """Where its copies go."""
        return copy_selector(self.group, self.service)


def unsubscribe(database: Database, subscription: Subscription) -> None:
    """Take a subscription back, as it was read; copies that were made stay in the queue. Raises Conflict."""
    doc_id = f"{_PREFIX}{subscription.group}:{subscription.service}"
    database.put({"_id": doc_id, "_rev": subscription.rev, "_deleted": True})


def subscriptions(database: Database, group: str = "") -> list[Subscription]:
    """Return the subscriptions to a group, or to every group, in order."""
    start = f"{_PREFIX}{group}:" if group else _PREFIX
    return [_subscription(doc) for doc in database.every(start=start, end=start + "\ufff0")]


def _subscription(doc: Doc) -> Subscription:
    group, _, service = doc["_id"].removeprefix(_PREFIX).rpartition(":")
    return Subscription(group, service, str(doc.get("by", "")), str(doc.get("since", "")), doc["_rev"])


def expansion(queue: Queue) -> Callable[[Delivery], Outcome | None]:
    """Return the handler that expands the messages of groups."""

    def expand(delivery: Delivery) -> Outcome | None:
        message = delivery.message
        subscribed = subscriptions(queue.database, message.selector)
        if not subscribed:
            return Snooze(f"nobody is subscribed to {message.selector}")
        delivery.check()
        results = queue.write([_copy(message, each) for each in subscribed], until_s=elapsed_s() + _WITHIN_S)
        for result in results:  # "lost" is a copy that was made before, whatever has become of it
            if result.standing == "unknown":
                raise OutcomeUnknown(f"message {result.message.id} may or may not be sent: {result.reason}")
            if result.standing == "refused":
                raise Refused(f"message {result.message.id} cannot be sent: {result.reason}")
        return None

    return expand


def _copy(message: Message, subscription: Subscription) -> Message:
    """Return a service's copy: as old, as urgent and as long of use as the message to the group."""
    selector = subscription.selector
    return msgspec.structs.replace(
        message,
        id=envelope.caused_id(selector, message.id, message.epoch, subscription.service),
        rev="",
        selector=selector,
        state=envelope.READY,
        cause=message.id,
        epoch=0,
        attempts=0,
        errors=[],
        waits="",
        claim=None,
        due=None,
        last=envelope.last("", "send"),
    )
