"""``drw dead``: the messages that could not be handled, and what to do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from drw import audit
from shared.bus import Message, envelope, queue
from shared.errors import BadInput, Conflict, DrwError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from shared.dbcon import DbConnection, Doc

_PAGE: Final = 200


class DeadLetters:
    """The dead messages of a queue, those too that are no messages at all and were parked."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server."""
        self._connection = connection
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

    def requeue(self, message_id: str, why: str) -> None:
        """Make a dead message ready again."""
        self._change(message_id, lambda message: envelope.requeue(message, by=audit.who()))
        audit.record(self._connection, "requeue", message_id, why)

    def discard(self, message_id: str, why: str) -> None:
        """End a dead message for good."""
        now = self._connection.clock.now()
        self._change(message_id, lambda message: envelope.discard(message, by=audit.who(), now=now, why=why))
        audit.record(self._connection, "discard", message_id, why)

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


def run(connection: DbConnection, args: argparse.Namespace) -> int:
    """Do what ``drw dead`` was asked for."""
    letters = DeadLetters(connection)
    if args.what == "list":
        _print(letters.all())
        return 0
    if not args.ids and not args.all:
        raise BadInput(f"which messages? name their ids, or use --all: drw dead {args.what} --all")
    ids = [doc["_id"] for doc in letters.all()] if args.all else [letters.named(each) for each in args.ids]
    act, done = (letters.requeue, "requeued") if args.what == "requeue" else (letters.discard, "discarded")
    for each in ids:
        act(each, args.reason)
        print(f"{each}: {done}")
    return 0


def _print(messages: list[Doc]) -> None:
    """Print one message a paragraph: its id alone on a line, so that it can be copied whole at any width."""
    print(f"dead messages: {len(messages)}")
    for each in messages:
        failures: list[dict[str, Any]] = each.get("errors", [])
        print(f"\n{each['_id']}")
        print(f"  dead since {each.get('doneAt', '')[:19]} UTC after {each.get('attempts', 0)} attempts")
        for failure in failures[-3:]:
            print(f"  {failure['at'][:19]} {failure['by']}: {failure['what']}")
