"""Reading the queue for operators: messages as they stand, found through its three indexes and in bounded numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.bus import envelope, queue
from shared.letters import FIELDS, Letter, letter, unsettled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from shared.dbcon import Database, Doc

__all__ = ["MOST", "Letter", "at_work", "ended", "every", "fetch", "in_hand", "letter", "unsettled"]

MOST: Final = 5000
"""So many messages of a kind are read at most; where there are more, what is said of them says so."""


def at_work(database: Database, selectors: Sequence[str] = (), *, most: int = MOST) -> list[Letter]:
    """Return the open messages, of some selectors or of all: for each index and selector ``most`` at most."""
    found: list[Letter] = []
    wanted: list[Any] = [*selectors] or [{"$gt": None}]
    for index in (queue.READY_INDEX, queue.DUE_INDEX):
        for where in wanted:
            found += _read(database, index, {"selector": where}, most)
    return found


def ended(database: Database, state: str, *, most: int = MOST, newest_first: bool = False) -> list[Letter]:
    """Return messages that are dead, consumed or expired, at most so many, in the order of their end."""
    return _read(database, queue.ENDED_INDEX, {"state": state, "doneAt": {"$gt": None}}, most, down=newest_first)


def every(read: Callable[[int], list[Letter]]) -> list[Letter]:
    """Return messages of a kind, every one: of what is overlooked nobody may say that it is not there.

    ``read`` takes how many at most.
    """
    most = MOST
    while len(found := read(most)) >= most:
        most *= 4
    return found


def in_hand(database: Database) -> list[Letter]:
    """Return the messages that somebody has claimed, every one, however many others wait for their time."""
    waiting = every(lambda most: _read(database, queue.DUE_INDEX, {"selector": {"$gt": None}}, most))
    return [each for each in waiting if each.state == envelope.CLAIMED]


def _read(database: Database, index: str, where: Doc, most: int, *, down: bool = False) -> list[Letter]:
    fields = queue.INDEXES[index][0]
    sort: list[str | Doc] = [{each: "desc"} for each in fields] if down else list(fields)
    docs = database.find(where, index=index, sort=sort, limit=most, fields=[*FIELDS])
    return [letter(doc) for doc in docs]


def fetch(database: Database, ids: Iterable[str]) -> list[Letter]:
    """Return the messages with these ids that exist, in one request."""
    wanted = list(ids)
    return [letter(doc) for doc in database.fetch(wanted) if doc] if wanted else []
