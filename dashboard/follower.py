"""Following a database: all of it is read at first, and again after each break; then what the feed says has changed."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from shared.bus.retry import BackOff
from shared.errors import DrwError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.dbcon import Database, Doc

HEARTBEAT_S: Final = 4.0
_BACK_OFF: Final = BackOff(first_s=0.2, longest_s=3.0, factor=1.5)
_AGAIN_S: Final = 0.2
_LOG = logging.getLogger(__name__)


class Watcher:
    """Says that something in a database changed, or may have while its feed was broken."""

    def __init__(self, database: Database, *, changed: Callable[[], None]) -> None:
        """Take the database and whom to tell."""
        self._database = database
        self._changed = changed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._hear, name=f"feed of {database.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a feed that waits for a line ends with the process."""
        self._stopping.set()

    def is_alive(self) -> bool:
        """Tell whether its thread lives."""
        return self._thread.is_alive()

    def _hear(self) -> None:
        tries = 0
        while not self._stopping.is_set():
            try:
                since = self._database.last_seq()
                self._changed()
                tries = 0
                for row in self._database.feed(since, heartbeat_s=HEARTBEAT_S):
                    if self._stopping.is_set():
                        return
                    if row.id:
                        self._changed()
            except DrwError as error:
                _LOG.debug("%s is not followed: %s", self._database.name, error)
            tries += 1
            self._stopping.wait(_BACK_OFF.wait_s(tries))


class Follower:
    """Follows one database, by two threads: one hears what changed, the other fetches it, many documents at once."""

    AT_ONCE: Final = 300

    def __init__(
        self,
        database: Database,
        *,
        load: Callable[[], None],
        apply: Callable[[dict[str, Doc | None]], None],
        stands: Callable[[str], None],
        gather_s: float = 0.0,
    ) -> None:
        """Take what reads everything, what takes in changed documents, and whom to tell that it is away, or is not.

        ``gather_s`` is how long changes are gathered before they are fetched together.
        """
        self._database = database
        self._load = load
        self._apply = apply
        self._stands = stands
        self._gather_s = gather_s
        self._stopping = threading.Event()
        self._reading = 0
        self._taking_in = threading.Lock()
        """Held while changes are taken in: a whole reading begins before or after it."""
        self._pending: set[str] = set()
        self._to_fetch = threading.Event()
        self._threads = [
            threading.Thread(target=run, name=f"{what} {database.name}", daemon=True)
            for what, run in (("feed of", self._hear), ("changes of", self._fetch))
        ]

    def start(self) -> None:
        """Begin."""
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """End; a feed that waits for a line ends with the process."""
        self._stopping.set()
        self._to_fetch.set()

    def is_alive(self) -> bool:
        """Tell whether both threads live."""
        return all(each.is_alive() for each in self._threads)

    def _hear(self) -> None:
        tries = 0
        while not self._stopping.is_set():
            try:
                since = self._database.last_seq()
                with self._taking_in:  # what was fetched before this is not taken in any more
                    self._reading += 1
                self._load()
                self._stands("")
                tries = 0
                self._follow(since)
            except DrwError as error:
                self._stands(str(error))
            tries += 1
            self._stopping.wait(_BACK_OFF.wait_s(tries))

    def _follow(self, since: str) -> None:
        for row in self._database.feed(since, heartbeat_s=HEARTBEAT_S):
            if self._stopping.is_set():
                return
            if row.id:
                self._pending.add(row.id)
                self._to_fetch.set()

    def _fetch(self) -> None:
        while not self._stopping.is_set():
            self._to_fetch.wait()
            self._stopping.wait(self._gather_s)
            self._to_fetch.clear()
            ids = [self._pending.pop() for _ in range(min(len(self._pending), self.AT_ONCE))]
            if self._pending:
                self._to_fetch.set()
            wanted = [each for each in ids if not each.startswith("_design/")]
            if not wanted:
                continue
            try:
                is_done = self._take_in(wanted)
            except DrwError as error:
                _LOG.debug("%d changes of %s cannot be read yet: %s", len(wanted), self._database.name, error)
                is_done = False
            if not is_done:
                self._pending.update(wanted)
                self._stopping.wait(_AGAIN_S)
                self._to_fetch.set()

    def _take_in(self, wanted: list[str]) -> bool:
        """Fetch some documents and take them in; False where all was begun to be read anew meanwhile.

        What was fetched before may be older than that reading, and the feed goes on behind what changed in between.
        """
        reading = self._reading
        docs = self._database.fetch(wanted)
        with self._taking_in:
            if reading == self._reading:
                self._apply(dict(zip(wanted, docs, strict=True)))
            return reading == self._reading
