"""Reading ``status-entities``: one OUS, or all in a state. xtss alone writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared import names, status

if TYPE_CHECKING:
    from shared.dbcon import Database, DbConnection
    from shared.status import StatusEntity

_PAGE: Final = 200


class Entities:
    """The status entities in the database."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server."""
        self.database: Database = connection.database(status.DATABASE)

    def get(self, ous_uid: str) -> StatusEntity | None:
        """Return an OUS, or None where there is none."""
        doc = self.database.get(names.document_id(ous_uid))
        return status.read(doc) if doc else None

    def in_state(self, state: str, substate: str = "") -> list[StatusEntity]:
        """Return all OUSs in a state and substate, those that have been there longest first.

        Read page by page, each beginning with the timestamp that the one before ended with. What this program cannot
        read is said in the log and left out.
        """
        found: dict[str, StatusEntity] = {}
        since, same = "", 0
        while True:
            docs = self.database.find(
                {"state": state, "substate": substate, "timestamp": {"$gte": since}},
                index=status.STATE_INDEX,
                sort=status.INDEXES[status.STATE_INDEX],
                limit=_PAGE + same,
            )
            found |= {entity.id: entity for entity in status.readable(docs) if entity.id not in found}
            if len(docs) < _PAGE + same:
                return list(found.values())
            since = docs[-1]["timestamp"]
            same = sum(doc["timestamp"] == since for doc in docs)
