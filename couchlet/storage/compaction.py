"""Compaction: content that no leaf needs is dropped, and its space goes back to the disk.

It is done in short steps between other writes, so that nobody waits for it: first the content of ancestors, then
histories beyond the limit of revisions, contents of attachments that nothing refers to, free pages, at last the
write-ahead log.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import msgspec

from couchlet.errors import CouchError
from couchlet.revisions import RAW_LENGTH, Revision, leaf_branch, pack, stem, unpack
from couchlet.storage.purging import trim_purged
from couchlet.storage.records import attachments_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from couchlet.storage.transaction import Transaction

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
_ROWS_A_STEP: Final = 500
_PAGES_A_STEP: Final = 500

_Place = tuple[str, int, str]


class Compactable(Protocol):
    """What a compaction needs of a database: its writer, and the keys of contents that are just coming in."""

    name: str
    in_flight: set[int]

    async def write(self, job: Callable[[Transaction], T]) -> T:
        """Run a job in the writer; returns after its commit."""
        ...

    async def write_outside(self, job: Callable[[Transaction], T]) -> T:
        """Run a job in the writer, in no transaction."""
        ...

    async def drop_content(self, key: int) -> None:
        """Drop a content."""
        ...


async def compact(database: Compactable) -> None:
    """Compact a database; failures are logged, nothing is lost by them."""
    try:
        place: _Place | None = ("", 0, "")
        while place is not None:
            place = await _step(database, place)
        await _shorten_histories(database)
        await database.write(_forget)
        for key in await database.write(lambda transaction: _unused_contents(transaction, database.in_flight)):
            await database.drop_content(key)
        while await database.write(_give_back_pages):
            pass
        await database.write_outside(_truncate_log)
    except CouchError as error:
        _LOG.warning("compaction of %s ended early: %s", database.name, error.reason)


async def _step(database: Compactable, place: _Place) -> _Place | None:
    return await database.write(lambda transaction: _drop_ancestors(transaction, place))


def _drop_ancestors(transaction: Transaction, place: _Place) -> _Place | None:
    """Drop kept contents of revisions that are no leaves, from a place on; returns where to go on."""
    connection = transaction.connection
    rows: list[_Place] = connection.execute(
        "SELECT id, generation, rev FROM revision WHERE (id, generation, rev) > (?, ?, ?) "
        "ORDER BY id, generation, rev LIMIT ?",
        (*place, _ROWS_A_STEP),
    ).fetchall()
    heads = transaction.heads(row[0] for row in rows)
    gone = []
    for id_, generation, rev in rows:
        head = heads.get(id_)
        if head is None or leaf_branch(head.tree, Revision(generation, rev)) is None:
            gone.append((id_, generation, rev))
    connection.executemany("DELETE FROM revision WHERE id = ? AND generation = ? AND rev = ?", gone)
    return rows[-1] if rows else None


async def _shorten_histories(database: Compactable) -> None:
    """Cut what is beyond the limit of revisions, which may have been lowered."""
    seq: int | None = 0
    while seq is not None:
        seq = await _shortening_step(database, seq)


async def _shortening_step(database: Compactable, seq: int) -> int | None:
    return await database.write(lambda transaction: _shorten_some(transaction, seq))


def _shorten_some(transaction: Transaction, since: int) -> int | None:
    """Shorten the histories of some documents after a sequence; returns where to go on."""
    limit = transaction.setting("revs_limit", None)
    if limit is None:
        # Nothing can be longer than what has been the limit always.
        return None
    rows = transaction.connection.execute(
        "SELECT seq, generation, deleted, revs, branches FROM doc WHERE seq > ? ORDER BY seq LIMIT ?",
        (since, _ROWS_A_STEP),
    ).fetchall()
    shorter = []
    for seq, generation, deleted, revs, branches in rows:
        if branches is not None or len(revs) > limit * RAW_LENGTH:
            tree = unpack(generation, bool(deleted), revs, branches)
            cut = stem(tree, limit)
            if cut is not tree:
                shorter.append((*pack(cut), seq))
    transaction.connection.executemany("UPDATE doc SET revs = ?, branches = ? WHERE seq = ?", shorter)
    return rows[-1][0] if rows else None


def _forget(transaction: Transaction) -> None:
    """Trim the list of purges; nothing stale is left now."""
    trim_purged(transaction)
    transaction.counters = msgspec.structs.replace(transaction.counters, stale=0)


def _unused_contents(transaction: Transaction, in_flight: set[int]) -> list[int]:
    """Contents that no revision refers to and that are not just coming in."""
    used = set(in_flight)
    for table in ("doc", "revision"):
        rows = transaction.connection.execute(
            f"SELECT attachments FROM {table} WHERE attachments IS NOT NULL"  # noqa: S608 - two constants
        )
        for (packed,) in rows:
            used.update(fields["key"] for fields in attachments_of(packed).values())
    keys = transaction.connection.execute("SELECT DISTINCT key FROM content")
    return [key for (key,) in keys if key not in used]


def _give_back_pages(transaction: Transaction) -> bool:
    """Shorten the file by some free pages; whether there are more."""
    transaction.connection.execute(f"PRAGMA incremental_vacuum({_PAGES_A_STEP})").fetchall()
    free: int = transaction.connection.execute("PRAGMA freelist_count").fetchone()[0]
    return free > 0


def _truncate_log(transaction: Transaction) -> None:
    """Move the log into the file and cut it to nothing."""
    transaction.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
