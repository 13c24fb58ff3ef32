"""What strangers wrote into the queue harms no consumer, and is parked where it stands in somebody's way."""

import logging

import pytest

from shared.bus import Snooze
from shared.cancels import Cancellations
from shared.clock import stamp

ODD = {
    "a due time that is a number": {"state": "delayed", "due": 5},
    "a due time that is a list": {"state": "delayed", "due": ["2026"]},
    "claimed for ever": {
        "state": "claimed",
        "due": "9999-12-31T23:59:59.999999",
        "claim": {"by": "x", "token": "t", "since": "2026-01-01T00:00:00", "until": "9999-12-31T23:59:59.999999"},
    },
    "no time": {"state": "delayed", "due": "soon"},
    "delayed until nobody knows when": {"state": "delayed", "due": None},
    "claimed until nobody knows when": {
        "state": "claimed",
        "due": None,
        "claim": {"by": "x", "token": "t", "since": "2026-01-01T00:00:00", "until": "2026-01-01T00:00:00"},
    },
    "a selector with other characters": {"state": "ready", "selector": "work.é"},
}
WHOLE = {
    "selector": "work.EU",
    "schema": 1,
    "priority": 5,
    "creationTimestamp": "2026-01-01T00:00:00.000000",
    "sender": "stranger",
    "body": {},
    "digest": "",
}


def test_odd_documents_are_parked_and_the_next_message_is_handled(place, seen):
    for number, odd in enumerate(ODD.values()):
        doc = WHOLE | odd
        place.database.put({"_id": f"{doc['selector']}:1:{number}", **doc})
    place.database.put({"_id": "work.EU:1:listed", **WHOLE, "state": ["ready"]})
    place.database.put({"_id": "work.EU:1:never", **WHOLE, "state": "delayed", "due": "9999-12-31T23:59:59.999999"})
    bus = place.bus()
    bus.listen("work.*", lambda delivery: seen.add(delivery.body.get("n")))
    with bus:
        bus.send("work.EU", {"n": 1})
        assert seen.wait_for(1) == [1]
        for number, odd in enumerate(ODD.values()):
            place.wait_for_state(f"{(WHOLE | odd)['selector']}:1:{number}", "dead")
        place.database.mutate("work.EU:1:listed", lambda doc: doc | {"touched": True})  # the feed tells of it
        bus.send("work.EU", {"n": 2})
        assert seen.wait_for(2) == [1, 2]
        assert bus.broken() == ""


def test_what_was_parked_and_mended_is_handled_by_who_had_parked_it(place, seen):
    place.database.put({"_id": "work.EU:1:mended", **WHOLE, "state": "ready", "priority": "high"})
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: seen.add(delivery.message.id))
    with bus:
        place.wait_for_state("work.EU:1:mended", "dead")
        place.database.put({**place.database.get("work.EU:1:mended"), **WHOLE, "state": "ready"})
        assert seen.wait_for(1) == ["work.EU:1:mended"]


@pytest.mark.parametrize("span", [float("inf"), -1, 10**12])
def test_an_outcome_that_cannot_be_stored_is_a_failed_attempt(place, span):
    bus = place.bus(DRW_ATTEMPTS="2")
    bus.listen("work.EU", lambda _: Snooze("later", span))
    with bus:
        dead = place.wait_for_state(bus.send("work.EU", {}), "dead")
        assert "is no time to wait" in dead["errors"][-1]["what"]
        assert bus.broken() == ""


@pytest.mark.parametrize("made", ["zzz", ""])
def test_consumers_that_keep_out_of_each_others_way_outlive_a_time_that_is_none(place, seen, made):
    sender = place.bus("sender")
    for _ in range(4):
        sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(200)])
    place.database.put({"_id": "work.EU:1:odd", **WHOLE, "state": "ready", "creationTimestamp": made})
    buses = [place.bus(f"worker{number}") for number in range(3)]
    for bus in buses:
        bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), slots=2, batch=50)
    for bus in buses:
        bus.start()
    seen.wait_for(800)
    place.wait_for_state("work.EU:1:odd", "dead")
    assert [bus.broken() for bus in buses] == ["", "", ""]


def test_a_cancellation_that_is_none_cancels_nothing_and_is_said_once(place, caplog):
    bus, told = place.bus(), Cancellations(place.database)
    message = bus.queue.get(bus.send("pipeline.process.EU", {"ousUID": "uid://X1/X1/Xb0"}))
    of_none = bus.queue.get(bus.send("pipeline.process.EU", {"ousUID": "X1"}))
    whole = {"ous": "uid://X1/X1/Xb0", "by": "ada", "at": stamp(place.connection.clock.now()), "reason": "wrong recipe"}
    place.database.put({"_id": "control:cancel:uid___X1_X1_Xb0", **whole, "messages": message.id})
    with caplog.at_level(logging.INFO):
        assert [told.of(each) for each in (message, of_none, message)] == [None] * 3
    (said,) = [each.message for each in caplog.records if "cancel" in each.message]
    assert "control:cancel:uid___X1_X1_Xb0 is no cancellation" in said
    place.database.mutate("control:cancel:uid___X1_X1_Xb0", lambda doc: doc | {"messages": [message.id]})
    assert told.of(message).reason == "wrong recipe"
