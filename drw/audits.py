"""``drw audit``: what people did, when, to what, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from drw import ages, arguments, columns
from drw.columns import Line, say
from drw.registry import OK
from shared import actor, audit

if TYPE_CHECKING:
    from drw.registry import Commands, Context

_HEADS: Final = ("when (UTC)", "who", "what", "subject")
_PAGE: Final = 500
_FIELDS: Final = ("at", "who", "what", "subject", "why")


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "audit",
        _audit,
        help="what people did, when, to what, and why",
        description="List what people changed, the latest first.",
        example="drw audit --about uid://X1/X1/Xb0",
    )
    parser.add_argument("--about", metavar="SUBJECT", help="an OUS, a selector, a message, an actor")
    parser.add_argument("--who", help="by this person")
    parser.add_argument(
        "--limit", type=actor.checked(arguments.number), default=50, metavar="N", help="how many, default 50"
    )


def _audit(context: Context) -> int:
    args = context.args
    found: list[dict[str, Any]] = []
    end: str | None = None
    while len(found) < args.limit:
        page = _page(context, end)
        found += [doc for doc in page if args.about in {None, doc["subject"]} and args.who in {None, doc["who"]}]
        if len(page) < _PAGE:
            break
        end = page[-1]["_id"]
    shown = found[: args.limit]
    if args.json:
        return context.print_json(shown)
    lines = [Line((ages.at(doc["at"]), doc["who"], doc["what"], doc["subject"]), doc["why"]) for doc in shown]
    if lines:
        columns.print_table(context.console, _HEADS, lines)
    say(context.console, columns.counted(len(shown), "action"))
    return OK


def _page(context: Context, before: str | None) -> list[dict[str, Any]]:
    """Return the next actions, the latest first; documents that are none have empty fields."""
    database = context.connection.database(audit.DATABASE)
    # Design documents come behind all actions; a page that had some would seem to be the last one.
    where: dict[str, Any] = {"startkey": before, "skip": 1} if before else {"startkey": "_design"}
    docs = [row["doc"] for row in database.rows(descending=True, include_docs=True, limit=_PAGE, **where)]
    return [{"_id": doc["_id"], **{each: str(doc.get(each, "")) for each in _FIELDS}} for doc in docs]
