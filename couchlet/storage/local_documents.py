"""`_local` documents: one revision each, no history, never replicated; checkpoints of replications live here."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from couchlet.errors import CouchError
from couchlet.revisions import Revision

if TYPE_CHECKING:
    import sqlite3

    from couchlet.documents import NewDocument


LocalDocument: TypeAlias = tuple[Revision, bytes]
"""Revision and body of one."""


def write_local(connection: sqlite3.Connection, document: NewDocument) -> Revision:
    """Write or delete one; the revision it names is counted on, not compared, as CouchDB does it.

    Attachments are passed over.

    Raises:
        CouchError: 500, as from CouchDB, for a revision that is no number of generation 0.
    """
    if document.deleted:
        connection.execute("DELETE FROM local_doc WHERE id = ?", (document.id,))
        return Revision(0, "0")
    number = 1
    if document.history:
        last = document.history[0]
        if document.start != 0 or not (last.isascii() and last.isdigit()) or len(last) > 15:  # noqa: PLR2004 - int
            raise CouchError(500, "error", "Invalid rev format")
        number = int(last) + 1
    connection.execute("INSERT OR REPLACE INTO local_doc VALUES (?, ?, ?)", (document.id, number, document.body))
    return Revision(0, str(number))


def read_local(connection: sqlite3.Connection, id_: str) -> LocalDocument | None:
    """Return one; None if there is none."""
    row = connection.execute("SELECT revision, body FROM local_doc WHERE id = ?", (id_,)).fetchone()
    return (Revision(0, str(row[0])), row[1]) if row else None
