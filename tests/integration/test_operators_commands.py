"""The operator's commands for the bus, as plain processes: pause and resume, dead letters, the janitor."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from drw import letters
from shared.bus import Dead, queue
from shared.clock import stamp
from shared.dbcon import INDEXES

DRW = Path(sys.executable).parent / "drw"


@pytest.fixture
def drw(place):
    def run(*words, status=0, stdin=None):
        environ = {**os.environ, **place.environ}
        done = subprocess.run(
            [DRW, *words], env=environ, capture_output=True, text=True, timeout=60, input=stdin, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


def test_setup_puts_indexes_that_were_apart_into_one_design_document(place, drw):
    assert drw("setup") == "every database and index was there\n"
    for name, (fields, only) in queue.INDEXES.items():
        body = {"index": {"fields": fields, "partial_filter_selector": only}, "ddoc": name, "name": name}
        place.connection.call("POST", "/msgq/_index", content=json.dumps(body).encode())
    foreign = {"index": {"fields": ["sender"]}, "ddoc": "theirs", "name": "theirs"}
    place.connection.call("POST", "/msgq/_index", content=json.dumps(foreign).encode())
    place.connection.call("DELETE", "/msgq/_index/drw/json/due")
    assert "msgq has no index due" in drw("queue", status=1)
    assert drw("setup") == "made index due of msgq\n"
    expected = {*((INDEXES, name) for name in queue.INDEXES), ("theirs", "theirs")}
    assert set(place.connection.indexes("msgq")) == expected


def test_a_selector_is_paused_shown_and_resumed(place, drw, seen):
    assert drw("pause") == "nothing is paused\n"
    said = drw("pause", "work.*", "--reason", "the disk is full", "--until", "2h")
    assert said.startswith("work.* is paused until ")
    assert "the disk is full" in said
    paused = json.loads(drw("pause", "--json"))
    assert [each["pattern"] for each in paused] == ["work.*"]
    worker = place.bus("worker")
    worker.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    sent = place.bus("sender").send("work.EU", {"n": 1})
    with worker:
        drw("pause", "work.EU", "--reason", "its own")
        said = drw("resume", "work.EU")
        assert said == "work.EU is resumed, but is held by the pause of work.* still\n"
        assert drw("resume", "work.*", "--reason", "there is room") == "work.* goes on\n"
        place.wait_for_state(sent, "consumed")
    audit = list(place.connection.database("audit").every())
    assert [(doc["what"], doc["subject"], doc["why"]) for doc in audit] == [
        ("pause", "work.*", "the disk is full"),
        ("pause", "work.EU", "its own"),
        ("resume", "work.EU", ""),
        ("resume", "work.*", "there is room"),
    ]


def test_a_call_that_is_interrupted_is_withdrawn(place):
    calling = subprocess.Popen(
        [DRW, "call", "nobody.EU", "{}"], env={**os.environ, **place.environ}, stderr=subprocess.PIPE, text=True
    )
    sent = place.wait_for_message("nobody.EU")
    calling.send_signal(signal.SIGINT)
    assert calling.communicate(timeout=30)[1].endswith("drw: interrupted\n")
    assert place.database.get(sent)["state"] == "expired"


def interrupted(place, *words, **environ):
    """Begin to launch while no xtss lives, press Ctrl-C, and return the exit status and what was said."""
    asking = subprocess.Popen(
        [DRW.parent / words[0], *words[1:]],
        env={**os.environ, **place.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    sent = place.wait_for_message("xtss")
    asking.send_signal(signal.SIGINT)
    said = asking.communicate(timeout=15)
    assert place.database.get(sent)["state"] == "expired"
    return asking.returncode, *said


def test_a_launcher_that_waits_for_xtss_is_ended_by_ctrl_c(place):
    assert interrupted(place, "launcher", "2015.1.00657.S", "uid://X1/X1/Xb0") == (130, "", "launcher: interrupted\n")


def test_who_ends_the_launch_of_several_with_ctrl_c_hears_what_became_of_each(place):
    words = ("drw", "launch", "--program", "2015.1.00657.S", "uid://X1/X1/Xb0..Xff")
    status, said, complaint = interrupted(place, *words, DRW_RPC_DEADLINE_S="5")
    assert status == 130
    assert "not answered" in said
    first, last = complaint.splitlines()
    assert first == "drw: begins no other, and waits for the answer about those that are being launched"
    assert last == "drw: interrupted"


def test_a_service_that_is_gone_for_good_is_unsubscribed(place, drw, seen):
    assert drw("groups") == "no service is subscribed to any group\n"
    page = place.bus("page")
    page.subscribe("work.done", "page", lambda delivery: seen.add(delivery.body["n"]))
    place.bus("old").subscribe("work.done", "old-page", lambda delivery: None)
    with page:
        sent = page.send("work.done", {"n": 1})
        place.wait_for_state(sent, "consumed")
        seen.wait_for(1)
    rows = json.loads(drw("groups", "--json"))
    assert [(row["service"], row["waiting"], row["dead"]) for row in rows] == [("old-page", 1, 0), ("page", 0, 0)]
    assert "did you mean old-page or page?" in drw("unsubscribe", "work.done", "oldpage", status=2)
    assert drw("unsubscribe", "work.done", "old-page", "--reason", "gone") == (
        "old-page gets no copies of messages to work.done any more\n"
    )
    assert "old-page" not in drw("groups")
    assert [(doc["what"], doc["subject"], doc["why"]) for doc in place.connection.database("audit").every()] == [
        ("unsubscribe", "old-page of work.done", "gone")
    ]


def test_what_an_actor_has_in_hand_is_found_behind_thousands_that_wait(place):
    """On that the answer is built by which a machine is switched off."""
    waiting = {"schema": 1, "selector": "before.others", "state": "delayed", "due": "2999-01-01T00:00:00.000Z"}
    place.connection.database(queue.DATABASE).bulk(
        [{"_id": f"before.others:{n}", **waiting} for n in range(letters.MOST)]
    )
    begun, over = threading.Event(), threading.Event()

    def work(_delivery):
        begun.set()
        over.wait(30)

    worker = place.bus("worker")
    worker.listen("work.EU", work)
    sent = place.bus("sender").send("work.EU", {"n": 1})
    with worker:
        assert begun.wait(30)
        found = [(each.id, each.by) for each in letters.in_hand(place.connection.database(queue.DATABASE))]
        over.set()
        place.wait_for_state(sent, "consumed")
    assert found == [(sent, "worker")]
    assert letters.in_hand(place.connection.database(queue.DATABASE)) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pause", "work.EU"], "needs a reason"),
        (["pause", "Work", "--reason", "x"], "is not a selector"),
        (["pause", "work.EU", "--reason", "x", "--until", "tomorrow"], "is no time"),
        (["pause", "work.EU", "--reason", "x", "--until", "2020-01-01T00:00"], "is past"),
        (["pause", "--reason", "x"], "which selector"),
        (["resume", "work.EU"], "is not paused"),
        (["unsubscribe", "work.done", "page"], "'page' is not subscribed to work.done: 'drw groups' lists who is"),
        (["dead", "requeue"], "which messages"),
        (["dead", "requeue", "work.EU:1"], "no dead message begins with"),
        (["dead", "discard", "work.EU:1", "--all", "--reason", "x"], "leave one of the two away"),
        (["dead", "requeue", "--all", "--body", "-"], "for one message"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(drw, words, sentence):
    said = drw(*words, status=2)
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_a_dead_message_is_shown_edited_requeued_and_discarded(place, drw, seen):
    worker = place.bus("worker")
    worker.listen("work.EU", lambda d: seen.add(d.body["n"]) if d.body["n"] else Dead("nothing to do"))
    with worker:
        first, second = (worker.send("work.EU", {"n": 0}) for _ in range(2))
        for each in (first, second):
            place.wait_for_state(each, "dead")
        assert "nothing to do" in drw("dead", "list")
        assert json.loads(drw("dead", "show", first))["body"] == {"n": 0}
        assert "no JSON object" in drw("dead", "requeue", first, "--body", "-", stdin="[1]", status=2)
        drw("dead", "requeue", first, "--body", "-", "--reason", "mended", stdin='{"n": 7}')
        place.wait_for_state(first, "consumed")
        assert seen.items == [7]
        drw("dead", "discard", "--all", "--reason", "sent by mistake")
    assert place.database.get(second)["state"] == "consumed"
    assert json.loads(drw("dead", "list", "--json")) == []


def test_one_round_of_the_janitor_says_what_it_did(drw):
    assert drw("janitor", "--once").startswith("0 messages purged; ")
    said = json.loads(drw("janitor", "--once", "--json"))
    assert (said["freed"], said["purged"]) == (0, 0)


def test_the_janitor_forgets_actors_that_are_long_gone(place, drw):
    actors = place.connection.database("actors")
    now = place.connection.clock.now()
    signs = (("gone", 10**6, True), ("lost", 10**6, False), ("lately", 60, True), ("alive", 0, False))
    for name, age_s, ended in signs:
        at = stamp(now - timedelta(seconds=age_s))
        actors.put({"_id": name, "schema": 1, "kind": "xtss", "at": at, "every": 10, "ended": ended})
    leaf = actors.get("gone") | {"_rev": "1-0", "pid": 7}  # of a beat that was written again while a node was away
    actors.bulk([leaf], new_edits=False)
    drw("janitor", "--once")
    assert {doc["_id"] for doc in actors.every()} == {"lately", "alive"}
    assert actors.info()["doc_del_count"] == 0


def test_a_dead_message_of_a_newer_program_is_left_as_it_is(place, drw):
    newer = {"_id": "work.EU:1:newer", "schema": 2, "selector": "work.EU", "state": "dead", "more": "to keep"}
    newer["doneAt"] = stamp(place.connection.clock.now())
    rev = place.database.put(newer)
    said = drw("dead", "requeue", "work.EU:1:newer", status=1)
    assert "has schema 2, and this program knows 1" in said
    assert place.database.get("work.EU:1:newer") == {**newer, "_rev": rev}


@pytest.mark.parametrize("name", ["", "_all_docs", "_changes", "_security", "_local_docs"])
def test_what_is_no_document_is_not_read_as_one(place, name):
    assert place.database.get(name) is None
