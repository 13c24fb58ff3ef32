"""``drw groups``, ``drw unsubscribe``: who gets a copy of each message to a group, and the end of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drw import ages, crew, mail, near
from drw.columns import Line, print_table, say
from drw.registry import OK
from shared import actor, audit
from shared.bus import envelope, groups, queue
from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from drw.registry import Commands, Context
    from shared.bus.groups import Subscription

_HEADS = ("group", "service", "since", "waiting", "dead", "listening")


@dataclass(frozen=True)
class Subscribed:
    """A service that is subscribed to a group, how many of its copies wait or are dead, and who listens."""

    group: str
    service: str
    selector: str
    since: str
    waiting: int
    dead: int
    listening: list[str]
    whole: bool
    """Whether that is all that waits or is dead: so many of a kind are counted at most."""


def register(commands: Commands) -> None:
    """Make both commands known."""
    commands.add(
        "groups",
        _groups,
        help="which services get a copy of each message to a group, and what waits for them",
        example="drw groups",
    )
    parser = commands.add(
        "unsubscribe",
        _unsubscribe,
        help="have a service that is gone for good get no copies of a group's messages any more",
        description=(
            "Have a service that is gone for good get no copies of a group's messages any more. Copies that it has not "
            "handled stay where they are. A process of that service subscribes it again when it starts."
        ),
        example='drw unsubscribe state.change old-page --reason "replaced by the new page"',
    )
    parser.add_argument("group", type=actor.checked(envelope.selector), help="such as state.change")
    parser.add_argument("service", help="its name in 'drw groups'")
    parser.add_argument("--reason", default="", help="is kept in the audit")


def _groups(context: Context) -> int:
    rows = _read(context)
    if context.args.json:
        return context.print_json(rows)
    if not rows:
        say(context.console, "no service is subscribed to any group")
        return OK
    print_table(context.console, _HEADS, [_line(row) for row in rows])
    if not rows[0].whole:
        say(context.console, mail.only_so_many())
    return OK


def _read(context: Context) -> list[Subscribed]:
    connection = context.connection
    subscribed = list(groups.every(connection.database(queue.DATABASE)))
    if not subscribed:
        return []
    tallied, whole = mail.tally(connection, crew.workers(connection), [each.selector for each in subscribed])
    waiting = {each.selector: each for each in tallied}
    return [
        _subscribed(each, waiting.get(each.selector) or mail.Waiting(each.selector), whole=whole) for each in subscribed
    ]


def _subscribed(each: Subscription, found: mail.Waiting, *, whole: bool) -> Subscribed:
    waits = sum(found.counts[state] for state in envelope.OPEN_STATES)
    dead = found.counts[envelope.DEAD]
    return Subscribed(each.group, each.service, each.selector, each.since, waits, dead, found.listening, whole)


def _line(row: Subscribed) -> Line:
    cells = (
        row.group,
        row.service,
        ages.at(row.since),
        str(row.waiting),
        str(row.dead),
        ", ".join(row.listening) or "nobody",
    )
    return Line(cells, style="" if row.listening else "yellow")


def _unsubscribe(context: Context) -> int:
    args, connection = context.args, context.connection
    database = connection.database(queue.DATABASE)
    revision, there = groups.held(database, args.group)
    known = [each.service for each in there]
    if args.service not in known:
        question = near.question(args.service, known, "'drw groups' lists who is")
        raise BadInput(f"{shown(args.service)} is not subscribed to {args.group}: {question}")
    subject = f"{args.service} of {args.group}"
    audit.intend(connection, "unsubscribe", subject, args.reason, by=audit.who(), revision=revision)
    groups.unsubscribe(database, args.group, args.service)
    if args.json:
        return context.print_json({"group": args.group, "service": args.service, "subscribed": False})
    say(context.console, f"{args.service} gets no copies of messages to {args.group} any more")
    return OK
