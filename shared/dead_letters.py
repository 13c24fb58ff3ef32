"""The messages that could not be handled: read, requeued and discarded by a person, which the audit keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared import audit
from shared.bus import Message, envelope, queue
from shared.errors import BadInput, Conflict, DrwError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.dbcon import DbConnection, Doc

_PAGE: Final = 200


class DeadLetters:
    """The dead messages of a queue, those too that are no messages at all and were parked."""

    def __init__(self, connection: DbConnection, *, by: str) -> None:
        """Take the server, and the name of who requeues and discards, which the messages and the audit keep."""
        self._connection = connection
        self._by = by
        self._database = connection.database(queue.DATABASE)

    def all(self) -> list[Doc]:
        """Return every dead message, the oldest first."""
        found: dict[str, Doc] = {}
        since = ""
        while True:
            docs = self._database.find(
                {"state": envelope.DEAD, "doneAt": {"$gte": since}},
                index=queue.ENDED_INDEX,
                sort=queue.INDEXES[queue.ENDED_INDEX][0],
                limit=_PAGE + sum(doc.get("doneAt") == since for doc in found.values()),
            )
            fresh = {doc["_id"]: doc for doc in docs if doc["_id"] not in found}
            found |= fresh
            if len(fresh) < _PAGE:
                return list(found.values())
            since = docs[-1]["doneAt"]

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
        self._change(message_id, lambda message: envelope.requeue(message, by=self._by, body=body))
        audit.record(
            self._connection, "requeue, edited" if body is not None else "requeue", message_id, why, by=self._by
        )

    def discard(self, message_id: str, why: str) -> None:
        """End a dead message for good."""
        now = self._connection.clock.now()
        self._change(message_id, lambda message: envelope.discard(message, by=self._by, now=now, why=why))
        audit.record(self._connection, "discard", message_id, why, by=self._by)

    def _change(self, message_id: str, change: Callable[[Message], Message]) -> None:
        doc = self._database.get(message_id)
        if doc is None:
            raise BadInput(f"there is no message {message_id}")
        try:
            message = msgspec.convert(doc, Message)
        except msgspec.ValidationError as error:
            raise BadInput(
                f"{message_id} is no message ({error}): mend or delete the document of database "
                f"{queue.DATABASE} by hand"
            ) from error
        try:
            self._database.put(msgspec.to_builtins(change(message)))
        except Conflict as error:
            raise DrwError(f"message {message_id} was changed by somebody else meanwhile: look again") from error
