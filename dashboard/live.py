"""What the dashboard knows from the feeds: one ``_changes`` reader a database, for all browsers together.

Those of the status entities, the messages and the actors keep the board, the flow, the post and the crew. Of the other
databases only that they changed is told, at most twice a second: pages fetch themselves anew then. A feed that breaks
is begun again from a whole reading, so that nothing can be missed; browsers are told that the database is away.
"""

from __future__ import annotations

import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from dashboard.board import Board, as_events
from dashboard.crew import Crew
from dashboard.flow import Flow
from dashboard.follower import Follower, Watcher
from dashboard.post import Post
from dashboard.stream import Stream
from shared import delivery, names, ngas, reports, status
from shared.actor import ACTORS_DATABASE
from shared.bus import queue
from shared.clock import elapsed_s
from shared.letters import unsettled
from shared.messages import process_selector

if TYPE_CHECKING:
    from dashboard.board import Move
    from shared.dbcon import DbConnection, Doc

WATCHED: Final = (reports.DATABASE, ngas.DATABASE, delivery.METADATA_DATABASE, delivery.STATUS_DATABASE)
"""The databases of which only that they changed is told."""

_LOG = logging.getLogger(__name__)
_TELL_S: Final = 0.5
_GATHER_S: Final = 0.4
_MOST_AT_ONCE: Final = 500
_LAUNCHES: Final = tuple(process_selector(each) for each in names.EXECUTIVES)


class Live:
    """The board, the flow, and the events for browsers."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server; nothing is read before :meth:`start`."""
        self._connection = connection
        self.board = Board()
        self.flow = Flow()
        self.post = Post(elapsed_s)
        self.crew = Crew()
        self.stream = Stream()
        self.away = ""
        """Why the database cannot be read now; empty while it can."""
        self.loaded = threading.Event()
        """Set once the status entities have been read for the first time, or could not be."""
        self.post_loaded = threading.Event()
        """Set once the messages have been read for the first time."""
        self.post_away = ""
        """Why the messages cannot be read now; empty while they can."""
        self._stopping = threading.Event()
        self._changed: set[str] = set()
        self._to_tell = threading.Event()
        self._moving = threading.Lock()
        """Held from a change of the board until it is told, so that browsers hear of changes in their order."""
        self._followers = self._made_followers()
        self._threads = [threading.Thread(target=self._tell, name="news", daemon=True)]

    def _made_followers(self) -> list[Follower | Watcher]:
        database = self._connection.database
        return [
            Follower(database(status.DATABASE), load=self._load, apply=self._apply, stands=self._is_away),
            Follower(
                database(queue.DATABASE),
                load=self._load_post,
                apply=self._apply_post,
                stands=self._is_post_away,
                gather_s=_GATHER_S,
            ),
            Follower(database(ACTORS_DATABASE), load=self._load_crew, apply=self._apply_crew, stands=_quiet),
            *(Watcher(database(name), changed=partial(self._note, name)) for name in WATCHED),
        ]

    def start(self) -> None:
        """Begin to read the feeds."""
        for follower in self._followers:
            follower.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the reading; feeds that wait for a line end with the process."""
        self._stopping.set()
        self._to_tell.set()
        for follower in self._followers:
            follower.stop()

    def is_alive(self) -> bool:
        """Tell whether every reader lives."""
        return all(each.is_alive() for each in [*self._followers, *self._threads])

    def _load(self) -> None:
        """Read everything, and tell what differs from what was known."""
        flow, seen, moves = Flow(), set(), []
        first = not self.loaded.is_set()
        with self._moving:
            try:
                for doc in self._connection.database(status.DATABASE).every():
                    flow.put(doc)
                    seen.add(doc["_id"])
                    if move := self.board.put(doc["_id"], doc):
                        moves.append(move)
                moves += self.board.keep_only(seen)
                self.flow = flow
                self.loaded.set()
            finally:  # what was read before it broke off is on the board, too
                if first or len(moves) > _MOST_AT_ONCE:
                    self.stream.publish("reload", {})
                else:
                    self._publish(moves)

    def _apply(self, docs: dict[str, Doc | None]) -> None:
        moves = []
        with self._moving:
            for doc_id, doc in docs.items():
                if doc is not None:
                    self.flow.put(doc)
                if move := self.board.put(doc_id, doc):
                    moves.append(move)
            self._publish(moves)
        self._note(status.DATABASE)

    def _publish(self, moves: list[Move]) -> None:
        """Tell of moves, if there are any; ``_moving`` is held."""
        if moves:
            self.stream.publish("moves", as_events(moves, self.board))

    def _load_post(self) -> None:
        self.post.begin(unsettled(self._connection.database(queue.DATABASE)))
        self.post_loaded.set()
        self._take_launches()
        self._note(queue.DATABASE)

    def _apply_post(self, docs: dict[str, Doc | None]) -> None:
        for message_id, doc in docs.items():
            self.post.put(message_id, doc)
        if any(message_id.startswith(_LAUNCHES) for message_id in docs):
            self._take_launches()
        self._note(queue.DATABASE)

    def _load_crew(self) -> None:
        self.crew.begin(self._connection.database(ACTORS_DATABASE).every())
        self._note(ACTORS_DATABASE)

    def _apply_crew(self, docs: dict[str, Doc | None]) -> None:
        for doc_id, doc in docs.items():
            self.crew.put(doc_id, doc)
        self._note(ACTORS_DATABASE)

    def _note(self, name: str) -> None:
        self._changed.add(name)
        self._to_tell.set()

    def _tell(self) -> None:
        """Tell what changed, and then no more for half a second, so that a flood is one event."""
        while not self._stopping.is_set():
            self._to_tell.wait()
            self._to_tell.clear()
            changed: list[str] = []
            while self._changed:
                changed.append(self._changed.pop())
            if changed:
                self.stream.publish("changed", {"databases": sorted(changed)})
            self._stopping.wait(_TELL_S)

    def launched(self) -> frozenset[str]:
        """Return the UIDs of the OUSs that have a launch which nobody has finished."""
        return self.post.launched(_LAUNCHES)

    def _take_launches(self) -> None:
        with self._moving:
            self._publish(self.board.launched(self.launched()))

    def _is_away(self, reason: str) -> None:
        if reason:
            self.loaded.set()
        if reason != self.away:
            self.away = reason
            self.stream.publish("state", {"away": reason})

    def _is_post_away(self, reason: str) -> None:
        if reason != self.post_away:
            self.post_away = reason
            self._note(queue.DATABASE)


def _quiet(reason: str) -> None:
    """Say nothing of a feed that broke: that of the status entities speaks for all of the database."""
    if reason:
        _LOG.debug("a feed broke: %s", reason)
