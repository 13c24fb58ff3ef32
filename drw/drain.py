"""``drw drain``: have an actor finish what it has and take nothing new."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drw import ages, crew, letters, near
from drw.columns import counted, listed, say
from drw.registry import FAILURE, OK
from shared import actor, audit
from shared.bus import drains, queue
from shared.clock import elapsed_s
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drw.crew import Worker
    from drw.registry import Commands, Context
    from shared.bus.drains import Drain

_WHO: Final = "'drw drain' shows who is"
_LOOK_S: Final = 1.0
_LOOKS: Final = 2


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "drain",
        _drain,
        help="have an actor finish what it has and take nothing new; without one, show what is drained",
        description=(
            "Have an actor finish what it has and take nothing new, before its machine is switched off, say. That "
            "lasts until --end, or until the actor is started anew. Others of its kind go on."
        ),
        example='drw drain pipeline-driver.EU --reason "its machine gets a new disk" --wait 2h',
    )
    parser.add_argument("actor", nargs="*", help="its name in 'drw actors', or how that begins")
    parser.add_argument("--reason", default="", help="shown in 'drw actors', and kept in the audit")
    parser.add_argument("--end", action="store_true", help="let it take work again")
    parser.add_argument(
        "--wait",
        type=actor.checked(ages.some_seconds),
        metavar="SPAN",
        help="return once it has nothing left, at most after 30min, 2h",
    )


@dataclass(frozen=True)
class Drained:
    """An actor that lives and is drained, and how many messages it still has in hand."""

    actor: str
    by: str
    since: str
    reason: str
    in_hand: int


def in_force(context: Context, workers: Sequence[Worker]) -> list[Drained]:
    """Return the drains of actors that live."""
    database = context.connection.database(queue.DATABASE)
    known = drains.current(database)
    alive = [each.id for each in workers if each.stands == "alive" and each.id in known]
    held = [each.by for each in letters.in_hand(database)] if alive else []
    return [_drained(known[each], held.count(each)) for each in alive]


def _drained(made: Drain, in_hand: int) -> Drained:
    return Drained(made.actor, made.by, made.since, made.reason, in_hand)


def sentence(each: Drained) -> str:
    """Return what there is to say of an actor that is drained."""
    left = f"{counted(each.in_hand, 'message')} left" if each.in_hand else "has nothing left"
    return f"drained by {each.by} since {ages.at(each.since)} UTC, {left}: {each.reason}"


def _drain(context: Context) -> int:
    args, connection = context.args, context.connection
    workers = crew.workers(connection)
    if not args.actor:
        return _list(context, workers)
    wanted = list(dict.fromkeys(each.id for name in args.actor for each in named(name, workers)))
    database = connection.database(queue.DATABASE)
    if args.end:
        drained = drains.current(database)
        if not (wanted := [each for each in wanted if each in drained]):
            raise BadInput(f"{listed(args.actor)} {'are' if len(args.actor) > 1 else 'is'} not drained: {_WHO}")
    else:
        drains.refuse_without(args.reason)
    for each in wanted:
        revision = (database.get(drains.document_id(each)) or {}).get("_rev", "")
        what = "end of drain" if args.end else "drain"
        audit.intend(connection, what, each, args.reason, by=audit.who(), revision=revision)
        if args.end:
            drains.end(database, each)
        else:
            drains.drain(database, each, by=audit.who(), reason=args.reason, now=connection.clock.now())
    if args.wait is not None and not args.end:
        return _wait(context, wanted)
    if args.json:
        return context.print_json({"actors": wanted, "drained": not args.end})
    say(context.console, f"{listed(wanted)} {'take' if len(wanted) > 1 else 'takes'} {_now(context)}")
    return OK


def _now(context: Context) -> str:
    return "work again" if context.args.end else "nothing new"


def named(name: str, workers: Sequence[Worker]) -> list[Worker]:
    """Return the living actors whose name is, or begins with, this one; raise BadInput where there is none."""
    alive = [each for each in workers if each.stands == "alive"]
    found = [each for each in alive if each.id == name] or [
        each for each in alive if each.id.startswith((f"{name}@", f"{name}.", f"{name}:"))
    ]
    if not found:
        known = [each.id.partition("@")[0] for each in alive]
        raise near.unknown("living actor", name, known, "'drw actors' lists those that there are")
    return found


def _list(context: Context, workers: Sequence[Worker]) -> int:
    if context.args.end or context.args.wait is not None or context.args.reason:
        raise BadInput('which actor? for example: drw drain pipeline-driver.EU --reason "…"')
    found = in_force(context, workers)
    if context.args.json:
        return context.print_json(found)
    for each in found:
        say(context.console, f"{each.actor} is {sentence(each)}")
    if not found:
        say(context.console, "no actor is drained")
    return OK


def _wait(context: Context, wanted: Sequence[str]) -> int:
    """Return once these actors have nothing in hand any more, or the time is over.

    Looked at twice, so that what an actor claimed in the moment before it heard of its drain is seen.
    """
    database = context.connection.database(queue.DATABASE)
    begun_s, quiet, never = elapsed_s(), 0, threading.Event()
    left: list[str] = []
    while quiet < _LOOKS and (quiet or elapsed_s() - begun_s < context.args.wait):
        with context.waiting(f"waiting until {listed(wanted)} has nothing left"):
            never.wait(_LOOK_S)
        left = [each.by for each in letters.in_hand(database) if each.by in wanted]
        quiet = 0 if left else quiet + 1
    if context.args.json:
        return context.print_json({"actors": wanted, "drained": True, "in_hand": len(left)}, FAILURE if left else OK)
    said = f"still has {counted(len(left), 'message')}" if left else "has nothing left"
    say(context.console, f"{listed(wanted)} {said}")
    return FAILURE if left else OK
