"""Reading many documents of which CouchDB cannot read one: the others are read, and that one is named.

CouchDB answers a ``_bulk_get`` as a whole, or not at all: what is damaged on its disk takes along all that is asked for
with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from shared import errors
from shared.clock import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.dbcon import Database

T = TypeVar("T")

_LIMIT_S: Final = 20.0
_PART_S: Final = 5.0


def each(
    database: Database, read: Callable[[Sequence[str], float], T], ids: Sequence[str]
) -> tuple[list[T], list[str]]:
    """Return what ``read`` makes of documents, in one part where it can, and the ids of those that it cannot read.

    ``read`` takes ids and how long (seconds) it may take, and raises DatabaseAway where it cannot read one of them.
    Where that happens though the database answers, it is tried again with halves, down to single documents. Raises
    DatabaseAway where the database is away, or that takes longer than twenty seconds.
    """
    until_s = elapsed_s() + _LIMIT_S
    try:
        return [read(ids, _LIMIT_S / 2)], []
    except errors.DatabaseAway:
        database.info()  # else it is the database that is away
        return ([], [*ids]) if len(ids) == 1 else _halves(database, read, ids, until_s)


def _halves(
    database: Database, read: Callable[[Sequence[str], float], T], ids: Sequence[str], until_s: float
) -> tuple[list[T], list[str]]:
    found: list[T] = []
    unreadable: list[str] = []
    half = (len(ids) + 1) // 2
    for part in (ids[:half], ids[half:]):
        try:
            found.append(read(part, _PART_S))
        except errors.DatabaseAway:
            if elapsed_s() > until_s:
                raise
            database.info()
            if len(part) == 1:
                unreadable += part
            else:
                more, worse = _halves(database, read, part, until_s)
                found += more
                unreadable += worse
    return found, unreadable
