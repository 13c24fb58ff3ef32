"""The queue in the database: send, nominate, claim, renew, settle. All of the bus's database access is here.

The index nominates, the document decides: a claim is a write at the revision that was nominated, and of several that
reach for one message CouchDB accepts exactly one. Every later write carries the revision of the claim.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from shared import errors
from shared.bus import envelope
from shared.bus.envelope import Message
from shared.bus.writes import Result, Writer
from shared.clock import elapsed_s, stamp
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    ENDED_INDEX: (["doneAt"], {"state": {"$in": sorted(envelope.TERMINAL_STATES)}}),
}
"""The partial indexes of ``msgq``, each in a design document of its own: fields, and which documents are in it."""

_LOG = logging.getLogger(__name__)
_SURVEY_ROWS: Final = 200
_SURVEY_ROUNDS: Final = 50


@dataclass(frozen=True)
class Prospect:
    """A message seen in an index: where it is addressed, and when it is due (empty for a ready one)."""

    id: str
    selector: str
    due: str = ""


class Queue:
    """The messages in one database, on behalf of one process called ``me``."""

    def __init__(self, database: Database, clock: Clock, *, me: str, lease_s: float, spare_s: float) -> None:
        """Take the database, in whose name claims are made and for how long, and how far clocks may disagree."""
        self.database = database
        self.clock = clock
        self.me = me
        self.lease_s = lease_s
        self._spare = timedelta(seconds=spare_s)
        self.writer = Writer(database)
        self._left_alone: set[str] = set()

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
        if earlier is None:
            raise errors.OutcomeUnknown(f"message {message.id} was there and is gone; send it again")
        if earlier.digest != message.digest and earlier.epoch == 0:
            raise errors.SentDifferently(f"message {message.id} was sent before with another body")
        return earlier

    def get(self, message_id: str) -> Message | None:
        """Return a message, or None where there is none (or none that this version understands)."""
        doc = self.database.get(message_id)
        return self._understood(doc) if doc else None

    def fetch(self, ids: Iterable[str]) -> list[Message]:
        """Return the messages with these ids that exist, in one request."""
        return self._messages(self.database.fetch(ids))

    def ready(self, selector: str, limit: int) -> list[Message]:
        """Return up to ``limit`` ready messages for one selector, most urgent and then oldest first."""
        docs = self.database.find({"selector": selector}, index=READY_INDEX, sort=INDEXES[READY_INDEX][0], limit=limit)
        return self._messages(docs)

    def survey(self, index: str) -> list[Prospect]:
        """Return what an index holds, of every selector something, in few requests however much there is.

        Where one selector has more than a page, the next page begins behind it: at the selector and a tabulator,
        which collates before every character that a selector can go on with. (After the selector itself, ``$gt`` would
        have CouchDB read all of its rows once more.)
        """
        fields = INDEXES[index][0]
        prospects: list[Prospect] = []
        beyond: str | None = None
        for _ in range(_SURVEY_ROUNDS):
            docs = self.database.find(
                {"selector": {"$gt": beyond}},
                index=index,
                sort=fields,
                limit=_SURVEY_ROWS,
                fields=["_id", "selector", "due"],
            )
            prospects += [Prospect(doc["_id"], doc["selector"], doc.get("due") or "") for doc in docs]
            if len(docs) < _SURVEY_ROWS:
                break
            beyond = docs[-1]["selector"] + "\t"
        return prospects

    def takeable(self, message: Message) -> bool:
        """Tell whether a message may be claimed now."""
        now = self.clock.now()
        return message.state == envelope.READY or envelope.is_due(message, now, spare=self._spare)

    def due_in_s(self, prospect: Prospect) -> float:
        """Return in how many seconds a delayed message is due or a claim surely lapses; negative when it is over."""
        return (moment(prospect.due) - self.clock.now()).total_seconds()

    def claim(self, messages: Sequence[Message], policy: RetryPolicy, token: str) -> tuple[list[Message], int]:
        """Claim what was nominated; return the messages that are ours now, and how many others were quicker.

        What is past its time is written ``expired`` instead, and what has no attempt left ``dead``.
        """
        asked_s = elapsed_s()
        changed = [self._taken(message, policy, token) for message in messages if self.takeable(message)]
        results = self.writer.write(changed, until_s=asked_s + self.lease_s / 2)
        mine = [
            result.message
            for result in results
            if result.standing == "written" and result.message.state == envelope.CLAIMED
        ]
        for result in results:
            if result.standing == "refused":
                _LOG.error("message %s cannot be claimed: %s", result.message.id, result.reason)
        return mine, sum(result.standing == "lost" for result in results)

    def _taken(self, message: Message, policy: RetryPolicy, token: str) -> Message:
        now = self.clock.now()
        if envelope.is_expired(message, now):
            return envelope.expire(message, now=now)
        if message.state == envelope.CLAIMED and policy.is_spent(message.attempts):
            return envelope.bury_lapsed(message, by=self.me, now=now)
        return envelope.claim(message, by=self.me, token=token, now=now, lease_s=self.lease_s)

    def renew(self, messages: Sequence[Message], *, until_s: float) -> list[Result]:
        """Prolong the leases of messages that are ours."""
        until = self.clock.now() + timedelta(seconds=self.lease_s)
        return self.writer.write([envelope.renew(message, until=until) for message in messages], until_s=until_s)

    def settle(self, messages: Sequence[Message], *, until_s: float) -> list[Result]:
        """Write the ends of claims."""
        return self.writer.write(messages, until_s=until_s)

    def reread(self, message: Message) -> Message | None:
        """Return a message as it stands now if it still is under the claim that ``message`` carries, else None.

        To be asked before a write when the lease may be over or the answer to the last write was lost. A revision
        fences only a document that exists: CouchDB would accept a write to one that was purged.
        """
        found = self.get(message.id)
        if found is None or found.claim is None or message.claim is None or found.claim.token != message.claim.token:
            return None
        return found

    def _messages(self, docs: Iterable[Doc | None]) -> list[Message]:
        understood = (self._understood(doc) for doc in docs if doc)
        return [message for message in understood if message]

    def _understood(self, doc: Doc) -> Message | None:
        """Return a document as a message; leave alone what is newer, and park what is none."""
        try:
            message = msgspec.convert(doc, Message)
        except msgspec.ValidationError as error:
            self._park(doc, str(error))
            return None
        if message.schema > envelope.SCHEMA:
            self._leave(doc["_id"], f"has schema {message.schema}, and this program knows {envelope.SCHEMA}: update it")
            return None
        return message

    def _park(self, doc: Doc, why: str) -> None:
        """Mark a document dead that stands in an index of messages and is not one."""
        self._leave(doc["_id"], f"is not a message: {why}")
        if doc.get("state") not in envelope.OPEN_STATES:
            return
        failure = {"at": stamp(self.clock.now()), "by": self.me, "what": f"not a message: {why}"}
        parked = doc | {"state": envelope.DEAD, "doneAt": failure["at"], "errors": [failure]}
        parked.pop("due", None)
        self.database.bulk([parked])

    def _leave(self, message_id: str, why: str) -> None:
        if message_id not in self._left_alone:
            self._left_alone.add(message_id)
            _LOG.error("message %s %s", message_id, why)
