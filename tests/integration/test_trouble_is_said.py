"""What keeps the queue from going on is said, once for each reason, whatever went before it."""

from __future__ import annotations

import json
import logging
import threading

import pytest
from proxy import Answer
from troubles import asks, fail, lose_answer, writes

from shared.errors import OutcomeUnknown


def said(caplog, what):
    return [each.getMessage() for each in caplog.records if what in each.getMessage() and each.levelno >= logging.ERROR]


def test_a_refusal_that_comes_after_an_outage_is_said(place, proxy, caplog):
    """As when CouchDB comes back with another password."""
    bus = place.bus("worker", through=proxy)
    bus.listen("work.EU", lambda _: None)
    outage = proxy.rule(asks("/_find"), fail(503), times=2)
    refusal = proxy.rule(asks("/_find"), fail(403), skip=0)
    with bus:
        outage.wait(2)
        refusal.wait(2)
    assert len(said(caplog, "no messages can be taken: CouchDB answered POST /msgq/_find with 403")) == 1


def test_an_outcome_that_is_refused_as_a_whole_is_said(place, proxy, caplog):
    """Its work is done, and will be done again when its lease is over."""
    bus = place.bus("worker", through=proxy, DRW_LEASE_S="20")
    bus.listen("work.EU", lambda _: None)
    refusal = proxy.rule(writes("done"), fail(401))
    with bus:
        sent = bus.send("work.EU", {})
        refusal.wait(2)
        refusal.lift()
        assert place.wait_for_state(sent, "consumed")["attempts"] == 1
    assert len(said(caplog, "outcomes of messages cannot be written: CouchDB at")) == 1


def test_leases_that_may_not_be_renewed_are_said(place, proxy, caplog):
    bus, go_on = place.bus("worker", through=proxy), threading.Event()
    bus.listen("work.EU", lambda _: go_on.wait(20) and None)
    refusal = proxy.rule(writes("renew"), fail(403))
    with bus:
        bus.send("work.EU", {})
        refusal.wait(2)
        refusal.lift()
        go_on.set()
    assert len(said(caplog, "leases cannot be renewed: CouchDB answered")) == 1


@pytest.mark.parametrize("op", ["claim", "renew", "done"])
def test_a_database_that_answers_and_stores_nothing_is_said(place, proxy, caplog, op):
    """As CouchDB does on a disk that is full: 201, and a row that says why not."""

    def store_nothing(exchange):
        rows = [{"id": doc["_id"], "error": "insufficient_storage", "reason": "full"} for doc in exchange.request.docs]
        exchange.reply(Answer(201, [("Content-Type", "application/json")], json.dumps(rows).encode()))

    bus, go_on = place.bus("worker", through=proxy, DRW_LEASE_S="3"), threading.Event()

    def handle(_):
        if op == "renew":
            go_on.wait(20)

    bus.listen("work.EU", handle)
    full = proxy.rule(writes(op), store_nothing)
    with bus:
        sent = bus.send("work.EU", {})
        full.wait(3)
        full.lift()
        go_on.set()
        assert place.wait_for_state(sent, "consumed")["attempts"] == 1
    assert said(caplog, "") == ["messages cannot be written: msgq takes no document now: insufficient_storage: full"]


def test_an_account_that_is_locked_is_said(place, proxy, caplog):
    """CouchDB locks one for a while after too many wrong passwords, of whomever."""

    def lock(exchange):
        reason = "Account is temporarily locked due to multiple authentication failures"
        body = json.dumps({"error": "forbidden", "reason": reason}).encode()
        exchange.reply(Answer(403, [("Content-Type", "application/json")], body))

    bus = place.bus("worker", through=proxy)
    bus.listen("work.EU", lambda _: None)
    locked = proxy.rule(asks("/_find"), lock)
    with bus:
        locked.wait(3)
    assert len(said(caplog, "no messages can be taken: CouchDB at")) == 1


@pytest.mark.parametrize("size", [1, 20])
def test_a_send_that_is_refused_after_its_answer_was_lost_may_have_been_stored(place, proxy, size):
    bus = place.bus("sender", through=proxy)
    messages = [bus.compose("work.EU", {"n": n}) for n in range(size)]
    lost = proxy.rule(writes("send"), lose_answer, times=1)
    refusal = proxy.rule(lambda _: lost.struck > 0, fail(401))
    with pytest.raises(OutcomeUnknown, match="may or may not be sent"):
        bus.send_many(messages)
    assert refusal.struck >= 1
    assert len([doc for doc in place.database.every() if doc["_id"].startswith("work.EU")]) == size
