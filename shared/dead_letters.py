"""The messages that could not be handled: read, requeued and discarded by a person, which the audit keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared import audit
from shared.bus import Message, envelope, queue
from shared.errors import BadInput, Conflict, DrwError

if TYPE_CHECKING:
    from collections.abc import Callable

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
        raise BadInput(f"{what} {beginning}: 'drw dead list' shows them")

    def whole(self, message_id: str) -> Doc:
        """Return a dead message with everything that it says."""
        doc = self._database.get(message_id)
        if doc is None:
            raise BadInput(f"there is no message {message_id}")
        return doc

    def requeue(self, message_id: str, why: str, body: dict[str, Any] | None = None) -> None:
        """Make a dead message ready again, with another ``body`` where one is given."""
        what = "requeue, edited" if body is not None else "requeue"
        self._change(message_id, what, why, lambda message: envelope.requeue(message, by=self._by, body=body))

    def discard(self, message_id: str, why: str) -> None:
        """End a dead message for good."""
        now = self._connection.clock.now()
        self._change(
            message_id, "discard", why, lambda message: envelope.discard(message, by=self._by, now=now, why=why)
        )

    def _change(self, message_id: str, what: str, why: str, change: Callable[[Message], Message]) -> None:
        """Change a message, and keep that in the audit, before: once it is ready, others may change it further."""
        doc = self._database.get(message_id)
        if doc is None:
            raise BadInput(f"there is no message {message_id}")
        if isinstance(schema := doc.get("schema"), int) and schema > envelope.SCHEMA:
            raise BadInput(
                f"message {message_id} has schema {schema}, and this program knows {envelope.SCHEMA}: what it does not "
                "know would be lost, so update this program first"
            )
        try:
            message = msgspec.convert(doc, Message)
        except msgspec.ValidationError as error:
            raise BadInput(
                f"{message_id} is no message ({error}): mend or delete the document of database "
                f"{queue.DATABASE} by hand"
            ) from error
        wanted = msgspec.to_builtins(change(message))
        audit.intend(self._connection, what, message_id, why, by=self._by, revision=doc["_rev"])
        try:
            self._database.put(wanted)
        except Conflict as error:
            reason = f"message {message_id} was changed by somebody else meanwhile"
            audit.record(self._connection, f"{what}, not done", message_id, reason, by=self._by)
            raise DrwError(f"{reason}: look again") from error
