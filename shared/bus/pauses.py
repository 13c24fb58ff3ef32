"""Pausing: selectors of which nobody shall take messages, kept in the queue's database so that it outlasts everybody.

A pause is a control document of ``msgq``, ``control:pause:<pattern>``: outside every index of messages, and seen by
the one feed of every process, so that listeners obey at once. Messages are still sent; what has begun goes on.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import msgspec

from shared.bus import drains
from shared.bus.patterns import Pattern
from shared.clock import elapsed_s, stamp
from shared.errors import BadInput
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from shared.clock import Clock
    from shared.dbcon import Database, Doc

_PREFIX: Final = "control:pause:"
_SCHEMA: Final = 1
_NEVER: Final = float("inf")
_AGAIN_S: Final = 5.0
"""So long after a change the pauses are read once more: of several copies most may have been behind."""


class Pause(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who paused which selectors, since when and until when (UTC; without ``until``, until somebody resumes), why."""

    pattern: str
    by: str
    since: str
    reason: str
    until: str | None = None

    def is_over(self, now: datetime) -> bool:
        """Tell whether the pause has ended by itself."""
        return self.until is not None and moment(self.until) <= now


def new(pattern: str, *, by: str, reason: str, now: datetime, until: datetime | None) -> Pause:
    """Return the pause of a selector or a range (``cached.*``), which :func:`keep` puts in force.

    Raises BadInput for what is no selector, without a reason, or with an end that is past.
    """
    if not reason.strip():
        raise BadInput("a pause needs a reason, for whoever wonders why nothing moves")
    if until is not None and until <= now:
        raise BadInput(f"{stamp(until)} is past: a pause ends later than now")
    return Pause(Pattern(pattern).text, by, stamp(now), reason, stamp(until) if until else None)


def keep(database: Database, made: Pause) -> None:
    """Put a pause in force; what is paused already gets its reason and end."""
    fields = msgspec.to_builtins(made) | {"schema": _SCHEMA}
    database.mutate(_PREFIX + made.pattern, lambda doc: {"_rev": doc["_rev"], **fields} if doc else fields)


def pause(database: Database, pattern: str, *, by: str, reason: str, now: datetime, until: datetime | None) -> Pause:
    """Pause a selector or a range, as :func:`new` and :func:`keep` do."""
    made = new(pattern, by=by, reason=reason, now=now, until=until)
    keep(database, made)
    return made


def held(database: Database, pattern: str) -> tuple[str, Pause | None]:
    """Return the revision and the pause of exactly this pattern, in force or past its end; empty and None for none."""
    doc = database.get(_PREFIX + Pattern(pattern).text)
    return (str(doc["_rev"]), _read(doc)) if doc else ("", None)


def resume(database: Database, pattern: str) -> bool:
    """Lift the pause of exactly this pattern; False where there is none."""
    return database.delete(_PREFIX + Pattern(pattern).text)


def current(database: Database, now: datetime, heard_of: Iterable[str] = ()) -> list[Pause]:
    """Return the pauses that are in force, by pattern.

    A cluster lists them from one copy of a shard, which may be behind; those that were ``heard_of`` (ids of documents)
    are read from several, as the listed ones are.
    """
    ids = {row["id"] for row in database.rows(startkey=_PREFIX, endkey=_PREFIX + "\ufff0")} | set(heard_of)
    found = [_read(doc) for doc in database.fetch(sorted(ids)) if doc] if ids else []
    return [each for each in found if each and not each.is_over(now)]


def _read(doc: Doc) -> Pause | None:
    try:
        made = msgspec.convert(doc, Pause)
        Pattern(made.pattern)
        made.is_over(moment(made.since))
    except (msgspec.ValidationError, BadInput, ValueError):
        return None  # made by hand, and not a pause that could be obeyed: 'drw doctor' shows it
    return made


class Pauses:
    """The pauses as a listening process knows them. It is a :class:`~shared.bus.wake.Watcher`."""

    def __init__(self, database: Database, clock: Clock, *, me: str, on_change: Callable[[], None]) -> None:
        """Take the queue's database and its time, and the process's name, under which it may be drained.

        ``on_change`` is called when the pauses have to be read again.
        """
        self._database = database
        self._drain_id = drains.document_id(me)
        self._is_drained = False
        self._clock = clock
        self._on_change = on_change
        self._stale = threading.Event()
        self._stale.set()
        self._again_s = _NEVER
        self._heard_of: set[str] = set()
        self._pauses: list[tuple[Pattern, float]] = []
        self._in_force: frozenset[str] = frozenset()

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear of a change: only pauses matter, and the drain of this process."""
        del generation, own
        if doc_id.startswith(_PREFIX):
            self._heard_of.add(doc_id)
        elif doc_id != self._drain_id:
            return
        self._again_s = elapsed_s() + _AGAIN_S
        self.restarted()

    def restarted(self) -> None:
        """Hear that changes may have been missed."""
        self._stale.set()
        self._on_change()

    def refresh(self) -> bool:
        """Read the pauses if they may have changed, and tell whether one that was in force is so no more.

        Raises DatabaseError, and what was known then stays in force.
        """
        if elapsed_s() >= self._again_s:
            self._again_s = _NEVER  # before they are read: a change that is heard of meanwhile sets it anew
            self._stale.set()
        if self._stale.is_set():
            self._read_all()
        before, self._in_force = self._in_force, self._names()
        return not before <= self._in_force

    def _names(self) -> frozenset[str]:
        """Return what holds messages now: patterns, and the drain of this process."""
        now_s = elapsed_s()
        paused = {pattern.text for pattern, end_s in self._pauses if now_s < end_s}
        return frozenset(paused | {self._drain_id} if self._is_drained else paused)

    def _read_all(self) -> None:
        self._stale.clear()
        now = self._clock.now()
        try:
            pauses = current(self._database, now, self._heard_of.copy())
            self._is_drained = self._database.get(self._drain_id) is not None
        except BaseException:
            self._stale.set()
            raise
        now_s = elapsed_s()
        self._pauses = [
            (Pattern(each.pattern), now_s + (moment(each.until) - now).total_seconds() if each.until else _NEVER)
            for each in pauses
        ]

    def holds(self, selector: str) -> bool:
        """Tell whether a selector is paused now, or this process is to take nothing."""
        return self._is_drained or any(
            pattern.covers(selector) and elapsed_s() < end_s for pattern, end_s in self._pauses
        )

    def next_end_s(self) -> float:
        """Return when to look again at what is paused, as when one ends by itself: a moment of elapsed_s."""
        now_s = elapsed_s()
        return min([self._again_s, *(end_s for _, end_s in self._pauses if end_s > now_s)])
