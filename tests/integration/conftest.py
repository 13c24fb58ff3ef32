"""A queue on a couchlet of its own, with small times."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from proxy import Proxy
from workers import Workers

from drw import setup
from shared.bus import Bus, queue
from shared.dbcon import DbConnection
from shared.settings import read_settings

TIMES = {
    "DRW_LEASE_S": "1.5",
    "DRW_HEARTBEAT_S": "0.5",
    "DRW_GRACE_S": "1",
    "DRW_RETRY_S": "0.05",
    "DRW_RETRY_MAX_S": "0.2",
    "DRW_ATTEMPTS": "3",
    "DRW_POLL_S": "0.2",
    "DRW_POLL_MAX_S": "1",
    "DRW_RPC_DEADLINE_S": "10",
    "DRW_CLOCK_SPARE_S": "0.2",
}


class Seen:
    """What a handler has seen, and a way to wait for it."""

    def __init__(self) -> None:
        self.items: list = []
        self._more = threading.Condition()

    def add(self, item) -> None:
        with self._more:
            self.items.append(item)
            self._more.notify_all()

    def wait_for(self, count: int, timeout: float = 20.0) -> list:
        with self._more:
            assert self._more.wait_for(lambda: len(self.items) >= count, timeout), self.items
            return list(self.items)


class Place:
    """A database with the queue in it, and what reaches it."""

    def __init__(self, home, couchlet) -> None:
        self.couchlet = couchlet
        self.environ = {**TIMES, "DRW_HOME": str(home), "DRW_COUCHDB_URL": couchlet.url}
        self.settings = read_settings(self.environ)
        setup.ensure(self.settings)
        self.connection = DbConnection(self.settings)
        self.database = self.connection.database(queue.DATABASE)
        self._buses: list[Bus] = []
        self._connections: list[DbConnection] = []
        self._proxies: list[Proxy] = []

    def bus(self, me: str = "test", *, through: Proxy | None = None, **settings) -> Bus:
        """Return a process's place on the bus; ``through`` a proxy it has a connection of its own."""
        chosen = read_settings({**self.environ, **settings})
        connection = self.connection
        if through:
            connection = DbConnection(replace(chosen, couchdb_url=through.url))
            self._connections.append(connection)
        made = Bus(connection, chosen, me=me)
        self._buses.append(made)
        return made

    def proxy(self) -> Proxy:
        self._proxies.append(Proxy(self.couchlet.url))
        return self._proxies[-1]

    def wait_for_state(self, message_id: str, *states: str, timeout: float = 20.0) -> dict:
        """Wait until a message is in one of these states; it is read again after every change."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            since = self.database.last_seq()
            doc = self.database.get(message_id)
            if doc and doc["state"] in states:
                return doc
            for row in self.database.feed(since, heartbeat_s=0.5):
                if row.id == message_id or time.monotonic() > deadline:
                    break
        raise AssertionError(f"{message_id} never became {states}: {self.database.get(message_id)}")

    def wait_for_message(self, selector: str, timeout: float = 20.0) -> str:
        """Wait until there is a message to a selector, and return its id."""
        for row in self.database.feed("0", heartbeat_s=timeout / 2):
            if row.id.startswith(f"{selector}:"):
                return row.id
        raise AssertionError(f"nothing was sent to {selector}")

    def close(self) -> None:
        for bus in self._buses:
            bus.stop(grace_s=0.5)
        for connection in (self.connection, *self._connections):
            connection.close()
        for proxy in self._proxies:  # last, because what stops still writes through them
            proxy.close()


@pytest.fixture
def place(tmp_path, couchlet):
    made = Place(tmp_path, couchlet)
    yield made
    made.close()


@pytest.fixture
def seen():
    return Seen()


@pytest.fixture
def proxy(place):
    """A proxy in front of the couchlet."""
    return place.proxy()


@pytest.fixture
def workers(place, tmp_path):
    """Workers in processes of their own, and what they say of their work."""
    made = Workers(place.environ, tmp_path)
    yield made
    made.end()
