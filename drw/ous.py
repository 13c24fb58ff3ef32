"""``drw ous`` and ``drw why``: the OUSs, one with all that is kept of it, and what one waits for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from drw import ages, arguments, columns, near
from drw.columns import Line, say
from drw.explain import facts, why
from drw.explain.case import PERSON
from drw.registry import FAILURE, OK
from shared import actor, delivery, lifecycle, names, reports, status
from shared.entities import Entities
from shared.errors import BadInput

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from drw.explain.case import Answer
    from drw.letters import Letter
    from drw.registry import Commands, Context
    from shared.dbcon import DbConnection, Doc
    from shared.status import HistoryEntry, StatusEntity

HEADS: Final = ("OUS", "program", "state", "substate", "at", "for")
MOST: Final = 20_000
"""So many OUSs of a state are listed and counted at most."""

_SHOWN: Final = ("entityId", "progID", "state", "substate", "executive", "timestamp", "run", "reviewer")
_FIELDS: Final = ["_id", "schema", "recipe", *_SHOWN]
"""All but the history, which may be long."""

_NEARBY: Final = 500
_ON_A_PAGE: Final = 50
_FILTERS: Final = ("state", "program", "executive", "older_than", "page", "per_page")
_STATE_STYLES: Final = {lifecycle.PROCESSING_PROBLEM: "red", lifecycle.DELIVERED: "green"}


def register(commands: Commands) -> None:
    """Make both commands known."""
    listing = commands.add(
        "ous",
        _ous,
        help="the OUSs, or one with its whole history",
        description="List OUSs, those that have been in their state longest first; or show all that is kept of one.",
        example="drw ous --state ReadyForReview --older-than 2d",
    )
    listing.add_argument("ousUID", nargs="?", type=actor.checked(names.uid), help="this one, with its whole history")
    listing.add_argument(
        "--state",
        action="append",
        choices=lifecycle.STATES,
        metavar="STATE",
        help=f"{columns.listed(lifecycle.STATES)}; may be given several times",
    )
    listing.add_argument("--program", type=actor.checked(names.program_id), help="like 2015.1.00657.S")
    listing.add_argument("--executive", choices=names.EXECUTIVES)
    listing.add_argument(
        "--older-than",
        type=actor.checked(ages.seconds),
        metavar="SPAN",
        help="in their state for longer: 30min, 2h, 3d",
    )
    number = actor.checked(arguments.number)
    listing.add_argument("--page", type=number, metavar="N", help="which page, default 1")
    listing.add_argument("--per-page", type=number, metavar="N", help=f"how many on a page, default {_ON_A_PAGE}")
    asking = commands.add(
        "why",
        _why,
        help="what an OUS waits for, and what to do",
        description="Say in one sentence what an OUS waits for, and the next safe thing to do.",
        example="drw why uid://X1/X1/Xb0",
    )
    asking.epilog = f"{asking.epilog}\n\nhere 1 means that a person has to do something, 0 that nobody has to."
    asking.add_argument("ousUID", type=actor.checked(names.uid), help="like uid://X1/X1/Xb0")


def _why(context: Context) -> int:
    uid = context.args.ousUID
    known = facts.gather(context.connection, context.settings, uid)
    answer = why.explain(known)
    if known.entity is None:
        raise near.unknown("OUS", uid, uids(context.connection), f"{answer.waits_for}; {answer.do}")
    status_ = FAILURE if answer.moved_by == PERSON else OK
    if context.args.json:
        return context.print_json({"sentence": answer.sentence, **msgspec.to_builtins(answer)}, status_)
    say(context.console, answer.sentence)
    return status_


def uids(connection: DbConnection) -> list[str]:
    """Return the UIDs of the first OUSs in the database, to find names that are close."""
    found = []
    for row in connection.database(status.DATABASE).rows(limit=_NEARBY):
        with suppress(BadInput):  # a document of somebody else's, and of no OUS
            found.append(names.uid_of_document(row["id"]))
    return found


def unheard_of(connection: DbConnection, uid: str) -> str:
    """Return the sentence for an OUS that does not exist, with those that are close; nothing for one that does."""
    if connection.database(status.DATABASE).get(names.document_id(uid)):
        return ""
    return str(near.unknown("OUS", uid, uids(connection), "'drw ous' lists those that there are"))


# Listing


def _ous(context: Context) -> int:
    args = context.args
    if args.ousUID:
        _refuse_filters(args)
        return _whole(context, args.ousUID)
    found, whole = matching(context.connection, args)
    page, per_page = args.page or 1, args.per_page or _ON_A_PAGE
    shown = found[(page - 1) * per_page : page * per_page]
    if args.json:
        ouss = [_plain(each) for each in shown]
        return context.print_json({"total": len(found), "whole": whole, "page": page, "ous": ouss})
    now = context.connection.clock.now()
    if shown:
        columns.print_table(context.console, HEADS, [_line(each, ages.since(each.timestamp, now)) for each in shown])
    pages = -(-len(found) // per_page)
    more = f", page {page} of {pages}" if pages > 1 else ""
    say(context.console, f"{len(shown)} of {columns.counted(len(found), 'OUS', 'OUSs')}{more}")
    if not whole:
        say(context.console, only_so_many())
    return OK


def _refuse_filters(args: argparse.Namespace) -> None:
    given = [f"--{each.replace('_', '-')}" for each in _FILTERS if getattr(args, each) is not None]
    if given:
        raise BadInput(f"{columns.listed(given)} choose among all OUSs: leave that away, or {args.ousUID}")


def matching(connection: DbConnection, args: argparse.Namespace) -> tuple[list[StatusEntity], bool]:
    """Return the OUSs that the filters of a command line let through, without histories, longest in their state first.

    And whether that is all: of a state only so many are looked at.
    """
    database, whole = connection.database(status.DATABASE), True
    found: list[StatusEntity] = []
    for state in args.state or lifecycle.STATES:
        docs = database.find(
            {"state": state},
            index=status.STATE_INDEX,
            sort=status.INDEXES[status.STATE_INDEX],
            limit=MOST,
            fields=_FIELDS,
        )
        whole = whole and len(docs) < MOST
        found += status.readable(docs)
    now = connection.clock.now()
    kept = [
        each
        for each in found
        if args.program in {None, each.prog_id}
        and args.executive in {None, each.executive}
        and (args.older_than is None or (ages.passed_s(each.timestamp, now) or 0.0) > args.older_than)
    ]
    return sorted(kept, key=attrgetter("timestamp", "entity_id")), whole


def only_so_many() -> str:
    """Return the sentence for what is not all."""
    return f"only {MOST} OUSs of a state are looked at: there may be more"


def _plain(entity: StatusEntity) -> Doc:
    fields: Doc = msgspec.to_builtins(entity)
    return {name: fields[name] for name in _SHOWN if fields.get(name)}


def _line(entity: StatusEntity, age: str) -> Line:
    note = f"reviewed by {entity.reviewer.name}" if entity.reviewer else ""
    cells = (entity.entity_id, entity.prog_id, entity.state, entity.substate, entity.executive, age)
    return Line(cells, note, _STATE_STYLES.get(entity.state, ""))


# One OUS


@dataclass(frozen=True)
class _Whole:
    """All that is kept of one OUS."""

    entity: StatusEntity
    answer: Answer
    runs: list[Doc]
    letters: list[Letter]
    products: list[str]


def _whole(context: Context, uid: str) -> int:
    connection = context.connection
    entity = Entities(connection).get(uid)
    if entity is None:
        raise near.unknown("OUS", uid, uids(connection), "'drw ous' lists those that there are")
    runs = reports.Reports(connection.database(reports.DATABASE)).listed(uid)
    delivered = delivery.Records(connection).status(entity.id)
    whole = _Whole(
        entity,
        why.explain(facts.gather(connection, context.settings, uid)),
        runs,
        facts.of_ous(connection, entity, [run["timestamp"] for run in runs]),
        delivered.data_products if delivered else [],
    )
    if context.args.json:
        return context.print_json(_as_json(whole))
    _print_whole(context, whole)
    return OK


def _as_json(whole: _Whole) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(whole.entity),
        "why": whole.answer.sentence,
        "runs": whole.runs,
        "messages": whole.letters,
        "products": whole.products,
    }


def _print_whole(context: Context, whole: _Whole) -> None:
    console, entity = context.console, whole.entity
    say(console, whole.answer.sentence)
    say(console)
    say(console, f"program {entity.prog_id}, recipe {entity.recipe}, executive {entity.executive}")
    _section(context, "history (UTC)", ("when", "state", "by"), _history(entity.history))
    _section(
        context,
        "runs with a report",
        ("run", "at", "products directory", ""),
        [
            Line(
                (
                    run["timestamp"],
                    str(run.get("source", "")),
                    str(run.get("productsDir", "")),
                    "this one" if run["timestamp"] == entity.run else "",
                )
            )
            for run in whole.runs
        ],
    )
    _section(
        context,
        "messages (UTC)",
        ("sent", "selector", "state", "attempts", "message"),
        [
            Line((ages.at(each.sent), each.selector, each.state, str(each.attempts), each.id), each.why())
            for each in whole.letters
        ],
    )
    _section(context, "products in the archive", ("name",), [Line((name,)) for name in whole.products])


def _history(entries: Sequence[HistoryEntry]) -> list[Line]:
    """Return a line a change; where only the substate changed, that stands indented below its state."""
    before = ["", *(each.state for each in entries)]
    return [
        Line((ages.at(each.at), f"  {each.substate}" if each.state == state else each.state, each.by), each.note)
        for each, state in zip(entries, before, strict=False)
    ]


def _section(context: Context, title: str, heads: Sequence[str], lines: Sequence[Line]) -> None:
    say(context.console)
    say(context.console, title if lines else f"{title}: none", style="bold cyan")
    if lines:
        columns.print_table(context.console, heads, lines)
