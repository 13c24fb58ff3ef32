"""What there may be to take: selectors to look through, messages to fetch, and when to survey the whole queue again.

Several threads write it (the feed, the settler), one reads it. It knows nothing of the database.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NOTES_A_SELECTOR: Final = 500
_SOON_S: Final = 1.0
_NEVER: Final = float("inf")


class _Note(NamedTuple):
    selector: str
    at_s: float
    lapsed: bool
    fresh: bool
    priority: int = 0

    def is_due(self, now_s: float) -> bool:
        """Tell whether it was delayed, by whoever sent it or tried it, and may be taken now in its turn."""
        return self.at_s <= now_s and not (self.lapsed or self.fresh)


class Agenda:
    """The one list of what to do next; every moment in it is one of :func:`~shared.clock.elapsed_s`."""

    def __init__(self) -> None:
        """Begin with a survey that is due at once."""
        self._lock = threading.Lock()
        self._selectors: dict[str, None] = {}
        self._ids: dict[str, _Note] = {}
        self._notes: Counter[str] = Counter()
        self._survey_s = 0.0

    def look_through(self, selector: str) -> None:
        """Note that a selector may have ready messages; it goes to the end of the rotation."""
        with self._lock:
            self._selectors[selector] = None

    def fetch_new(self, message_id: str, selector: str, now_s: float) -> None:
        """Note that a message was just sent.

        It is fetched if there is room for it at once. Otherwise its turn is that which it has among the others.
        """
        with self._lock:
            if self._notes[selector] >= _NOTES_A_SELECTOR:
                self._leave_to_the_index(selector, now_s)
            else:
                self._note(message_id, _Note(selector, 0.0, lapsed=False, fresh=True))

    def fetch(
        self,
        message_id: str,
        selector: str,
        now_s: float,
        *,
        priority: int,
        in_s: float = 0.0,
        lapsed: bool = False,
    ) -> None:
        """Note that a message may be taken ``in_s`` seconds from now on; with too many notes a survey finds it then.

        ``lapsed`` says that its last holder did not come to the end of it.
        """
        at_s = now_s + in_s
        with self._lock:
            before = self._ids.get(message_id)
            if before is None and self._notes[selector] >= _NOTES_A_SELECTOR:
                self._survey_s = min(self._survey_s, max(at_s, now_s + _SOON_S))
            else:
                at_s = min(at_s, before.at_s) if before else at_s
                self._note(message_id, _Note(selector, at_s, lapsed, fresh=False, priority=priority))

    def _leave_to_the_index(self, selector: str, now_s: float) -> None:
        """Have a selector looked through, and the queue surveyed soon: what was sent with a delay is not ready."""
        self._selectors[selector] = None
        self._survey_s = min(self._survey_s, now_s + _SOON_S)

    def _note(self, message_id: str, note: _Note) -> None:
        self._notes[note.selector] += message_id not in self._ids
        self._ids[message_id] = note

    def _forget(self, message_id: str) -> None:
        note = self._ids.pop(message_id, None)
        if note is not None:
            self._notes[note.selector] -= 1
            if not self._notes[note.selector]:
                del self._notes[note.selector]

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

    def due(self, now_s: float) -> dict[str, int]:
        """Return the selectors of which something that was delayed is due, with the priority of the most urgent."""
        most: dict[str, int] = {}
        with self._lock:
            for note in self._ids.values():
                if note.is_due(now_s):
                    most[note.selector] = min(note.priority, most.get(note.selector, note.priority))
            return most

    def has_to_look_through(self, selector: str) -> bool:
        """Tell whether a selector may have ready messages."""
        with self._lock:
            return selector in self._selectors

    def take_ids(
        self, now_s: float, room: Callable[[str, bool], bool], *, ready: Mapping[str, int] | None = None
    ) -> list[str]:
        """Take off the messages to fetch now, as long as ``room`` says yes to the selector of each.

        It is also told whether the message was left by a lapsed lease. ``ready`` is the priority of the most urgent
        ready message of selectors, which what was delayed and is less urgent waits for. New ones are fetched if there
        is room for all of their selector; else they are found by looking through it, most urgent and then oldest first.
        """
        taken: list[str] = []
        fresh: dict[str, list[str]] = {}
        with self._lock:
            for message_id, note in sorted(self._ids.items(), key=lambda each: each[1].priority):
                if note.at_s > now_s:
                    continue
                if note.fresh:
                    fresh.setdefault(note.selector, []).append(message_id)
                elif note.is_due(now_s) and ready and note.priority > ready.get(note.selector, note.priority):
                    continue
                elif room(note.selector, note.lapsed):
                    taken.append(message_id)
            for selector, ids in fresh.items():
                if selector not in self._selectors and all(room(selector, False) for _ in ids):
                    taken += ids
                else:
                    self._leave_to_the_index(selector, now_s)
            for message_id in [*taken, *(each for ids in fresh.values() for each in ids)]:
                self._forget(message_id)
            return taken

    def lapsed(self, now_s: float) -> set[str]:
        """Return the selectors of messages that were left by a lapsed lease and may be fetched now."""
        with self._lock:
            return {note.selector for note in self._ids.values() if note.lapsed and note.at_s <= now_s}

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
