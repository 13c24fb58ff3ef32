"""The dashboard's table of actors: who runs where, and who has not been heard of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dashboard import cells
from dashboard.cells import Cell, Page
from dashboard.tables import PAGE
from shared.actor import ACTORS_DATABASE
from shared.heartbeats import standing

if TYPE_CHECKING:
    from shared.dbcon import DbConnection, Doc

ACTORS: Final = "actors"
_RANKS: Final = {"alive": 0, "dead": 1, "ended": 2}
_LOOKS: Final = {"alive": "good", "dead": "bad", "ended": ""}


def actors(connection: DbConnection, start: int = 0) -> Page:
    """Return a page of the actors: the living by name, then the dead and those that ended well, the latest first."""
    now = connection.clock.now()
    known = [(standing(doc, now), doc) for doc in connection.database(ACTORS_DATABASE).every()]
    known.sort(key=lambda each: str(each[1].get("at", "")), reverse=True)
    known.sort(key=lambda each: (_RANKS[each[0]], each[1]["_id"] if each[0] == "alive" else ""))
    heads = ("actor", "executive", "state", "host", "pid", "since (UTC)", "last sign (UTC)", "doing")
    rows = [_row(stands, doc) for stands, doc in known[start : start + PAGE]]
    after = str(start + PAGE) if start + PAGE < len(known) else ""
    return Page(ACTORS, "Actors", heads, rows, len(known), after)


def _row(stands: str, doc: Doc) -> list[Cell]:
    return [
        cells.plain(doc.get("kind")),
        cells.plain(doc.get("executive")),
        Cell(stands, look=_LOOKS[stands]),
        cells.plain(doc.get("host")),
        cells.plain(doc.get("pid")),
        cells.at(doc.get("since")),
        cells.at(doc.get("at")),
        cells.prose(str(doc.get("doing") or "")),
    ]
