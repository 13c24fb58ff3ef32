"""The bus on a real database: what it promises of sending, claiming, retrying and settling."""

import threading
import time
from contextlib import closing

import pytest

from shared.bus import Bus, Dead, Done, Executor, Retry, RetryPolicy, Snooze
from shared.bus.envelope import caused_id
from shared.clock import Clock
from shared.dbcon import DbConnection
from shared.errors import BadInput, BadMessage, Refused, SentDifferently, SourceAway
from shared.names import moment


def test_a_message_is_handled_and_consumed(place, seen):
    bus = place.bus()
    bus.listen("greet.EU", lambda delivery: seen.add(delivery.body))
    with bus:
        message_id = bus.send("greet.EU", {"name": "Ada"})
        done = place.wait_for_state(message_id, "consumed")
    assert seen.items == [{"name": "Ada"}]
    assert done["attempts"] == 1
    assert done["sender"] == "test"
    assert done["claim"]["by"] == "test"


def test_messages_sent_before_the_listener_started_are_found(place, seen):
    place.bus("early").send("greet.EU", {"n": 1})
    late = place.bus("late")
    late.listen("greet.EU", lambda delivery: seen.add(delivery.body["n"]))
    with late:
        seen.wait_for(1)


def test_urgent_first_then_the_order_of_sending(place, seen):
    sender = place.bus("sender")
    sender.send_many(
        [sender.compose("work.EU", {"n": n}, priority=priority) for n, priority in enumerate([5, 5, 9, 0, 5, 0])]
    )
    worker = place.bus("worker")
    worker.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=6)
    with worker:
        assert seen.wait_for(6) == [3, 5, 0, 1, 4, 2]


def test_many_consumers_handle_each_message_once(place, seen):
    workers = [place.bus(f"worker{number}") for number in range(4)]
    for worker in workers:
        worker.listen("work.EU", lambda delivery, me=worker.me: seen.add((delivery.body["n"], me)), slots=2, batch=20)
        worker.start()
    sender = place.bus("sender")
    for start in range(0, 400, 100):
        sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(start, start + 100)])
    handled = seen.wait_for(400)
    for worker in workers:
        worker.stop()
    assert sorted(n for n, _ in handled) == list(range(400))
    states = {doc["state"] for doc in place.database.every() if doc["_id"].startswith("work.EU:")}
    assert states == {"consumed"}


def test_a_handler_that_raises_is_retried_and_then_dead_with_every_error(place, seen):
    bus = place.bus()

    def fail(delivery):
        seen.add(delivery.is_last_attempt)
        raise ValueError(f"attempt {len(seen.items)}")

    bus.listen("work.EU", fail)
    with bus:
        dead = place.wait_for_state(bus.send("work.EU", {}), "dead")
    assert seen.items == [False, False, True]
    assert [each["what"] for each in dead["errors"]] == [f"ValueError: attempt {n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("raised", "attempts", "says"),
    [(BadMessage("field x is missing"), 1, "field x is missing"), (None, 1, "never")],
)
def test_what_can_never_be_handled_is_dead_at_once(place, raised, attempts, says):
    bus = place.bus()

    def handle(delivery):
        if raised:
            raise raised
        return Dead("never")

    bus.listen("work.EU", handle)
    with bus:
        dead = place.wait_for_state(bus.send("work.EU", {}), "dead")
    assert dead["attempts"] == attempts
    assert says in dead["errors"][-1]["what"]


def test_what_waits_for_something_spends_no_attempt(place, seen):
    bus = place.bus()

    def handle(delivery):
        seen.add(delivery.message.attempts)
        if len(seen.items) < 6:
            raise SourceAway("not there yet") if len(seen.items) % 2 else SourceAway("still not there")
        return Done({"after": len(seen.items)})

    bus.listen("work.EU", handle)
    with bus:
        done = place.wait_for_state(bus.send("work.EU", {}), "consumed")
    assert seen.items == [1] * 6
    assert done["result"] == {"after": 6}
    assert "errors" not in done


def test_an_outcome_says_when_to_come_again(place, seen):
    bus = place.bus()
    outcomes = [Retry("once", after_s=0.01), Snooze("a moment", for_s=0.01), None]
    bus.listen("work.EU", lambda delivery: outcomes[seen.add(1) or len(seen.items) - 1])
    with bus:
        place.wait_for_state(bus.send("work.EU", {}), "consumed")
    assert len(seen.items) == 3


def test_a_delayed_message_waits_for_its_time(place, seen):
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        late = bus.send("work.EU", {"n": "late"}, delay_s=1.2)
        bus.send("work.EU", {"n": "now"})
        assert place.database.get(late)["state"] == "delayed"
        assert seen.wait_for(2) == ["now", "late"]


def test_an_expired_message_is_never_handled(place, seen):
    message_id = place.bus("sender").send("work.EU", {"n": "old"}, expires_s=0.01)
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        place.wait_for_state(message_id, "expired")
        bus.send("work.EU", {"n": "new"})
        assert seen.wait_for(1) == ["new"]


def test_sending_again_under_one_id_sends_nothing_more(place):
    bus = place.bus()
    first = bus.send("work.EU", {"n": 1}, dedup="launch 7")
    assert bus.send("work.EU", {"n": 1}, dedup="launch 7") == first
    with pytest.raises(SentDifferently, match="with another body"):
        bus.send("work.EU", {"n": 2}, dedup="launch 7")
    assert sum(doc["_id"].startswith("work.EU:") for doc in place.database.every()) == 1


def test_a_handler_that_runs_twice_sends_its_messages_once(place, seen):
    bus = place.bus()

    def handle(delivery):
        seen.add(delivery.send("next.EU", {"from": delivery.message.id}, name="follow-up"))
        return Retry("again", after_s=0.01) if len(seen.items) < 3 else None

    bus.listen("work.EU", handle)
    with bus:
        cause = bus.send("work.EU", {})
        place.wait_for_state(cause, "consumed")
    assert seen.items == [caused_id("next.EU", cause, 0, "follow-up")] * 3
    (child,) = [doc for doc in place.database.every() if doc["_id"].startswith("next.EU:")]
    assert child["cause"] == cause


def test_a_poisonous_message_harms_only_itself(place):
    bus = place.bus()
    good = [bus.compose("work.EU", {"n": n}) for n in range(5)]
    for body in ({"n": float("nan")}, {"n": "x" * 8_000_000}, [1], "x", None, 5, True, {"n": nested(100)}):
        with pytest.raises(Refused, match="the body of a message"):
            bus.compose("work.EU", body)
    assert len(bus.send_many(good)) == 5


def test_the_deepest_body_that_can_be_sent_is_handled(place, seen):
    """Beside one that a stranger stored, and that nothing can decode as a whole."""
    body = {"n": nested(89)}
    deep = f'{{"_id":"x:y","n":{"[" * 990}{"]" * 990}}}'
    place.database.bulk_bytes(f'{{"docs":[{deep}]}}'.encode(), 1)
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body))
    with bus:
        message_id = bus.send("work.EU", body)
        place.wait_for_state(message_id, "consumed")
    assert seen.items == [body]
    found = place.database.fetch([message_id, "x:y"])
    assert found[0]["body"] == body


def nested(levels):
    made = 1
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delay": 60}, "no option delay: there are message_id, dedup, cause, priority, delay_s, expires_s"),
        ({"priority": True}, "True is not a priority"),
        ({"priority": 5.0}, "5.0 is not a priority"),
        ({"cause": None}, "None is no cause"),
        ({"cause": 5}, "5 is no cause"),
        ({"dedup": ""}, "'' is no key"),
        ({"dedup": 5}, "5 is no key"),
        ({"dedup": "\ud800"}, "is no key"),
        ({"dedup": "a", "message_id": "work.EU:1:a"}, "not from both"),
        ({"message_id": 5}, "5 does not begin with its selector"),
        ({"delay_s": "1"}, "'1' is no span"),
        ({"delay_s": float("-inf")}, "-inf is no span"),
        ({"expires_s": float("nan")}, "nan is no span"),
    ],
)
def test_an_option_that_means_nothing_is_refused(place, options, says):
    with pytest.raises(BadInput, match=says):
        place.bus().send("work.EU", {}, **options)
    assert not [doc for doc in place.database.every() if doc["_id"].startswith("work.EU:")]


def test_an_option_that_is_none_is_not_given(place):
    bus = place.bus()
    options = dict.fromkeys(("message_id", "dedup", "delay_s", "expires_s"))
    first, second = (place.database.get(bus.send("work.EU", {}, **options)) for _ in range(2))
    assert first["_id"] != second["_id"]
    assert (first["state"], first.get("due"), first.get("expires")) == ("ready", None, None)


def test_a_result_that_cannot_be_stored_makes_the_message_dead(place):
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: Done("x" * 9_000_000))
    with bus:
        dead = place.wait_for_state(bus.send("work.EU", {}), "dead")
    assert "refused" in dead["errors"][-1]["what"]


def test_a_range_reaches_all_of_its_selectors_and_no_others(place, seen):
    bus = place.bus()
    bus.listen("cached.*", lambda delivery: seen.add(delivery.message.selector), batch=10)
    for selector in ("cached.EU", "cached.JAO", "cachedX", "cache.EU", "cached.NA"):
        place.bus("sender").send(selector, {})
    with bus:
        assert sorted(seen.wait_for(3)) == ["cached.EU", "cached.JAO", "cached.NA"]
    left = {doc["selector"] for doc in place.database.every() if doc.get("state") == "ready"}
    assert left == {"cachedX", "cache.EU"}


def test_a_flooded_selector_of_a_range_starves_no_other(place, seen):
    sender = place.bus("sender")
    sender.send_many([sender.compose("cached.EU", {"n": n}) for n in range(600)])
    sender.send("cached.JAO", {})
    bus = place.bus()
    bus.listen("cached.*", lambda delivery: seen.add(delivery.message.selector), batch=20)
    with bus:
        handled = seen.wait_for(200)
    assert "cached.JAO" in handled[:200]


def test_two_listeners_of_one_process_have_their_own_messages(place, seen):
    bus = place.bus()
    for site in ("EU", "NA"):
        bus.listen(f"work.{site}", lambda delivery, site=site: seen.add((site, delivery.body["n"])))
    with bus:
        for site in ("EU", "NA"):
            bus.send(f"work.{site}", {"n": site})
        assert sorted(seen.wait_for(2)) == [("EU", "EU"), ("NA", "NA")]


def test_more_slots_run_at_once(place):
    bus = place.bus()
    together = threading.Barrier(3)
    bus.listen("work.EU", lambda delivery: (together.wait(10), None)[1], slots=3)
    with bus:
        ids = [bus.send("work.EU", {"n": n}) for n in range(3)]
        for message_id in ids:
            place.wait_for_state(message_id, "consumed")


def test_a_policy_of_its_own_for_a_listener(place, seen):
    bus = place.bus()
    bus.listen("work.EU", lambda delivery: Retry(f"{seen.add(1)}"), policy=RetryPolicy(attempts=1))
    with bus:
        place.wait_for_state(bus.send("work.EU", {}), "dead")
    assert len(seen.items) == 1


def test_an_id_of_ones_own_begins_with_its_selector(place):
    with pytest.raises(BadInput, match="does not begin with its selector"):
        place.bus().send("greet.EU", {}, message_id="other:1:x")


@pytest.mark.parametrize("hours", [-1, 1])
def test_who_sends_before_anything_else_knows_the_databases_time(place, monkeypatch, hours):
    real = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: real() + hours * 3600)
        clock = Clock()
    with closing(DbConnection(place.settings, clock=clock)) as connection:
        bus = Bus(connection, place.settings, me="skewed")
        sent = [place.database.get(bus.send("work.EU", {}, delay_s=30, expires_s=60)) for _ in range(2)]
    now = place.connection.clock.now()
    for doc in sent:
        assert abs((moment(doc["creationTimestamp"]) - now).total_seconds()) < 20
        assert 0 < (moment(doc["due"]) - now).total_seconds() < 45
        assert 30 < (moment(doc["expires"]) - now).total_seconds() < 75


def test_a_handler_does_not_try_to_send_for_longer_than_its_lease_lasts(place, seen, monkeypatch):
    bus = place.bus(DRW_LEASE_S="6")
    send = bus.send

    def noting(selector, body, *, within_s, **options):
        seen.add(within_s)
        return send(selector, body, within_s=within_s, **options)

    monkeypatch.setattr(bus, "send", noting)

    def handle(delivery):
        delivery.send("next.EU", {}, name="after")

    bus.listen("work.EU", handle)
    with bus:
        place.wait_for_state(send("work.EU", {}), "consumed")
    assert 2 < seen.items[0] <= 6


@pytest.mark.parametrize("counts", [{"slots": 0}, {"slots": -1, "batch": 5}, {"batch": 0}, {"slots": 1.5}])
def test_a_listener_that_could_handle_nothing_is_refused(place, counts):
    bus = place.bus()
    with pytest.raises(BadInput, match=r"(slots|batch) of work\.EU cannot be .*: it is a whole number, 1 or more"):
        bus.listen("work.EU", lambda _: None, **counts)
    with pytest.raises(BadInput, match="it is a whole number"):
        bus.subscribe("news", "page", lambda _: None, **counts)
    assert bus.listens == []
    assert place.database.get("control:subscriptions:news") is None


def test_an_executor_that_could_execute_nothing_is_refused(place):
    with pytest.raises(BadInput, match="slots of echo cannot be 0"):
        Executor(place.bus(), "echo", lambda _: None, slots=0)
