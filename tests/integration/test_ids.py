"""Ids from the cause: a handler that runs again sends nothing twice; and one bad document harms only itself."""

from collections import Counter

import msgspec
import pytest
from proxy import Answer

from shared.bus import Done, Retry, janitor
from shared.errors import Refused

HUGE = "x" * 9_000_000
BEYOND_FLOATS = 10**400


@pytest.fixture
def child(place, seen):
    """Handle whatever is sent to ``child.*``, and note its body."""
    bus = place.bus("child")
    bus.listen("child.*", lambda delivery: seen.add((delivery.message.selector, delivery.body["n"])), batch=10)
    with bus:
        yield bus


def children(place):
    return Counter(doc["selector"] for doc in place.database.every() if doc["_id"].startswith("child."))


def test_a_handler_that_takes_another_branch_the_second_time_sends_nothing_twice(place, child, seen):
    """The first run sends a and b and fails; the second finds that a is not needed and sends c between."""
    bus, branches = place.bus("parent"), [["a", "b"], ["c", "b", "d"], ["b", "a"]]

    def handle(delivery):
        for name in branches[delivery.message.attempts - 1]:
            delivery.send(f"child.{name}", {"n": 1}, name=name)
        return Retry("again", after_s=0.01) if delivery.message.attempts < 3 else None

    bus.listen("work.EU", handle)
    with bus:
        place.wait_for_state(bus.send("work.EU", {}), "consumed")
    handled = seen.wait_for(4)
    assert sorted(handled) == [(f"child.{name}", 1) for name in "abcd"]
    assert children(place) == {f"child.{name}": 1 for name in "abcd"}


def test_a_handler_that_runs_again_when_its_children_would_be_long_purged_sends_nothing_twice(place, child, seen):
    bus, runs = place.bus("parent"), []

    def handle(delivery):
        runs.append(delivery.send("child.a", {"n": 1}, name="a"))
        return Retry("again", after_s=1.5) if len(runs) < 2 else None

    def tidy():
        return janitor.Janitor(place.database, kept_s=0.0).tidy()

    bus.listen("work.EU", handle)
    with bus:
        cause = bus.send("work.EU", {})
        seen.wait_for(1)
        place.wait_for_state(f"{runs[0] if runs else ''}", "consumed")
        place.wait_for_state(cause, "delayed")
        assert tidy().kept == {"its cause is not over": 1}
        place.wait_for_state(cause, "consumed")
    assert len(runs) == 2
    assert len(set(runs)) == 1
    assert seen.items == [("child.a", 1)]
    tidy()
    assert children(place) == {}


def oversize(message):
    return msgspec.structs.replace(message, body={"n": HUGE})


def beyond_floats(message):
    return msgspec.structs.replace(message, body={"n": BEYOND_FLOATS})


def reserved_id(message):
    return msgspec.structs.replace(message, id="_" + message.id)


def no_json(message):
    return msgspec.structs.replace(message, body={"n": object()})


@pytest.mark.parametrize(
    ("poison", "at"), [(oversize, 0), (oversize, 49), (reserved_id, 25), (no_json, 25), (beyond_floats, 25)]
)
def test_one_bad_document_in_a_batch_of_fifty_harms_only_itself_when_sent(place, poison, at):
    bus = place.bus()
    messages = [bus.compose("work.EU", {"n": n}) for n in range(50)]
    messages[at] = poison(messages[at])
    with pytest.raises(Refused, match="cannot be sent"):
        bus.send_many(messages)
    stored = sorted(doc["body"]["n"] for doc in place.database.every() if doc["_id"].startswith("work.EU:"))
    assert stored == [n for n in range(50) if n != at]


@pytest.mark.parametrize("result", [HUGE, object(), BEYOND_FLOATS], ids=["oversize", "no JSON", "beyond floats"])
def test_one_bad_outcome_in_a_batch_of_fifty_harms_only_itself(place, seen, result):
    bus = place.bus()
    ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(50)])

    def handle(delivery):
        seen.add(delivery.body["n"])
        return Done(result if delivery.body["n"] == 25 else "fine")

    bus.listen("work.EU", handle, batch=50)
    with bus:
        for message_id in ids:
            place.wait_for_state(message_id, "consumed", "dead")
    assert sorted(seen.items) == list(range(50))
    states = {doc["body"]["n"]: doc["state"] for doc in place.database.fetch(ids)}
    assert [n for n, state in states.items() if state != "consumed"] == [25]


PAGE = b"<html><h1>413 Request Entity Too Large</h1></html>"
SAID = b'{"error":"too_large","reason":"the request entity is too large"}'


@pytest.mark.parametrize(("kind", "content"), [("text/html", PAGE), ("application/json", SAID)])
def test_of_a_batch_that_a_gateway_finds_too_large_all_that_fits_is_sent(place, proxy, kind, content):
    answer = Answer(413, [("Content-Type", kind)], content)
    proxy.rule(lambda request: len(request.body) > 1_000_000, lambda exchange: exchange.reply(answer))
    bus = place.bus(through=proxy)
    messages = [bus.compose("work.EU", {"n": n, "x": "x" * (2_000_000 if n == 25 else 10)}) for n in range(50)]
    with pytest.raises(Refused, match=r"cannot be sent: CouchDB answered .* with 413"):
        bus.send_many(messages)
    stored = sorted(doc["body"]["n"] for doc in place.database.every() if doc["_id"].startswith("work.EU:"))
    assert stored == [n for n in range(50) if n != 25]
