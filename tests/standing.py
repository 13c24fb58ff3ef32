"""A CouchDB that stands already, in place of the couchlets that tests start: the one at DRW_TEST_COUCHDB_URL.

It is one for all, so whoever has it has it alone, also among processes of pytest-xdist, and gets it EMPTY: before each
test every database of it is deleted, and every user and replication.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

import pytest

from shared.dbcon import DbConnection
from shared.settings import PASSWORD_VARIABLE, USER_VARIABLE, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.dbcon import Doc

ADDRESS: Final = os.environ.get("DRW_TEST_COUCHDB_URL", "")
"""Where it is, with its administrator: ``http://admin:secret@127.0.0.1:5984``; empty where there is none."""

_OF_COUCHDB: Final = ("_users", "_replicator")


class Standing:
    """What tests may know of it; as a server that is not ours it is never ended, nor started again."""

    pid = 0
    is_ours = False

    def __init__(self, home: Path, url: str, welcome: Doc) -> None:
        """Take a folder with its credentials, its address, and what it says of itself."""
        self.home = home
        self.url = url
        self.runs_javascript = welcome["vendor"]["name"] != "couchlet"

    def _leave_alone(self) -> NoReturn:
        pytest.skip("ends its server and starts it again, and the one at DRW_TEST_COUCHDB_URL is not ours")

    kill = stop = start = launch = _leave_alone


@contextmanager
def lent(home: Path) -> Iterator[Standing]:
    """Lend the server, empty; its credentials are put into ``home``."""
    settings = read_settings({"DRW_COUCHDB_URL": ADDRESS})
    with alone(urlsplit(settings.couchdb_url).port), closing(DbConnection(settings)) as connection:
        _empty(connection)
        credentials = home / "credentials"
        credentials.write_text(f"{USER_VARIABLE}={settings.user}\n{PASSWORD_VARIABLE}={settings.password}\n")
        credentials.chmod(0o600)
        yield Standing(home, settings.couchdb_url, connection.welcome())


@contextmanager
def alone(port: int | None) -> Iterator[None]:
    """Wait until no other process of the tests has the server at a port."""
    with (Path(tempfile.gettempdir()) / f"drw-test-couchdb-{port}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _empty(connection: DbConnection) -> None:
    for name in connection.database_names():
        if not name.startswith("_"):
            connection.drop_database(name)
        elif name in _OF_COUCHDB:
            database = connection.database(name)
            for doc in database.every():
                database.delete(doc["_id"])
