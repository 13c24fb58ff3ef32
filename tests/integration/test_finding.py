"""What the bus asks of the indexes: never with a warning, and never reading much more than it returns."""

from __future__ import annotations

import json

import pytest
from troubles import asks

from shared.bus import Retry, Snooze, janitor
from shared.clock import stamp

CONSUMED, READY, DELAYED, STRANGERS = 2000, 300, 100, 300


@pytest.fixture
def found(proxy):
    """Have every ``_find`` tell what it cost; return requests and answers as they come."""
    seen = []

    def with_statistics(exchange):
        exchange.request.body = json.dumps(exchange.request.json | {"execution_stats": True}).encode()
        answer = exchange.forward()
        seen.append((exchange.request.json, answer.json))
        exchange.reply(answer)

    proxy.rule(asks("/_find"), with_statistics)
    return seen


def consumed(place, sender, count):
    """Fill the database with messages that are over."""
    messages = [sender.compose(f"work.s{n % 7}", {"n": n}) for n in range(count)]
    sender.send_many(messages)
    at = stamp(place.connection.clock.now())
    docs = place.database.fetch(message.id for message in messages)
    place.database.bulk([doc | {"state": "consumed", "doneAt": at} for doc in docs])


def test_no_find_has_a_warning_or_reads_twice_what_it_returns(place, proxy, found, seen):
    sender = place.bus("sender")
    consumed(place, sender, CONSUMED)
    sender.send_many([sender.compose(f"work.s{n % 7}", {"n": n}) for n in range(READY)])
    sender.send_many([sender.compose(f"work.s{n % 7}", {"n": n}, delay_s=1.0) for n in range(READY, READY + DELAYED)])
    sender.send_many([sender.compose(f"workshop.s{n % 7}", {"n": n}) for n in range(STRANGERS)])

    put_back = {n: Retry("again", after_s=0.2) if n % 2 else Snooze("rain", for_s=0.2) for n in range(0, READY, 7)}

    def handle(delivery):
        outcome = put_back.pop(delivery.body["n"], None)
        if outcome is None:
            seen.add(delivery.body["n"])
        return outcome

    buses = [place.bus(f"worker{number}", through=proxy) for number in range(3)]
    for bus, patterns in zip(buses, (["work.*"], ["work.s1", "work.s5"], ["work.*", "zoo.*"]), strict=True):
        for pattern in patterns:
            bus.listen(pattern, handle, batch=10, slots=2)
        bus.start()
    seen.wait_for(READY + DELAYED)
    assert sorted(seen.items) == list(range(READY + DELAYED))
    proxy.wait_until(lambda: len(found) > 0)
    janitor.Janitor(buses[0].queue.database, kept_s=3600.0).tidy()
    assert {request["use_index"][1] for request, _ in found} == {"ready", "due", "ended"}
    for request, answer in found:
        cost = answer["execution_stats"]
        assert "warning" not in answer, (request, answer["warning"])
        assert not request["allow_fallback"]
        assert cost["total_docs_examined"] <= 2 * cost["results_returned"], (request, cost)
