"""The list of what waits for review, kept up to date while the prompt waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from actors.aqua_qa2.scores import UNREAD
from shared import status
from shared.bus.wake import Feed
from shared.errors import DrwError

if TYPE_CHECKING:
    from actors.aqua_qa2.desk import Desk
    from actors.aqua_qa2.listing import Row
    from shared.actor import Actor

_REPORTS_AT_ONCE: Final = 20
_REST_S: Final = 0.5
"""Between two looks, however much changes."""


class Board:
    """What waits, each OUS under a number that it keeps: the one that was read is the one that is meant.

    It is a watcher of the feed of OUSs' states.
    """

    def __init__(self, me: Actor, desk: Desk) -> None:
        """Take the actor and the desk to ask."""
        self._me = me
        self._desk = desk
        self._numbers: dict[str, int] = {}
        self._rows: dict[int, Row] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self.problem = ""

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear that an OUS has changed."""
        del doc_id, generation, own
        self._wake.set()

    def restarted(self) -> None:
        """Hear that changes may have been missed."""
        self._wake.set()

    def rows(self) -> dict[int, Row]:
        """Return what was found last, by number."""
        with self._lock:
            return dict(self._rows)

    def uids(self) -> dict[int, str]:
        """Return the UIDs by number."""
        return {number: row.ous for number, row in self.rows().items()}

    def gone(self) -> dict[int, str]:
        """Return the UIDs that were in the list and are no longer, by number."""
        with self._lock:
            return {number: uid for uid, number in self._numbers.items() if number not in self._rows}

    def look(self) -> None:
        """Look what waits now; while the database is away the list stays as it was, and ``problem`` says why.

        A few reports are read each time, so that a long list is there at once and its scores come soon after.
        """
        try:
            found = self._desk.rows(_REPORTS_AT_ONCE)
        except DrwError as error:
            self.problem = str(error)
            return
        with self._lock:
            for row in found:
                self._numbers.setdefault(row.ous, len(self._numbers) + 1)
            self._rows = {self._numbers[row.ous]: row for row in found}
            self.problem = ""
        if any(row.scores is UNREAD for row in found):
            self._wake.set()

    def follow(self) -> None:
        """Look whenever an OUS changes, and at each heartbeat, because reviewers can die; until the actor stops."""
        feed = Feed(self._me.connection.database(status.DATABASE), heartbeat_s=self._me.settings.heartbeat_s)
        feed.watch(self)
        feed.start()
        try:
            while not self._me.stopping.is_set():
                self._wake.wait(self._me.settings.heartbeat_s)
                self._wake.clear()
                self.look()
                self._me.stopping.wait(_REST_S)
        finally:
            feed.stop()
