"""Signs of life: what the documents of the database ``actors`` tell of an actor. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shared.names import moment

if TYPE_CHECKING:
    from datetime import datetime

BEATS: Final = 3
"""Who has not given a sign for so many times the interval of its signs is dead."""

REVIEWING: Final = "serves a reviewer"
"""What an ``aqua-qa2`` does first that ends when its reviewer leaves."""


def standing(doc: dict[str, Any], now: datetime) -> str:
    """Return how an actor's sign of life stands: ``alive``, ``ended`` well, or ``dead`` without a word."""
    if doc.get("ended"):
        return "ended"
    try:
        age_s = (now - moment(doc["at"])).total_seconds()
        return "alive" if age_s <= BEATS * float(doc["every"]) else "dead"
    except (KeyError, TypeError, ValueError):
        return "dead"


def is_alive(doc: dict[str, Any] | None, now: datetime) -> bool:
    """Tell whether the actor with this document lives; without a document it does not."""
    return doc is not None and standing(doc, now) == "alive"
