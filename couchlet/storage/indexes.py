"""Mango indexes in the database file, kept in the transaction that changes the documents: they are never behind.

A new index on a large database is filled in steps, each a transaction, so that writes go on in between.
"""

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


_MOST_KEPT: Final = 256
"""Of so many documents the entries are remembered."""

Entry = tuple[int, bytes, str]
"""The index's number, the key, and the document's id."""


class StoredIndex(msgspec.Struct):
    """An index and the number that its entries go by.

    While `through` is below `goal`, documents with an update sequence between the two are still to be entered; every
    write since the index was made enters its own. Such an index cannot be read yet.
    """

    number: int
    definition: IndexDefinition
    maker: EntryMaker
    through: int = 0
    goal: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether it holds all that it should."""
        return self.through >= self.goal


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
        """Read the definitions; indexes made under other rules are to be filled anew."""
        self._connection = connection
        self._indexes: list[StoredIndex] = []
        self._kept: dict[tuple[str, Revision], list[Entry]] = {}
        self.reload()
        self._renew_outdated()

    def reload(self) -> None:
        """Read the definitions from the database."""
        self._kept.clear()
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
            gone: list[Entry] = []
            new: list[Entry] = []
            for before, after in changes:
                gone.extend(self._entries_before(before))
                new.extend(self._entries_after(after))
            if gone:
                self._connection.executemany("DELETE FROM entry WHERE idx = ? AND key = ? AND id = ?", gone)
            if new:
                self._connection.executemany("INSERT INTO entry VALUES (?, ?, ?)", new)
        for pair in designs:
            self._update_design(*pair)

    def _entries_before(self, row: StoredDocument | None) -> list[Entry]:
        """Return the entries of a document that is replaced; what is written often was written lately."""
        if row is None:
            return []
        kept = self._kept.pop((row.id, row.shown), None)
        return self._entries(row) if kept is None else kept

    def _entries_after(self, row: StoredDocument | None) -> list[Entry]:
        """Return the entries that a document gets, and keep them for when it is replaced."""
        entries = self._entries(row)
        if row is not None:
            key = row.id, row.shown
            self._kept.pop(key, None)
            self._kept[key] = entries
            if len(self._kept) > _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
        return entries

    def _entries(self, row: StoredDocument | None) -> list[Entry]:
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
        """Make an index and fill it as far as one step goes."""
        newest = self._connection.execute("SELECT max(seq) FROM doc").fetchone()[0] or 0
        state = json_text.encode({"rules": _RULES, "definition": definition, "through": 0, "goal": newest})
        number = self._connection.execute(
            "INSERT INTO idx (ddoc, name, definition) VALUES (?, ?, ?)", (definition.ddoc, definition.name, state)
        ).lastrowid
        assert number is not None
        self._fill(_stored_index(number, state))

    @property
    def are_complete(self) -> bool:
        """Whether every index holds all that it should."""
        return all(index.is_complete for index in self._indexes)

    def fill_some(self) -> bool:
        """Fill the first index that is not complete by a step; whether there is more to do."""
        for index in self._indexes:
            if not index.is_complete:
                self._fill(index)
                self.reload()
                return not self.are_complete
        return False

    def _fill(self, index: StoredIndex) -> None:
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM doc WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",  # noqa: S608
            (index.through, index.goal, _ROWS_A_STEP),
        ).fetchall()
        entries = []
        for row in map(_row, rows):
            if not row.deleted and not row.id.startswith("_design/"):
                key = index.maker.key(index_view(row.id, row.shown, row.body, row.attachments))
                if key is not None:
                    entries.append((index.number, key, row.id))
        self._connection.executemany("INSERT INTO entry VALUES (?, ?, ?)", entries)
        through = rows[-1][0] if len(rows) == _ROWS_A_STEP else index.goal
        state = {"rules": _RULES, "definition": index.definition, "through": through, "goal": index.goal}
        self._connection.execute(
            "UPDATE idx SET definition = ? WHERE number = ?", (json_text.encode(state), index.number)
        )

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


msgspec.json.Decoder(IndexDefinition)  # worked out here, because in several threads at once that ends the process


def _stored_index(number: int, packed: bytes) -> StoredIndex:
    state = json_text.decode_stored(packed)
    definition = msgspec.convert(state["definition"], IndexDefinition)
    # Files of before indexes were filled in steps hold complete ones.
    return StoredIndex(number, definition, EntryMaker(definition), state.get("through", 0), state.get("goal", 0))
