"""The catalogue: which databases there are, and which file each one is in.

A file's name is random and says nothing of the database's name, so that no name can become a path. The server's own
settings (its identity, the secret of its sessions) are kept here too.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import re
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Final

from couchlet.errors import CouchError, no_database
from couchlet.storage.database import Database, create_file
from couchlet.storage.writer import storage_error

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger(__name__)
_VALID_NAME: Final = re.compile(r"[a-z][a-z0-9_$()+/-]*\Z")
_SYSTEM_NAMES: Final = frozenset(("_users",))
_MAX_NAME_BYTES: Final = 238
_SUFFIX: Final = ".couchlet"
_MOST_OPEN: Final = 64
"""Databases whose files are kept open though nobody uses them."""


class DataDirectoryError(Exception):
    """The data directory cannot be used; the message says why and what to do."""


def validate_name(name: str) -> None:
    """Check the name of a database that is to be made.

    Raises:
        CouchError: 400 `illegal_database_name`, 501 for a system database of CouchDB that has no meaning here.
    """
    if name in {"_replicator", "_global_changes"}:
        raise CouchError(
            501, "not_implemented", f"couchlet has no {name}: let the other side replicate, or use Apache CouchDB."
        )
    if name not in _SYSTEM_NAMES and not _VALID_NAME.match(name):
        raise CouchError(
            400,
            "illegal_database_name",
            f"Name: '{name}'. Only lowercase characters (a-z), digits (0-9), and any of the characters "
            "_, $, (, ), +, -, and / are allowed. Must begin with a letter.",
        )
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise CouchError(400, "database_name_too_long", f"At least one path segment of `{name}` is too long.")


class Catalog:
    """The databases of one data directory, which no second couchlet can use at the same time."""

    def __init__(self, directory: Path) -> None:
        """Lock and open the directory, making it if need be.

        Raises:
            DataDirectoryError: it cannot be made, is in use, or its catalogue is damaged.
        """
        self.directory = directory
        self._open: dict[str, Database] = {}
        self._making = asyncio.Lock()
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirectoryError(
                f"data directory {directory} cannot be used: {error.strerror}; choose another with --data"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DataDirectoryError(
                f"data directory {directory} is in use by another couchlet; stop that one, or choose another "
                "directory with --data"
            ) from error
        try:
            self._connection = self._open_catalogue()
        except sqlite3.Error as error:
            os.close(self._lock)
            raise DataDirectoryError(f"the catalogue in {directory} cannot be read: {error}") from error
        self._files: dict[str, tuple[str, int]] = {
            name: (file, created)
            for name, file, created in self._connection.execute("SELECT name, file, created FROM database")
        }
        self._remove_orphans()

    def _open_catalogue(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.directory / "catalogue.sqlite", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(
            """
            CREATE TABLE IF NOT EXISTS database (
                name TEXT PRIMARY KEY, file TEXT NOT NULL UNIQUE, created INTEGER NOT NULL
            ) WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS server (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
            """
        )
        for name in ("uuid", "secret"):
            connection.execute("INSERT OR IGNORE INTO server VALUES (?, ?)", (name, secrets.token_hex(16)))
        return connection

    def _remove_orphans(self) -> None:
        """Remove files of databases whose making or deletion was cut short."""
        known = {file for file, _ in self._files.values()}
        for path in self.directory.glob(f"*{_SUFFIX}*"):
            if path.name.split(_SUFFIX)[0] not in known:
                path.unlink(missing_ok=True)

    def server_value(self, name: str) -> str:
        """Return a setting of the server: `uuid`, its identity, or `secret`, which its sessions are signed with."""
        row = self._connection.execute("SELECT value FROM server WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def names(self) -> list[str]:
        """Return the names of all databases, sorted by bytes."""
        return sorted(self._files, key=str.encode)

    def exists(self, name: str) -> bool:
        """Whether there is a database of this name."""
        return name in self._files

    def get(self, name: str) -> Database:
        """Return an open database.

        Raises:
            CouchError: 404 if there is none of this name, 500 if its file cannot be used.
        """
        database = self._open.get(name)
        if database is None:
            if name not in self._files:
                raise no_database()
            file, created = self._files[name]
            self._close_idle()
            database = Database(name, self.directory / f"{file}{_SUFFIX}", created)
        else:
            del self._open[name]
        # The order of this dictionary is that of use.
        self._open[name] = database
        return database

    def _close_idle(self) -> None:
        """Close files that were not used for longest, so that many databases do not need many descriptors."""
        excess = len(self._open) - _MOST_OPEN + 1
        if excess <= 0:
            return
        for name in [name for name, database in self._open.items() if database.is_idle][:excess]:
            self._open.pop(name).rest()

    def end_waiting(self) -> None:
        """Let all feeds look up: the server stops."""
        for database in self._open.values():
            database.end_waiting()

    async def create(self, name: str) -> Database:
        """Make a database.

        Raises:
            CouchError: 412 if it exists, 400 for a bad name, 5xx if the disk does not take it.
        """
        validate_name(name)
        async with self._making:
            if name in self._files:
                raise CouchError(412, "file_exists", "The database could not be created, the file already exists.")
            file, created = secrets.token_hex(12), int(time.time())
            await asyncio.to_thread(create_file, self.directory / f"{file}{_SUFFIX}")
            try:
                self._connection.execute("INSERT INTO database VALUES (?, ?, ?)", (name, file, created))
            except sqlite3.Error as error:
                raise storage_error(error) from error
            self._files[name] = (file, created)
            return self.get(name)

    async def delete(self, name: str) -> None:
        """Delete a database and give its disk space back.

        Raises:
            CouchError: 404 if there is none of this name.
        """
        async with self._making:
            if name not in self._files:
                raise no_database()
            try:
                self._connection.execute("DELETE FROM database WHERE name = ?", (name,))
            except sqlite3.Error as error:
                raise storage_error(error) from error
            file, _ = self._files.pop(name)
            database = self._open.pop(name, None)
            if database is not None:
                await database.close()
            for suffix in ("", "-wal", "-shm"):
                (self.directory / f"{file}{_SUFFIX}{suffix}").unlink(missing_ok=True)

    async def close(self) -> None:
        """Close all databases and let go of the directory."""
        await asyncio.gather(*(database.close() for database in self._open.values()))
        self._open.clear()
        self._connection.close()
        os.close(self._lock)
