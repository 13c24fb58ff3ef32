"""Waking: one continuous, unfiltered ``_changes`` feed a process, as a hint; polling is the truth.

The ids of messages begin with their selector, so that the rows of the feed need neither filter nor fetching. After
every start and every break the feed begins at now, and whoever listens is told to look once by himself: nothing is
replayed and no sequences are compared.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

from shared import errors, forks
from shared.bus.retry import BackOff
from shared.clock import elapsed_s

if TYPE_CHECKING:
    from shared.dbcon import Database, Doc

_LOG = logging.getLogger(__name__)
_OWN_WRITES_KEPT: Final = 10_000


class Watcher(Protocol):
    """Somebody who wants to hear of changes."""

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear that a document has a new revision; ``generation`` 1 means that it is new, ``own`` that we wrote it."""

    def restarted(self) -> None:
        """Hear that changes may have been missed: look for yourself, once."""


class OwnWrites:
    """The newest revisions that this process wrote, which are no news to it."""

    def __init__(self) -> None:
        """Begin empty."""
        self._revisions: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, revision: str) -> None:
        """Note a revision that was just written."""
        with self._lock:
            self._revisions[revision] = None
            if len(self._revisions) > _OWN_WRITES_KEPT:
                self._revisions.popitem(last=False)

    def __contains__(self, revision: str) -> bool:
        """Tell whether this process wrote a revision."""
        with self._lock:
            return revision in self._revisions


class Feed:
    """Reads the feed of one database in a thread and tells the watchers."""

    def __init__(self, database: Database, *, heartbeat_s: float) -> None:
        """Take the database and how often (seconds) it has to show that the line is alive."""
        self._database = database
        self._heartbeat_s = heartbeat_s
        self._watchers: list[Watcher] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._start_lock = threading.Lock()
        self.own_writes = OwnWrites()

    def watch(self, watcher: Watcher) -> None:
        """Add somebody who wants to hear of changes."""
        self._watchers.append(watcher)

    def start(self) -> None:
        """Start reading, unless it has been started."""
        with self._start_lock:
            if not self._thread.is_alive() and not self._stopped.is_set():
                self._thread.start()

    def stop(self) -> None:
        """Stop reading; a silent line ends when the connection is closed."""
        self._stopped.set()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs, or has not been needed yet."""
        return self._thread.is_alive() or self._thread.ident is None

    def _run(self) -> None:
        pause, breaks = BackOff(first_s=0.1, longest_s=5.0, factor=2.0), 0
        while not self._stopped.is_set():
            begun_s = elapsed_s()
            try:
                self._read()
            except errors.DatabaseError as error:
                _LOG.debug("feed of %s broke: %s", self._database.name, error)
            # A line that dies at once, cleanly or not, is no line: others who look after each break must not look all
            # the time.
            breaks = 0 if elapsed_s() - begun_s > self._heartbeat_s else breaks + 1
            self._stopped.wait(pause.wait_s(breaks))

    def _read(self) -> None:
        since = self._database.last_seq()
        for watcher in self._watchers:
            watcher.restarted()
        for row in self._database.feed(since, heartbeat_s=self._heartbeat_s):
            if self._stopped.is_set():
                return
            self._tell(row)

    def _tell(self, row: Doc) -> None:
        revisions = [change["rev"] for change in row.get("changes", ())]
        if not revisions:
            return
        generation = forks.generation(revisions[0])
        own = all(revision in self.own_writes for revision in revisions)
        for watcher in self._watchers:
            watcher.changed(row["id"], generation, own=own)
