"""News: what people want to be told of wherever they are. Pure: documents go in, news come out.

An OUS that has a ProcessingProblem or is Delivered, a message that became dead, an actor that was lost. The same
document always gives the same news, under the same key, so that nobody is told twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared import lifecycle
from shared.bus import envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

SELECTOR: Final = "notify.webhook"
"""Where news go, to be posted."""

DEAD_LETTER: Final = "DeadLetter"
ACTOR_LOST: Final = "ActorLost"
_OWN: Final = "notify."
TOLD: Final = (lifecycle.PROCESSING_PROBLEM, lifecycle.DELIVERED)
"""The states of OUSs that are news."""

GONE_ON: Final = tuple(state for state in lifecycle.STATES if state not in TOLD)
"""The others, in which there are OUSs that were news before."""

_TEXT_LENGTH: Final = 1000


class News(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened: what, when (UTC), to which OUS, message or actor, and in one sentence.

    ``key`` is the same whoever finds it, and whenever.
    """

    key: str
    event: str
    at: str
    subject: str
    text: str
    program: str = ""
    executive: str = ""
    run: str = ""
    by: str = ""

    def body(self) -> dict[str, Any]:
        """Return this as the JSON object that is posted."""
        body: dict[str, Any] = msgspec.to_builtins(self)
        return body


def of_entity(doc: dict[str, Any], since: str) -> Iterator[News]:
    """Yield the news in the history of a status entity that are not older than a moment (UTC text)."""
    history = doc.get("history")
    for number, entry in enumerate(history if isinstance(history, list) else []):
        if not isinstance(entry, dict) or entry.get("state") not in TOLD or str(entry.get("at", "")) < since:
            continue
        ous, state, note = str(doc.get("entityId", doc["_id"])), str(entry["state"]), str(entry.get("note") or "")
        yield News(
            key=f"{ous} {number} {entry['at']}",
            event=state,
            at=str(entry["at"]),
            subject=ous,
            text=_short(f"{ous} is {state}" + (f": {note}" if note else "")),
            program=str(doc.get("progID") or ""),
            by=str(entry.get("by") or ""),
        )


def of_dead_letter(doc: dict[str, Any]) -> News | None:
    """Return the news of a dead message; none for one that carries news itself."""
    message, at = str(doc["_id"]), str(doc.get("doneAt") or "")
    if envelope.selector_of(message).startswith(_OWN) or doc.get("state") != envelope.DEAD:
        return None
    failures = doc.get("errors")
    last = failures[-1] if isinstance(failures, list) and failures else {}
    what = str(last.get("what") or "nobody said why") if isinstance(last, dict) else "nobody said why"
    body = doc.get("body")
    ous = str(body.get("ousUID") or "") if isinstance(body, dict) else ""
    about = f" about {ous}" if ous else ""
    return News(
        key=f"{message} {at}",
        event=DEAD_LETTER,
        at=at,
        subject=message,
        text=_short(f"message {message}{about} is dead: {what}"),
    )


def of_lost_actor(doc: dict[str, Any]) -> News:
    """Return the news of an actor that gives no sign of life any more and has not said that it ends."""
    actor, at = str(doc["_id"]), str(doc.get("at") or "")
    return News(
        key=f"{actor} {at}",
        event=ACTOR_LOST,
        at=at,
        subject=actor,
        text=f"{actor} was lost: its last sign of life is of {at[:19]} UTC",
        executive=str(doc.get("executive") or ""),
    )


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_LENGTH else f"{text[: _TEXT_LENGTH - 1]}…"
