"""``drw dead``: the messages that could not be handled, and what to do with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from drw import ages, arguments
from drw.columns import counted, say
from drw.registry import FAILURE, OK
from shared import audit
from shared.dead_letters import DeadLetters
from shared.errors import BadInput, DatabaseAway, DrwError
from shared.messages import message_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from drw.registry import Commands, Context
    from shared.dbcon import Doc

_ID: Final = "ingest.JAO:1795234567890:0a1b"
_WHAT_TO_DO: Final = "'drw dead show ID' has all of one; mend the cause, then 'drw dead requeue ID', or discard it"


@dataclass(frozen=True)
class _Failed:
    """A message with which it could not be done, and why."""

    message: str
    why: str


@dataclass(frozen=True)
class _Became:
    """What became of the messages so far."""

    finished: list[str] = field(default_factory=list)
    failed: list[_Failed] = field(default_factory=list)


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
    _print(context, messages)
    if messages:
        context.hint(_WHAT_TO_DO)
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
    """Act on each message, past those where it cannot be done, and say what became of each."""
    args = context.args
    if not args.ids and not args.all:
        raise BadInput("which messages? name their ids, or use --all; 'drw dead list' shows them")
    if args.ids and args.all:
        raise BadInput("some messages by their ids, or --all of them: leave one of the two away")
    ids = [doc["_id"] for doc in letters.all()] if args.all else [letters.named(each) for each in args.ids]
    if not ids and not args.json:
        say(context.console, "no message is dead")
    became = _Became()
    try:
        for each in context.track(ids, done, total=len(ids)):
            try:
                act(each)
            except DatabaseAway:
                raise
            except DrwError as error:
                became.failed.append(_Failed(each, str(error)))
            else:
                became.finished.append(each)
    finally:  # what could be done is said, whatever became of the rest
        _tell(context, done, became)
    return FAILURE if became.failed else OK


def _tell(context: Context, done: str, became: _Became) -> None:
    if context.args.json:
        context.print_json({done: became.finished, "failed": became.failed})
        return
    for each in became.finished:
        say(context.console, f"{each}: {done}")
    for failed in became.failed:
        context.hint(f"{failed.message} is not {done}: {failed.why}")


def _body(file: str) -> dict[str, Any]:
    return message_body(arguments.text_of(file), "standard input" if file == "-" else file)


def _print(context: Context, messages: list[Doc]) -> None:
    """Print one message a paragraph: its id alone on a line, so that it can be copied whole at any width."""
    say(context.console, f"dead messages: {len(messages)}")
    for each in messages:
        say(context.console)
        say(context.console, each["_id"])
        tried = counted(each["attempts"] if isinstance(each.get("attempts"), int) else 0, "attempt")
        say(context.console, f"  dead since {ages.at(each.get('doneAt'))} UTC after {tried}")
        for failure in _failures(each)[-3:]:
            at, by, what = (failure.get(name, "") for name in ("at", "by", "what"))
            say(context.console, f"  {ages.at(at)} {by}: {what}")


def _failures(doc: Doc) -> list[dict[str, Any]]:
    """Return what went wrong with a message, as far as it can be read: others may have written it."""
    noted = doc.get("errors")
    return [each for each in noted if isinstance(each, dict)] if isinstance(noted, list) else []
