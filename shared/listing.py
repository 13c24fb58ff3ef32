"""Documents listed by one of their fields, page by page, for people who look through a database.

Each field by which a database is listed has an index of its own, with the id behind it, so that a page goes on exactly
behind the one before, however many documents have the same value. CouchDB has no document in an index whose fields it
lacks; one more index, of ids, has those that lack any, which come last. So a page costs a few queries that read little
more than they return, and all pages together have every document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared import audit, delivery, ngas, reports
from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.dbcon import Database, Doc

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    reports.DATABASE: ("ousUID", "timestamp", "source", "productsDir"),
    ngas.DATABASE: ("size", "writeTimestamp"),
    delivery.METADATA_DATABASE: ("ousUID", "progID", "timestamp", "size"),
    delivery.STATUS_DATABASE: ("progID", "timestamp", "complete"),
    audit.DATABASE: ("who", "what", "subject"),
}
"""By which fields the documents of a database can be listed, besides their ids."""

_LACKING: Final = "lacking"
_ANY: Final[Doc] = {"$gte": None}
"""Any value: null is the first of all."""


def indexes(database: str) -> dict[str, tuple[list[str], Doc | None]]:
    """Return the indexes that listing a database takes, by name: their fields, and which documents are in them."""
    fields = FIELDS.get(database, ())
    found: dict[str, tuple[list[str], Doc | None]] = {_index(each): ([each, "_id"], None) for each in fields}
    if fields:
        found[_LACKING] = (["_id"], {"$or": [{each: {"$exists": False}} for each in fields]})
    return found


def _index(field: str) -> str:
    return f"by-{field}"


class Listing:
    """The documents of a database by one of its fields, those that lack it last."""

    def __init__(self, database: Database, field: str, *, descending: bool = False, only: Sequence[str] = ()) -> None:
        """Take the database, one of its ``FIELDS``, and which fields are to be read, all if ``only`` is empty."""
        self._database = database
        self._field = field
        self._descending = descending
        self._more = {"fields": list(only)} if only else {}

    def read(self, after: str, limit: int) -> tuple[list[Doc], str]:
        """Return at most ``limit`` documents, and the place behind them, empty where there is nothing more.

        ``after`` is such a place, empty for the beginning. Raises BadInput for what is none, and Refused where an index
        is missing.
        """
        place = _place(after)
        found = self._having(place, limit + 1) if len(place) != 1 else []
        if len(found) <= limit:
            found += self._without(place[0] if len(place) == 1 else None, limit + 1 - len(found))
        docs = found[:limit]
        return docs, self._place_of(docs[-1]) if len(found) > limit else ""

    def _having(self, place: list[Any], limit: int) -> list[Doc]:
        """Return documents that have the field, by its value and then by id."""
        if not place:
            return self._find(limit, {self._field: _ANY})[0]
        value, doc_id = place
        found, bookmark = self._at(value, doc_id)
        where = {self._field: _ANY if bookmark else {"$lt" if self._descending else "$gt": value}}
        return found + self._find(limit - len(found), where, bookmark=bookmark)[0]

    def _at(self, value: object, doc_id: str) -> tuple[list[Doc], str]:
        """Return the bookmark to go on behind a value and id, empty where no document has the value any more.

        The document may have gone, or have another value by now. Then the next one of its value is in its place, and is
        returned; or if it was the last one of its value, the one before, which is on a page already.
        """
        same: Doc = {"$eq": value}
        onward = {self._field: same, "_id": {"$lte" if self._descending else "$gte": doc_id}}
        docs, bookmark = self._find(1, onward)
        if docs:
            return [doc for doc in docs if doc["_id"] != doc_id], bookmark
        return [], self._find(1, {self._field: same}, backward=True)[1]

    def _without(self, behind: str | None, limit: int) -> list[Doc]:
        """Return documents that lack the field, by id."""
        where = {self._field: {"$exists": False}, "_id": {"$gt": behind}}
        return self._read(limit, where, _LACKING, ["_id"])[0]

    def _find(self, limit: int, where: Doc, *, bookmark: str = "", backward: bool = False) -> tuple[list[Doc], str]:
        """Return documents from the field's index, and the bookmark of the last."""
        direction = "desc" if self._descending != backward else "asc"
        return self._read(limit, where, _index(self._field), [{self._field: direction}, {"_id": direction}], bookmark)

    def _read(
        self, limit: int, where: Doc, index: str, sort: Sequence[str | Doc], bookmark: str = ""
    ) -> tuple[list[Doc], str]:
        return self._database.find_behind(bookmark, where, index=index, sort=sort, limit=limit, **self._more)

    def _place_of(self, doc: Doc) -> str:
        place = [doc[self._field], doc["_id"]] if self._field in doc else [doc["_id"]]
        return msgspec.json.encode(place).decode()


def _place(text: str) -> list[Any]:
    """Return what to go on behind: value and id, or the id alone of what lacks the field; empty for the beginning."""
    if not text:
        return []
    try:
        place = msgspec.json.decode(text, type=list[Any])
    except msgspec.DecodeError:
        place = []
    if len(place) not in {1, 2} or not isinstance(place[-1], str):
        raise BadInput(f"{shown(text)} is no place in this list: begin at its first page")
    return place
