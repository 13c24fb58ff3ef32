"""A document as stored, and the rows of its table."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import msgspec

from couchlet import json_text
from couchlet.revisions import Revision, Tree, pack, packed_leaf_id, unpack, winner

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

COLUMNS: Final = "seq, id, deleted, generation, revs, branches, body, attachments"
"""The columns of `doc` in the order of `StoredDocument`'s fields."""

INSERT: Final = f"INSERT INTO doc ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only

_IDS_A_QUERY: Final = 512


class StoredDocument(msgspec.Struct, array_like=True, gc=False):
    """One row of `doc`: see the comments in `schema`."""

    seq: int
    id: str
    deleted: int
    generation: int
    revs: bytes
    branches: bytes | None
    body: bytes
    attachments: bytes | None

    @property
    def tree(self) -> Tree:
        """The whole tree of revisions."""
        return unpack(self.generation, bool(self.deleted), self.revs, self.branches)

    @property
    def shown(self) -> Revision:
        """The revision that is shown."""
        if self.branches is None:
            return Revision(self.generation, packed_leaf_id(self.revs))
        return winner(self.tree).leaf

    def values(self) -> tuple[Any, ...]:
        """Return the row, for `INSERT`."""
        return (
            self.seq,
            self.id,
            self.deleted,
            self.generation,
            self.revs,
            self.branches,
            self.body,
            self.attachments,
        )

    @property
    def external_bytes(self) -> int:
        """What the shown revision weighs as a client sees it: JSON, and the contents of its attachments."""
        size = len(self.body)
        if self.attachments is not None:
            size += sum(fields["length"] for fields in attachments_of(self.attachments).values())
        return size


def stored_document(id_: str, tree: Tree, body: bytes, attachments: bytes | None) -> StoredDocument:
    """Return a row for a tree and the content of its winner; the sequence is given when it is written."""
    shown = winner(tree)
    packed, branches = pack(tree)
    return StoredDocument(0, id_, int(shown.deleted), shown.start, packed, branches, body, attachments)


def stored_documents(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, StoredDocument]:
    """Return the rows of those documents that exist, deleted or not, by id.

    The number of ids is filled up to a power of two: SQLite and its memory are spared a statement for every number.
    """
    wanted = list(dict.fromkeys(ids))
    found: dict[str, StoredDocument] = {}
    for start in range(0, len(wanted), _IDS_A_QUERY):
        part = wanted[start : start + _IDS_A_QUERY]
        part += part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))
        query = f"SELECT {COLUMNS} FROM doc WHERE id IN ({','.join('?' * len(part))})"  # noqa: S608 - marks only
        found.update((row[1], StoredDocument(*row)) for row in connection.execute(query, part))
    return found


Attachments = dict[str, dict[str, Any]]
"""What is stored of a revision's attachments, by name: `content_type`, `revpos`, `digest` and `length` as clients
see them, `key` of the content, and for a content that is kept compressed `encoding` and `stored`, the bytes that it
takes so. (Of a content that came compressed the plain length is not known; then `length` is what is stored.)"""


def stored_length(fields: dict[str, Any]) -> int:
    """Return how many bytes of a content are stored."""
    length: int = fields.get("stored", fields["length"])
    return length


def attachments_of(packed: bytes | None) -> Attachments:
    """Unpack the attachments column."""
    return json_text.decode_stored(packed) if packed else {}


def pack_attachments(attachments: Attachments) -> bytes | None:
    """Pack the attachments column; nothing for none."""
    return json_text.encode(attachments) if attachments else None


def visible_attachment(fields: dict[str, Any], data: bytes | None = None, *, follows: bool = False) -> dict[str, Any]:
    """Return the members that a document shows of an attachment: with its data, as following, or as a stub."""
    shown = {name: fields[name] for name in ("content_type", "revpos", "digest")}
    if data is not None:
        shown["data"] = base64.b64encode(data).decode("ascii")
        return shown
    shown["length"] = fields["length"]
    if fields.get("encoding") and follows:
        shown["encoding"] = fields["encoding"]
        shown["encoded_length"] = stored_length(fields)
    shown["follows" if follows else "stub"] = True
    return shown
