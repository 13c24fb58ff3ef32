"""What there may be to take: selectors to look through, messages to fetch, and when to survey the whole queue again.

Several threads write it (the feed, the settler), one reads it. It knows nothing of the database.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_IDS_KEPT: Final = 2000
_NEVER: Final = float("inf")


class _Note(NamedTuple):
    selector: str
    at_s: float
    lapsed: bool


class Agenda:
    """The one list of what to do next; every moment in it is one of :func:`~shared.clock.elapsed_s`."""

    def __init__(self) -> None:
        """Begin with a survey that is due at once."""
        self._lock = threading.Lock()
        self._selectors: dict[str, None] = {}
        self._ids: dict[str, _Note] = {}
        self._survey_s = 0.0

    def look_through(self, selector: str) -> None:
        """Note that a selector may have ready messages; it goes to the end of the rotation."""
        with self._lock:
            self._selectors[selector] = None

    def fetch(self, message_id: str, selector: str, at_s: float, *, lapsed: bool = False) -> bool:
        """Note that a message may be taken from ``at_s`` on; False when there is no room for the note.

        ``lapsed`` says that its last holder did not come to the end of it.
        """
        with self._lock:
            before = self._ids.get(message_id)
            if before is None and len(self._ids) >= _IDS_KEPT:
                return False
            self._ids[message_id] = _Note(selector, min(at_s, before.at_s) if before else at_s, lapsed)
            return True

    def survey_by(self, at_s: float) -> bool:
        """Have the queue surveyed no later than ``at_s``; tell whether that is earlier than it would have been."""
        with self._lock:
            earlier = at_s < self._survey_s
            self._survey_s = min(self._survey_s, at_s)
            return earlier

    def take_survey(self, now_s: float) -> bool:
        """Tell whether a survey is due, and take it off: what is asked for while it is made will be another one."""
        with self._lock:
            due = self._survey_s <= now_s
            if due:
                self._survey_s = _NEVER
            return due

    def take_ids(self, now_s: float, room: Callable[[str, bool], bool]) -> list[str]:
        """Take off the messages to fetch now, as long as ``room`` says yes to the selector of each.

        It is also told whether the message was left by a lapsed lease.
        """
        with self._lock:
            taken = [
                message_id
                for message_id, note in self._ids.items()
                if note.at_s <= now_s and room(note.selector, note.lapsed)
            ]
            for message_id in taken:
                del self._ids[message_id]
            return taken

    def take_selectors(self, room: Callable[[str], bool]) -> list[str]:
        """Take off the selectors to look through now, for which there is ``room``, in rotation."""
        with self._lock:
            taken = [selector for selector in self._selectors if room(selector)]
            for selector in taken:
                del self._selectors[selector]
            return taken

    def next_s(self, room: Callable[[str, bool], bool]) -> float:
        """Return when there is something to do next for which there is ``room``, asked as by :meth:`take_ids`."""
        with self._lock:
            if any(room(selector, False) for selector in self._selectors):
                return 0.0
            times = [note.at_s for note in self._ids.values() if room(note.selector, note.lapsed)]
            return min([self._survey_s, *times])
