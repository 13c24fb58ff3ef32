"""``drw dead``: the messages that could not be handled, and what to do with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from drw import audit
from drw.registry import OK
from shared.bus import Message, envelope, queue
from shared.errors import BadInput, Conflict, DrwError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drw.registry import Commands, Context
    from shared.dbcon import DbConnection, Doc

_PAGE: Final = 200
_ID: Final = "ingest.JAO:1795234567890:0a1b"


def register(commands: Commands) -> None:
    """Make the commands known."""
    letters = commands.group("dead", help="messages that could not be handled", example="drw dead list")
    letters.add("list", _list, help="show them, with the reasons", example="drw dead list")
    show = letters.add("show", _show, help="show one whole, as JSON", example=f"drw dead show {_ID}", json=False)
    show.add_argument("message", help="its id, or how that begins")
    requeue = letters.add(
        "requeue",
        _requeue,
        help="make them ready again",
        example=f"drw dead requeue {_ID} --reason 'there is room again'",
    )
    requeue.add_argument("--body", metavar="FILE", help="requeue one with this body (JSON; - is standard input)")
    discard = letters.add(
        "discard", _discard, help="end them for good", example=f"drw dead discard {_ID} --reason 'sent by mistake'"
    )
    for action in (requeue, discard):
        action.add_argument("ids", nargs="*", metavar="message", help="its id, or how that begins")
        action.add_argument("--all", action="store_true", help="every dead message")
        action.add_argument("--reason", required=action is discard, default="", help="is kept in the audit")


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

    def whole(self, message_id: str) -> Doc:
        """Return a dead message with everything that it says."""
        doc = self._database.get(message_id)
        if doc is None:
            raise BadInput(f"there is no message {message_id}")
        return doc

    def requeue(self, message_id: str, why: str, body: dict[str, Any] | None = None) -> None:
        """Make a dead message ready again, with another ``body`` where one is given."""
        self._change(message_id, lambda message: envelope.requeue(message, by=audit.who(), body=body))
        audit.record(self._connection, "requeue, edited" if body is not None else "requeue", message_id, why)

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


def _list(context: Context) -> int:
    messages = DeadLetters(context.connection).all()
    if context.args.json:
        return context.print_json(messages)
    _print(messages)
    return OK


def _show(context: Context) -> int:
    letters = DeadLetters(context.connection)
    return context.print_json(letters.whole(letters.named(context.args.message)))


def _requeue(context: Context) -> int:
    letters, args = DeadLetters(context.connection), context.args
    if args.body is None:
        return _each(context, letters, "requeued", lambda each: letters.requeue(each, args.reason))
    if args.all or len(args.ids) != 1:
        raise BadInput("--body is for one message: name its id")
    body = _body(args.body)
    return _each(context, letters, "requeued with another body", lambda each: letters.requeue(each, args.reason, body))


def _discard(context: Context) -> int:
    letters = DeadLetters(context.connection)
    return _each(context, letters, "discarded", lambda each: letters.discard(each, context.args.reason))


def _each(context: Context, letters: DeadLetters, done: str, act: Callable[[str], None]) -> int:
    args = context.args
    if not args.ids and not args.all:
        raise BadInput("which messages? name their ids, or use --all; 'drw dead list' shows them")
    ids = [doc["_id"] for doc in letters.all()] if args.all else [letters.named(each) for each in args.ids]
    for each in ids:
        act(each)
        if not args.json:
            print(f"{each}: {done}")
    return context.print_json({done: ids}) if args.json else OK


def _body(file: str) -> dict[str, Any]:
    text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise BadInput(f"{'standard input' if file == '-' else file} is no JSON object: {error}") from error


def _print(messages: list[Doc]) -> None:
    """Print one message a paragraph: its id alone on a line, so that it can be copied whole at any width."""
    print(f"dead messages: {len(messages)}")
    for each in messages:
        failures: list[dict[str, Any]] = each.get("errors", [])
        print(f"\n{each['_id']}")
        print(f"  dead since {each.get('doneAt', '')[:19]} UTC after {each.get('attempts', 0)} attempts")
        for failure in failures[-3:]:
            print(f"  {failure['at'][:19]} {failure['by']}: {failure['what']}")
