"""``drw dead``: the messages that could not be handled, and what to do with them."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from shared.bus import Message, envelope, queue
from shared.clock import elapsed_s
from shared.errors import BadInput, DrwError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from shared.dbcon import DbConnection

_WITHIN_S: Final = 30.0
_PAGE: Final = 200


class DeadLetters:
    """The dead messages of a queue."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server."""
        me = f"{getpass.getuser()}@drw"
        self._me = me
        database = connection.database(queue.DATABASE)
        self._queue = queue.Queue(database, connection.clock, me=me, lease_s=60.0, spare_s=5.0)

    def all(self) -> list[Message]:
        """Return every dead message, the oldest first."""
        found: dict[str, Message] = {}
        since = ""
        while True:
            docs = self._queue.database.find(
                {"doneAt": {"$gte": since}},
                index=queue.ENDED_INDEX,
                sort=queue.INDEXES[queue.ENDED_INDEX][0],
                limit=_PAGE,
                fields=["_id", "doneAt", "state"],
            )
            fresh = [doc for doc in docs if doc["_id"] not in found]
            dead = self._queue.fetch(doc["_id"] for doc in fresh if doc["state"] == envelope.DEAD)
            found |= {message.id: message for message in dead}
            if len(docs) < _PAGE or docs[-1]["doneAt"] == since:
                return list(found.values())
            since = docs[-1]["doneAt"]

    def requeue(self, message_id: str) -> None:
        """Make a dead message ready again."""
        self._change(message_id, lambda message: envelope.requeue(message, by=self._me))

    def discard(self, message_id: str, why: str) -> None:
        """End a dead message for good."""
        now = self._queue.clock.now()
        self._change(message_id, lambda message: envelope.discard(message, by=self._me, now=now, why=why))

    def _change(self, message_id: str, change: Callable[[Message], Message]) -> None:
        message = self._queue.get(message_id)
        if message is None:
            raise BadInput(f"there is no message {message_id}")
        result = self._queue.settle([change(message)], until_s=elapsed_s() + _WITHIN_S)[0]
        if result.standing != "written":
            raise DrwError(f"message {message_id} was not changed: {result.reason or result.standing}")


def run(connection: DbConnection, args: argparse.Namespace) -> int:
    """Do what ``drw dead`` was asked for."""
    letters = DeadLetters(connection)
    if args.what == "list":
        _print(letters.all())
        return 0
    ids = [message.id for message in letters.all()] if args.all else args.ids
    if not ids and not args.all:
        raise BadInput(f"which messages? name their ids, or use --all: drw dead {args.what} --all")
    for each in ids:
        if args.what == "requeue":
            letters.requeue(each)
        else:
            letters.discard(each, args.reason)
        print(f"{each}: {args.what}ed")
    return 0


def _print(messages: list[Message]) -> None:
    table = Table(title=f"dead messages: {len(messages)}", title_justify="left")
    for head in ("message", "since (UTC)", "attempts", "why"):
        table.add_column(head, overflow="fold")
    for each in messages:
        why = each.errors[-1].what if each.errors else ""
        table.add_row(each.id, (each.done_at or "")[:19], str(each.attempts), why)
    Console().print(table, markup=False)
