"""Whose turn it is: the most urgent, then the oldest, and nobody waits for ever behind others."""

import threading

import pytest
from troubles import asks, writes

from shared.bus import Retry, Snooze, pauses, queue, taker
from shared.bus.queue import Claims


def test_whoever_is_busy_takes_the_most_urgent_next_however_it_heard_of_it(place, seen):
    bus, go_on = place.bus("consumer"), threading.Event()

    def work(delivery):
        seen.add(delivery.body["n"])
        assert go_on.wait(20)

    bus.listen("work.EU", work)
    sender = place.bus("sender")
    with bus:
        sender.send("work.EU", {"n": "first"})
        seen.wait_for(1)
        for number in range(5):
            sender.send("work.EU", {"n": number})
        sender.send("work.EU", {"n": "urgent"}, priority=0)
        go_on.set()
        assert seen.wait_for(7) == ["first", "urgent", 0, 1, 2, 3, 4]


@pytest.mark.parametrize("batch", [1, 2, 5, 20])
def test_what_was_delayed_takes_its_turn_among_what_is_ready(place, seen, batch):
    sender = place.bus("sender")
    for priority in (9, 5, 7):
        sender.send("work.EU", {"n": priority}, priority=priority, delay_s=0.5)
    for priority in (5, 0, 9, 0, 8, 5):
        sender.send("work.EU", {"n": priority}, priority=priority)
    threading.Event().wait(1.0)
    bus = place.bus("consumer")
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=batch)
    with bus:
        assert seen.wait_for(9) == [0, 0, 5, 5, 5, 7, 8, 9, 9]


def test_a_flood_that_is_delayed_keeps_back_nothing_that_is_due(place, seen):
    sender = place.bus("sender")
    for start in range(0, 2100, 300):
        sender.send_many([sender.compose("work.EU", {"n": n}, delay_s=3600) for n in range(start, start + 300)])
    bus = place.bus("consumer")

    def work(delivery):
        if delivery.body["n"] == "retried" and delivery.message.attempts == 1:
            return Retry("once more", after_s=0.3)
        return seen.add(delivery.body["n"])

    bus.listen("work.EU", work)
    with bus:
        sender.send("work.EU", {"n": "a moment later"}, delay_s=0.5)
        sender.send("work.EU", {"n": "retried"})
        assert sorted(seen.wait_for(2)) == ["a moment later", "retried"]


def test_more_delayed_messages_than_a_survey_reads_are_handled_at_their_time(place, seen):
    sender = place.bus("sender")
    sender.send_many([sender.compose("work.EU", {"n": n}, delay_s=0.5) for n in range(450)])
    bus = place.bus("consumer", DRW_POLL_S="30", DRW_POLL_MAX_S="30")
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=50)
    with bus:
        assert sorted(seen.wait_for(450, timeout=20)) == list(range(450))


def test_a_selector_behind_more_full_ones_than_a_survey_reads_has_its_turn(place, seen, monkeypatch):
    monkeypatch.setattr(queue, "_SURVEY_ROWS", 3)
    monkeypatch.setattr(queue, "_SURVEY_PAGES", 2)
    sender, now = place.bus("sender"), place.connection.clock.now()
    for name in ("a", "b", "c"):
        sender.send_many([sender.compose(f"work.{name}", {"n": f"{name}{n}"}) for n in range(4)])
    for name in ("a", "b"):
        pauses.pause(place.database, f"work.{name}", by="ada", reason="a test", now=now, until=None)
    bus = place.bus("consumer", DRW_POLL_S="0.1")
    bus.listen("work.*", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        assert sorted(seen.wait_for(4)) == ["c0", "c1", "c2", "c3"]
        for name in ("a", "b"):
            pauses.resume(place.database, f"work.{name}")
        seen.wait_for(12)


def test_what_is_ready_is_not_starved_by_what_comes_due_again_and_again(place, seen):
    sender, bus = place.bus("sender"), place.bus("consumer")

    def work(delivery):
        if delivery.body["n"] == "snoozes":
            threading.Event().wait(0.01)
            return Snooze("what never comes", for_s=0.02)
        return seen.add(delivery.body["n"])

    bus.listen("work.EU", work)
    sender.send_many([sender.compose("work.EU", {"n": "snoozes"}) for _ in range(40)])
    with bus:
        place.wait_for_state(sender.send("work.EU", {"n": 0}), "consumed")
        assert seen.wait_for(1) == [0]


def test_a_backlog_that_is_past_its_time_holds_up_nobody(place, seen):
    sender, bus = place.bus("sender"), place.bus("consumer")
    sender.send_many([sender.compose("work.EU", {"n": n}, expires_s=0) for n in range(400)])
    sender.send("work.EU", {"n": "live"})
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        assert seen.wait_for(1, timeout=10) == ["live"]


def test_a_flood_that_is_paused_is_not_asked_for_again_and_again(place, proxy):
    sender = place.bus("sender")
    sender.send_many([sender.compose("work.EU", {"n": n}, delay_s=0.1) for n in range(450)])
    pauses.pause(place.database, "work.EU", by="ada", reason="a test", now=place.connection.clock.now(), until=None)
    bus = place.bus("consumer", through=proxy, DRW_POLL_S="30", DRW_POLL_MAX_S="30")
    bus.listen("work.EU", lambda _: None)
    with bus:
        proxy.wait_for_feed()
        proxy.wait_for_quiet(1.5)
        begun = len(proxy.requests(asks("/_find")))
        threading.Event().wait(4)
        assert len(proxy.requests(asks("/_find"))) - begun <= 2


def test_whoever_loses_time_and_again_waits_in_between(place, monkeypatch):
    """A copy of the index that lags goes on showing what others have: to ask without pause would help nobody."""
    bus, tries = place.bus("consumer"), []

    def all_lost(messages, policy, token):
        tries.append(len(messages))
        return Claims([], {message.id for message in messages}, unsure=False)

    monkeypatch.setattr(bus.queue, "claim", all_lost)
    bus.listen("work.EU", lambda _: None)
    with bus:
        place.bus("sender").send("work.EU", {})
        threading.Event().wait(3)
    assert 3 < len(tries) < 30


def test_a_batch_is_handled_most_urgent_and_then_oldest_first(place, seen):
    if place.database.info()["cluster"]["q"] > 1:
        pytest.skip("where there are several shards, what is sent together can be seen in parts")
    sender, bus = place.bus("sender"), place.bus("consumer")
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=8)
    with bus:
        sender.send("work.EU", {"n": "first"})
        seen.wait_for(1)
        sender.send_many([sender.compose("work.EU", {"n": n}, priority=n) for n in (5, 6, 9, 0, 1)])
        assert seen.wait_for(6) == ["first", 0, 1, 5, 6, 9]


def test_what_lapsed_is_taken_over_also_by_who_always_has_something_claimed_ahead(place, seen):
    sender, killed = place.bus("sender"), place.bus("killed")
    left = sender.send("work.EU", {"n": "left"})
    assert killed.queue.claim([killed.queue.get(left)], killed.policy, "token")[0]
    bus = place.bus("consumer")

    def work(delivery):
        if delivery.body["n"] == "left":
            seen.add("left")
        elif not seen.items:  # as much as before is always waiting
            sender.send("work.EU", {"n": 1})
            threading.Event().wait(0.005)

    bus.listen("work.EU", work, batch=8)
    sender.send_many([sender.compose("work.EU", {"n": 1}) for _ in range(100)])
    with bus:
        assert seen.wait_for(1) == ["left"]


def test_what_took_long_to_be_found_is_claimed_all_the_same(place, seen, monkeypatch):
    """On a machine that has too much to do looking takes longer than a lease, and must come to something."""
    sender, bus = place.bus("sender"), place.bus("consumer")
    sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(5)])
    fetch = bus.queue.fetch_readable

    def slowly(ids):
        found = fetch(ids)
        threading.Event().wait(1.6)  # a lease is 1.5 s
        return found

    monkeypatch.setattr(bus.queue, "fetch_readable", slowly)
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=5)
    with bus:
        assert seen.wait_for(5) == list(range(5))


def test_what_was_found_so_long_ago_that_it_may_be_purged_is_not_claimed(place, proxy, seen, monkeypatch):
    monkeypatch.setattr(taker, "_STALE_S", 0.0)
    bus = place.bus("consumer", through=proxy)
    place.bus("sender").send("work.EU", {"n": 0})
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    with bus:
        proxy.wait_until(lambda: len(proxy.requests(asks("/_bulk_get"))) > 1)
        assert not proxy.requests(writes("claim"))
        monkeypatch.setattr(taker, "_STALE_S", 60.0)
        assert seen.wait_for(1) == [0]


def test_selectors_that_take_longer_to_look_through_than_a_claim_lasts_are_served_part_by_part(
    place, seen, monkeypatch
):
    sender, bus = place.bus("sender"), place.bus("consumer")
    sender.send_many([sender.compose(f"work.s{n}", {"n": n}) for n in range(60)])
    ready = bus.queue.ready

    def slowly(selector, limit):
        threading.Event().wait(0.05)  # sixty of these take two leases
        return ready(selector, limit)

    monkeypatch.setattr(bus.queue, "ready", slowly)
    bus.listen("work.*", lambda delivery: seen.add(delivery.body["n"]), slots=4, batch=100)
    with bus:
        assert sorted(seen.wait_for(60)) == list(range(60))
