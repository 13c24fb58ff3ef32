"""Where the demo runs: a home, caches and ports of its own, and which CouchDB it may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from drw.demo.ten import OUSS
from drw.machine import database, heartbeats, ports, processes, starting
from shared import names, status
from shared.bus import queue
from shared.dbcon import DbConnection
from shared.errors import DrwError
from shared.settings import PASSWORD_VARIABLE, USER_VARIABLE, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.settings import Settings

_COUCHDB_PORT: Final = 5984
_MARK: Final = "control:demo"
"""A document of the queue: what is in these databases was made by the demo, which may delete it."""


@dataclass(frozen=True)
class Place:
    """Where the demo runs: its settings, its environment, whether its CouchDB is its own, and what to say first."""

    settings: Settings
    environ: dict[str, str]
    own_database: bool
    remarks: Sequence[str]


def find(environ: Mapping[str, str]) -> Place:
    """Return the demo's place: data and caches of its own, free ports, the CouchDB that is set if one answers.

    BadInput where none answers at a ``DRW_COUCHDB_URL`` that couchlet could not serve; DrwError where that CouchDB is
    in use for something else.
    """
    outer = read_settings(environ)
    home = database.demo_home(outer)
    own = {
        "DRW_HOME": str(home),
        "DRW_EU_CACHE": str(home / "eu-cache"),
        "DRW_JAO_CACHE": str(home / "jao-cache"),
        "DRW_WORK_DIR": str(home / "work"),
        "DRW_LOG_DIR": str(home / "log"),
        starting.WEBLOG_VARIABLE: "",
        "DRW_WEBHOOK_URL": "",
    }
    given = bool(environ.get(starting.URL_VARIABLE))
    if given and database.answers(outer):
        _refuse_used(outer)
        own |= _credentials(outer)
        own_database = False
    else:
        own_database = True
        own["DRW_CREDENTIALS"] = ""  # of a user whom the demo's own couchlet does not know
        if given:
            own |= _credentials(outer) if "@" in environ[starting.URL_VARIABLE] else {}
            processes.couchlet(outer)
    found, remarks = _ports(outer, couchdb=0 if given else _COUCHDB_PORT)
    url = outer.couchdb_url if given else f"http://127.0.0.1:{found.pop('')}"
    own |= {variable: str(port) for variable, port in found.items()} | {starting.URL_VARIABLE: url}
    made = {**environ, **own}
    settings = read_settings(made)
    return Place(settings, starting.environment(settings, made), own_database, remarks)


def _credentials(outer: Settings) -> dict[str, str]:
    return {USER_VARIABLE: outer.user, PASSWORD_VARIABLE: outer.password} if outer.user else {}


def _ports(outer: Settings, *, couchdb: int) -> tuple[dict[str, int], list[str]]:
    """Return a free port by the setting of each server (the empty one for couchlet), and which are not the usual."""
    wanted = {
        "DRW_EU_PORT": (outer.eu_port, "the EU cache"),
        "DRW_JAO_PORT": (outer.jao_port, "the JAO cache"),
        "DRW_DASHBOARD_PORT": (outer.dashboard_port, "the dashboard"),
    }
    if couchdb:
        wanted |= {"": (couchdb, "couchlet")}
    taken = [] if couchdb else [urlsplit(outer.couchdb_url).port or 80]
    found: dict[str, int] = {}
    remarks = []
    for setting, (port, whose) in wanted.items():
        found[setting] = ports.free_port(port, but=[*found.values(), *taken])
        if found[setting] != port:
            remarks.append(f"port {port} is taken: {whose} is at {found[setting]} instead")
    return found, remarks


def _refuse_used(settings: Settings) -> None:
    """Raise DrwError where a CouchDB holds OUSs that the demo did not make, or actors work with it."""
    connection = DbConnection(settings)
    try:
        connection.check_credentials()
        _refuse_strangers(connection)
        heartbeats.refuse_living(connection, "because the demo would take their data away")
    finally:
        connection.close()


def _refuse_strangers(connection: DbConnection) -> None:
    if status.DATABASE not in connection.database_names():
        return
    ours = {names.document_id(ous) for ous in OUSS} if _is_marked(connection) else set()
    strangers = [doc["_id"] for doc in connection.database(status.DATABASE).every() if doc["_id"] not in ours]
    if strangers:
        raise DrwError(
            f"the CouchDB at {connection.url} holds OUSs that are not the demo's ({len(strangers)}, such as "
            f"{strangers[0]}), which it would delete: unset DRW_COUCHDB_URL to let it use a database of its own"
        )


def mark(connection: DbConnection) -> None:
    """Say in databases that were just made that what will be in them is the demo's."""
    connection.database(queue.DATABASE).put({"_id": _MARK, "schema": 1})


def _is_marked(connection: DbConnection) -> bool:
    if queue.DATABASE not in connection.database_names():
        return False
    return connection.database(queue.DATABASE).get(_MARK) is not None
