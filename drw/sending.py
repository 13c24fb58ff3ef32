"""``drw send`` and ``drw call``: put a message on the bus by hand, and ask an executor something."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from drw import ages, arguments, crew, mail
from drw.columns import say
from drw.registry import FAILURE, OK
from shared import actor, audit, streams
from shared.bus import ExecutorClient, envelope
from shared.clock import stamp
from shared.errors import DatabaseError, RemoteError
from shared.messages import message_body

if TYPE_CHECKING:
    from drw.registry import Commands, Context
    from shared.dbcon import DbConnection

_INPUT: Final = "-"
_READS: Final = ("get",)
"""Operations that change nothing, which the audit need not keep. No set: what is asked for may be any JSON."""


def register(commands: Commands) -> None:
    """Make both commands known."""
    send = commands.add(
        "send",
        _send,
        help="send a message",
        description="Send a message to a selector and print its id. Once this returns, the message is stored.",
        example="""drw send cached.JAO '{"fileType": "weblog", "cachedAt": "EU", "name": "…"}'""",
    )
    call = commands.add(
        "call",
        _call,
        help="call an executor, and print its reply",
        description=(
            "Have a request executed by who listens on a selector, and print the reply as JSON. An error that it "
            "answers with is printed with its kind."
        ),
        example="""drw call xtss '{"operation": "get", "ousUID": "uid://X1/X1/Xb0"}'""",
    )
    for each in (send, call):
        each.add_argument("selector", type=actor.checked(envelope.selector), help="such as ingest.JAO")
        each.add_argument("body", metavar="JSON", help="a JSON object, or - for standard input")
        each.add_argument("--reason", default="", help="is kept in the audit")
    send.add_argument(
        "--priority",
        metavar="N",
        type=int,
        choices=envelope.PRIORITIES,
        default=envelope.DEFAULT_PRIORITY,
        help="0, most urgent, to 9",
    )
    send.add_argument(
        "--delay", type=actor.checked(ages.seconds), metavar="SPAN", help="nobody takes it before: 30s, 2h"
    )
    send.add_argument("--expires", type=actor.checked(ages.some_seconds), metavar="SPAN", help="nobody takes it later")
    send.add_argument(
        "--key",
        type=actor.checked(arguments.key),
        help="of two messages with one key and one selector the second is not sent; its body may not differ",
    )
    call.add_argument(
        "--deadline",
        type=actor.checked(ages.some_seconds),
        metavar="SPAN",
        help="how long to wait, default DRW_RPC_DEADLINE_S",
    )
    call.add_argument(
        "--key",
        type=actor.checked(arguments.key),
        help="under one key, what was executed is not executed again: its reply is printed again",
    )


def _body(context: Context) -> dict[str, Any]:
    text = context.args.body
    if text == _INPUT:
        return message_body(arguments.text_of(_INPUT), "standard input")
    return message_body(text, "the body")


def _send(context: Context) -> int:
    args, bus = context.args, context.bus
    now = context.connection.clock.now()
    message = bus.compose(args.selector, _body(context), priority=args.priority, **_options(context))
    before = bus.queue.get(message.id) if args.key else None
    unheard = mail.unheard(context.connection, args.selector)  # asked first: a message there makes it known
    if before is None:
        audit.intend(context.connection, "send", message.id, args.reason, by=audit.who(), revision="")
    bus.send_many([message])
    if args.json:
        return context.print_json({"message": message.id, "sent": before is None})
    streams.tell(message.id if before is None else f"{message.id} was sent before, and is {before.state}")
    if before is not None:
        return OK
    if args.delay:
        say(context.console, f"it is not taken before {ages.at(stamp(now + timedelta(seconds=args.delay)))} UTC")
    if crew.post(args.selector) and _has_nobody(context.connection, args.selector):
        say(context.console, f"nobody listens on {args.selector} now: it waits", style="yellow")
    elif unheard:
        context.hint(unheard)
    return OK


def _has_nobody(connection: DbConnection, selector: str) -> bool:
    """Tell whether nobody is seen to listen; that nobody can look is no failure of what was sent."""
    try:
        return not crew.listening(selector, crew.workers(connection))
    except DatabaseError:
        return False


def _options(context: Context) -> Any:  # noqa: ANN401 (what Bus.compose takes by name)
    args = context.args
    chosen = {"dedup": args.key, "delay_s": args.delay, "expires_s": args.expires}
    return {name: value for name, value in chosen.items() if value is not None}


def _call(context: Context) -> int:
    args = context.args
    body = _body(context)
    deadline_s = context.settings.rpc_deadline_s if args.deadline is None else args.deadline
    client = ExecutorClient(context.bus, args.selector, deadline_s=deadline_s)
    message_id = envelope.caused_id(args.selector, args.key, 0, "once") if args.key else None
    if body.get("operation") not in _READS:
        audit.record(context.connection, "call", args.selector, args.reason or _shortly(body), by=audit.who())
    if unheard := mail.unheard(context.connection, args.selector):
        context.hint(unheard)
    try:
        reply = client.call(body, message_id=message_id)
    except RemoteError as error:
        if not args.json:
            raise RemoteError(f"{args.selector} answered with {error.kind}: {error}", kind=error.kind) from error
        return context.print_json({"error": {"kind": error.kind, "message": str(error)}}, FAILURE)
    return context.print_json({"value": reply} if args.json else reply)


def _shortly(body: dict[str, Any]) -> str:
    """Return what was asked for, for an audit without another reason."""
    return msgspec.json.encode(body).decode()[:200]
