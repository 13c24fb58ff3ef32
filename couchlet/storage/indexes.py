"""Mango indexes in the database file, kept in the transaction that changes the documents: they are never behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from couchlet import json_text
from couchlet.mango.definitions import EntryMaker, IndexDefinition, definitions_in
from couchlet.order.collation import COLLATION_VERSION
from couchlet.storage.records import COLUMNS, StoredDocument, attachments_of, visible_attachment

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from couchlet.revisions import Revision

_ROWS_A_STEP: Final = 500
_RULES: Final = f"1:{COLLATION_VERSION}"
"""What entries depend on besides the definition; indexes made under other rules are made anew."""


class StoredIndex(msgspec.Struct):
    """An index and the number that its entries go by."""

    number: int
    definition: IndexDefinition
    maker: EntryMaker


def index_view(id_: str, revision: Revision, body: bytes, attachments: bytes | None) -> dict[str, Any]:
    """Return the document as Mango sees it: id and revision, its members, and its attachments as stubs."""
    document: dict[str, Any] = {"_id": id_, "_rev": str(revision)}
    document |= json_text.decode_stored(body)
    if attachments:
        document["_attachments"] = {
            name: visible_attachment(fields) for name, fields in attachments_of(attachments).items()
        }
    return document


class IndexKeeper:
    """The indexes of a database, on the writing side."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read the definitions; entries made under other rules are made anew at once."""
        self._connection = connection
        self._indexes: list[StoredIndex] = []
        self.reload()
        self._renew_outdated()

    def reload(self) -> None:
        """Read the definitions from the database."""
        rows = self._connection.execute("SELECT number, definition FROM idx ORDER BY ddoc, name")
        self._indexes = [_stored_index(number, packed) for number, packed in rows]

    @property
    def indexes(self) -> list[StoredIndex]:
        """The indexes there are; the list is replaced, never changed."""
        return self._indexes

    def update(self, changes: Sequence[tuple[StoredDocument | None, StoredDocument | None]]) -> None:
        """Bring entries, and indexes whose design documents changed, up to date."""
        designs = [pair for pair in changes if _any_id(pair).startswith("_design/")]
        if self._indexes:
            gone: list[tuple[int, bytes, str]] = []
            new: list[tuple[int, bytes, str]] = []
            for before, after in changes:
                gone.extend(self._entries(before))
                new.extend(self._entries(after))
            if gone:
                self._connection.executemany("DELETE FROM entry WHERE idx = ? AND key = ? AND id = ?", gone)
            if new:
                self._connection.executemany("INSERT INTO entry VALUES (?, ?, ?)", new)
        for pair in designs:
            self._update_design(*pair)

    def _entries(self, row: StoredDocument | None) -> list[tuple[int, bytes, str]]:
        if row is None or row.deleted or row.id.startswith("_design/"):
            return []
        document = index_view(row.id, row.shown, row.body, row.attachments)
        entries = []
        for index in self._indexes:
            key = index.maker.key(document)
            if key is not None:
                entries.append((index.number, key, row.id))
        return entries

    def _update_design(self, before: StoredDocument | None, after: StoredDocument | None) -> None:
        id_ = _any_id((before, after))
        wanted: dict[str, IndexDefinition] = {}
        if after and not after.deleted:
            body = json_text.decode_stored(after.body)
            wanted = {definition.name: definition for definition in definitions_in(id_, body)}
        held = {index.definition.name: index for index in self._indexes if index.definition.ddoc == id_}
        if {name: index.definition for name, index in held.items()} == wanted:
            return
        for name, index in held.items():
            if wanted.get(name) != index.definition:
                self._drop(index)
        for name, definition in wanted.items():
            if name not in held or held[name].definition != definition:
                self._make(definition)
        self.reload()

    def _drop(self, index: StoredIndex) -> None:
        self._connection.execute("DELETE FROM entry WHERE idx = ?", (index.number,))
        self._connection.execute("DELETE FROM idx WHERE number = ?", (index.number,))

    def _make(self, definition: IndexDefinition) -> None:
        packed = json_text.encode({"rules": _RULES, "definition": definition})
        number = self._connection.execute(
            "INSERT INTO idx (ddoc, name, definition) VALUES (?, ?, ?)", (definition.ddoc, definition.name, packed)
        ).lastrowid
        assert number is not None
        maker = EntryMaker(definition)
        last = -1
        while True:
            rows = self._connection.execute(
                f"SELECT {COLUMNS} FROM doc WHERE seq > ? AND deleted = 0 ORDER BY seq LIMIT ?",  # noqa: S608
                (last, _ROWS_A_STEP),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            entries = []
            for row in map(_row, rows):
                if row.id.startswith("_design/"):
                    continue
                key = maker.key(index_view(row.id, row.shown, row.body, row.attachments))
                if key is not None:
                    entries.append((number, key, row.id))
            self._connection.executemany("INSERT INTO entry VALUES (?, ?, ?)", entries)

    def _renew_outdated(self) -> None:
        rows = self._connection.execute("SELECT number, definition FROM idx").fetchall()
        outdated = [
            _stored_index(number, packed)
            for number, packed in rows
            if json_text.decode_stored(packed)["rules"] != _RULES
        ]
        if not outdated:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        for index in outdated:
            self._drop(index)
            self._make(index.definition)
        self._connection.execute("COMMIT")
        self.reload()


def _row(values: tuple[Any, ...]) -> StoredDocument:
    return StoredDocument(*values)


def _any_id(pair: tuple[StoredDocument | None, StoredDocument | None]) -> str:
    row = pair[1] or pair[0]
    assert row is not None
    return row.id


def _stored_index(number: int, packed: bytes) -> StoredIndex:
    definition = msgspec.convert(json_text.decode_stored(packed)["definition"], IndexDefinition)
    return StoredIndex(number, definition, EntryMaker(definition))
