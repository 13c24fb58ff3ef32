"""The messages that could not be handled: read, requeued and discarded by a person, which the audit keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared import audit
from shared.bus import Message, envelope, queue
from shared.clock import stamp
from shared.errors import BadInput, Conflict, DrwError
from shared.names import shown

if TYPE_CHECKING:
    from shared.dbcon import DbConnection, Doc


class DeadLetters:
    """The dead messages of a queue, those too that are no messages at all and were parked."""

    def __init__(self, connection: DbConnection, *, by: str) -> None:
        """Take the server, and the name of who requeues and discards, which the messages and the audit keep."""
        self._connection = connection
        self._by = by
        self._database = connection.database(queue.DATABASE)

    def all(self) -> list[Doc]:
        """Return every dead message, the oldest first."""
        return [doc for page in queue.ended(self._database, envelope.DEAD) for doc in page]

    def named(self, beginning: str) -> str:
        """Return the id of the one dead message that begins so; raise BadInput where there is none, or several."""
        ids = [doc["_id"] for doc in self.all() if doc["_id"].startswith(beginning)]
        if len(ids) == 1 or beginning in ids:
            return beginning if beginning in ids else str(ids[0])
        what = f"{len(ids)} dead messages begin with" if ids else "no dead message begins with"
        raise BadInput(f"{what} {shown(beginning)}: 'drw dead list' shows them")

    def whole(self, message_id: str) -> Doc:
        """Return a dead message with everything that it says."""
        doc = self._database.get(message_id)
        if doc is None:
            raise BadInput(f"there is no message {message_id}")
        return doc

    def requeue(self, message_id: str, why: str, body: dict[str, Any] | None = None) -> None:
        """Make a dead message ready again, with another ``body`` where one is given."""
        what, doc = "requeue, edited" if body is not None else "requeue", self._known(message_id)
        try:
            message = msgspec.convert(doc, Message)
        except msgspec.ValidationError as error:
            raise BadInput(
                f"{message_id} is no message ({error}): discard it with 'drw dead discard', or mend the document of "
                f"database {queue.DATABASE} by hand"
            ) from error
        self._change(doc, msgspec.to_builtins(envelope.requeue(message, by=self._by, body=body)), what, why)

    def discard(self, message_id: str, why: str) -> None:
        """End a dead message for good, also one that is no message at all and was parked."""
        doc, now = self._known(message_id), self._connection.clock.now()
        try:
            message = msgspec.convert(doc, Message)
        except msgspec.ValidationError:
            ended = _discarded(doc, by=self._by, at=stamp(now), why=why)
        else:
            ended = msgspec.to_builtins(envelope.discard(message, by=self._by, now=now, why=why))
        self._change(doc, ended, "discard", why)

    def _known(self, message_id: str) -> Doc:
        """Return a dead message as it is stored; BadInput for one that is not there, or that a newer program wrote."""
        doc = self.whole(message_id)
        if isinstance(schema := doc.get("schema"), int) and schema > envelope.SCHEMA:
            raise BadInput(
                f"message {message_id} has schema {schema}, and this program knows {envelope.SCHEMA}: what it does not "
                "know would be lost, so update this program first"
            )
        return doc

    def _change(self, doc: Doc, wanted: Doc, what: str, why: str) -> None:
        """Change a message, and keep that in the audit, before: once it is ready, others may change it further."""
        message_id = doc["_id"]
        audit.intend(self._connection, what, message_id, why, by=self._by, revision=doc["_rev"])
        try:
            self._database.put(wanted)
        except Conflict as error:
            reason = f"message {message_id} was changed by somebody else meanwhile"
            audit.record(self._connection, f"{what}, not done", message_id, reason, by=self._by)
            raise DrwError(f"{reason}: look again") from error


def _discarded(doc: Doc, *, by: str, at: str, why: str) -> Doc:
    """Return a parked document that is no message ended for good; the rest of it stays as whoever wrote it left it."""
    if doc.get("state") != envelope.DEAD:
        raise BadInput(f"{doc['_id']} is {shown(doc.get('state'))}: only what is dead can be discarded")
    noted = doc["errors"] if isinstance(doc.get("errors"), list) else []
    failure = {"at": at, "by": by, "what": f"discarded: {why}"}
    return {**doc, "state": envelope.CONSUMED, "doneAt": at, "errors": [*noted, failure]}
