"""Fixtures of the tests that are couchlet's own."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from couchdb_server import start_couchlet

_NUMBERS = count()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A couchlet that the tests of this process share."""
    running = start_couchlet(tmp_path_factory.mktemp("couchlet"), "--auth-lockout", "enforce")
    yield running
    running.stop()


@pytest.fixture
def database(server):
    """The path of a fresh database."""
    path = f"/test{next(_NUMBERS)}"
    assert server.ask("PUT", path).status == 201
    yield path
    server.ask("DELETE", path)
