"""Dead messages among which are some that are no messages: listed, requeued and discarded all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.bus import Dead

DRW = Path(sys.executable).parent / "drw"
WHOLE = {
    "schema": 1,
    "selector": "work.EU",
    "state": "ready",
    "priority": 5,
    "creationTimestamp": "2026-01-01T00:00:00.000000",
    "sender": "stranger",
    "digest": "",
}
ODD = "work.EU:1:odd"
BETWEEN = "work.EU:2:listed"


@pytest.fixture
def drw(place):
    """Run drw; return its exit status, what it prints, and what it complains."""

    def run(*words):
        done = subprocess.run(
            [DRW, *words], env={**os.environ, **place.environ}, capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def good(place):
    """The id of a dead message behind one that the takers parked, and one whose errors somebody made of his own."""
    bus = place.bus()
    bus.listen("work.EU", lambda _: Dead("nothing to do"))
    with bus:
        place.database.put({"_id": ODD, **WHOLE, "body": "a string"})
        place.wait_for_state(ODD, "dead")
        odd = {"doneAt": place.database.get(ODD)["doneAt"], "errors": ["?", {"what": "no time"}, {"at": 5, "by": None}]}
        place.database.put({"_id": BETWEEN, **WHOLE, "body": [], **odd, "state": "dead", "attempts": "many"})
        sent = bus.send("work.EU", {"n": 1})
        place.wait_for_state(sent, "dead")
    return sent


def test_what_is_no_message_keeps_no_other_from_being_requeued(place, drw, good):
    status, out, err = drw("dead", "requeue", "--all", "--reason", "mended", "--json")
    assert (status, err) == (1, "")
    said = json.loads(out)
    assert said["requeued"] == [good]
    assert [each["message"] for each in said["failed"]] == [ODD, BETWEEN]
    assert "discard it with 'drw dead discard'" in said["failed"][0]["why"]
    assert place.database.get(good)["state"] == "ready"
    status, out, err = drw("dead", "requeue", "--all")
    assert (status, out, err.count("\n")) == (1, "", 2)


def test_what_is_no_message_can_be_discarded(place, drw, good):
    assert drw("check", "--quick")[0] == 1
    assert drw("dead", "discard", "--all", "--reason", "a stranger's")[0] == 0
    parked = place.database.get(ODD)
    assert (parked["state"], parked["body"]) == ("consumed", "a string")
    assert parked["doneAt"] == parked["errors"][-1]["at"]
    assert parked["errors"][-1]["what"] == "discarded: a stranger's"
    assert [place.database.get(each)["state"] for each in (BETWEEN, good)] == ["consumed", "consumed"]
    assert drw("check", "--quick")[0] == 0
    assert drw("dead", "discard", "--all", "--reason", "x") == (0, "no message is dead\n", "")
    assert {doc["subject"] for doc in place.connection.database("audit").every()} == {ODD, BETWEEN, good}


def test_errors_that_others_wrote_are_listed_and_steer_no_terminal(place, drw, good):
    place.database.mutate(good, lambda doc: doc | {"errors": [{"at": "", "by": "x", "what": "\x1b[31m\u202egotcha"}]})
    status, out, err = drw("dead", "list")
    assert (status, "drw dead requeue ID" in err) == (0, True)
    assert all(each in out for each in (ODD, BETWEEN, good, "no time", "not a message", r"\x1b[31m\u202egotcha"))
    assert "\x1b" not in out
