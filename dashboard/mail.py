"""The tables of messages: those that wait or are worked on, and the dead ones with their reasons."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from dashboard import cells
from dashboard.cells import PAGE, Cell, Order, Page
from shared.bus import envelope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboard.post import Post
    from shared.letters import Letter

UNREAD: Final = "unread"
DEAD: Final = "dead"
HEADS: Final = ("selector", "state", "sent (UTC)", "due (UTC)", "attempts", "why", "about", "message")
_DEAD_HEADS: Final = ("selector", "dead since (UTC)", "attempts", "why", "message")
_SORTS: Final = {
    "selector": "selector",
    "state": "state",
    "sent (UTC)": "",
    "due (UTC)": "due",
    "attempts": "attempts",
    "dead since (UTC)": "ended",
    "about": "ous",
    "message": "id",
}


def unread(post: Post, start: int, order: Order) -> Page:
    """Return a page of the messages that wait or are worked on."""
    found = post.find(envelope.OPEN_STATES)
    return page(found, (UNREAD, "Unread messages"), start, order, f"/table/{UNREAD}")


def dead(post: Post, start: int, order: Order) -> Page:
    """Return a page of the messages that could not be handled and wait for an operator."""
    found = sorted_by(post.find({envelope.DEAD}), order)
    rows = [dead_row(each) for each in found[start : start + PAGE]]
    return Page(
        DEAD,
        "Dead messages",
        _DEAD_HEADS,
        rows,
        len(found),
        _after(found, start),
        where=f"/table/{DEAD}",
        sorts=_SORTS,
        order=order,
        start=start,
    )


def page(found: Sequence[Letter], name: tuple[str, str], start: int, order: Order, where: str) -> Page:
    """Return a page of some messages, in the order asked for."""
    shown = sorted_by(found, order)
    rows = [row(each) for each in shown[start : start + PAGE]]
    onward = _after(shown, start)
    return Page(*name, HEADS, rows, len(shown), onward, where=where, sorts=_SORTS, order=order, start=start)


def sorted_by(found: Sequence[Letter], order: Order) -> Sequence[Letter]:
    """Return messages in the order asked for; their own is that in which they were sent."""
    if order.by and order.by in _SORTS.values():
        found = sorted(found, key=attrgetter(order.by))
    return found[::-1] if order.descending else found


def _after(found: Sequence[Letter], start: int) -> str:
    return str(start + PAGE) if start + PAGE < len(found) else ""


def row(each: Letter) -> list[Cell]:
    """Return the row of a message."""
    return [
        cells.plain(each.selector),
        Cell(each.state, look="bad" if each.state == envelope.DEAD else ""),
        cells.at(each.sent),
        cells.at(each.due),
        cells.number(each.attempts),
        cells.prose(each.why()),
        cells.ous(each.ous) if each.ous else cells.prose(each.name),
        cells.message(each.id),
    ]


def dead_row(each: Letter) -> list[Cell]:
    """Return the row of a dead message."""
    return [
        cells.plain(each.selector),
        cells.at(each.ended),
        cells.number(each.attempts),
        cells.prose(each.error or "no reason given", "bad"),
        cells.message(each.id),
    ]
