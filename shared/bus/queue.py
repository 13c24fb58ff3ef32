"""The queue in the database: send, nominate, claim, renew, settle. All of the bus's database access is here.

The index nominates, the document decides: a claim is a write at the revision that was nominated, and of several that
reach for one message CouchDB accepts exactly one. Every later write carries the revision of the claim.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from shared import errors, forks
from shared.answers import Row
from shared.bus import envelope
from shared.bus import patterns as patterns_of
from shared.bus.envelope import Message, selector_of
from shared.bus.trees import Trees, newest
from shared.bus.writes import Result, Writer
from shared.clock import elapsed_s, stamp
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from shared.bus.patterns import Pattern
    from shared.bus.retry import RetryPolicy
    from shared.clock import Clock
    from shared.dbcon import Database, Doc

DATABASE: Final = "msgq"
READY_INDEX: Final = "ready"
DUE_INDEX: Final = "due"
ENDED_INDEX: Final = "ended"
INDEXES: Final[dict[str, tuple[list[str], Doc]]] = {
    READY_INDEX: (["selector", "priority", "creationTimestamp"], {"state": envelope.READY}),
    DUE_INDEX: (["selector", "due"], {"state": {"$in": [envelope.DELAYED, envelope.CLAIMED]}}),
    ENDED_INDEX: (["state", "doneAt"], {"state": {"$in": sorted(envelope.TERMINAL_STATES)}}),
}
"""The partial indexes of ``msgq``: fields, and which documents are in it."""

_LOG = logging.getLogger(__name__)
_SURVEY_ROWS: Final = 200
_SURVEY_PAGES: Final = 50
_READ_S: Final = 10.0
_SHORTEST_READ_S: Final = 0.1
_PARKED_KEPT: Final = 1000
"""An index that lags shows for a while what was parked; of a newer program there may be any number of messages."""

_SURVEYED: Final = {
    READY_INDEX: ["_id", "selector"],
    DUE_INDEX: ["_id", "_rev", "selector", "state", "due", "priority"],
}
"""What a survey asks for. Of ready messages that is in the index, so that CouchDB reads no document."""


class Place(msgspec.Struct, frozen=True, rename={"id": "_id", "created": "creationTimestamp"}):
    """Where a message stands among the ready ones of its selector: what the index sorts by, and its id."""

    priority: int
    created: str
    id: str


class Claims(NamedTuple):
    """What became of claims: what is ours now, the ids of what others have, and whether something is not known.

    What was past its time, or has no attempt left, is neither.
    """

    mine: list[Message]
    others: set[str]
    unsure: bool


@dataclass(frozen=True)
class Prospect:
    """A message seen in an index: to whom it is addressed, and if not ready, in which state and when it is due."""

    id: str
    selector: str
    state: str
    due: str = ""
    priority: int = 0
    """How urgent it is, if it is not ready."""
    rev: str = ""
    """Its revision, if it is not ready."""
    more: bool = False
    """Whether the index has more for this selector, behind this one."""


class Queue:
    """The messages in one database, on behalf of one process called ``me``."""

    def __init__(self, database: Database, clock: Clock, *, me: str, lease_s: float, spare_s: float) -> None:
        """Take the database, in whose name claims are made and for how long, and how far clocks may disagree."""
        self.database = database
        self.clock = clock
        self.me = me
        self.lease_s = lease_s
        self._spare = timedelta(seconds=spare_s)
        self._trees = Trees(database)
        self.writer = Writer(database)
        self.claimed = self.conflicts = 0
        """How many messages this process has claimed, and how often another was quicker."""
        self._surveyed_to: dict[str, str] = {}
        self._newer: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._parked: dict[str, str] = {}
        self._too_few_answered = False

    def send(self, messages: Sequence[Message], *, within_s: float) -> list[Message]:
        """Store messages; return them with their revisions, also those that were sent before with the same body.

        Raises SentDifferently for an id that exists with another body, Refused for content that CouchDB does not
        take, and OutcomeUnknown where no answer came in time: sending the same again is safe then.
        """
        results = self.writer.write(messages, until_s=elapsed_s() + within_s)
        return [self._sent(result) for result in results]

    def _sent(self, result: Result) -> Message:
        message = result.message
        if result.standing == "written":
            return message
        if result.standing == "unknown":
            raise errors.OutcomeUnknown(f"message {message.id} may or may not be sent: {result.reason}")
        if result.standing == "refused":
            raise errors.Refused(f"message {message.id} cannot be sent: {result.reason}")
        earlier = self.get(message.id)
        if earlier is None and (why := self.why_unread(message.id)):
            raise errors.Refused(f"message {message.id} cannot be sent: {why}")
        if earlier is None:
            raise errors.OutcomeUnknown(f"message {message.id} was there and is gone; send it again")
        if earlier.digest != message.digest and earlier.epoch == 0:
            raise errors.SentDifferently(f"message {message.id} was sent before with another body")
        return earlier

    def get(self, message_id: str, *, timeout_s: float = _READ_S) -> Message | None:
        """Return a message, or None where there is none (or none that this version understands)."""
        doc = self.database.get(message_id, timeout_s=timeout_s)
        if doc is None:
            self._forget(message_id)
        return self._understood(doc) if doc else None

    def _forget(self, message_id: str) -> None:
        for each in self._in_the_way:
            each.pop(message_id, None)

    def fetch(self, ids: Iterable[str]) -> list[Message]:
        """Return the messages with these ids that exist, in one request."""
        return self._messages(self.database.fetch(ids))

    def ready(self, selector: str, limit: int) -> list[Place]:
        """Return where up to ``limit`` ready messages for one selector stand, most urgent and then oldest first.

        Only the index is read for it; what is parked or newer than this program does not count for the limit.
        """
        aside = [*self._newer, *self._refused]
        in_the_way = sum(selector_of(message_id) == selector for message_id in aside)
        return self._places({"selector": selector}, limit + in_the_way)

    def ready_since(self, selector: str, priority: int, since: str, limit: int) -> list[Place]:
        """Return where messages of one priority stood, the oldest first, from a moment of creation on.

        That is as the index was when it was read last: it is not brought up to date for it.
        """
        where = {"selector": selector, "priority": priority, "creationTimestamp": {"$gte": since}}
        return self._places(where, limit, update=False)

    def newest_ready(self, selector: str, priority: int) -> Place | None:
        """Return where the youngest ready message of one priority stands; None where there is none."""
        found = self._places({"selector": selector, "priority": priority}, 1, newest_first=True)
        return found[0] if found else None

    def _places(self, where: Doc, limit: int, *, newest_first: bool = False, **more: bool) -> list[Place]:
        """Return places in the index of ready messages; what stands there and is no message is parked, not returned.

        Fields of the index alone are asked for: then CouchDB reads no document, and takes a sixth of the time.
        """
        fields = INDEXES[READY_INDEX][0]
        sort: list[str | Doc] = [{field: "desc"} for field in fields] if newest_first else [*fields]
        asked = self.database.find(where, index=READY_INDEX, sort=sort, limit=limit, fields=["_id", *fields], **more)
        places, odd = [], []
        for doc in asked:
            try:
                places.append(msgspec.convert(doc, Place))
            except msgspec.ValidationError:
                odd.append(doc["_id"])
        if odd:
            self.fetch(odd)
        return places

    def is_in_the_way(self, message_id: str, rev: str = "") -> bool:
        """Tell whether a message is one that this process leaves alone until somebody changes it, or has parked.

        Without ``rev``, its revision, the message may have been changed since.
        """
        known = [each[message_id] for each in self._in_the_way if message_id in each]
        return rev in known if rev else bool(known)

    @property
    def _in_the_way(self) -> tuple[dict[str, str], ...]:
        """What is no use to this process, by ids and revisions: newer messages, those it may not claim, no messages."""
        return self._newer, self._refused, self._parked

    def why_unread(self, message_id: str) -> str:
        """Return why a message that is there is none for this program; nothing where none is known to be there."""
        if message_id in self._newer:
            return "it is there, of a newer version of this program: update this one"
        return "it is there, and is not a message" if message_id in self._parked else ""

    def survey(self, index: str, patterns: Sequence[Pattern]) -> list[Prospect]:
        """Return what an index holds for some patterns, of every selector something, in few requests.

        Usually in one: all that lies between the first and the last of the patterns. Where one selector has more than
        a page, the next page begins behind it, or at the next pattern. Where there are too many of those the next
        survey goes on behind the last, so that those far back have their turn too.
        """
        prospects: list[Prospect] = []
        stretch = patterns_of.stretch(patterns, self._surveyed_to.pop(index, ""))
        for pages_left in reversed(range(_SURVEY_PAGES)):
            if stretch is None:
                break
            docs = self._page(index, *stretch)
            full = len(docs) == _SURVEY_ROWS
            prospects += [
                Prospect(
                    doc["_id"],
                    doc["selector"],
                    doc.get("state", ""),
                    doc.get("due") or "",
                    _priority(doc),
                    doc.get("_rev", ""),
                    full and doc is docs[-1],
                )
                for doc in docs
            ]
            if not full:
                break
            behind = patterns_of.behind(docs[-1]["selector"])
            stretch = patterns_of.stretch(patterns, behind)
            if stretch and not pages_left:
                self._surveyed_to[index] = behind
        return prospects

    def _page(self, index: str, first: str, last: str) -> list[Doc]:
        where = first if first == last else {"$gte": first, "$lte": last}
        return self.database.find(
            {"selector": where},
            index=index,
            sort=INDEXES[index][0],
            limit=_SURVEY_ROWS,
            fields=_SURVEYED[index],
        )

    def due_in_s(self, state: str, due: str) -> float:
        """Return in how many seconds a delayed message may be taken, or a claimed one because its lease surely is over.

        Negative when that is past. For leases, clocks that disagree are spared. What is no time is due now: looked at,
        it is parked.
        """
        spare = self._spare if state == envelope.CLAIMED else timedelta()
        try:
            return (moment(due) + spare - self.clock.now()).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0

    def takeable_in_s(self, message: Message) -> float | None:
        """Return in how many seconds a message may be claimed, 0 or less for now; None when it never may."""
        if message.state == envelope.READY:
            return 0.0
        if message.state in envelope.OPEN_STATES and message.due:
            return self.due_in_s(message.state, message.due)
        return None

    def claim(self, messages: Sequence[Message], policy: RetryPolicy, token: str) -> Claims:
        """Claim what was nominated, and return what became of it.

        What is past its time is written ``expired`` instead, and what has no attempt left ``dead``. Raises
        DatabaseAway while too few copies answer for a claim to count.
        """
        if self._too_few_answered:
            self._trees.make_sure_that_most_answer(self.me)
            self._too_few_answered = False
        changed = [self._taken(message, policy, token) for message in self._reapable(messages)]
        # As long as the claim may stand: what is then short of half a lease is renewed before its work begins.
        results = self.writer.write(changed, until_s=elapsed_s() + self.lease_s)
        for result in results:
            if result.standing == "written" and not result.message.is_open:
                self.prune(result.message)
            elif result.standing == "refused":
                _keep(self._refused, result.message.id, result.message.rev)
                _LOG.error("message %s cannot be claimed, and is left alone: %s", result.message.id, result.reason)
            elif result.standing == "forked" and not self._trees.step_back(result.message):
                self._too_few_answered = True
        mine = [
            result.message
            for result in results
            if result.standing == "written" and result.message.state == envelope.CLAIMED
        ]
        others = {result.message.id for result in results if result.standing in {"lost", "forked"}}
        self.claimed += len(mine)
        self.conflicts += len(others)
        passed_over = len(changed) < len(messages)
        return Claims(mine, others, passed_over or any(result.standing == "unknown" for result in results))

    def _reapable(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the nominated messages without those of which another leaf says that they are not free."""
        lapsed = [message for message in messages if message.state == envelope.CLAIMED]
        if not lapsed or not self.database.may_fork(timeout_s=_READ_S):
            return messages
        free = self._trees.reapable(lapsed, is_over=self._is_over)
        return [message for message in messages if message.state != envelope.CLAIMED] + free

    def _is_over(self, leaf: Doc) -> bool:
        """Tell whether nobody can be at work on a leaf any more: it is not claimed, or its lease surely is over."""
        return leaf.get("state") != envelope.CLAIMED or self.due_in_s(envelope.CLAIMED, str(leaf.get("due"))) <= 0

    def _taken(self, message: Message, policy: RetryPolicy, token: str) -> Message:
        now = self.clock.now()
        if message.state != envelope.CLAIMED and envelope.is_expired(message, now):
            return envelope.expire(message, now=now)
        if message.state == envelope.CLAIMED and policy.is_spent(message.attempts):
            return envelope.bury_lapsed(message, by=self.me, now=now)
        return envelope.claim(message, by=self.me, token=token, now=now, lease_s=self.lease_s)

    def renew(self, messages: Sequence[Message], *, until_s: float) -> list[Result]:
        """Prolong the leases of messages that are ours."""
        until = self.clock.now() + timedelta(seconds=self.lease_s)
        return self.writer.write([envelope.renew(message, until=until) for message in messages], until_s=until_s)

    def write(self, messages: Sequence[Message], *, until_s: float) -> list[Result]:
        """Write transitions of messages that were read: the ends of claims, and what operators change."""
        return self.writer.write(messages, until_s=until_s)

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
        if self.database.may_fork(timeout_s=timeout_s):
            leaves = self.database.leaves(ids, ancestors=True, timeout_s=timeout_s)
        else:
            docs = self.database.fetch(ids, timeout_s=timeout_s)
            leaves = {each: [doc] if doc else [] for each, doc in zip(ids, docs, strict=True)}
        found = {each.id: standing(each, leaves[each.id]) for each in messages}
        return {each: self._understood(_plain(doc)) if doc else None for each, doc in found.items()}

    def prune(self, settled: Message) -> None:
        """Remove the leaves that lost against a message that was just settled, where there can be such."""
        if self.database.may_fork(timeout_s=_READ_S):
            self._trees.prune(settled)

    def _messages(self, docs: Iterable[Doc | None]) -> list[Message]:
        understood = (self._understood(doc) for doc in docs if doc)
        return [message for message in understood if message]

    def _understood(self, doc: Doc) -> Message | None:
        """Return a document as a message; leave alone what is newer, and park what is none."""
        if self.is_in_the_way(doc["_id"], doc["_rev"]):
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
        failure = {"at": stamp(self.clock.now()), "by": self.me, "what": what}
        parked = doc | {"state": envelope.DEAD, "doneAt": failure["at"], "errors": [failure]}
        for field in ("due", "expires", "claim"):
            parked.pop(field, None)
        try:
            [row] = self.database.bulk([parked])
        except (errors.Refused, errors.NotNow) as error:
            row = Row(doc["_id"], error="refused", reason=str(error))
        if not row.error:
            _LOG.error("message %s is %s", doc["_id"], what)
        elif row.error != "conflict":  # else another has marked it, or mended it
            _LOG.error("message %s is %s, and cannot be marked as dead: %s", doc["_id"], what, row.reason)
        _keep(self._parked, doc["_id"], doc["_rev"])


def ended(
    database: Database,
    state: str,
    *,
    since: str = "",
    until: str = "",
    **more: Any,  # noqa: ANN401 (as Database.pages)
) -> Iterator[list[Doc]]:
    """Yield the messages that ended in a state, page by page, the oldest end first.

    ``since`` and ``until`` bound when they ended (UTC; ``until`` is not included). ``more`` is as in
    :meth:`Database.pages <shared.dbcon.Database.pages>`.
    """
    sort = INDEXES[ENDED_INDEX][0]
    return database.pages({"state": state}, by="doneAt", index=ENDED_INDEX, sort=sort, since=since, until=until, **more)


def _keep(known: dict[str, str], message_id: str, rev: str) -> None:
    if len(known) > _PARKED_KEPT:
        known.clear()
    known[message_id] = rev


def _priority(doc: Doc) -> int:
    """Return how urgent what stands in an index is; what is no message comes first, to be looked at."""
    priority = doc.get("priority")
    return priority if isinstance(priority, int) else 0


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
