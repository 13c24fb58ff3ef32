"""One database: its file, its writer, its readers and those who wait for its changes."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any, Final, TypeVar

from couchlet.errors import CouchError
from couchlet.storage import compaction, contents, local_documents, purging, schema
from couchlet.storage.edits import Editor, Outcome
from couchlet.storage.latest import LatestRows
from couchlet.storage.reader import Reader
from couchlet.storage.transaction import Counters, Transaction
from couchlet.storage.writer import Writer, storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from couchlet.documents import NewDocument
    from couchlet.revisions import Revision
    from couchlet.storage.indexes import StoredIndex

T = TypeVar("T")

DEFAULT_SECURITY: Final = {"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}}
"""Who may use a new database: server administrators only, as CouchDB 3 has it."""


_STALE_BYTES: Final = 16 * 1024 * 1024
"""Content of ancestors beyond which a database is compacted without being asked, if it is also the greater part."""


class Database:
    """An open database. Reads are immediate, writes are awaited; all in the event loop's thread."""

    def __init__(self, name: str, path: Path, created: int) -> None:
        """Open the file; `created` is when the database was made, in seconds since 1970.

        Raises:
            CouchError: 500 if the file cannot be used.
        """
        self.name = name
        self.created = created
        self.path = path
        self.in_flight: set[int] = set()
        self.closed = False
        self.holders = 0
        self.latest_rows = LatestRows()
        self._changed = asyncio.Event()
        self._compaction: asyncio.Task[None] | None = None
        self._filling: asyncio.Task[None] | None = None
        try:
            self._transaction = Transaction(schema.open_writer(path))
            self.reader = Reader(schema.open_reader(path))
        except (sqlite3.Error, ValueError) as error:
            raise CouchError(500, "internal_server_error", f"Database {name} cannot be opened: {error}") from error
        self._writer = Writer(
            self._transaction.connection, self._transaction, asyncio.get_running_loop(), published=self._wake
        )
        self.security: dict[str, Any] = self.reader.setting("security", DEFAULT_SECURITY)
        self.uuid: str = self.reader.setting("uuid", "")
        self._fill_indexes()

    @property
    def counters(self) -> Counters:
        """Counts and sequences as of the last commit."""
        return self._transaction.published_counters

    @property
    def indexes(self) -> list[StoredIndex]:
        """The Mango indexes, those that are still being filled too."""
        return self._transaction.indexes.indexes

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._fill_indexes()
        counters = self.counters
        if counters.stale > max(_STALE_BYTES, counters.external) and not self.closed:
            self.compact()

    def _fill_indexes(self) -> None:
        """Go on with indexes that are not complete, one step of many between other writes."""
        idle = self._filling is None or self._filling.done()
        if idle and not self.closed and not self._transaction.indexes.are_complete:
            self._filling = asyncio.create_task(self._fill())
            # Who waits for the index is told of a failure; the next write tries again.
            self._filling.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _fill(self) -> None:
        while await self.write(lambda transaction: transaction.indexes.fill_some()):
            pass

    async def complete_indexes(self) -> None:
        """Wait until every index can be read.

        Raises:
            CouchError: 5xx if one could not be filled.
        """
        while self._filling is not None and not (self.closed or self._transaction.indexes.are_complete):
            self._fill_indexes()
            await asyncio.shield(self._filling)

    def change_event(self) -> asyncio.Event:
        """Return an event that is set after the next commit, or when the database is closed."""
        return self._changed

    async def write(self, job: Callable[[Transaction], T]) -> T:
        """Run a job in the writer; returns after its commit.

        Raises:
            CouchError: what the job raised, or 5xx if it could not be stored.
        """
        result: T = await self._writer.submit(lambda: job(self._transaction))
        return result

    async def write_outside(self, job: Callable[[Transaction], T]) -> T:
        """Run a job in the writer, in no transaction.

        Raises:
            CouchError: 5xx if it failed.
        """
        result: T = await self._writer.submit(lambda: job(self._transaction), outside=True)
        return result

    async def edit(
        self, documents: Sequence[NewDocument], *, new_edits: bool = True, refused: Sequence[NewDocument] = ()
    ) -> list[Outcome]:
        """Apply edits; each document gets its new revision or its error (see `Editor.apply`)."""

        def job(transaction: Transaction) -> list[Outcome]:
            local = [document for document in documents if document.id.startswith("_local/")]
            if not local:
                return Editor(transaction).apply(documents, new_edits=new_edits, refused=refused)
            others = [document for document in documents if not document.id.startswith("_local/")]
            written = Editor(transaction).apply(others, new_edits=new_edits, refused=refused)
            outcomes = {id(document): outcome for document, outcome in zip(others, written, strict=True)}
            # As in CouchDB (`couch_bt_engine:write_doc_infos`) deletions come first.
            for document in sorted(local, key=lambda document: not document.deleted):
                outcomes[id(document)] = _local_outcome(transaction, document, new_edits)
            return [outcomes[id(document)] for document in documents]

        return await self.write(job)

    async def purge(self, requests: dict[str, list[Revision]]) -> dict[str, list[Revision]]:
        """Remove leaves for good; returns those that were there."""
        return await self.write(lambda transaction: purging.purge(transaction, requests))

    async def set_setting(self, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
        """Store a setting of the database; the change has a sequence, as in CouchDB (`couch_bt_engine`)."""

        def job(transaction: Transaction) -> None:
            transaction.set_setting(name, value)
            transaction.skip_sequence()

        await self.write(job)

    async def set_revs_limit(self, limit: int) -> None:
        """Store how many revisions of history are kept; more are not shown from now on, nor kept by a compaction."""
        await self.set_setting("revs_limit", limit)
        self.reader.revs_limit = limit

    async def set_security(self, security: dict[str, Any]) -> None:
        """Store who may use the database."""
        await self.set_setting("security", security)
        self.security = security

    async def begin_content(self, piece: bytes) -> int:
        """Store the first piece of a content that comes in; returns its key, which is kept from compaction."""

        def job(transaction: Transaction) -> int:
            key = transaction.new_content_key()
            contents.add_piece(transaction.connection, key, 0, piece)
            self.in_flight.add(key)
            return key

        return await self.write(job)

    async def add_piece(self, key: int, number: int, piece: bytes) -> None:
        """Store a further piece."""
        await self.write(lambda transaction: contents.add_piece(transaction.connection, key, number, piece))

    async def drop_content(self, key: int) -> None:
        """Drop a content that did not become an attachment."""
        await self.write(lambda transaction: contents.delete_content(transaction.connection, key))
        self.in_flight.discard(key)

    @property
    def compacting(self) -> bool:
        """Whether a compaction runs."""
        return self._compaction is not None and not self._compaction.done()

    def compact(self) -> None:
        """Start a compaction, unless one runs."""
        if not self.compacting:
            self._compaction = asyncio.create_task(compaction.compact(self))

    def sizes(self) -> dict[str, int]:
        """Bytes on disk, bytes of those that are in use, and bytes of content as clients see it."""
        on_disk = 0
        for suffix in ("", "-wal"):
            try:
                on_disk += self.path.with_name(self.path.name + suffix).stat().st_size
            except FileNotFoundError:
                continue
        pragma = self.reader.connection.execute
        pages = pragma("PRAGMA page_count").fetchone()[0] - pragma("PRAGMA freelist_count").fetchone()[0]
        used = pages * pragma("PRAGMA page_size").fetchone()[0]
        counters = self.counters
        return {
            "file": max(on_disk, used),
            "external": counters.external,
            "active": max(used - counters.stale, counters.external),
        }

    @property
    def is_idle(self) -> bool:
        """Whether no request uses it and nothing is going on inside, so that its file may be closed for a while."""
        busy = self.compacting or self.in_flight or (self._filling is not None and not self._filling.done())
        return self.holders == 0 and self._writer.is_idle and not busy

    def rest(self) -> None:
        """Close the files of an idle database; the next request opens it anew."""
        self.closed = True
        self._writer.close()
        self.reader.connection.close()

    def end_waiting(self) -> None:
        """Let feeds look up: the server stops."""
        self._wake()

    async def close(self) -> None:
        """Finish queued writes, end feeds and close the file."""
        self.closed = True
        self._wake()
        tasks = [task for task in (self._compaction, self._filling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._writer.close)
        self.reader.connection.close()


def create_file(path: Path) -> None:
    """Make the file of a new database, with an identity of its own.

    Raises:
        CouchError: 5xx if the disk does not take it.
    """
    try:
        schema.create(path)
        connection = schema.open_writer(path)
        try:
            connection.execute("INSERT INTO setting VALUES ('uuid', ?)", (f'"{secrets.token_hex(16)}"'.encode(),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise storage_error(error) from error


def _local_outcome(transaction: Transaction, document: NewDocument, new_edits: bool) -> Outcome:
    """Write a `_local` document; one that is refused does not keep the others of its request from being written.

    With `new_edits` false it has the revision that it names, also if it is refused: of what is
    replicated CouchDB tells only what its rules forbid.
    """
    outcome: Outcome
    try:
        outcome = local_documents.write_local(transaction.connection, document)
    except CouchError as error:
        outcome = error
    return outcome if new_edits or document.revision is None else document.revision
