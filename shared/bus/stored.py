"""Messages as they are stored: reading them, how they stand before something is written, and what is none for us.

A document that stands in an index of messages and is not one is marked dead, so that it is in nobody's way; a message
of a newer version of this program is left alone.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from shared import errors, forks
from shared.answers import Row
from shared.bus import envelope, readable
from shared.bus.envelope import Message, selector_of
from shared.bus.retry import BackOff
from shared.bus.trees import newest
from shared.clock import elapsed_s, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from shared.clock import Clock
    from shared.dbcon import Database, Doc

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_READ_S: Final = 10.0
_SHORTEST_READ_S: Final = 0.1
_UNREADABLE: Final = BackOff(first_s=1.0, longest_s=15.0, factor=2.0)
_SURELY: Final = 3
"""A message that CouchDB cannot read is asked for less and less often, and told of after so many times."""

_PARKED_KEPT: Final = 1000
"""An index that lags shows for a while what was parked; of a newer program there may be any number of messages."""


class Stored:
    """The messages in one database, read on behalf of one process called ``me``."""

    def __init__(self, database: Database, clock: Clock, *, me: str) -> None:
        """Take the database, its time, and in whose name odd documents are marked."""
        self._database = database
        self._clock = clock
        self._me = me
        self._newer: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._parked: dict[str, str] = {}
        self._unreadable: dict[str, tuple[float, int]] = {}

    def get(self, message_id: str, *, timeout_s: float = _READ_S) -> Message | None:
        """Return a message, or None where there is none (or none that this version understands)."""
        doc = self._database.get(message_id, timeout_s=timeout_s)
        if doc is None:
            self._forget(message_id)
        return self._understood(doc) if doc else None

    def _forget(self, message_id: str) -> None:
        for each in self._in_the_way:
            each.pop(message_id, None)
        self._unreadable.pop(message_id, None)

    def fetch(self, ids: Iterable[str]) -> list[Message]:
        """Return the messages with these ids that exist; raise DatabaseError where one cannot be read."""
        return self._messages(self._database.fetch(ids))

    def fetch_readable(self, ids: Iterable[str]) -> list[Message]:
        """As :meth:`fetch`, without those that CouchDB cannot read now: each is in the way for a while."""
        wanted = [each for each in ids if not self._is_unreadable(each)]
        if not wanted:
            return []

        def read(part: Sequence[str], timeout_s: float) -> list[Doc | None]:
            return self._database.fetch(part, timeout_s=timeout_s)

        parts, unreadable = readable.each(self._database, read, wanted)
        for each in unreadable:
            _, times = self._unreadable.get(each, (0.0, 0))
            if times == _SURELY:
                _LOG.error("message %s cannot be read by CouchDB, and is left alone: look into CouchDB's log", each)
            _keep(self._unreadable, each, (elapsed_s() + _UNREADABLE.wait_s(times), times + 1))
        return self._messages(doc for part in parts for doc in part)

    def _messages(self, docs: Iterable[Doc | None]) -> list[Message]:
        understood = (self._understood(doc) for doc in docs if doc)
        return [message for message in understood if message]

    def _is_unreadable(self, message_id: str) -> bool:
        return elapsed_s() < self._unreadable.get(message_id, (0.0, 0))[0]

    def is_in_the_way(self, message_id: str, rev: str = "") -> bool:
        """Tell whether a message is one that this process leaves alone until somebody changes it, or has parked.

        Without ``rev``, its revision, the message may have been changed since. So it is with one that CouchDB cannot
        read.
        """
        return self._is_unreadable(message_id) or self._is_no_use(message_id, rev)

    def _is_no_use(self, message_id: str, rev: str) -> bool:
        known = [each[message_id] for each in self._in_the_way if message_id in each]
        return rev in known if rev else bool(known)

    @property
    def _in_the_way(self) -> tuple[dict[str, str], ...]:
        """What is no use to this process, by ids and revisions: newer messages, those it may not claim, no messages."""
        return self._newer, self._refused, self._parked

    def how_many_stay(self, selector: str) -> int:
        """Return how many ready messages of a selector, as far as is known, stay in the index and are no use."""
        unreadable = filter(self._is_unreadable, [*self._unreadable])
        return sum(selector_of(message_id) == selector for message_id in [*self._newer, *self._refused, *unreadable])

    def leave_alone(self, message: Message) -> None:
        """Note that CouchDB refuses this process's claim of a message."""
        _keep(self._refused, message.id, message.rev)

    def why_unread(self, message_id: str) -> str:
        """Return why a message that is there is none for this program; nothing where none is known to be there."""
        if message_id in self._newer:
            return "it is there, of a newer version of this program: update this one"
        return "it is there, and is not a message" if message_id in self._parked else ""

    def reread(
        self, messages: Sequence[Message], claimed: Mapping[str, str], *, timeout_s: float = _READ_S
    ) -> dict[str, Message | None]:
        """Return by their ids messages as they stand now if they still are under the claims that they carry, else None.

        To be asked before a write when the lease may be over or the answer to the last write was lost. A revision
        fences only a document that exists: CouchDB would accept a write to one that was purged. ``claimed`` has the
        revisions of the claims themselves: where the other side of a network that was split has taken a message over,
        the histories part behind that.
        """

        def standing(message: Message, leaves: Sequence[Doc]) -> Doc | None:
            others = [leaf for leaf in leaves if not (_is_under_claim(message, leaf) or leaf.get("_deleted"))]
            if len(leaves) > 1 and any(forks.grew_from(leaf, claimed[message.id]) for leaf in others):
                return None
            return newest(leaf for leaf in leaves if _is_under_claim(message, leaf))

        return self._stored(messages, standing, timeout_s)

    def written(self, messages: Sequence[Message], *, timeout_s: float = _READ_S) -> dict[str, Message | None]:
        """Return by their ids messages as stored if it is these very writes that are stored, by ``opId``; else None."""
        return self._stored(
            messages, lambda message, leaves: newest(filter(partial(_is_write, message), leaves)), timeout_s
        )

    def _stored(
        self, messages: Sequence[Message], standing: Callable[[Message, Sequence[Doc]], Doc | None], timeout_s: float
    ) -> dict[str, Message | None]:
        """Read messages in one request; where that fails, for one that cannot be read, one by one while there is time.

        What could not be read is left out; raises DatabaseError where that is all. One that hangs leaves time for the
        others.
        """
        if len(messages) == 1:
            return self._read(messages, standing, timeout_s)
        until_s = elapsed_s() + timeout_s
        try:
            return self._read(messages, standing, timeout_s / 2)
        except errors.DatabaseAway as error:
            found: dict[str, Message | None] = {}
            for left, each in zip(range(len(messages), 0, -1), messages, strict=True):
                left_s = until_s - elapsed_s()
                if left_s <= 0:
                    break
                with suppress(errors.DatabaseAway):
                    found |= self._read([each], standing, max(left_s / left, _SHORTEST_READ_S))
            if not found:
                raise error from None
            return found

    def _read(
        self, messages: Sequence[Message], standing: Callable[[Message, Sequence[Doc]], Doc | None], timeout_s: float
    ) -> dict[str, Message | None]:
        ids = [each.id for each in messages]
        if self._database.may_fork(timeout_s=timeout_s):
            leaves = self._database.leaves(ids, ancestors=True, timeout_s=timeout_s)
        else:
            docs = self._database.fetch(ids, timeout_s=timeout_s)
            leaves = {each: [doc] if doc else [] for each, doc in zip(ids, docs, strict=True)}
        found = {each.id: standing(each, leaves[each.id]) for each in messages}
        return {each: self._understood(_plain(doc)) if doc else None for each, doc in found.items()}

    def _understood(self, doc: Doc) -> Message | None:
        """Return a document as a message; leave alone what is newer, and park what is none."""
        if self._is_no_use(doc["_id"], doc["_rev"]):
            return None
        self._forget(doc["_id"])
        schema = doc.get("schema")
        if isinstance(schema, int) and schema > envelope.SCHEMA:
            _keep(self._newer, doc["_id"], doc["_rev"])
            _LOG.error(
                "message %s has schema %s, and this program knows %d: update it",
                doc["_id"],
                doc["schema"],
                envelope.SCHEMA,
            )
            return None
        try:
            message = msgspec.convert(doc, Message)
            envelope.check(message)
        except (msgspec.ValidationError, errors.BadInput) as error:
            self._park(doc, f"not a message: {error}")
            return None
        return message

    def _park(self, doc: Doc, what: str) -> None:
        """Mark a document dead that stands in an index of messages and is not one.

        What cannot be marked is passed over from now on; raises DatabaseAway where it may be the next time.
        """
        if str(doc.get("state")) not in envelope.OPEN_STATES:
            _keep(self._parked, doc["_id"], doc["_rev"])
            return
        failure = {"at": stamp(self._clock.now()), "by": self._me, "what": what}
        parked = doc | {"state": envelope.DEAD, "doneAt": failure["at"], "errors": [failure]}
        for field in ("due", "expires", "claim"):
            parked.pop(field, None)
        try:
            [row] = self._database.bulk([parked])
        except (errors.Refused, errors.NotNow) as error:
            row = Row(doc["_id"], error="refused", reason=str(error))
        if not row.error:
            _LOG.error("message %s is %s", doc["_id"], what)
        elif row.error != "conflict":  # else another has marked it, or mended it
            _LOG.error("message %s is %s, and cannot be marked as dead: %s", doc["_id"], what, row.reason)
        _keep(self._parked, doc["_id"], doc["_rev"])


def _keep(known: dict[str, T], message_id: str, what: T) -> None:
    if len(known) > _PARKED_KEPT:
        known.clear()
    known[message_id] = what


def _plain(leaf: Doc) -> Doc:
    """Return a leaf as a document, without its history."""
    return {name: value for name, value in leaf.items() if name != "_revisions"}


def _is_under_claim(message: Message, leaf: Doc) -> bool:
    return message.claim is not None and _field(leaf, "claim", "token") == message.claim.token


def _is_write(message: Message, leaf: Doc) -> bool:
    return message.last is not None and _field(leaf, "last", "opId") == message.last.op_id


def _field(doc: Doc, name: str, part: str) -> object:
    """Return a part of a field of a stored message, None where somebody has made something else of it."""
    found = doc.get(name)
    return found.get(part) if isinstance(found, dict) else None
