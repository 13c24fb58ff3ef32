"""``drw janitor``: the process that purges settled messages past their retention and gives the space back."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from drw import arguments, columns
from drw.registry import OK
from drw.upkeep import lost_leaves
from shared import actor, audit, heartbeats
from shared.bus import janitor, queue
from shared.clock import elapsed_s, stamp
from shared.errors import DatabaseError, Forbidden, WrongPassword

if TYPE_CHECKING:
    from drw.registry import Commands, Context
    from shared.dbcon import DbConnection
    from shared.settings import Settings

_LOG = logging.getLogger(__name__)
_EVERY_S: Final = 3600.0
_NEEDS_ADMINISTRATOR: Final = (
    "the janitor has to purge, which only a server administrator of CouchDB may: set COUCHDB_USER and "
    "COUCHDB_PASSWORD to one for this process alone"
)


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "janitor",
        _run,
        help="purge settled messages past their retention, now and every hour",
        description=(
            "Purge settled messages past their retention (DRW_RETENTION_S, never under an hour or twenty leases), then "
            "compact. Dead messages stay, and so does what a replication has not passed. Signs of life of actors that "
            "are long gone are removed too, and on a cluster what two who met left beside a document. Needs a server "
            "administrator."
        ),
        example="drw janitor --once",
    )
    parser.add_argument("--once", action="store_true", help="one round, and its figures")
    parser.add_argument(
        "--every",
        type=actor.checked(arguments.period_s),
        default=_EVERY_S,
        metavar="SECONDS",
        help="wait between rounds, 3600",
    )
    actor.add_log_options(parser)


def _run(context: Context) -> int:
    if context.args.once:
        return _once(context)
    return actor.run("janitor", context.args, lambda me: _serve(me, max(1.0, context.args.every)))


def _once(context: Context) -> int:
    _check_rights(context.connection)
    done = _round(context.connection, context.settings, threading.Event())
    audit.record(context.connection, "janitor", queue.DATABASE, done.sentence, by=audit.who())
    if context.args.json:
        return context.print_json({"freed": done.freed, **msgspec.to_builtins(done.tidied)})
    print(done.sentence)
    return OK


def _serve(me: actor.Actor, every_s: float) -> int:
    _check_rights(me.connection)
    tidying = threading.Thread(target=lambda: _tidy_often(me, every_s), daemon=True)
    tidying.start()
    me.part("tidying", tidying.is_alive)
    return me.serve("purging what was settled long ago")


def _check_rights(connection: DbConnection) -> None:
    """Raise Forbidden for whoever is no server administrator: without the right to purge nothing can be done."""
    try:
        roles = connection.call("GET", "/_session").get("userCtx", {}).get("roles", [])
    except WrongPassword as error:
        raise Forbidden(f"{error}; {_NEEDS_ADMINISTRATOR}") from error
    if "_admin" not in roles:
        raise Forbidden(_NEEDS_ADMINISTRATOR)


def _tidy_often(me: actor.Actor, every_s: float) -> None:
    """Tidy now and then, until told to stop; what cannot be done now is tried again at the next round."""
    while not me.stopping.is_set():
        begun_s = elapsed_s()
        try:
            with me.busy("tidies"):
                _LOG.info("%s", _round(me.connection, me.settings, me.stopping).sentence)
        except DatabaseError as error:
            _LOG.warning("not tidied: %s", error)
        me.stopping.wait(max(1.0, every_s - (elapsed_s() - begun_s)))


class _Done(NamedTuple):
    """What a round did: from how many documents it removed what lost, and what became of messages."""

    freed: int
    tidied: janitor.Tidied

    @property
    def sentence(self) -> str:
        """What it did, for people."""
        freed = (
            f"{columns.counted(self.freed, 'document is', 'documents are')} freed of what lost; " if self.freed else ""
        )
        return freed + janitor.sentence(self.tidied)


def _round(connection: DbConnection, settings: Settings, stopping: threading.Event) -> _Done:
    """Do all that there is to tidy, once; raises DatabaseError."""
    freed = lost_leaves.remove(connection, stopping)
    kept_s = janitor.retention_s(settings.retention_s, settings.lease_s)
    tidied = janitor.Janitor(connection.database(queue.DATABASE), kept_s=kept_s, stopping=stopping).tidy()
    _forget_actors(connection, settings)
    return _Done(freed, tidied)


def _forget_actors(connection: DbConnection, settings: Settings) -> None:
    """Remove the signs of life of actors that ended or died before the retention."""
    now = connection.clock.now()
    horizon = stamp(now - timedelta(seconds=janitor.retention_s(settings.retention_s, settings.lease_s)))
    database = connection.database(actor.ACTORS_DATABASE)
    over = [
        doc["_id"]
        for doc in database.every()
        if str(doc.get("at")) < horizon and heartbeats.standing(doc, now) != "alive"
    ]
    found = database.leaves(over) if over else {}
    database.purge({doc_id: [leaf["_rev"] for leaf in leaves] for doc_id, leaves in found.items()})
