"""The reading side of a database file. Every query runs to its end, so each sees everything committed before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from couchlet import json_text
from couchlet.revisions import Revision, parse_revision
from couchlet.storage.contents import read_content, read_pieces
from couchlet.storage.local_documents import LocalDocument, read_local
from couchlet.storage.records import COLUMNS, StoredDocument, stored_documents
from couchlet.storage.transaction import DEFAULT_REVS_LIMIT, Content

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

_BARE: Final = COLUMNS.replace("body, attachments", "x'', NULL")
"""The columns without the content, for rows that show none of it: a document may have megabytes."""


class Reader:
    """Queries on one connection, used in the event loop's thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take over the connection; `revs_limit` is how many revisions of a history are shown."""
        self.connection = connection
        self.revs_limit = int(self.setting("revs_limit", DEFAULT_REVS_LIMIT))

    def document(self, id_: str) -> StoredDocument | None:
        """Return the row of a document, deleted or not; there is none whose id is no text."""
        if not json_text.is_utf8(id_):
            return None
        row = self.connection.execute(f"SELECT {COLUMNS} FROM doc WHERE id = ?", (id_,)).fetchone()  # noqa: S608
        return StoredDocument(*row) if row else None

    def documents(self, ids: Iterable[str]) -> dict[str, StoredDocument]:
        """Return the rows of those documents that exist, deleted or not, by id."""
        return stored_documents(self.connection, ids)

    def count_living(self, condition: str, values: list[str]) -> int:
        """How many documents there are under a condition (made of column names and marks only)."""
        query = f"SELECT count(*) FROM doc WHERE {condition}"  # noqa: S608 - values are bound
        return int(self.connection.execute(query, values).fetchone()[0])

    def living(
        self,
        condition: str,
        values: list[str],
        limit: int,
        skip: int = 0,
        *,
        descending: bool = False,
        bare: bool = False,
    ) -> list[StoredDocument]:
        """Documents by id under a condition (made of column names and marks only); `bare` ones have no content."""
        order = "DESC" if descending else "ASC"
        columns = _BARE if bare else COLUMNS
        query = f"SELECT {columns} FROM doc WHERE {condition} ORDER BY id {order} LIMIT ? OFFSET ?"  # noqa: S608
        return [StoredDocument(*row) for row in self.connection.execute(query, (*values, limit, skip))]

    def local_ids(self) -> list[str]:
        """Return the ids of all `_local` documents, sorted by bytes."""
        return [id_ for (id_,) in self.connection.execute("SELECT id FROM local_doc ORDER BY id")]

    def content(self, row: StoredDocument, revision: Revision) -> Content | None:
        """Return the content of a revision, as far as it is kept.

        The document may have been written since `row` was read, and the content of what is shown now has moved there.
        """
        if row.shown == revision:
            return Content(revision, bool(row.deleted), row.body, row.attachments)
        kept = self.connection.execute(
            "SELECT deleted, body, attachments FROM revision WHERE id = ? AND generation = ? AND rev = ?",
            (row.id, revision.generation, revision.id),
        ).fetchone()
        if kept:
            return Content(revision, bool(kept[0]), kept[1], kept[2])
        now = self.document(row.id)
        if now and now.shown == revision:
            return Content(revision, bool(now.deleted), now.body, now.attachments)
        return None

    def kept_revisions(self, row: StoredDocument) -> dict[Revision, bool]:
        """Return the revisions of a document whose content is kept, and whether they are deletions.

        As in `content`, it may have been written since `row` was read.
        """
        rows = self.connection.execute("SELECT generation, rev, deleted FROM revision WHERE id = ?", (row.id,))
        kept = {Revision(generation, rev): bool(deleted) for generation, rev, deleted in rows}
        return kept | {each.shown: bool(each.deleted) for each in (row, self.document(row.id)) if each}

    def local(self, id_: str) -> LocalDocument | None:
        """Return a `_local` document; None if there is none."""
        return read_local(self.connection, id_) if json_text.is_utf8(id_) else None

    def setting(self, name: str, default: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return a setting of the database."""
        row = self.connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return json_text.decode_stored(row[0]) if row else default

    def purged_infos(self) -> list[tuple[str, list[Revision]]]:
        """Return the purges that are remembered, each once, by id and revisions."""
        rows = self.connection.execute("SELECT DISTINCT id, revs FROM purged")
        infos = [(id_, sorted({*map(parse_revision, json_text.decode_stored(revs))}, key=_rank)) for id_, revs in rows]
        return sorted(infos, key=lambda info: (info[0], [*map(_rank, info[1])]))

    def attachment(self, key: int, length: int) -> bytes:
        """Return a whole content."""
        return read_content(self.connection, key, length)

    def attachment_pieces(self, key: int, first: int, last: int) -> Iterator[bytes]:
        """Return the bytes of a content between two positions, both included."""
        return read_pieces(self.connection, key, first, last)

    def changes(self, since: int, until: int, limit: int, *, descending: bool, bare: bool) -> list[StoredDocument]:
        """Rows with a sequence above `since` and up to `until`, in order; `bare` ones have no content."""
        order = "DESC" if descending else "ASC"
        columns = _BARE if bare else COLUMNS
        rows = self.connection.execute(
            f"SELECT {columns} FROM doc WHERE seq > ? AND seq <= ? ORDER BY seq {order} LIMIT ?",  # noqa: S608
            (since, until, limit),
        )
        return [StoredDocument(*row) for row in rows]

    def changes_after(self, since: int, until: int) -> int:
        """How many rows there are with a sequence above `since` and up to `until`."""
        row = self.connection.execute("SELECT count(*) FROM doc WHERE seq > ? AND seq <= ?", (since, until))
        return int(row.fetchone()[0])

    def index_entries(
        self, index: int, start: bytes, after: str | None, end: bytes, limit: int, *, descending: bool
    ) -> list[tuple[bytes, StoredDocument]]:
        """Entries of an index with their documents, in order, from a key (and beyond an id) to below another."""
        columns = ", ".join(f"doc.{name}" for name in COLUMNS.split(", "))
        if descending:
            # Downwards the seek begins at the upper end.
            condition, order = "(entry.key, entry.id) < (?, ?) AND entry.key >= ?", "DESC"
            bounds = (end, after or "", start)
        else:
            condition, order = "(entry.key, entry.id) > (?, ?) AND entry.key < ?", "ASC"
            bounds = (start, after or "", end)
        rows = self.connection.execute(
            f"SELECT entry.key, {columns} FROM entry CROSS JOIN doc ON doc.id = entry.id "  # noqa: S608
            f"WHERE entry.idx = ? AND {condition} ORDER BY entry.key {order}, entry.id {order} LIMIT ?",
            (index, *bounds, limit),
        )
        return [(row[0], StoredDocument(*row[1:])) for row in rows]


def _rank(revision: Revision) -> tuple[int, bytes]:
    return revision.rank
