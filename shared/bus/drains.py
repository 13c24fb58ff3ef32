"""Draining: actors that are to finish what they have and take nothing new.

A drain is a control document of ``msgq``, ``control:drain:<actor>``, so that the one feed of every process tells the
actor at once, wherever it runs, and that it outlasts the database. An actor's name has its process in it: a drain is
over when somebody ends it, and with that process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared.clock import stamp
from shared.errors import BadInput

if TYPE_CHECKING:
    from datetime import datetime

    from shared.dbcon import Database

_PREFIX: Final = "control:drain:"
_SCHEMA: Final = 1


class Drain(msgspec.Struct, frozen=True):
    """Which actor is drained, by whom, since when (UTC), and why."""

    actor: str
    by: str
    since: str
    reason: str


def document_id(actor: str) -> str:
    """Return the id of the document that drains an actor."""
    return _PREFIX + actor


def refuse_without(reason: str) -> None:
    """Raise BadInput where a drain has no reason."""
    if not reason.strip():
        raise BadInput("a drain needs a reason, for whoever wonders why that actor is idle")


def drain(database: Database, actor: str, *, by: str, reason: str, now: datetime) -> Drain:
    """Have an actor take nothing new; one that is drained already gets the new reason. BadInput without a reason."""
    refuse_without(reason)
    made = Drain(actor, by, stamp(now), reason)
    fields = msgspec.to_builtins(made) | {"schema": _SCHEMA}
    database.mutate(document_id(actor), lambda doc: {"_rev": doc["_rev"], **fields} if doc else fields)
    return made


def end(database: Database, actor: str) -> bool:
    """Let an actor take work again; False where it is not drained."""
    return database.delete(document_id(actor))


def current(database: Database) -> dict[str, Drain]:
    """Return every drain by its actor, those too of actors that have ended."""
    found = {}
    for doc in database.every(start=_PREFIX, end=_PREFIX + "\ufff0"):
        try:
            made = msgspec.convert(doc, Drain)
        except msgspec.ValidationError:
            continue  # made by hand, and no drain: no actor obeys it either
        found[made.actor] = made
    return found
