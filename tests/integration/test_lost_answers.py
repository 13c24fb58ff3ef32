"""Answers that are lost after the write happened: nothing is lost, nothing happens twice, and nobody hangs.

Every write of the bus meets every way in which its answer can fail to come, alone and in a batch. A run that was not
repeated, an attempt that was not counted twice and a claim that did not wait for its lease say that the write was
recognised. And since nobody can tell the two apart, a request that never arrived must end in the same.
"""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from troubles import asks, fail, gateway_error, halve_answer, hang_up, keep_answer, lose_answer, writes

from shared.bus import Dead, Done, Retry, Snooze
from shared.errors import OutcomeUnknown

LEASE = {"DRW_LEASE_S": "6", "DRW_CLOCK_SPARE_S": "1"}
LOSSES = {"cut": lose_answer, "halved": halve_answer, "502": gateway_error, "not even asked": hang_up}

losses = pytest.mark.parametrize(("loss", "size"), [("cut", 1), *((loss, 20) for loss in LOSSES)])
sizes = pytest.mark.parametrize("size", [1, 20])


def compose(bus, count):
    return [bus.compose("work.EU", {"n": n}) for n in range(count)]


def stored(place):
    """Return the messages by their numbers."""
    return {doc["body"]["n"]: doc for doc in place.database.every() if doc["_id"].startswith("work.EU:")}


def listening(place, proxy, handler, size, **settings):
    bus = place.bus("worker", through=proxy, **LEASE, **settings)
    bus.listen("work.EU", handler, batch=size)
    return bus


@losses
def test_a_send_whose_answer_is_lost_is_stored_once(place, proxy, loss, size):
    rule = proxy.rule(writes("send"), LOSSES[loss], times=2)
    bus = place.bus("sender", through=proxy)
    messages = compose(bus, size)
    assert bus.send_many(messages) == [message.id for message in messages]
    rule.wait(2)
    assert sorted(stored(place)) == list(range(size))
    assert {doc["_rev"].partition("-")[0] for doc in stored(place).values()} == {"1"}


@sizes
def test_a_send_that_is_never_answered_ends_in_time_and_may_be_repeated(place, proxy, size):
    bus = place.bus("sender", through=proxy)
    bus.send("other.EU", {})
    messages = compose(bus, size)
    proxy.rule(writes("send"), keep_answer)
    unread = proxy.rule(asks("/_bulk_get"), fail(503))
    with pytest.raises(OutcomeUnknown, match="may or may not be sent"):
        bus.send_many(messages, within_s=1.0)
    unread.lift()
    assert bus.send_many(messages, within_s=1.0) == [message.id for message in messages]
    assert sorted(stored(place)) == list(range(size))


@losses
def test_a_claim_whose_answer_is_lost_is_not_lost(place, proxy, seen, loss, size):
    rule = proxy.rule(writes("claim"), LOSSES[loss], times=2)
    place.bus("sender").send_many(compose(place.bus("sender"), size))
    with listening(place, proxy, lambda delivery: seen.add(delivery.body["n"]), size):
        seen.wait_for(size)
    rule.wait(2)
    assert sorted(seen.items) == list(range(size))
    assert {(doc["state"], doc["attempts"]) for doc in stored(place).values()} == {("consumed", 1)}


@losses
def test_a_renewal_whose_answer_is_lost_loses_no_lease(place, proxy, seen, loss, size):
    rule = proxy.rule(writes("renew"), LOSSES[loss], times=2)
    release = threading.Event()

    def handle(delivery):
        seen.add((delivery.body["n"], delivery.message.attempts))
        release.wait(30)

    place.bus("sender").send_many(compose(place.bus("sender"), size))
    thief = place.bus("thief", **LEASE)
    thief.listen("work.EU", lambda delivery: seen.add((delivery.body["n"], delivery.message.attempts)))
    with listening(place, proxy, handle, size):
        seen.wait_for(1)
        with thief:
            rule.wait(2)
            release.set()
            seen.wait_for(size)
    assert sorted(seen.items) == [(n, 1) for n in range(size)]
    assert {(doc["state"], doc["attempts"]) for doc in stored(place).values()} == {("consumed", 1)}


OUTCOMES = {
    "done": (Done("yes"), {"state": "consumed", "runs": 1, "attempts": 1, "failures": 0}),
    "retry": (Retry("again", after_s=0.3), {"state": "consumed", "runs": 2, "attempts": 2, "failures": 1}),
    "snooze": (Snooze("rain", for_s=0.3), {"state": "consumed", "runs": 2, "attempts": 1, "failures": 0}),
    "dead": (Dead("never"), {"state": "dead", "runs": 1, "attempts": 1, "failures": 1}),
}
OPS = list(OUTCOMES)


class Settling:
    """A handler whose first answer is another outcome for each message, and what should come of it."""

    def __init__(self, ops):
        self.ops = ops
        self.runs: Counter[int] = Counter()

    def __call__(self, delivery):
        n = delivery.body["n"]
        self.runs[n] += 1
        return OUTCOMES[self.ops[n % len(self.ops)]][0] if self.runs[n] == 1 else None

    def check(self, place, ids):
        expected = [OUTCOMES[self.ops[n % len(self.ops)]][1] for n in range(len(ids))]
        for message_id, wanted in zip(ids, expected, strict=True):
            doc = place.wait_for_state(message_id, wanted["state"], timeout=30)
            found = {"state": doc["state"], "attempts": doc["attempts"], "failures": len(doc.get("errors", []))}
            assert found | {"runs": self.runs[doc["body"]["n"]]} == wanted


@pytest.mark.parametrize(
    ("ops", "loss", "size"), [*(([op], "cut", 1) for op in OPS), *((OPS, loss, 20) for loss in LOSSES)]
)
def test_a_settlement_whose_answer_is_lost_is_made_once(place, proxy, ops, loss, size):
    rule = proxy.rule(writes(*ops), LOSSES[loss], times=2)
    handler = Settling(ops)
    ids = place.bus("sender").send_many(compose(place.bus("sender"), size))
    with listening(place, proxy, handler, size):
        handler.check(place, ids)
    rule.wait(2)


@losses
def test_what_is_given_back_without_an_answer_is_given_back_once(place, proxy, seen, loss, size):
    rule = proxy.rule(writes("give_back"), LOSSES[loss], times=2)
    begun, release = threading.Event(), threading.Event()

    def handle(delivery):
        begun.set()
        release.wait(20)
        seen.add(delivery.body["n"])

    ids = place.bus("sender").send_many(compose(place.bus("sender"), size + 1))
    bus = listening(place, proxy, handle, size + 1)
    bus.start()
    assert begun.wait(20)
    stopping = threading.Thread(target=bus.stop, kwargs={"grace_s": 15})
    stopping.start()
    for message_id in ids[1:]:
        place.wait_for_state(message_id, "ready")
    release.set()
    stopping.join(20)
    assert not stopping.is_alive()
    rule.wait(2)
    left = stored(place)
    assert left.pop(0)["state"] == "consumed"
    assert {(doc["state"], doc.get("attempts", 0)) for doc in left.values()} == {("ready", 0)}
    heir = place.bus("heir")
    heir.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=size)
    with heir:
        seen.wait_for(size + 1)
    assert sorted(seen.items) == list(range(size + 1))


@pytest.mark.parametrize("op", ["claim", "settle"])
def test_a_write_that_is_never_answered_holds_nobody_up(place, proxy, op):
    """The line stays open and silent for two tries; after a settlement the reading that would tell fails as well."""
    rule = proxy.rule(writes(*OPS) if op == "settle" else writes(op), keep_answer, times=2)
    proxy.rule(asks("/_bulk_get"), fail(503), times=1)
    handler = Settling(OPS)
    ids = place.bus("sender").send_many(compose(place.bus("sender"), 8))
    bus = listening(place, proxy, handler, 8)
    with bus:
        handler.check(place, ids)
        assert bus.broken() == ""
    rule.wait(2)


def test_a_renewal_that_is_never_answered_costs_no_lease(place, proxy, seen):
    rule = proxy.rule(writes("renew"), keep_answer, times=2)
    ids = place.bus("sender").send_many(compose(place.bus("sender"), 5))
    with listening(place, proxy, lambda delivery: (seen.add(delivery.message.attempts), rule.wait(2))[1], 5):
        for message_id in ids:
            place.wait_for_state(message_id, "consumed")
    assert seen.items == [1] * 5


def test_a_stop_whose_writes_are_never_answered_ends_and_settles_what_has_begun(place, proxy, seen):
    rule = proxy.rule(writes("give_back"), keep_answer, times=2)
    proxy.rule(asks("/_bulk_get"), fail(503), times=1)
    begun, release = threading.Event(), threading.Event()

    def handle(delivery):
        begun.set()
        release.wait(20)
        seen.add(delivery.body["n"])

    ids = place.bus("sender").send_many(compose(place.bus("sender"), 5))
    bus = listening(place, proxy, handle, 5)
    bus.start()
    assert begun.wait(20)
    stopping = threading.Thread(target=bus.stop, kwargs={"grace_s": 15})
    stopping.start()
    rule.wait()
    release.set()
    stopping.join(20)
    assert not stopping.is_alive()
    heir = place.bus("heir", **LEASE)
    heir.listen("work.EU", handle, batch=5)
    with heir:
        for message_id in ids:
            place.wait_for_state(message_id, "consumed")
    assert sorted(seen.items) == list(range(5))


def test_a_claim_whose_answer_is_lost_to_a_long_outage_is_not_left_to_its_lease(place, proxy, seen):
    rule = proxy.rule(writes("claim"), lose_answer, times=1)
    ids = place.bus("sender").send_many(compose(place.bus("sender"), 5))
    with listening(place, proxy, lambda delivery: seen.add(delivery.body["n"]), 5):
        rule.wait()
        proxy.refuse()
        threading.Event().wait(4.0)  # more than half of the lease
        proxy.open()
        seen.wait_for(5)
        for message_id in ids:
            assert place.wait_for_state(message_id, "consumed")["attempts"] == 1
    assert sorted(seen.items) == list(range(5))


def test_a_login_that_is_refused_in_the_middle_of_claiming_loses_nothing_of_what_was_claimed(place, proxy, seen):
    """Each has more than half of what one request may hold; CouchDB answers 401 where it cannot read a user."""
    sender = place.bus("sender")
    sender.send_many([sender.compose("work.EU", {"n": n, "text": "x" * 4_500_000}) for n in range(3)])
    proxy.rule(writes("claim"), fail(401), skip=1, times=1)
    bus = place.bus(through=proxy)
    bus.listen("work.EU", lambda delivery: seen.add((delivery.body["n"], delivery.message.attempts)), slots=3, batch=3)
    with bus:
        assert sorted(seen.wait_for(3)) == [(0, 1), (1, 1), (2, 1)]
