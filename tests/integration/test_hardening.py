"""What must not stop the bus: poison in the database, odd handlers, late wake-ups, and clocks of others."""

import logging
import threading

import pytest
from troubles import asks, fail

from shared.bus import Done, Executor, ExecutorClient, Retry, Snooze
from shared.errors import BadMessage, DatabaseAway, LeaseLost, Refused

READY = {"selector": "work.EU", "state": "ready", "priority": 0, "schema": 1, "sender": "x", "digest": "", "body": {}}
OLD = "2026-01-01T00:00:00.000000"
NEWER = "work.EU:0:newer"
POISON = {
    "an unreadable expiry": {"expires": "soon", "creationTimestamp": OLD},
    "an unreadable due time": {"state": "delayed", "due": "soon", "creationTimestamp": OLD},
    "an unreadable creation time": {"creationTimestamp": "yesterday"},
    "a claim by nobody": {"state": "claimed", "due": OLD, "creationTimestamp": OLD},
    "no body": {"body": 7, "creationTimestamp": OLD},
    "a strange schema": {"schema": "one", "creationTimestamp": OLD},
}


@pytest.mark.parametrize("kind", POISON)
def test_poison_in_the_queue_is_parked_and_the_rest_goes_on(place, seen, kind):
    place.database.put({**READY, **POISON[kind], "_id": "work.EU:0:poison"})
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        good = bus.send("work.EU", {"n": 1})
        place.wait_for_state(good, "consumed")
        parked = place.wait_for_state("work.EU:0:poison", "dead")
        assert bus.broken() == ""
    assert "not a message" in parked["errors"][-1]["what"]
    assert seen.items == [1]


def test_a_message_of_a_newer_version_is_left_alone_and_blocks_nobody(place, seen):
    place.database.put({**READY, "schema": 99, "creationTimestamp": OLD, "_id": "work.EU:0:newer"})
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    for n in range(3):
        bus.send("work.EU", {"n": n})
    with bus:
        assert seen.wait_for(3) == [0, 1, 2]
    assert place.database.get("work.EU:0:newer")["state"] == "ready"


def test_what_is_left_alone_keeps_nobody_busy(place, proxy):
    """An overdue message of a newer version is due at every look, and never for this program."""
    place.database.put({**READY, "schema": 99, "state": "delayed", "due": OLD, "creationTimestamp": OLD, "_id": NEWER})
    bus = place.bus(through=proxy, DRW_POLL_S="0.1", DRW_POLL_MAX_S="60")
    bus.listen("work.EU", lambda _: None)
    with bus:
        proxy.wait_until(lambda: len(proxy.requests(asks("/_bulk_get"))) == 1)
        proxy.wait_for_quiet(2.0)
        place.database.mutate(NEWER, lambda doc: doc | {"schema": 1})  # its sender was set back to the older version
        assert place.wait_for_state(NEWER, "consumed")["attempts"] == 1


def test_under_the_id_of_a_message_of_a_newer_version_nothing_can_be_sent_or_asked(place):
    place.database.put({**READY, "schema": 99, "_id": NEWER})
    bus = place.bus()
    with pytest.raises(Refused, match="of a newer version of this program: update this one"):
        bus.send("work.EU", {}, message_id=NEWER)
    with pytest.raises(Refused, match="of a newer version"):
        ExecutorClient(bus, "work.EU", deadline_s=5).call({}, message_id=NEWER)


def test_what_could_not_be_parked_at_first_is_parked_later(place, proxy):
    place.database.put({**READY, **POISON["no body"], "_id": "work.EU:0:poison"})
    rule = proxy.rule(
        lambda request: request.method in {"PUT", "POST"} and b'"dead"' in request.body, fail(503), times=2
    )
    bus = place.bus(through=proxy)
    bus.listen("work.EU", lambda _: None)
    with bus:
        rule.wait(2)
        place.wait_for_state("work.EU:0:poison", "dead")


def test_what_cannot_be_parked_at_all_is_passed_over(place, proxy, seen):
    """A document that is too large to be given an error, for instance."""
    place.database.put({**READY, **POISON["no body"], "_id": "work.EU:0:poison"})
    proxy.rule(lambda request: request.method in {"PUT", "POST"} and b'"dead"' in request.body, fail(413))
    bus = place.bus(through=proxy)
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body))
    with bus:
        place.wait_for_state(bus.send("work.EU", {"n": 1}), "consumed")
    assert seen.items == [{"n": 1}]


def test_what_is_gone_is_no_longer_said_to_be_there(place):
    place.database.put({**READY, "schema": 99, "_id": NEWER})
    queue = place.bus().queue
    assert queue.get(NEWER) is None
    assert "of a newer version" in queue.stored.why_unread(NEWER)
    place.database.delete(NEWER)
    assert queue.get(NEWER) is None
    assert queue.stored.why_unread(NEWER) == ""


def raise_exit(delivery):
    raise SystemExit(1)


def raise_surrogate(delivery):
    raise ValueError("a lone \udc80")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("cannot be said")


def raise_unspeakable(delivery):
    raise Unspeakable


class Ending(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def raise_ending(delivery):
    raise Ending


class BadUnspeakable(BadMessage):
    def __str__(self) -> str:
        raise ValueError("cannot be said")


def raise_bad_unspeakable(delivery):
    raise BadUnspeakable


class Nothing(Exception):
    @property
    def __class__(self):
        raise SystemExit(4)


def raise_nothing(delivery):
    raise Nothing


class Faceless:
    def __repr__(self) -> str:
        raise SystemExit(5)


@pytest.mark.parametrize(
    ("handler", "says"),
    [
        (lambda delivery: delivery.message.id, "the handler returned"),
        (raise_unspeakable, "Unspeakable"),
        (raise_ending, "Ending"),
        (raise_bad_unspeakable, "BadUnspeakable"),
        (raise_nothing, "can be neither shown nor logged"),
        (lambda delivery: Faceless(), "the handler returned <Faceless>"),
        (lambda delivery: Done(object()), "its outcome was refused"),
        (raise_surrogate, r"a lone \udc80"),
        (raise_exit, "SystemExit"),
    ],
)
def test_an_odd_handler_harms_its_message_only(place, seen, caplog, handler, says):
    caplog.set_level(logging.CRITICAL)  # what pytest captures has to be text
    bus = place.bus()
    bus.listen("odd.EU", handler)
    bus.listen("work.EU", lambda delivery: seen.add(1))
    with bus:
        dead = place.wait_for_state(bus.send("odd.EU", {}), "dead")
        bus.send("work.EU", {})
        seen.wait_for(1)
        assert bus.broken() == ""
    assert says in dead["errors"][-1]["what"]


def test_a_body_that_is_no_text_is_refused_when_it_is_sent(place):
    with pytest.raises(Refused, match="must be a JSON object"):
        place.bus().send("work.EU", {"a": "\udc80"})


def test_what_the_feed_tells_of_is_taken_at_its_time_and_not_at_the_next_poll(place, seen):
    bus = place.bus(DRW_POLL_S="60", DRW_POLL_MAX_S="60")
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        bus.send("work.EU", {"n": "first"})
        seen.wait_for(1)
        place.bus("other").send("work.EU", {"n": "delayed"}, delay_s=0.5)
        seen.wait_for(2, timeout=15)


def test_a_retry_comes_at_its_time_and_not_at_the_next_poll(place, seen):
    bus = place.bus(DRW_POLL_S="60", DRW_POLL_MAX_S="60")
    bus.listen("work.EU", lambda delivery: Retry("again", after_s=0.2) if not seen.items and not seen.add(1) else None)
    with bus:
        place.wait_for_state(bus.send("work.EU", {}), "consumed", timeout=15)


def test_many_that_are_due_at_once_need_no_poll_each(place, seen):
    sender = place.bus("sender")
    sender.send_many([sender.compose("work.EU", {"n": n}, delay_s=0.3) for n in range(30)])
    bus = place.bus(DRW_POLL_S="60", DRW_POLL_MAX_S="60")
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        assert sorted(seen.wait_for(30, timeout=25)) == list(range(30))


def test_a_selector_behind_a_crowd_of_strangers_is_found(place, seen):
    sender = place.bus("sender")
    for stranger in range(12):
        sender.send_many([sender.compose(f"m{stranger}", {"n": n}) for n in range(100)])
    bus = place.bus()
    bus.listen("xtss", lambda delivery: seen.add("xtss"))
    bus.listen("cached.EU", lambda delivery: seen.add("cached"))
    sender.send("xtss", {})
    sender.send("cached.EU", {})
    with bus:
        assert sorted(seen.wait_for(2)) == ["cached", "xtss"]


def test_a_handler_whose_lease_is_over_sends_nothing_more(place, seen):
    bus = place.bus()

    def handle(delivery):
        held = delivery._held
        held.until_s -= 1000.0  # as after a long sleep of the machine
        doc = place.database.get(delivery.message.id)
        place.database.put({**doc, "claim": {**doc["claim"], "token": "somebody else's"}})
        with pytest.raises(LeaseLost):
            delivery.send("next.EU", {}, name="late")
        seen.add("fenced")

    bus.listen("work.EU", handle)
    with bus:
        bus.send("work.EU", {})
        seen.wait_for(1)
    assert not [doc for doc in place.database.every() if doc["_id"].startswith("next.EU:")]


def test_requests_claimed_ahead_are_not_begun_after_their_time(place, seen):
    bus = place.bus()
    release = threading.Event()

    def execute(delivery):
        seen.add(delivery.body["n"])
        release.wait(20)

    Executor(bus, "echo", execute, batch=3)
    ids = [bus.send("echo", {"n": n}, expires_s=1.0) for n in range(3)]
    with bus:
        for message_id in ids:
            place.wait_for_state(message_id, "claimed")
        timer = place.bus("timer")
        timer.listen("tock.EU", lambda delivery: release.set())
        timer.send("tock.EU", {}, delay_s=1.5)
        with timer:
            assert release.wait(20)
        for message_id in ids[1:]:
            place.wait_for_state(message_id, "expired")
    assert seen.items == [0]


def test_a_request_whose_execution_has_begun_never_expires(place, seen):
    bus = place.bus()

    def execute(delivery):
        seen.add(1)
        if len(seen.items) < 3:
            raise DatabaseAway("for a moment")
        return "done"

    Executor(bus, "echo", execute)
    message_id = bus.send("echo", {}, expires_s=0.5)
    with bus:
        done = place.wait_for_state(message_id, "consumed")
    assert done["result"] == {"value": "done"}


def test_one_grace_is_for_all_slots_together(place):
    bus = place.bus()
    begun = threading.Semaphore(0)

    def handle(delivery):
        ended = threading.Event()
        delivery.on_abort(ended.set)
        begun.release()
        ended.wait(60)
        return Snooze("interrupted", for_s=0.0)

    bus.listen("work.EU", handle, slots=4)
    bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(4)])
    bus.start()
    for _ in range(4):
        assert begun.acquire(timeout=20)
    stopping = threading.Thread(target=bus.stop, kwargs={"grace_s": 2.0})
    stopping.start()
    stopping.join(7.5)  # four graces would take eight seconds
    assert not stopping.is_alive()


def test_what_a_handler_does_to_the_body_does_not_change_what_is_stored(place, seen):
    bus = place.bus()

    def handle(delivery):
        seen.add(delivery.body.pop("name"))
        delivery.body["list"].append(1)
        if len(seen.items) == 1:
            raise OSError("for now")

    bus.listen("work.EU", handle)
    with bus:
        message_id = bus.send("work.EU", {"name": "a", "list": []})
        done = place.wait_for_state(message_id, "consumed")
    assert (seen.items, done["body"]) == (["a", "a"], {"name": "a", "list": []})


def test_a_listener_that_comes_too_late_is_refused(place):
    bus = place.bus()
    bus.listen("work.EU", lambda _: None)
    with bus, pytest.raises(RuntimeError, match=r"work\.NA .* has started"):
        bus.listen("work.NA", lambda _: None)


def test_what_a_handler_wants_called_when_it_has_to_end_cannot_end_the_leases(place):
    bus = place.bus()
    told = threading.Event()

    def end():
        told.set()
        raise SystemExit(1)

    def handle(delivery):
        delivery.on_abort(end)
        delivery._held.until_s -= 1000.0  # as after a long sleep of the machine
        doc = place.database.get(delivery.message.id)
        place.database.put({**doc, "claim": {**doc["claim"], "token": "somebody else's"}})
        assert told.wait(20)

    bus.listen("work.EU", handle)
    with bus:
        bus.send("work.EU", {})
        assert told.wait(20)
        bus._keeper._thread.join(0.5)
        assert bus.broken() == ""


def test_a_handler_cannot_stop_its_bus_and_is_told_so_before_anything_is_stopped(place, seen):
    bus = place.bus()

    def handle(delivery):
        with pytest.raises(RuntimeError, match="have another thread stop it"):
            bus.stop()
        seen.add(delivery.body["n"])

    bus.listen("work.EU", handle)
    with bus:
        for n in range(3):
            place.wait_for_state(bus.send("work.EU", {"n": n}), "consumed")
        assert bus.broken() == ""
    assert seen.items == [0, 1, 2]
