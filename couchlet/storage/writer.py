"""The one thread that writes to a database: everything that waits when it is free shares one commit.

A job runs inside a savepoint, so that one that fails leaves no trace and does not disturb the others. Whoever
submitted a job hears of its outcome after the commit that made it durable.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from couchlet.errors import CouchError, no_database

if TYPE_CHECKING:
    import asyncio

_LOG = logging.getLogger(__name__)

_MOST_JOBS: Final = 256
"""Jobs in one commit: enough to share a sync among all who wait, few enough that none waits long."""

Job = Callable[[], Any]
"""Changes the database inside the running transaction and returns the outcome, or raises CouchError."""


class Hooks:
    """What is to be done around a transaction, in the writer's thread."""

    def mark(self) -> object:
        """Before a job: what `reset` needs, should the job fail."""
        return None

    def reset(self, mark: object) -> None:
        """After a failed job was undone: take back what is kept in memory beside the database."""

    def before_commit(self) -> None:
        """Before it is committed: the last writes."""

    def committed(self) -> None:
        """After a commit."""

    def rolled_back(self) -> None:
        """After it was undone, and with it every job's effect."""


class _Entry(NamedTuple):
    job: Job
    future: asyncio.Future[Any]
    outside: bool


class Writer:
    """The writing thread of one database. It starts with the first job, and ends by `close`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        hooks: Hooks,
        loop: asyncio.AbstractEventLoop,
        *,
        published: Callable[[], None],
    ) -> None:
        """Take over the connection; outcomes are handed over in `loop`, after `published` was called there."""
        self._connection = connection
        self._hooks = hooks
        self._published = published
        self._loop = loop
        self._queue: deque[_Entry] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._is_unsure = False
        """Whether what the hooks keep may not be what is in the file, because it could not be read after a failure."""
        self._thread: threading.Thread | None = None

    def submit(self, job: Job, *, outside: bool = False) -> asyncio.Future[Any]:
        """Queue a job; the future resolves after its commit, with the job's outcome or error.

        A job `outside` runs alone and in no transaction, for statements that bear none.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        with self._wake:
            if self._closing:
                raise no_database()
            self._queue.append(_Entry(job, future, outside))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="couchlet-writer", daemon=True)
                self._thread.start()
            self._wake.notify()
        return future

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued."""
        return not self._queue

    def close(self) -> None:
        """Finish what is queued, end the thread and close the connection."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                batch = self._next_batch()
            if not batch:
                return
            jobs = [entry.job for entry in batch]
            try:
                outcomes = [self._run_outside(jobs[0])] if batch[0].outside else self._transact(jobs)
            except Exception as error:  # noqa: BLE001 - whatever it was, this thread goes on and those who wait are told
                self._is_unsure = True
                outcomes = [_unexpected(error)] * len(jobs)
            self._loop.call_soon_threadsafe(self._deliver, [entry.future for entry in batch], outcomes)

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        while self._queue and len(batch) < _MOST_JOBS:
            if self._queue[0].outside and batch:
                break
            batch.append(self._queue.popleft())
            if batch[-1].outside:
                break
        return batch

    def _run_outside(self, job: Job) -> Any:  # noqa: ANN401 - whatever the job returns
        try:
            return job()
        except sqlite3.Error as error:
            return storage_error(error)

    def _transact(self, jobs: list[Job]) -> list[Any]:
        """Run the jobs in one transaction; an outcome that is an exception is that job's error."""
        try:
            if self._is_unsure:
                self._take_back()
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._run_job(job) for job in jobs]
            self._hooks.before_commit()
            self._connection.execute("COMMIT")
            self._hooks.committed()
        except sqlite3.Error as error:
            return [self._undo(error)] * len(jobs)
        return outcomes

    def _undo(self, error: sqlite3.Error) -> CouchError:
        _LOG.error("a write failed and was undone: %s", error)
        try:
            self._take_back()
        except sqlite3.Error as second:
            _LOG.error("what is in the file cannot be read, which is tried again before the next write: %s", second)
        return storage_error(error)

    def _take_back(self) -> None:
        self._is_unsure = True
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._hooks.rolled_back()
        self._is_unsure = False

    def _run_job(self, job: Job) -> Any:  # noqa: ANN401 - whatever the job returns
        self._connection.execute("SAVEPOINT job")
        mark = self._hooks.mark()
        try:
            outcome = job()
        except sqlite3.Error:
            raise
        except Exception as error:  # noqa: BLE001 - one job's defect must not undo the others
            self._connection.execute("ROLLBACK TO job")
            self._hooks.reset(mark)
            outcome = error if isinstance(error, CouchError) else _unexpected(error)
        self._connection.execute("RELEASE job")
        return outcome

    def _deliver(self, futures: list[asyncio.Future[Any]], outcomes: list[Any]) -> None:
        self._published()
        for future, outcome in zip(futures, outcomes, strict=True):
            if future.cancelled():
                continue
            if isinstance(outcome, CouchError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _unexpected(error: Exception) -> CouchError:
    _LOG.error("a write failed unexpectedly", exc_info=error)
    return CouchError(500, "internal_server_error", f"The write failed: {type(error).__name__}.")


def storage_error(error: sqlite3.Error) -> CouchError:
    """Return the answer for a failure of SQLite: 507 for a full disk, else 500; never a 2xx."""
    full = getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
    if full or "full" in str(error):
        return CouchError(507, "insufficient_storage", "The disk is full: nothing was written. Free some space.")
    return CouchError(500, "internal_server_error", f"The database file could not be used: {error}.")
