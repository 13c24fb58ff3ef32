"""Setting up: the databases and indexes that the actors need, and their users, in one place."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from drw import users
from drw.registry import OK
from shared import actor, audit, delivery, listing, ngas, reports, status
from shared.bus import queue
from shared.dbcon import DbConnection
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drw.registry import Commands, Context
    from shared.dbcon import Doc
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

INDEXES: Final[dict[str, Mapping[str, tuple[list[str], Doc | None]]]] = {
    **{database: listing.indexes(database) for database in listing.FIELDS},
    queue.DATABASE: queue.INDEXES,
    status.DATABASE: {name: (fields, None) for name, fields in status.INDEXES.items()},
    reports.DATABASE: {
        **{name: (fields, None) for name, fields in reports.INDEXES.items()},
        **listing.indexes(reports.DATABASE),
    },
}
"""The indexes of each database, by name: their fields, and which documents are in them if not all."""

_OPTIONS: Final = {queue.DATABASE: {"n": 1, "q": 1}}
_HEARTBEAT_REVISIONS: Final = 20


class Made(NamedTuple):
    """What was missing and is there now: databases, and indexes of others (``due of msgq``)."""

    databases: list[str]
    indexes: list[str]


def ensure(settings: Settings) -> Made:
    """Make the databases and indexes that are missing.

    The queue has one copy of each shard, because with several a claim needs a majority (docs/bus.md). Needs a server
    administrator. Raises one of :class:`~shared.errors.DatabaseError`.
    """
    connection = DbConnection(settings)
    try:
        actor.wait_for_database(connection, threading.Event(), [])
        return ensure_databases(connection)
    finally:
        connection.close()


def ensure_databases(connection: DbConnection) -> Made:
    """As :func:`ensure`, through a connection."""
    made = [name for name in DATABASES if connection.create_database(name, **_OPTIONS.get(name, {}))]
    indexes = [
        f"{index} of {database}"
        for database, wanted in INDEXES.items()
        for index in connection.create_indexes(database, wanted)
        if database not in made
    ]
    connection.database(actor.ACTORS_DATABASE).limit_revisions(_HEARTBEAT_REVISIONS)
    if made and users.are_there(connection):
        users.secure(connection, made)
    return Made(made, indexes)


def make_queue(connection: DbConnection, name: str) -> None:
    """Make a database that is a message queue, and its indexes, where they are missing."""
    connection.create_database(name, **_OPTIONS[queue.DATABASE])
    connection.create_indexes(name, queue.INDEXES)


def drop_databases(connection: DbConnection) -> list[str]:
    """Delete every database of ours with all it holds; return the names of those that existed."""
    return [name for name in DATABASES if connection.drop_database(name)]


# The command


def register(commands: Commands) -> None:
    """Make ``drw setup`` known."""
    parser = commands.add(
        "setup",
        _run,
        help="make the databases and indexes that are missing, and users for the actors",
        description=(
            "Make the databases and indexes that are missing. With --users also a user and a role of CouchDB for each "
            "kind of actor, who may use the databases that it needs and no others; each gets a file with its password "
            "(mode 0600), which the actor is given in DRW_CREDENTIALS. Needs a server administrator."
        ),
        example="drw setup --users",
    )
    parser.add_argument("--users", action="store_true", help="also users for the actors, and the databases' rights")
    parser.add_argument("--new-passwords", action="store_true", help="with --users: give every user a new password")
    parser.add_argument(
        "--into", type=Path, metavar="FOLDER", help="with --users: where their files are, default $DRW_HOME/users"
    )


def _run(context: Context) -> int:
    args, connection = context.args, context.connection
    if not args.users and (args.new_passwords or args.into):
        raise BadInput("--new-passwords and --into go with --users: add that")
    made = ensure_databases(connection)
    folder = (args.into or context.settings.users_dir).absolute()
    written = users.make(connection, folder, anew=args.new_passwords) if args.users else []
    cannot = users.secure(connection, list(DATABASES)) if args.users else ""
    if args.json:
        facts = {"made": made.databases, "indexes": made.indexes}
        return context.print_json(facts | {"users": written, "folder": str(folder), "cannot": cannot})
    every = [*made.databases, *(f"index {each}" for each in made.indexes)]
    print(f"made {', '.join(every)}" if every else "every database and index was there")
    if args.users:
        _tell(folder, written, cannot)
    return OK


def _tell(folder: Path, written: list[str], cannot: str) -> None:
    print(
        f"wrote {', '.join(written)} in {folder}" if written else f"every user was there, their files are in {folder}"
    )
    print(f"an actor takes its own: DRW_CREDENTIALS={folder / 'xtss'} xtss --strict")
    if cannot:
        print(f"whoever may use a database may write all of it, for this server tells no writers apart: {cannot}")
