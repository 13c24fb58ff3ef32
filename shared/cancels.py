"""Cancelling: launches of an OUS that a person has taken back, whether or not their runs have begun.

A cancellation is a control document of ``msgq``, ``control:cancel:<document id of the OUS>``, outside every index of
messages, and seen by the one feed of every process: so the driver that runs the pipeline ends it, on whatever machine.
It names the messages that it takes back. Whoever holds one of them, a driver at work, the next driver after one that
died, or ``drw cancel`` itself, ends that work and says so to xtss; each of them may be the second to do so.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from shared import lifecycle, names
from shared.bus import envelope
from shared.clock import stamp
from shared.errors import BadInput, StateRefused
from shared.logs import Trouble
from shared.messages import XTSS
from shared.status import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from shared.bus import Message
    from shared.dbcon import Database, Doc
    from shared.state import StateClient

_LOG = logging.getLogger(__name__)
NOTE: Final = "cancelled: "
"""What the history's note of a cancelled run begins with."""

_PREFIX: Final = "control:cancel:"
_SCHEMA: Final = 1
_KEPT: Final = 50


class Cancellation(msgspec.Struct, frozen=True):
    """Which launches of an OUS were taken back, the newest last, by their messages; by whom, when (UTC), and why."""

    ous: str
    by: str
    at: str
    reason: str
    messages: list[str]

    @property
    def note(self) -> str:
        """What the OUS's history says of it."""
        return NOTE + self.reason


def refuse_without(reason: str) -> None:
    """Raise BadInput where a cancellation has no reason."""
    if not reason.strip():
        raise BadInput("a cancellation needs a reason, for whoever finds the OUS stopped")


def cancel(
    database: Database, ous_uid: str, messages: Sequence[str], *, by: str, reason: str, now: datetime
) -> Cancellation:
    """Take back the launches of an OUS that were sent as ``messages``; return the cancellation as it is kept then.

    Those that were cancelled before stay so, in the name of who did it. Raises BadInput without a reason.
    """
    refuse_without(reason)

    def change(doc: Doc | None) -> Doc | None:
        before = _read(doc)
        known = before.messages if before else []
        fresh = [each for each in messages if each not in known]
        if before and not fresh:
            return None
        made = Cancellation(ous_uid, by, stamp(now), reason, [*known, *fresh][-_KEPT:])
        return {"schema": _SCHEMA, **msgspec.to_builtins(made)} | ({"_rev": doc["_rev"]} if doc else {})

    kept = _read(database.mutate(_document_id(ous_uid), change))
    assert kept is not None
    return kept


def of_ous(database: Database, ous_uid: str) -> Cancellation | None:
    """Return what was cancelled of an OUS, None if nothing ever was."""
    return _read(database.get(_document_id(ous_uid)))


def end(state: StateClient, message: Message, cancellation: Cancellation) -> None:
    """Have the OUS of a cancelled launch leave Processing: it then has a ProcessingProblem, which says who and why.

    One whose run has not begun stays ReadyForProcessing, and one that was launched anew is left alone. Asked twice, it
    is done once. Raises as :class:`~shared.state.StateClient`.
    """
    # Who cancels a later launch of the same OUS has other words: that is another request, not this one repeated.
    name = envelope.worded("cancelled", cancellation.by, cancellation.note)
    try:
        state.set(
            cancellation.ous,
            Change(state=lifecycle.PROCESSING_PROBLEM),
            expected=(lifecycle.PROCESSING,),
            launched=str(message.body.get("launchedAt") or ""),
            note=cancellation.note,
            by=cancellation.by,
            message_id=envelope.caused_id(XTSS, message.id, message.epoch, name),
        )
    except StateRefused:
        return  # it is not, or no longer, in the Processing that was cancelled: there is nothing to leave


class Cancellations:
    """Tells those who run something whether it was cancelled. It is a :class:`~shared.bus.wake.Watcher`."""

    def __init__(self, database: Database) -> None:
        """Take the queue's database."""
        self._database = database
        self._watched: list[tuple[str, threading.Event]] = []
        self._lock = threading.Lock()
        self._unreadable = Trouble(_LOG, "whether a launch was cancelled cannot be read, and it goes on")

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear of a change: only cancellations of what is watched matter."""
        del generation, own
        if doc_id.startswith(_PREFIX):
            self._tell(doc_id)

    def restarted(self) -> None:
        """Hear that changes may have been missed."""
        self._tell("")

    def _tell(self, doc_id: str) -> None:
        with self._lock:
            for watched, news in self._watched:
                if doc_id in {"", watched}:
                    news.set()

    @contextmanager
    def watching(self, ous_uid: str) -> Iterator[threading.Event]:
        """Give an event that is set whenever a cancellation of this OUS may have come, and at first."""
        entry = (_document_id(ous_uid), threading.Event())
        entry[1].set()
        with self._lock:
            self._watched.append(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                self._watched.remove(entry)

    def of(self, message: Message) -> Cancellation | None:
        """Return the cancellation of the launch that a message is, None while it stands; raises DatabaseError.

        What is no cancellation cancels nothing, and is said.
        """
        try:
            document = _document_id(message.body.get("ousUID"))
        except BadInput:
            return None  # of no OUS, as its handler finds
        try:
            found = _read(self._database.get(document))
        except BadInput as error:
            self._unreadable.met(error)
            return None
        return found if found and message.id in found.messages else None


def _document_id(ous_uid: object) -> str:
    return _PREFIX + names.document_id(names.uid(ous_uid))


def _read(doc: Doc | None) -> Cancellation | None:
    try:
        return msgspec.convert(doc, Cancellation) if doc else None
    except msgspec.ValidationError as error:
        raise BadInput(f"document {(doc or {}).get('_id')} is no cancellation ({error}): delete it") from error
