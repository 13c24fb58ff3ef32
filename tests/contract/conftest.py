"""Fixtures of the contract tests."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from typing import TYPE_CHECKING

from couchdb_server import Server, server_under_test
from scenario import Replay
from standing import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def couchdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that the contract is tested against."""
    server = server_under_test(tmp_path_factory.mktemp("couchlet"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def replay(couchdb: Server) -> Callable[[str], Replay]:
    """Replays a scenario whole, once; no other test process has the server meanwhile."""

    @cache
    def replay_scenario(name: str) -> Replay:
        with alone(couchdb.port):
            return Replay(couchdb, name)

    return replay_scenario
