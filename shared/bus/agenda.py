"""What there may be to take: selectors to look through, messages to fetch, and when to survey the whole queue again.

Several threads write it (the feed, the settler), one reads it. It knows nothing of the database.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_IDS_KEPT: Final = 2000
_NEVER: Final = float("inf")


class Agenda:
    """The one list of what to do next; every moment in it is one of :func:`~shared.clock.elapsed_s`."""

    def __init__(self) -> None:
        """Begin with a survey that is due at once."""
        self._lock = threading.Lock()
        self._selectors: dict[str, None] = {}
        self._ids: dict[str, tuple[str, float]] = {}
        self._survey_s = 0.0

    def look_through(self, selector: str) -> None:
        """Note that a selector may have ready messages; it goes to the end of the rotation."""
        with self._lock:
            self._selectors[selector] = None

    def fetch(self, message_id: str, selector: str, at_s: float) -> bool:
        """Note that a message may be taken from ``at_s`` on; False when there is no room for the note."""
        with self._lock:
            before = self._ids.get(message_id)
            if before is None and len(self._ids) >= _IDS_KEPT:
                return False
            self._ids[message_id] = (selector, min(at_s, before[1]) if before else at_s)
            return True

    def survey_by(self, at_s: float) -> None:
        """Have the queue surveyed no later than ``at_s``."""
        with self._lock:
            self._survey_s = min(self._survey_s, at_s)

    def take_survey(self, now_s: float) -> bool:
        """Tell whether a survey is due, and take it off: what is asked for while it is made will be another one."""
        with self._lock:
            due = self._survey_s <= now_s
            if due:
                self._survey_s = _NEVER
            return due

    def take_ids(self, now_s: float, room: Callable[[str], bool]) -> list[str]:
        """Take off the messages to fetch now, as long as ``room``, asked for the selector of each, says yes."""
        with self._lock:
            taken = [
                message_id for message_id, (selector, at_s) in self._ids.items() if at_s <= now_s and room(selector)
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

    def next_s(self, room: Callable[[str], bool]) -> float:
        """Return when there is something to do next for which there is ``room``."""
        with self._lock:
            if any(room(selector) for selector in self._selectors):
                return 0.0
            times = [at_s for selector, at_s in self._ids.values() if room(selector)]
            return min([self._survey_s, *times])
