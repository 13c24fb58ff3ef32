"""``drw janitor``: the process that purges settled messages past their retention and gives the space back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from drw.registry import OK
from shared import actor, audit
from shared.bus import janitor, queue
from shared.errors import Forbidden, WrongPassword

if TYPE_CHECKING:
    from drw.registry import Commands, Context
    from shared.dbcon import DbConnection
    from shared.settings import Settings

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
            "compact. Dead messages stay, and so does what a replication has not passed. Needs a server administrator."
        ),
        example="drw janitor --once",
    )
    parser.add_argument("--once", action="store_true", help="one round, and its figures")
    parser.add_argument("--every", type=float, default=_EVERY_S, metavar="SECONDS", help="wait between rounds, 3600")
    actor.add_log_options(parser)


def _run(context: Context) -> int:
    if context.args.once:
        return _once(context)
    return actor.run("janitor", context.args, lambda me: _serve(me, max(1.0, context.args.every)))


def _once(context: Context) -> int:
    tidied = _tidy(_janitor(context.connection, context.settings))
    audit.record(context.connection, "janitor", queue.DATABASE, janitor.sentence(tidied), by=audit.who())
    if context.args.json:
        return context.print_json(tidied)
    print(janitor.sentence(tidied))
    return OK


def _serve(me: actor.Actor, every_s: float) -> int:
    made = _janitor(me.connection, me.settings, me.stopping)
    _tidy(made)  # without the rights for it there is no use in going on
    tidying = threading.Thread(target=lambda: janitor.run(made, every_s=every_s, stopping=me.stopping), daemon=True)
    tidying.start()
    me.part("tidying", tidying.is_alive)
    return me.serve("purging what was settled long ago")


def _janitor(connection: DbConnection, settings: Settings, stopping: threading.Event | None = None) -> janitor.Janitor:
    kept_s = janitor.retention_s(settings.retention_s, settings.lease_s)
    return janitor.Janitor(connection.database(queue.DATABASE), kept_s=kept_s, stopping=stopping)


def _tidy(made: janitor.Janitor) -> janitor.Tidied:
    try:
        return made.tidy()
    except (Forbidden, WrongPassword) as error:
        raise Forbidden(f"{error}; {_NEEDS_ADMINISTRATOR}") from error
