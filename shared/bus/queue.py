"""The queue in the database: send, nominate, claim, renew, settle.

The index nominates, the document decides: a claim is a write at the revision that was nominated, and of several that
reach for one message CouchDB accepts exactly one. Every later write carries the revision of the claim.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from shared import errors
from shared.bus import envelope
from shared.bus import patterns as patterns_of
from shared.bus.stored import Stored
from shared.bus.trees import Trees
from shared.bus.writes import Result, Writer
from shared.clock import elapsed_s
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shared.bus.envelope import Message
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
        self.stored = Stored(database, clock, me=me)
        self._trees = Trees(database)
        self.writer = Writer(database)
        self.claimed = self.conflicts = 0
        """How many messages this process has claimed, and how often another was quicker."""
        self._surveyed_to: dict[str, str] = {}
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
        if earlier is None and (why := self.stored.why_unread(message.id)):
            raise errors.Refused(f"message {message.id} cannot be sent: {why}")
        if earlier is None:
            raise errors.OutcomeUnknown(f"message {message.id} was there and is gone; send it again")
        if earlier.digest != message.digest and earlier.epoch == 0:
            raise errors.SentDifferently(f"message {message.id} was sent before with another body")
        return earlier

    def get(self, message_id: str, *, timeout_s: float = _READ_S) -> Message | None:
        """Return a message, or None where there is none (or none that this version understands)."""
        return self.stored.get(message_id, timeout_s=timeout_s)

    def fetch(self, ids: Iterable[str]) -> list[Message]:
        """Return the messages with these ids that exist, in one request."""
        return self.stored.fetch(ids)

    def fetch_readable(self, ids: Iterable[str]) -> list[Message]:
        """As :meth:`fetch`, without those that CouchDB cannot read now: none must keep others from being taken."""
        return self.stored.fetch_readable(ids)

    def ready(self, selector: str, limit: int) -> list[Place]:
        """Return where up to ``limit`` ready messages for one selector stand, most urgent and then oldest first.

        Only the index is read for it; what is parked or newer than this program does not count for the limit.
        """
        return self._places({"selector": selector}, limit + self.stored.how_many_stay(selector))

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
            self.fetch_readable(odd)
        return places

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
                self.stored.leave_alone(result.message)
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

    def prune(self, settled: Message) -> None:
        """Remove the leaves that lost against a message that was just settled, where there can be such."""
        if self.database.may_fork(timeout_s=_READ_S):
            self._trees.prune(settled)


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


def _priority(doc: Doc) -> int:
    """Return how urgent what stands in an index is; what is no message comes first, to be looked at."""
    priority = doc.get("priority")
    return priority if isinstance(priority, int) else 0
