"""The writing side of a database file: reading heads, putting rows, keeping counters, indexes and sizes true.

Everything here runs in the writer's thread, inside its transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from couchlet import json_text
from couchlet.storage.contents import greatest_key
from couchlet.storage.indexes import IndexKeeper
from couchlet.storage.records import INSERT, StoredDocument, attachments_of, stored_documents, stored_length
from couchlet.storage.writer import Hooks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from couchlet.revisions import Revision

DEFAULT_REVS_LIMIT: Final = 1000


class Counters(msgspec.Struct, array_like=True):
    """The row of `counter`: see the comments in `schema`."""

    update_seq: int
    purge_seq: int
    living: int
    deleted: int
    external: int
    stale: int


class Content(msgspec.Struct, frozen=True, gc=False):
    """The content of one revision."""

    revision: Revision
    deleted: bool
    body: bytes
    attachments: bytes | None


class Change(msgspec.Struct, gc=False):
    """What a write does to one document: the row before (None: there was none), the row after (None: purged).

    `aside` are contents that have to be kept beside the shown one, `dropped` are revisions whose kept content goes.
    """

    before: StoredDocument | None
    after: StoredDocument | None
    aside: list[Content]
    dropped: list[Revision]


class Transaction(Hooks):
    """The state of the writing side. `published_counters` is what a reader may be told: it is committed.

    `has_rules` says whether a design document has a function that validates writes. It is unknown (None) until the
    first document that would be validated, and again after a design document was written: CouchDB tells clients
    about it by how it takes a revision of a document that is not there (see `edits`).
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the counters and index definitions."""
        self.connection = connection
        self.counters = self._stored_counters()
        self.published_counters = self.counters
        self.indexes = IndexKeeper(connection)
        self.has_rules: bool | None = None
        self._counted = self.counters
        self._content_key = greatest_key(connection)
        self._revs_limit: int | None = None

    def _stored_counters(self) -> Counters:
        row = self.connection.execute(
            "SELECT update_seq, purge_seq, living, deleted, external, stale FROM counter"
        ).fetchone()
        return Counters(*row)

    def mark(self) -> object:
        """Remember the counters: they are copied on change."""
        return msgspec.structs.replace(self.counters)

    def reset(self, mark: object) -> None:
        """Back to the counters before the job, and to the index definitions in the database."""
        assert isinstance(mark, Counters)
        self.counters = mark
        self._revs_limit = None
        self.indexes.reload()

    def before_commit(self) -> None:
        """Store the counters if they changed."""
        if self.counters != self._counted:
            self.connection.execute(
                "UPDATE counter SET update_seq=?, purge_seq=?, living=?, deleted=?, external=?, stale=?",
                msgspec.structs.astuple(self.counters),
            )
            self._counted = msgspec.structs.replace(self.counters)

    def committed(self) -> None:
        """Readers may be told of what was counted."""
        self.published_counters = self._counted

    def rolled_back(self) -> None:
        """Read everything anew."""
        self.counters = self._stored_counters()
        self._counted = msgspec.structs.replace(self.counters)
        self._revs_limit = None
        self.has_rules = None
        self.indexes.reload()

    def heads(self, ids: Iterable[str]) -> dict[str, StoredDocument]:
        """Return the rows of the documents that exist (deleted ones included), by id."""
        return stored_documents(self.connection, ids)

    def find_rules(self) -> None:
        """Look whether a design document has a function that validates."""
        designs = "id >= '_design/' AND id < '_design0' AND deleted = 0"
        rows = self.connection.execute(f"SELECT body FROM doc WHERE {designs}")  # noqa: S608 - constants only
        self.has_rules = any("validate_doc_update" in json_text.decode_stored(body) for (body,) in rows)

    def content(self, id_: str, revision: Revision) -> Content | None:
        """Return the kept content of a revision that is not shown."""
        row = self.connection.execute(
            "SELECT deleted, body, attachments FROM revision WHERE id = ? AND generation = ? AND rev = ?",
            (id_, revision.generation, revision.id),
        ).fetchone()
        return Content(revision, bool(row[0]), row[1], row[2]) if row else None

    def apply(self, changes: Sequence[Change]) -> None:
        """Write the changes, each document at the next update sequence."""
        self.counters = msgspec.structs.replace(self.counters)
        for change in changes:
            self._count(change)
        connection = self.connection
        gone = [(change.before.seq,) for change in changes if change.before]
        if gone:
            connection.executemany("DELETE FROM doc WHERE seq = ?", gone)
        dropped = [(_id(change), revision.generation, revision.id) for change in changes for revision in change.dropped]
        if dropped:
            connection.executemany("DELETE FROM revision WHERE id = ? AND generation = ? AND rev = ?", dropped)
        aside = [
            (_id(change), *content.revision, int(content.deleted), content.body, content.attachments)
            for change in changes
            for content in change.aside
        ]
        if aside:
            connection.executemany("INSERT OR REPLACE INTO revision VALUES (?, ?, ?, ?, ?, ?)", aside)
        new = [change.after.values() for change in changes if change.after]
        if new:
            connection.executemany(INSERT, new)
        self.indexes.update([(change.before, change.after) for change in changes])

    def _count(self, change: Change) -> None:
        counters = self.counters
        if change.before:
            counters.deleted -= change.before.deleted
            counters.living -= 1 - change.before.deleted
            counters.external -= change.before.external_bytes
        kept = attachments_of(change.after.attachments if change.after else None)
        kept_keys = {fields["key"] for fields in kept.values()}
        for content in change.aside:
            counters.stale += len(content.body)
            for fields in attachments_of(content.attachments).values():
                counters.stale += 0 if fields["key"] in kept_keys else stored_length(fields)
        if change.after:
            counters.update_seq += 1
            change.after.seq = counters.update_seq
            counters.deleted += change.after.deleted
            counters.living += 1 - change.after.deleted
            counters.external += change.after.external_bytes

    def new_content_key(self) -> int:
        """Return a key that no content has, nor had: who still reads one that is dropped must not go on in another."""
        self._content_key += 1
        return self._content_key

    def setting(self, name: str, default: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return a stored setting of the database."""
        row = self.connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return json_text.decode_stored(row[0]) if row else default

    def set_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Store a setting of the database."""
        self._revs_limit = None
        self.connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, json_text.encode(value)))

    def skip_sequence(self) -> None:
        """Use up an update sequence, of which no document is."""
        self.counters = msgspec.structs.replace(self.counters, update_seq=self.counters.update_seq + 1)

    @property
    def revs_limit(self) -> int:
        """How many revisions of history are kept for each branch."""
        if self._revs_limit is None:
            self._revs_limit = int(self.setting("revs_limit", DEFAULT_REVS_LIMIT))
        return self._revs_limit


def _id(change: Change) -> str:
    row = change.after or change.before
    assert row is not None
    return row.id
