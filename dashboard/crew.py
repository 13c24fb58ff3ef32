"""The dashboard's table of actors: who runs where, and who has not been heard of."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from dashboard import cells
from dashboard.cells import PAGE, Cell, Order, Page
from shared.heartbeats import BEATS, standing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from shared.dbcon import Doc

ACTORS: Final = "actors"
_RANKS: Final = {"alive": 0, "dead": 1, "ended": 2}
_SORTS: Final = {
    "actor": "kind",
    "executive": "executive",
    "state": "stands",
    "host": "host",
    "since (UTC)": "since",
    "last sign (UTC)": "at",
    "doing": "doing",
}
_LOOKS: Final = {"alive": "good", "dead": "bad", "ended": ""}


class Crew:
    """The signs of life of all actors. Every method may be called from any thread."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._lock = threading.Lock()
        self._signs: dict[str, Doc] = {}

    def begin(self, docs: Iterable[Doc]) -> None:
        """Take in all, in place of what was known."""
        found = {str(doc["_id"]): doc for doc in docs}
        with self._lock:
            self._signs = found

    def put(self, doc_id: str, doc: Doc | None) -> None:
        """Take in an actor's sign of life, None for one that is gone."""
        with self._lock:
            if doc is None:
                self._signs.pop(doc_id, None)
            else:
                self._signs[doc_id] = doc

    def all(self, now: datetime) -> list[tuple[str, Doc]]:
        """Return how each stands, and its sign: the living by name, the dead, those that ended, the latest first."""
        with self._lock:
            known = [(standing(doc, now), doc) for doc in self._signs.values()]
        known.sort(key=lambda each: str(each[1].get("at", "")), reverse=True)
        known.sort(key=lambda each: (_RANKS[each[0]], each[1]["_id"] if each[0] == "alive" else ""))
        return known


def actors(crew: Crew, now: datetime, start: int, order: Order) -> Page:
    """Return a page of the actors, in the order asked for; their own is the living by name, then the others."""
    known = crew.all(now)
    if order.by in _SORTS.values():
        known.sort(key=lambda each: each[0] if order.by == "stands" else str(each[1].get(order.by, "")))
    if order.descending:
        known.reverse()
    heads = ("actor", "executive", "state", "host", "pid", "since (UTC)", "last sign (UTC)", "doing")
    rows = [_row(stands, doc) for stands, doc in known[start : start + PAGE]]
    after = str(start + PAGE) if start + PAGE < len(known) else ""
    dead = sum(stands == "dead" for stands, _ in known)
    said = f"{dead} dead: not heard of for {BEATS} heartbeats, and without a word." if dead else ""
    return Page(
        ACTORS,
        "Actors",
        heads,
        rows,
        len(known),
        after,
        said,
        where=f"/table/{ACTORS}",
        sorts=_SORTS,
        order=order,
        start=start,
    )


def _row(stands: str, doc: Doc) -> list[Cell]:
    return [
        cells.plain(doc.get("kind")),
        cells.plain(doc.get("executive")),
        Cell(stands, look=_LOOKS[stands]),
        cells.plain(doc.get("host")),
        Cell(cells.plain(doc.get("pid")).text, look="number"),
        cells.at(doc.get("since")),
        cells.at(doc.get("at")),
        cells.prose(str(doc.get("doing") or "")),
    ]
