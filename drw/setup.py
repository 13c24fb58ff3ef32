"""Setting up: the databases and indexes that the actors need, in one place."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from shared import actor, audit, delivery, ngas, reports, status
from shared.bus import queue
from shared.dbcon import DbConnection

if TYPE_CHECKING:
    from shared.settings import Settings

DATABASES: Final = (
    queue.DATABASE,
    status.DATABASE,
    reports.DATABASE,
    delivery.METADATA_DATABASE,
    delivery.STATUS_DATABASE,
    ngas.DATABASE,
    actor.ACTORS_DATABASE,
    audit.DATABASE,
)
"""Every database of ours: those of the seed, then the two of our own."""

_HEARTBEAT_REVISIONS: Final = 20


def ensure(settings: Settings) -> list[str]:
    """Make the databases and indexes that are missing; return the names of the databases that were made.

    The queue has one copy of each shard, because with several a claim needs a majority (docs/bus.md). Needs a server
    administrator. Raises one of :class:`~shared.errors.DatabaseError`.
    """
    connection = DbConnection(settings)
    try:
        actor.wait_for_database(connection, threading.Event(), [])
        return ensure_databases(connection)
    finally:
        connection.close()


def ensure_databases(connection: DbConnection) -> list[str]:
    """As :func:`ensure`, through a connection."""
    made = [name for name in DATABASES if name != queue.DATABASE and connection.create_database(name)]
    if ensure_queue(connection):
        made.insert(0, queue.DATABASE)
    for database, indexes in ((status.DATABASE, status.INDEXES), (reports.DATABASE, reports.INDEXES)):
        for name, fields in indexes.items():
            connection.create_index(database, name, fields)
    connection.database(actor.ACTORS_DATABASE).limit_revisions(_HEARTBEAT_REVISIONS)
    return made


def ensure_queue(connection: DbConnection, name: str = queue.DATABASE) -> bool:
    """Make a database that is a message queue, and its indexes, where they are missing; tell whether it was made."""
    made = connection.create_database(name, n=1)
    for index, (fields, only) in queue.INDEXES.items():
        connection.create_index(name, index, fields, only)
    return made


def drop_databases(connection: DbConnection) -> list[str]:
    """Delete every database of ours with all it holds; return the names of those that existed."""
    return [name for name in DATABASES if connection.drop_database(name)]
