"""Paused selectors: durable, obeyed by everybody who listens, lifted by hand or by themselves."""

import threading
import time
from datetime import timedelta

import pytest
from troubles import asks, change_request

from shared.bus import pauses
from shared.errors import BadInput


def pause(place, pattern="work.EU", *, for_s=None):
    now = place.connection.clock.now()
    until = now + timedelta(seconds=for_s) if for_s else None
    return pauses.pause(place.database, pattern, by="ada", reason="the disk is full", now=now, until=until)


def resume(place, pattern="work.EU"):
    return pauses.resume(place.database, pattern)


def listening(place, seen, pattern="work.*", **options):
    worker = place.bus("worker")
    worker.listen(pattern, lambda delivery: seen.add(delivery.body["n"]), **options)
    return worker


def test_a_resumption_of_which_most_copies_did_not_know_yet_is_found_out(place, seen, monkeypatch):
    """Of several copies two may be behind, and the feed tells of a change once."""
    monkeypatch.setattr(pauses, "_AGAIN_S", 0.5)
    pause(place)
    worker = listening(place, seen)
    database, behind = worker.queue.database, place.database.get("control:pause:work.EU")
    fetch = database.fetch

    def stale(ids, **more):
        if ids != [behind["_id"]]:
            return fetch(ids, **more)
        monkeypatch.setattr(database, "fetch", fetch)
        return [behind]

    place.bus("sender").send("work.EU", {"n": 1})
    with worker:
        place.bus("sender").send("work.NA", {"n": 2})
        assert seen.wait_for(1) == [2]
        monkeypatch.setattr(database, "fetch", stale)
        resume(place)
        assert seen.wait_for(2) == [2, 1]


def test_a_paused_selector_is_left_alone_and_the_others_are_not(place, seen):
    pause(place)
    sender = place.bus("sender")
    with listening(place, seen):
        held_back = sender.send("work.EU", {"n": 1})
        sender.send("work.NA", {"n": 2})
        assert seen.wait_for(1) == [2]
        place.bus("other").send("work.NA", {"n": 3})
        assert seen.wait_for(2) == [2, 3]
        waiting = place.database.get(held_back)
        assert (waiting["state"], waiting.get("attempts", 0)) == ("ready", 0)
        assert resume(place)
        assert seen.wait_for(3) == [2, 3, 1]


def test_a_pause_reaches_a_process_that_listens_already_and_outlasts_it(place, seen):
    sender = place.bus("sender")
    with listening(place, seen) as first:
        sender.send("work.EU", {"n": 1})
        seen.wait_for(1)
        pause(place, "work.*")
        while not first._pauses.holds("work.EU"):  # told by the feed
            threading.Event().wait(0.02)
        sender.send("work.EU", {"n": 2})
        sender.send("work.NA", {"n": 3})
    with listening(place, seen):
        assert not threading.Event().wait(1.5)
        assert seen.items == [1]
        resume(place, "work.*")
        assert sorted(seen.wait_for(3)) == [1, 2, 3]


def test_a_pause_that_a_copy_of_the_database_does_not_list_yet_is_obeyed(place, seen, proxy):
    proxy.rule(asks("/_all_docs", "GET"), change_request(lambda request: request.query.update(limit="0")))
    worker = place.bus("worker", through=proxy)
    worker.listen("work.*", lambda delivery: seen.add(delivery.body["n"]))
    with worker:
        place.bus("sender").send("work.EU", {"n": 1})
        seen.wait_for(1)
        for pattern in ("work.EU", "work.NA"):  # and the first is not forgotten for the second
            pause(place, pattern)
        until = time.monotonic() + 20
        while not worker._pauses.holds("work.NA") and time.monotonic() < until:  # told by the feed
            threading.Event().wait(0.02)
        assert worker._pauses.holds("work.EU")
        assert worker._pauses.holds("work.NA")
        for pattern in ("work.EU", "work.NA"):
            resume(place, pattern)
        place.bus("sender").send_many([worker.compose(selector, {"n": 2}) for selector in ("work.EU", "work.NA")])
        seen.wait_for(3)


def test_what_was_claimed_ahead_and_not_begun_is_given_back(place, seen):
    begun, go_on = threading.Event(), threading.Event()
    worker = place.bus("worker")

    def slow(delivery):
        begun.set()
        go_on.wait(10)
        seen.add(delivery.body["n"])

    sender = place.bus("sender")
    ids = sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(5)])
    worker.listen("work.EU", slow, batch=5)
    with worker:
        assert begun.wait(10)
        pause(place)
        while not worker._pauses.holds("work.EU"):
            threading.Event().wait(0.02)
        go_on.set()
        for each in ids[1:]:
            assert place.wait_for_state(each, "ready").get("attempts", 0) == 0
        assert seen.items == [0]
        resume(place)
        assert seen.wait_for(5) == [0, 1, 2, 3, 4]


def test_a_pause_ends_by_itself(place, seen):
    pause(place, for_s=1.5)
    with listening(place, seen):
        sent = place.bus("sender").send("work.EU", {"n": 1})
        assert not threading.Event().wait(0.7)
        assert place.database.get(sent)["state"] == "ready"
        seen.wait_for(1, timeout=10)
    assert pauses.current(place.database, place.connection.clock.now()) == []


def test_a_pause_says_who_why_and_until_when(place):
    pause(place)
    made = pause(place, for_s=60)
    assert pauses.current(place.database, place.connection.clock.now()) == [made]
    assert (made.by, made.reason, made.pattern) == ("ada", "the disk is full", "work.EU")
    assert resume(place)
    assert not resume(place)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reason": " "}, "needs a reason"),
        ({"pattern": "Work"}, "is not a selector"),
        ({"until": True}, "is past"),
    ],
)
def test_a_pause_that_makes_no_sense_is_refused(place, change, sentence):
    now = place.connection.clock.now()
    asked = {"pattern": "work.EU", "reason": "why", "by": "ada", "until": None} | change
    if asked["until"]:
        asked["until"] = now - timedelta(seconds=1)
    with pytest.raises(BadInput, match=sentence):
        pauses.pause(place.database, asked.pop("pattern"), now=now, **asked)


def test_a_control_document_that_is_no_pause_stops_nobody(place, seen):
    place.database.put({"_id": "control:pause:work.EU", "reason": "by hand"})
    with listening(place, seen):
        place.bus("sender").send("work.EU", {"n": 1})
        seen.wait_for(1)


def test_what_is_due_when_a_pause_is_over_is_taken_at_once(place, seen):
    """Of what was due while it was paused nobody has noted when."""
    database, clock = place.database, place.connection.clock
    bus = place.bus(DRW_POLL_S="20", DRW_POLL_MAX_S="60")
    bus.listen("work.*", lambda delivery: seen.add(delivery.body["n"]))
    pauses.pause(database, "work.EU", by="ada", reason="rain", now=clock.now(), until=None)
    pauses.pause(
        database, "work.NA", by="ada", reason="rain", now=clock.now(), until=clock.now() + timedelta(seconds=2.5)
    )
    with bus:
        bus.send("work.EU", {"n": 1}, delay_s=0.2)
        bus.send("work.NA", {"n": 2}, delay_s=0.2)
        assert seen.wait_for(1, timeout=8) == [2]
        pauses.resume(database, "work.EU")
        assert seen.wait_for(2, timeout=4) == [2, 1]
