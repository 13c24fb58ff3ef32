"""Contents of attachments in the database file, in pieces of a fixed size."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES: Final = 256 * 1024
"""The size of all pieces but the last: what is held in memory of a content at a time."""


def greatest_key(connection: sqlite3.Connection) -> int:
    """Return the greatest key of a content, 0 where there is none."""
    return connection.execute("SELECT max(key) FROM content").fetchone()[0] or 0


def store_content(connection: sqlite3.Connection, key: int, data: bytes) -> None:
    """Store a whole content that is at hand."""
    pieces = [
        (key, number, data[start : start + PIECE_BYTES])
        for number, start in enumerate(range(0, max(len(data), 1), PIECE_BYTES))
    ]
    connection.executemany("INSERT INTO content VALUES (?, ?, ?)", pieces)


def add_piece(connection: sqlite3.Connection, key: int, number: int, data: bytes) -> None:
    """Store the next piece of a content that is still coming in."""
    connection.execute("INSERT INTO content VALUES (?, ?, ?)", (key, number, data))


def read_pieces(connection: sqlite3.Connection, key: int, first: int, last: int) -> Iterator[bytes]:
    """Return the bytes from position `first` to `last`, both included, piece by piece.

    Each piece is a query of its own, so that no view of the database is held open while a slow client reads.

    Raises:
        sqlite3.DatabaseError: some are not there.
    """
    for number in range(first // PIECE_BYTES, last // PIECE_BYTES + 1):
        row = connection.execute("SELECT data FROM content WHERE key = ? AND piece = ?", (key, number)).fetchone()
        start = number * PIECE_BYTES
        if row is None or len(row[0]) < min(last + 1 - start, PIECE_BYTES):
            raise sqlite3.DatabaseError(f"content {key} lacks bytes: it is damaged, or was dropped meanwhile")
        yield row[0][max(first - start, 0) : last - start + 1]


def read_content(connection: sqlite3.Connection, key: int, length: int) -> bytes:
    """Return a whole content at once, for documents that show it inline."""
    return b"".join(read_pieces(connection, key, 0, length - 1)) if length else b""


def delete_content(connection: sqlite3.Connection, key: int) -> None:
    """Drop a content that nothing refers to."""
    connection.execute("DELETE FROM content WHERE key = ?", (key,))
