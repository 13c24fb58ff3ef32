"""Reading ``status-entities``: one OUS, or all in a state. xtss alone writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared import names, status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.dbcon import Database, DbConnection, Doc
    from shared.status import StatusEntity


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

        What this program cannot read is said in the log and left out.
        """
        found = pages(self.database, state, substate)
        return list({entity.id: entity for page in found for entity in status.readable(page)}.values())


def pages(database: Database, state: str, substate: str = "", *, since: str = "") -> Iterator[list[Doc]]:
    """Yield the documents of the OUSs in a state and substate, page by page, those that came there first first.

    ``since`` (UTC) leaves out those that came there before.
    """
    return database.pages(
        {"state": state, "substate": substate},
        by="timestamp",
        index=status.STATE_INDEX,
        sort=status.INDEXES[status.STATE_INDEX],
        since=since,
    )
