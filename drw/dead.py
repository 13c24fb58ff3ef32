"""``drw dead``: the messages that could not be handled, and what to do with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from drw import arguments
from drw.columns import counted
from drw.registry import OK
from shared import audit
from shared.dead_letters import DeadLetters
from shared.errors import BadInput
from shared.messages import message_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from drw.registry import Commands, Context
    from shared.dbcon import Doc

_ID: Final = "ingest.JAO:1795234567890:0a1b"


def register(commands: Commands) -> None:
    """Make the commands known."""
    letters = commands.group("dead", help="messages that could not be handled", example="drw dead list")
    letters.add("list", _list, help="show them, with the reasons", example="drw dead list")
    show = letters.add("show", _show, help="show one whole, as JSON", example=f"drw dead show {_ID}")
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


def _list(context: Context) -> int:
    messages = DeadLetters(context.connection, by=audit.who()).all()
    if context.args.json:
        return context.print_json(messages)
    _print(messages)
    return OK


def _show(context: Context) -> int:
    letters = DeadLetters(context.connection, by=audit.who())
    return context.print_json(letters.whole(letters.named(context.args.message)))


def _requeue(context: Context) -> int:
    letters, args = DeadLetters(context.connection, by=audit.who()), context.args
    if args.body is None:
        return _each(context, letters, "requeued", lambda each: letters.requeue(each, args.reason))
    if args.all or len(args.ids) != 1:
        raise BadInput("--body is for one message: name its id")
    body = _body(args.body)
    return _each(context, letters, "requeued with another body", lambda each: letters.requeue(each, args.reason, body))


def _discard(context: Context) -> int:
    letters = DeadLetters(context.connection, by=audit.who())
    return _each(context, letters, "discarded", lambda each: letters.discard(each, context.args.reason))


def _each(context: Context, letters: DeadLetters, done: str, act: Callable[[str], None]) -> int:
    args = context.args
    if not args.ids and not args.all:
        raise BadInput("which messages? name their ids, or use --all; 'drw dead list' shows them")
    ids = [doc["_id"] for doc in letters.all()] if args.all else [letters.named(each) for each in args.ids]
    finished: list[str] = []
    try:
        for each in context.track(ids, done, total=len(ids)):
            act(each)
            finished.append(each)
    finally:  # what could be done is said, whatever became of the rest
        for each in finished if not args.json else ():
            print(f"{each}: {done}")
    if not ids and not args.json:
        print("no message is dead")
    return context.print_json({done: finished}) if args.json else OK


def _body(file: str) -> dict[str, Any]:
    return message_body(arguments.text_of(file), "standard input" if file == "-" else file)


def _print(messages: list[Doc]) -> None:
    """Print one message a paragraph: its id alone on a line, so that it can be copied whole at any width."""
    print(f"dead messages: {len(messages)}")
    for each in messages:
        failures: list[dict[str, Any]] = each.get("errors", [])
        print(f"\n{each['_id']}")
        tried = counted(each.get("attempts", 0), "attempt")
        print(f"  dead since {each.get('doneAt', '')[:19]} UTC after {tried}")
        for failure in failures[-3:]:
            print(f"  {failure['at'][:19]} {failure['by']}: {failure['what']}")
