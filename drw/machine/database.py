"""The CouchDB that is used: the one that answers at ``DRW_COUCHDB_URL``, else couchlet, started in its place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from drw.machine import ending, processes, starting
from drw.machine.running import Home, status
from shared.errors import DatabaseAway, DrwError, text_of
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drw.machine.starting import Start
    from shared.settings import Settings

DEMO_ENDS: Final = "./launch-all.sh --demo --stop ends it"
_PROBE_S: Final = 5.0
_UNAUTHORIZED: Final = 401


def answers(settings: Settings) -> bool:
    """Tell whether a CouchDB answers at ``DRW_COUCHDB_URL``.

    Raises DatabaseAway where something is there that says nothing, DrwError where it is something else.
    """
    try:
        # No proxy of the environment is asked: it would look for the address of this machine on its own.
        reply = urllib3.request("GET", f"{settings.couchdb_url}/", timeout=_PROBE_S, retries=False)
    except (NewConnectionError, ConnectTimeoutError):
        return False
    except ReadTimeoutError as error:  # it may be busy, or stopped, and is nobody's to end
        raise DatabaseAway(
            f"what is at DRW_COUCHDB_URL, {settings.couchdb_url}, takes connections and has said nothing for "
            f"{_PROBE_S:g} s: is it busy, or stopped?"
        ) from error
    except HTTPError as error:
        raise _stranger(settings, text_of(error)) from error
    if reply.status == _UNAUTHORIZED or b'"couchdb"' in reply.data:
        return True
    raise _stranger(settings, f"it answers with status {reply.status} and no welcome")


def _stranger(settings: Settings, what: str) -> DrwError:
    return DrwError(
        f"what is at DRW_COUCHDB_URL, {settings.couchdb_url}, is no CouchDB ({what}): stop it, or name another address"
    )


def start_database(settings: Settings, start: Start) -> Settings:
    """Start couchlet unless a CouchDB answers; return the settings with the credentials that there are now."""
    ours = any(row.process.name == processes.COUCHLET for row in status(settings.home).rows)
    if answers(settings) and not ours:
        return settings
    couchlet = processes.couchlet(settings)
    if not ours:
        print(f"no CouchDB answers at {settings.couchdb_url}: couchlet is started there, in its place")
    start([couchlet])
    return read_settings()


@contextmanager
def for_a_moment(settings: Settings) -> Iterator[Settings]:
    """Have a CouchDB: if none answers, couchlet is started, and ended again with the block.

    It is not left running because whatever comes next starts it itself, and in its own way: with a terminal or
    without.
    """
    if answers(settings):
        yield settings
        return
    couchlet = processes.couchlet(settings)
    print(
        f"no CouchDB answers at {settings.couchdb_url}: couchlet stands in for it there for the moment, its data in "
        f"{settings.home / processes.COUCHLET}"
    )
    starting.starter(settings, starting.environment(settings))([couchlet])
    try:
        yield read_settings()
    finally:
        ending.stop(settings.home)
        print("couchlet was ended again; ./launch-all.sh starts it with everything else")


def demo_home(settings: Settings) -> Path:
    """Return the folder of the demo that belongs to these settings."""
    return settings.home / "demo"


def demo_runs(settings: Settings) -> str:
    """Return a sentence that says so if the demo runs, else nothing."""
    return f"the demo is running: {DEMO_ENDS}" if Home(demo_home(settings)).state().alive() else ""


def refuse_the_demos(settings: Settings) -> None:
    """Raise DrwError where ``DRW_COUCHDB_URL`` is the address of the demo's own couchlet."""
    row = Home(demo_home(settings)).state().row(processes.COUCHLET)
    if row and row.is_alive() and _place(row.process.address) == _place(settings.couchdb_url):
        raise DrwError(
            f"what answers at {settings.couchdb_url} is the demo's couchlet: the demo is running there: {DEMO_ENDS}; "
            "or name another address in DRW_COUCHDB_URL"
        )


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return "loopback" if processes.is_loopback(host) else host, parts.port or 80
