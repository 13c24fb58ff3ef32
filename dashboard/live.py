"""What the dashboard knows from the feeds: one ``_changes`` reader a database, for all browsers together.

The reader of the status entities keeps the board and the flow. Of the other databases only that they changed is told,
at most twice a second: pages fetch themselves anew then. A feed that breaks is begun again from a whole reading, so
that nothing can be missed, and all browsers are told that the database is away until then.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from dashboard.board import Board, as_events
from dashboard.flow import Flow
from dashboard.stream import Stream
from dashboard.tables import open_launches
from shared import delivery, ngas, reports, status
from shared.actor import ACTORS_DATABASE
from shared.bus import queue
from shared.bus.retry import BackOff
from shared.errors import DrwError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.dbcon import DbConnection, Doc

WATCHED: Final = (
    queue.DATABASE,
    ACTORS_DATABASE,
    reports.DATABASE,
    ngas.DATABASE,
    delivery.METADATA_DATABASE,
    delivery.STATUS_DATABASE,
)
_LOG = logging.getLogger(__name__)
_HEARTBEAT_S: Final = 4.0
_TELL_S: Final = 0.5
_AGAIN_S: Final = 0.2
_MOST_AT_ONCE: Final = 500
_LAUNCHES: Final = "pipeline.process."


class Live:
    """The board, the flow, and the events for browsers."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server; nothing is read before :meth:`start`."""
        self._connection = connection
        self.board = Board()
        self.flow = Flow()
        self.stream = Stream()
        self.away = ""
        """Why the database cannot be read now; empty while it can."""
        self.loaded = threading.Event()
        """Set once the status entities have been read for the first time, or could not be."""
        self._stopping = threading.Event()
        self._changed: set[str] = set()
        self._to_tell = threading.Event()
        self._pending: set[str] = set()
        self._to_fetch = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to read the feeds."""
        readers: dict[str, Callable[[], None]] = {"status feed": self._read_status, "status": self._apply_status}
        readers["news"] = self._tell
        for name in WATCHED:
            readers[f"feed of {name}"] = lambda name=name: self._watch(name)  # type: ignore[misc]
        for name, run in readers.items():
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the reading; feeds that wait for a line end with the process."""
        self._stopping.set()
        self._to_tell.set()
        self._to_fetch.set()

    def is_alive(self) -> bool:
        """Tell whether every reader lives."""
        return all(thread.is_alive() for thread in self._threads)

    def _read_status(self) -> None:
        database = self._connection.database(status.DATABASE)

        def follow() -> None:
            since = database.last_seq()
            self._load()
            self._is_away("")
            for row in database.feed(since, heartbeat_s=_HEARTBEAT_S):
                if self._stopping.is_set():
                    return
                if row.get("id"):
                    self._pending.add(row["id"])
                    self._to_fetch.set()

        self._persist(follow, self._is_away)

    def _load(self) -> None:
        """Read everything, and tell what differs from what was known."""
        flow, seen, moves = Flow(), set(), []
        first = not self.loaded.is_set()
        for doc in self._connection.database(status.DATABASE).every():
            flow.put(doc)
            seen.add(doc["_id"])
            if move := self.board.put(doc["_id"], doc):
                moves.append(move)
        moves += self.board.keep_only(seen)
        self.flow = flow
        self.board.launched(frozenset(open_launches(self._connection.database(queue.DATABASE))))
        self.loaded.set()
        if first or len(moves) > _MOST_AT_ONCE:
            self.stream.publish("reload", {})
        elif moves:
            self.stream.publish("moves", as_events(moves, self.board))

    def _apply_status(self) -> None:
        database = self._connection.database(status.DATABASE)
        while not self._stopping.is_set():
            self._to_fetch.wait()
            self._to_fetch.clear()
            ids: list[str] = []
            while self._pending and len(ids) < _MOST_AT_ONCE:
                ids.append(self._pending.pop())
            if self._pending:
                self._to_fetch.set()
            wanted = [each for each in ids if not each.startswith("_design/")]
            if not wanted:
                continue
            try:
                self._apply(dict(zip(wanted, database.fetch(wanted), strict=True)))
            except DrwError as error:
                _LOG.debug("%d changed OUSs could not be read, trying again: %s", len(wanted), error)
                self._pending.update(wanted)
                self._stopping.wait(_AGAIN_S)
                self._to_fetch.set()

    def _apply(self, docs: dict[str, Doc | None]) -> None:
        moves = []
        for doc_id, doc in docs.items():
            if doc is not None:
                self.flow.put(doc)
            if move := self.board.put(doc_id, doc):
                moves.append(move)
        if moves:
            self.stream.publish("moves", as_events(moves, self.board))
        self._note(status.DATABASE)

    def _watch(self, name: str) -> None:
        database = self._connection.database(name)

        def follow() -> None:
            since = database.last_seq()
            self._note(name)
            for row in database.feed(since, heartbeat_s=_HEARTBEAT_S):
                if self._stopping.is_set():
                    return
                if row.get("id"):
                    self._note(name)
                    if name == queue.DATABASE and row["id"].startswith(_LAUNCHES):
                        self._note(_LAUNCHES)

        self._persist(follow, lambda reason: _LOG.debug("%s is not followed: %s", name, reason))

    def _note(self, name: str) -> None:
        self._changed.add(name)
        self._to_tell.set()

    def _tell(self) -> None:
        """Tell what changed, and then no more for half a second, so that a flood is one event."""
        while not self._stopping.is_set():
            self._to_tell.wait()
            self._to_tell.clear()
            names: list[str] = []
            while self._changed:
                names.append(self._changed.pop())
            if _LAUNCHES in names:
                self._take_launches()
            self.stream.publish("changed", {"databases": sorted(set(names) - {_LAUNCHES})})
            self._stopping.wait(_TELL_S)

    def _take_launches(self) -> None:
        try:
            found = frozenset(open_launches(self._connection.database(queue.DATABASE)))
        except DrwError as error:
            _LOG.debug("open launches could not be read: %s", error)
            return
        if moves := self.board.launched(found):
            self.stream.publish("moves", as_events(moves, self.board))

    def _is_away(self, reason: str) -> None:
        if reason:
            self.loaded.set()
        if reason != self.away:
            self.away = reason
            self.stream.publish("state", {"away": reason})

    def _persist(self, follow: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Follow a feed, again after each failure, until the end."""
        back_off, tries = BackOff(first_s=0.2, longest_s=3.0, factor=1.5), 0
        while not self._stopping.is_set():
            begun = self.stream.position
            try:
                follow()
            except DrwError as error:
                failed(str(error))
            tries = 0 if self.stream.position != begun and not self.away else tries + 1
            self._stopping.wait(back_off.wait_s(max(tries, 1)))
