"""The tables of a database file, and how its connections are opened.

Durable means: write-ahead log with `synchronous=FULL`, so that a commit returns after the log is on disk.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION: Final = 1
"""Stored as `user_version`; a file with a higher one belongs to a newer couchlet and is left alone."""

_CACHE: Final = "PRAGMA cache_size = -128"
"""An eighth of a megabyte of pages a connection, full soon and then no more; the system keeps the file anyway."""

_TABLES: Final = """
-- One row a document: its newest change, the tree of its revisions, and the content of the revision that is shown.
CREATE TABLE doc (
    seq INTEGER PRIMARY KEY,    -- update sequence of the newest change
    id TEXT NOT NULL,
    deleted INTEGER NOT NULL,   -- 1 if every leaf is deleted
    generation INTEGER NOT NULL,-- of the shown revision
    revs BLOB NOT NULL,         -- a lone branch of 16-byte ids, newest first; empty if `branches` is set
    branches BLOB,              -- any other tree, as MessagePack
    body BLOB NOT NULL,         -- JSON without the members that begin with an underscore
    attachments BLOB            -- JSON: name -> what is known of it and the key of its content
);
CREATE UNIQUE INDEX doc_by_id ON doc (id, deleted);

-- Content of revisions that are not shown: losing leaves, and ancestors until the next compaction.
CREATE TABLE revision (
    id TEXT NOT NULL,
    generation INTEGER NOT NULL,
    rev TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    body BLOB NOT NULL,
    attachments BLOB,
    PRIMARY KEY (id, generation, rev)
) WITHOUT ROWID;

CREATE TABLE local_doc (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;

-- Contents of attachments, in pieces, so that none is ever held whole.
CREATE TABLE content (key INTEGER NOT NULL, piece INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (key, piece));

-- Mango indexes: `entry` holds one row for each document that an index contains.
CREATE TABLE idx (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    ddoc TEXT NOT NULL,
    name TEXT NOT NULL,
    definition BLOB NOT NULL,   -- JSON: what entries were made from
    UNIQUE (ddoc, name)
);
CREATE TABLE entry (
    idx INTEGER NOT NULL,
    key BLOB NOT NULL,          -- `json_order.json_key` of the indexed values, one behind the other
    id TEXT NOT NULL,
    PRIMARY KEY (idx, key, id)
) WITHOUT ROWID;

CREATE TABLE purged (seq INTEGER PRIMARY KEY, id TEXT NOT NULL, revs BLOB NOT NULL);

-- Facts of the database that change with every write, in one row.
CREATE TABLE counter (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    update_seq INTEGER NOT NULL,
    purge_seq INTEGER NOT NULL,
    living INTEGER NOT NULL,    -- documents that are not deleted
    deleted INTEGER NOT NULL,
    external INTEGER NOT NULL,  -- bytes of JSON and attachments of shown revisions
    stale INTEGER NOT NULL      -- bytes of content of ancestors, which compaction would give back
);
INSERT INTO counter VALUES (1, 0, 0, 0, 0, 0, 0);

CREATE TABLE setting (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


def create(path: Path) -> None:
    """Make the file of a new database.

    Raises:
        sqlite3.Error: if the disk does not take it.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        # Pages that become free can be given back without rewriting the file (see `compaction`).
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    finally:
        connection.close()


def open_writer(path: Path) -> sqlite3.Connection:
    """Return the one connection that writes; it is used by the writer's thread only.

    Raises:
        ValueError: the file was written by a newer couchlet.
        sqlite3.Error: the file cannot be used.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        connection.close()
        raise ValueError(
            f"{path.name} has format {version}, this couchlet knows up to {SCHEMA_VERSION}: use a newer couchlet."
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")
    connection.execute("PRAGMA journal_size_limit = 33554432")
    connection.execute(_CACHE)
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that only reads. Statements on it are run to their end, so none holds an old view."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    connection.execute("PRAGMA query_only = ON")
    connection.execute(_CACHE)
    return connection
