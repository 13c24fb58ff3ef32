"""Waking: one continuous, unfiltered ``_changes`` feed a process, as a hint; polling is the truth.

The ids of messages begin with their selector, so that the rows of the feed need neither filter nor fetching. After
every start and every break the feed begins at now, and whoever listens is told to look once by himself: nothing is
replayed and no sequences are compared.

A process that knows what to take next needs no waking, and each row costs the database as much as reading a message
does, for every process that hears of it. So in a flood the feed rests as long as there is work at hand.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from contextlib import closing
from typing import TYPE_CHECKING, Final, Protocol

from shared import errors, forks
from shared.bus.retry import BackOff
from shared.clock import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.answers import Change
    from shared.dbcon import Database

_LOG = logging.getLogger(__name__)
_OWN_WRITES_KEPT: Final = 2_000
_FLOOD_A_S: Final = 200.0
"""So many rows a second are a flood."""
_MEASURED_S: Final = 0.25
_LONGEST_REST_S: Final = 5.0
_UNHEARD_S: Final = 0.5


class Watcher(Protocol):
    """Somebody who wants to hear of changes."""

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear that a document has a new revision; ``generation`` 1 means that it is new, ``own`` that we wrote it."""

    def restarted(self) -> None:
        """Hear that changes may have been missed: look for yourself, once."""


class _Flow:
    """How many rows come, counted over a moment."""

    def __init__(self) -> None:
        """Begin to count."""
        self._rows, self._since_s = 0, elapsed_s()

    def is_flood(self) -> bool:
        """Count a row; tell whether those of the moment that is just over were very many."""
        self._rows += 1
        took_s = elapsed_s() - self._since_s
        if took_s < _MEASURED_S:
            return False
        rate, self._rows, self._since_s = self._rows / took_s, 0, elapsed_s()
        return rate > _FLOOD_A_S


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
        self._impatient: list[Callable[[], bool]] = []
        self._on_break: list[Callable[[], None]] = []
        self._on_open: list[Callable[[], None]] = []
        self._unheard: list[Callable[[], None]] = []
        self._stopped = threading.Event()
        self._hurry = threading.Event()
        self._hurry.set()
        self._made = ""
        """When the database was made that was read last, before a rest."""
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._start_lock = threading.Lock()
        self.own_writes = OwnWrites()

    def watch(self, watcher: Watcher, *, is_impatient: Callable[[], bool] = lambda: True) -> None:
        """Add somebody who wants to hear of changes; the feed does not rest while ``is_impatient``."""
        self._watchers.append(watcher)
        self._impatient.append(is_impatient)

    def when_broken(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the database may be another one from now on.

        That is when there is a line again after a break, and as soon as the database is seen to be missing.
        """
        self._on_break.append(callback)

    def when_open(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the first line opens, and each one after a break."""
        self._on_open.append(callback)

    def when_unheard(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called twice a second while the feed rests, to look for what cannot wait."""
        self._unheard.append(callback)

    def hurry(self, wanted: bool) -> None:
        """Take whether the process has nothing else to go by: without that the feed may rest from a flood."""
        if wanted:
            self._hurry.set()
        else:
            self._hurry.clear()

    def start(self) -> None:
        """Start reading, unless it has been started; one that rests goes on."""
        self._hurry.set()
        with self._start_lock:
            if self._thread.ident is None and not self._stopped.is_set():
                self._thread.start()

    def stop(self) -> None:
        """Stop reading; a silent line ends when the connection is closed."""
        self._stopped.set()
        self._hurry.set()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs, or has not been needed yet."""
        return self._thread.is_alive() or self._thread.ident is None

    def _run(self) -> None:
        pause, breaks = BackOff(first_s=0.1, longest_s=5.0, factor=2.0), 0
        while not self._stopped.is_set():
            begun_s = elapsed_s()
            try:
                may_be_another = True
                while self._read(may_be_another=may_be_another):
                    self._rest()
                    if self._stopped.is_set():
                        return
                    may_be_another = self._database.made() != self._made
            except errors.DatabaseError as error:
                _LOG.debug("feed of %s broke: %s", self._database.name, error)
                if isinstance(error, errors.DatabaseMissing):
                    _call_all(self._on_break)
            # A line that dies at once, cleanly or not, is no line: others who look after each break must not look all
            # the time.
            breaks = 0 if elapsed_s() - begun_s > self._heartbeat_s else breaks + 1
            self._stopped.wait(pause.wait_s(breaks))

    def _read(self, *, may_be_another: bool) -> bool:
        """Read from now on, until the line breaks, or there is a flood that the process can do without: then True.

        ``may_be_another`` is whether the database may not be the one that was read before.
        """
        since = self._database.last_seq()
        if may_be_another:
            _call_all([*self._on_break, *self._on_open])
        for watcher in self._watchers:
            watcher.restarted()
        flow = _Flow()
        with closing(self._database.feed(since, heartbeat_s=self._heartbeat_s)) as rows:
            for row in rows:
                if self._stopped.is_set():
                    return False
                self._tell(row)
                if flow.is_flood() and self._may_rest():
                    self._made = self._database.made()
                    return True
        return False

    def _may_rest(self) -> bool:
        return not (self._stopped.is_set() or self._hurry.is_set() or any(each() for each in self._impatient))

    def _rest(self) -> None:
        until_s = elapsed_s() + _LONGEST_REST_S
        while self._may_rest() and elapsed_s() < until_s:
            self._hurry.wait(_UNHEARD_S)
            _call_all(self._unheard)

    def _tell(self, row: Change) -> None:
        revisions = [leaf.rev for leaf in row.changes]
        if not revisions:
            return
        generation = forks.generation(revisions[0])
        own = all(revision in self.own_writes for revision in revisions)
        for watcher in self._watchers:
            watcher.changed(row.id, generation, own=own)


def _call_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
