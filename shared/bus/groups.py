"""Groups: one message for every service that has subscribed, whether or not one of its processes is alive.

The sender writes one message to the group, so that it cannot die half way. Expanding it, into a copy for each
subscribed service, is the work of a handler like any other, done by whichever subscriber claims it; the copies have
their ids from the group message and the service, so that it may be done twice. The processes of one service compete
for its copies.

Who is subscribed stands in one control document of ``msgq`` a group, ``control:subscriptions:<group>``: a cluster asks
several copies for one document, whereas a list of documents comes from one copy, which may be behind. A subscription
stays until it is taken back. A message to a group without any waits for the first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from shared.bus import envelope
from shared.bus.outcomes import Snooze
from shared.clock import elapsed_s, stamp
from shared.errors import BadInput, DatabaseAway, Refused
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.bus.delivery import Delivery
    from shared.bus.envelope import Message
    from shared.bus.outcomes import Outcome
    from shared.bus.queue import Queue
    from shared.dbcon import Database, Doc

_PREFIX: Final = "control:subscriptions:"
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

    def change(doc: Doc | None) -> Doc | None:
        there = _services(doc)
        if service in there:
            return None
        services = there | {service: {"by": by, "since": stamp(now)}}
        return {**(doc or {"schema": _SCHEMA, "group": group}), "services": services}

    database.mutate(_PREFIX + group, change)
    return selector


class Subscription(msgspec.Struct, frozen=True):
    """A service that gets a copy of each message to a group, and by whose process it was subscribed, since when."""

    group: str
    service: str
    by: str
    since: str

    @property
    def selector(self) -> str:
        """Where its copies go."""
        return copy_selector(self.group, self.service)


def unsubscribe(database: Database, group: str, service: str) -> None:
    """Take a subscription back; idempotent. Copies that were made stay in the queue."""

    def change(doc: Doc | None) -> Doc | None:
        there = _services(doc)
        if doc is None or service not in there:
            return None
        return {**doc, "services": {name: made for name, made in there.items() if name != service}}

    database.mutate(_PREFIX + group, change)


def held(database: Database, group: str) -> tuple[str, list[Subscription]]:
    """Return the revision of what is kept of a group, empty for nothing, and the subscriptions to it, by service."""
    doc = database.get(_PREFIX + group)
    return (str(doc["_rev"]), _subscriptions(doc)) if doc else ("", [])


def every(database: Database) -> list[Subscription]:
    """Return the subscriptions to all groups, by group and service; of a cluster perhaps not the very latest."""
    docs = database.every(start=_PREFIX, end=_PREFIX + "\ufff0")
    return [each for doc in docs for each in _subscriptions(doc)]


def _subscriptions(doc: Doc) -> list[Subscription]:
    group = doc["_id"].removeprefix(_PREFIX)
    return [
        Subscription(group, service, str(made.get("by", "")), str(made.get("since", "")))
        for service, made in sorted(_services(doc).items())
    ]


def _services(doc: Doc | None) -> dict[str, Doc]:
    """Return what is kept of each service; what was made by hand and names none is passed over."""
    services = (doc or {}).get("services")
    if not isinstance(services, dict):
        return {}
    return {name: made for name, made in services.items() if _SERVICE.fullmatch(name) and isinstance(made, dict)}


def expansion(queue: Queue) -> Callable[[Delivery], Outcome | None]:
    """Return the handler that expands the messages of groups."""

    def expand(delivery: Delivery) -> Outcome | None:
        message = delivery.message
        try:
            _, subscribed = held(queue.database, message.selector)
        except DatabaseAway as error:
            return Snooze(str(error), for_s=1.0, begun=False)
        if not subscribed:
            return Snooze(f"nobody is subscribed to {message.selector}", begun=False)
        delivery.check()
        results = queue.write([_copy(message, each) for each in subscribed], until_s=elapsed_s() + _WITHIN_S)
        for result in results:  # "lost" is a copy that was made before, whatever has become of it
            if result.standing == "unknown":  # nobody has handled anything: what is sent later is of use as long
                return Snooze(f"message {result.message.id} may or may not be sent: {result.reason}", 1.0, begun=False)
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
