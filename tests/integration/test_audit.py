"""The audit of actions that are kept before they are done: once for each, however often they are begun."""

from __future__ import annotations

from datetime import timedelta

import pytest

from drw import setup
from shared import audit, pausing
from shared.dbcon import DbConnection
from shared.errors import BadInput
from shared.settings import read_settings


@pytest.fixture
def connection(couchlet):
    settings = read_settings({"DRW_HOME": str(couchlet.home), "DRW_COUCHDB_URL": couchlet.url})
    setup.ensure(settings)
    made = DbConnection(settings)
    yield made
    made.close()


def kept(connection):
    docs = connection.database(audit.DATABASE).every()
    return [(doc["who"], doc["what"], doc["subject"], doc["why"]) for doc in docs]


def test_what_is_begun_again_is_kept_once_and_anything_else_for_itself(connection):
    def intend(what="requeue", subject="a:1:b", why="room", by="ada", revision="1-x"):
        audit.intend(connection, what, subject, why, by=by, revision=revision)

    intend()
    intend(subject="c:1:d")
    intend()
    assert len(kept(connection)) == 2
    for other in ({"by": "bob"}, {"revision": "2-x"}, {"why": "more room"}, {"what": "discard"}, {}):
        intend(**other)
    assert len(kept(connection)) == 7


def test_what_was_begun_long_ago_is_another_action(connection, monkeypatch):
    audit.intend(connection, "requeue", "a:1:b", "room", by="ada", revision="1-x")
    later = connection.clock.now() + timedelta(hours=2)
    monkeypatch.setattr(type(connection.clock), "now", lambda _: later)
    audit.intend(connection, "requeue", "a:1:b", "room", by="ada", revision="1-x")
    assert len(kept(connection)) == 2


def test_a_pause_that_is_asked_for_twice_is_one_and_one_with_another_end_is_two(connection):
    now = connection.clock.now()
    first = pausing.pause(connection, "xtss", by="ada", reason="broken", until=None)
    assert pausing.pause(connection, "xtss", by="ada", reason="broken", until=None) == first
    assert pausing.pause(connection, "xtss", by="ada", reason="broken", until=now + timedelta(hours=1)).until
    assert pausing.resume(connection, "xtss", by="bob", reason="mended")
    assert not pausing.resume(connection, "xtss", by="bob", reason="mended")
    pausing.pause(connection, "xtss", by="ada", reason="broken", until=None)
    with pytest.raises(BadInput):
        pausing.pause(connection, "xtss", by="ada", reason=" ", until=None)
    paused = ("ada", "pause", "xtss", "broken")
    assert kept(connection) == [paused, paused, ("bob", "resume", "xtss", "mended"), paused]
