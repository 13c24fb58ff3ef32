"""``drw queue`` and ``drw messages``: what waits at each selector, and the messages themselves."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from drw import ages, arguments, columns, crew, letters, near, ous
from drw.columns import Line, say
from drw.registry import OK
from shared import actor, messages, names, news
from shared.bus import envelope, pauses, queue
from shared.bus.patterns import Pattern
from shared.errors import BadInput, DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from drw.crew import Worker
    from drw.letters import Letter
    from drw.registry import Commands, Context
    from shared.bus.pauses import Pause
    from shared.dbcon import Database, DbConnection

OURS: Final = (
    *map(messages.process_selector, names.EXECUTIVES),
    *map(messages.cached_selector, names.EXECUTIVES),
    *(messages.REPORTS, messages.VERDICT, messages.INGEST, messages.XTSS, news.SELECTOR),
)
"""The selectors of our own actors, listed also while nothing waits there and somebody listens."""

_STATES: Final = (envelope.READY, envelope.DELAYED, envelope.CLAIMED, envelope.DEAD)
_IDS: Final = 200
"""So many documents whose ids begin alike are looked at: what is no message may be among them."""

_BEGINNING: Final = re.compile(r"[a-z][A-Za-z0-9._-]{0,127}(?::[A-Za-z0-9._:-]*)?")
"""How the id of a message may begin: a selector, or how that begins, and what follows its colon."""


@dataclass
class Waiting:
    """What waits at one selector: how many messages in each state, since when the oldest open one, who listens."""

    selector: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STATES, 0))
    oldest: str = ""
    listening: list[str] = field(default_factory=list)
    paused: str = ""


def tally(
    connection: DbConnection, workers: Sequence[Worker], selectors: Sequence[str] = ()
) -> tuple[list[Waiting], bool]:
    """Return what waits at each selector, or at these, and whether that is all.

    So many messages of a kind are counted at most; at each of the ``selectors``, so that none hides another.
    """
    database, selectors = connection.database(queue.DATABASE), [*dict.fromkeys(selectors)]
    open_ones, dead = letters.at_work(database, selectors), letters.ended(database, envelope.DEAD)
    held = pauses.current(database, connection.clock.now())
    rows = [row for row in count([*open_ones, *dead], workers, held) if row.selector in selectors or not selectors]
    alike = Counter((each.selector if selectors else "", each.state == envelope.READY) for each in open_ones)
    return rows, max([len(dead), *alike.values()]) < letters.MOST


def count(found: Iterable[Letter], workers: Sequence[Worker], held: Sequence[Pause]) -> list[Waiting]:
    """Return what waits at each selector, by name; those at which there is nothing and nobody are left out. Pure."""
    rows = {selector: Waiting(selector) for selector in OURS}
    for each in found:
        row = rows.setdefault(each.selector, Waiting(each.selector))
        row.counts[each.state] = row.counts.get(each.state, 0) + 1
        if each.is_open:
            row.oldest = min(row.oldest or each.sent, each.sent)
    for each_pause in held:
        if each_pause.pattern not in rows and not Pattern(each_pause.pattern).is_range:
            rows[each_pause.pattern] = Waiting(each_pause.pattern)
    for selector in {each for worker in workers if worker.stands == "alive" for each in worker.listens}:
        if not Pattern(selector).is_range:
            rows.setdefault(selector, Waiting(selector))
    for row in rows.values():
        row.listening = [each.id for each in crew.listening(row.selector, workers)]
        row.paused = next((_sentence(each) for each in held if Pattern(each.pattern).covers(row.selector)), "")
    return [row for _, row in sorted(rows.items()) if any(row.counts.values()) or row.listening or row.paused]


def _sentence(pause: Pause) -> str:
    until = f" until {ages.at(pause.until)} UTC" if pause.until else ""
    return f"paused by {pause.by} since {ages.at(pause.since)} UTC{until}: {pause.reason}"


def register(commands: Commands) -> None:
    """Make both commands known."""
    waiting = commands.add(
        "queue",
        _queue,
        help="what waits at each selector, and who listens there",
        example="drw queue ingest.JAO",
    )
    waiting.add_argument("selector", nargs="*", type=actor.checked(envelope.selector), help="default: every selector")
    listing = commands.add(
        "messages",
        _messages,
        help="messages, or one whole",
        description="List the messages that are open or dead, the oldest first; or print one whole.",
        example="drw messages --selector ingest.JAO --state dead",
    )
    listing.add_argument(
        "message", nargs="?", type=actor.checked(_beginning), help="its id, or how that begins: print it whole"
    )
    listing.add_argument("--selector", type=actor.checked(envelope.selector))
    states = sorted(envelope.OPEN_STATES | envelope.TERMINAL_STATES)
    listing.add_argument("--state", action="append", choices=states, help="may be given several times")
    listing.add_argument("--ous", type=actor.checked(names.uid), help="those that name this OUS")
    listing.add_argument(
        "--limit", type=actor.checked(arguments.number), default=50, metavar="N", help="how many, default 50"
    )


def _beginning(text: str) -> str:
    if not _BEGINNING.fullmatch(text):
        raise BadInput(
            f"{names.shown(text)} is not how the id of a message begins: that is a selector, as in "
            "ingest.JAO:1795234567890:0a1b; 'drw messages' lists those that are open or dead"
        )
    return text


def unheard(connection: DbConnection, selector: str) -> str:
    """Return the sentence for a selector, or a range, that may be mistyped; nothing for one that is known.

    Known are those of our own actors, those at which something waits, and those that somebody listens to.
    """
    pattern = Pattern(selector)
    if any(map(pattern.covers, OURS)):
        return ""
    try:
        workers = crew.workers(connection)
        if crew.listening(selector, workers):
            return ""
        rows, _ = tally(connection, workers)  # last, because it reads every message that is open or dead
    except DatabaseError:  # for the sake of a hint nothing that was asked for fails
        return ""
    known = {*OURS, *(row.selector for row in rows if any(row.counts.values()) or row.listening)}
    if any(map(pattern.covers, known)):
        return ""
    if pattern.is_range:
        known = {f"{each.rpartition('.')[0]}.*" for each in known if "." in each}
    return f"nobody listens to {selector} now{_asking(near.question(selector, known))}"


def _asking(question: str) -> str:
    return f": {question}" if question else ""


def _queue(context: Context) -> int:
    connection = context.connection
    workers = crew.workers(connection)
    rows, whole = tally(connection, workers, context.args.selector)
    for wanted in context.args.selector:
        if wanted not in {*OURS, *(row.selector for row in rows)}:
            known = [*OURS, *(row.selector for row in tally(connection, workers)[0])]
            raise near.unknown("selector", wanted, known, "nothing waits there and nobody listens")
    if context.args.json:
        return context.print_json({"selectors": rows, "whole": whole})
    print_tally(context, rows, whole=whole)
    return OK


def print_tally(context: Context, rows: Sequence[Waiting], *, whole: bool) -> None:
    """Print what waits at each selector."""
    now = context.connection.clock.now()
    heads = ("selector", *_STATES, "oldest", "who listens")
    columns.print_table(context.console, heads, [_tally_line(row, now) for row in rows])
    if not whole:
        say(context.console, only_so_many())


def only_so_many() -> str:
    """Return the sentence for what is not all."""
    return f"more than {letters.MOST} of a kind: only so many are counted"


def _tally_line(row: Waiting, now: datetime) -> Line:
    oldest = ages.since(row.oldest, now) if row.oldest else ""
    waits = sum(row.counts[state] for state in (envelope.READY, envelope.DELAYED))
    post = crew.post(row.selector)
    unheard = "nobody" if waits and post else ""
    style = "red" if row.counts[envelope.DEAD] or (unheard and not row.listening) else "yellow" if row.paused else ""
    kinds = sorted({each.partition("@")[0].partition(".")[0] for each in row.listening})
    who = f"{len(row.listening)} {' or '.join(kinds)}" if kinds else unheard
    counts = (str(row.counts[state] or "") for state in _STATES)
    return Line((row.selector, *counts, oldest, who), row.paused, style)


def _messages(context: Context) -> int:
    database = context.connection.database(queue.DATABASE)
    if context.args.message:
        _refuse_filters(context)
        return _one(context, database, context.args.message)
    found = _wanted(context, database)
    shown = found[: context.args.limit]
    if not found:
        hint_at_mistyped(context)
    if context.args.json:
        return context.print_json({"total": len(found), "messages": shown})
    now = context.connection.clock.now()
    heads = ("message", "state", "attempts", "sent", "due (UTC)", "about")
    if shown:
        columns.print_table(context.console, heads, [_message_line(each, now) for each in shown])
    total = columns.counted(len(found), "message")
    say(context.console, f"{len(shown)} of {total}{'' if shown == found else ': --limit shows more'}")
    return OK


def _refuse_filters(context: Context) -> None:
    args = context.args
    if args.selector or args.state or args.ous:
        raise BadInput("a message by its id, or --selector, --state and --ous to list some: leave one of them away")


def hint_at_mistyped(context: Context) -> None:
    """Say which of ``--selector`` and ``--ous`` nobody knows, and what is close to it."""
    args, connection = context.args, context.connection
    for sentence in (
        unheard(connection, args.selector) if args.selector else "",
        ous.unheard_of(connection, args.ous) if args.ous else "",
    ):
        if sentence:
            context.hint(sentence)


def _wanted(context: Context, database: Database) -> list[Letter]:
    """Return the messages that the filters let through, every one: the only one wanted may be behind many others."""
    args = context.args
    states = set(args.state or (*envelope.OPEN_STATES, envelope.DEAD))
    found: list[Letter] = []
    if states & envelope.OPEN_STATES:
        selectors = [args.selector] if args.selector else ()
        found += letters.every(lambda most: letters.at_work(database, selectors, most=most))
    for state in states & envelope.TERMINAL_STATES:
        found += letters.every(partial(_ended, database, state))
    kept = [
        each
        for each in found
        if each.state in states
        and args.selector in {None, each.selector}
        and (args.ous is None or args.ous == each.ous or each.name.startswith(names.weblog_stem(args.ous)))
    ]
    return sorted(kept, key=lambda each: (each.sent, each.id))


def _ended(database: Database, state: str, most: int) -> list[Letter]:
    return letters.ended(database, state, most=most)


def _message_line(each: Letter, now: datetime) -> Line:
    style = "red" if each.state == envelope.DEAD else ""
    age = f"{ages.since(each.sent, now)} ago"
    due = ages.at(each.due) if each.due else ""
    return Line((each.id, each.state, str(each.attempts), age, due, each.ous or each.name), each.why(), style)


def _one(context: Context, database: Database, beginning: str) -> int:
    doc = database.get(beginning) if envelope.is_message_id(beginning) else None
    if doc is None:
        rows = database.rows(startkey=beginning, endkey=beginning + "\ufff0", limit=_IDS)
        found = [row["id"] for row in rows if envelope.is_message_id(row["id"])]
        doc = database.get(found[0]) if len(found) == 1 else None
        if doc is None:
            what = "several messages begin with" if found else "no message begins with"
            raise BadInput(f"{what} {names.shown(beginning)}: 'drw messages' lists those that are open or dead")
    return context.print_json(doc)
