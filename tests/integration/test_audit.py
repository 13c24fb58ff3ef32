"""The audit of actions that are kept before they are done: once for each, however often they are begun."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
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


def test_actions_are_signed_with_the_name_that_the_system_has_for_who_acts(monkeypatch):
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "somebody else")
    assert audit.who() == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody without a name")
def test_who_has_no_name_signs_with_a_number():
    nameless = next(uid for uid in range(60_001, 65_000) if uid not in {each.pw_uid for each in pwd.getpwall()})
    asked = f"import os; from shared import audit; os.setuid({nameless}); print(audit.who())"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == f"uid {nameless}\n"


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
