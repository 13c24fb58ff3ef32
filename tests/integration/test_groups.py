"""Groups: every subscribed service gets its copy, whoever dies on the way."""

import pytest
from troubles import fail, writes

from shared.bus import groups
from shared.errors import BadInput

GROUP = "state.change"


def subscriber(place, seen, service, me=None):
    bus = place.bus(me or service)
    bus.subscribe(GROUP, service, lambda delivery: seen.add((service, bus.me, delivery.body["n"])))
    return bus


def test_every_subscribed_service_gets_every_message_and_its_processes_share_them(place, seen):
    buses = [subscriber(place, seen, "page", "page1"), subscriber(place, seen, "page", "page2")]
    buses.append(subscriber(place, seen, "mail"))
    for bus in buses:
        bus.start()
    sender = place.bus("sender")
    sender.send_many([sender.compose(GROUP, {"n": n}) for n in range(20)])
    handled = seen.wait_for(40)
    for service in ("page", "mail"):
        assert sorted(n for name, _, n in handled if name == service) == list(range(20))


def test_a_service_that_is_away_finds_its_copies_when_it_is_back(place, seen):
    subscriber(place, seen, "mail")  # subscribes, and never starts
    sent = place.bus("sender").send(GROUP, {"n": 1})
    with subscriber(place, seen, "page"):
        seen.wait_for(1)
        place.wait_for_state(sent, "consumed")
    with subscriber(place, seen, "mail", "mail2"):
        assert seen.wait_for(2) == [("page", "page", 1), ("mail", "mail2", 1)]


def test_an_expansion_that_is_done_again_sends_nothing_twice(place, seen):
    sender, page = place.bus("sender"), subscriber(place, seen, "page")
    sent = sender.send(GROUP, {"n": 1}, priority=2)
    expand = groups.expansion(page.queue)

    class Delivered:
        message = page.queue.get(sent)

        @staticmethod
        def check():
            pass

    assert expand(Delivered) is None
    assert expand(Delivered) is None
    with page:
        place.wait_for_state(sent, "consumed")
        seen.wait_for(1)
    copies = list(place.database.every(start=f"{GROUP}.to.", end=f"{GROUP}.to.\ufff0"))
    assert [(doc["cause"], doc["priority"], doc["body"]) for doc in copies] == [(sent, 2, {"n": 1})]
    assert len(seen.items) == 1


def test_a_copy_whose_writing_was_not_answered_is_of_use_as_long_as_its_message(place, proxy, seen, monkeypatch):
    """Nothing was handled yet: the message keeps its time, and its attempt, and so do the copies sent after it."""
    monkeypatch.setattr(groups, "_WITHIN_S", 0.3)
    page = place.bus("page", through=proxy)
    page.subscribe(GROUP, "page", lambda delivery: seen.add(delivery.body["n"]))
    refused = proxy.rule(writes("send"), fail(503))
    sent = place.bus("sender").send(GROUP, {"n": 1}, expires_s=300)
    with page:
        waiting = place.wait_for_state(sent, "delayed")
        assert (waiting.get("attempts", 0), "may or may not be sent" in waiting["waits"]) == (0, True)
        refused.lift()
        seen.wait_for(1)
    copies = list(place.database.every(start=f"{GROUP}.to.", end=f"{GROUP}.to.\ufff0"))
    assert [doc["expires"] for doc in copies] == [waiting["expires"]]


def test_a_message_to_a_group_without_subscribers_waits_for_the_first(place, seen):
    sent = place.bus("sender").send(GROUP, {"n": 1})
    with subscriber(place, seen, "page"):
        seen.wait_for(1)
        place.wait_for_state(sent, "consumed")


def test_a_subscription_can_be_taken_back(place, seen):
    subscriber(place, seen, "mail")
    subscriber(place, seen, "page")
    groups.unsubscribe(place.database, GROUP, "mail")
    groups.unsubscribe(place.database, GROUP, "mail")
    assert [each.service for each in groups.every(place.database)] == ["page"]
    groups.unsubscribe(place.database, GROUP, "page")
    assert groups.held(place.database, GROUP)[1] == []


@pytest.mark.parametrize(("group", "service"), [("State", "page"), (GROUP, "a page"), (GROUP, "a.b"), (GROUP, "")])
def test_names_that_make_no_selector_are_refused(place, group, service):
    with pytest.raises(BadInput):
        place.bus().subscribe(group, service, lambda delivery: None)


def test_a_message_that_waits_for_a_first_subscription_can_still_expire(place, seen):
    bus = place.bus()
    bus.subscribe("state.change", "archive", lambda delivery: seen.add(delivery.body["n"]))
    groups.unsubscribe(place.database, "state.change", "archive")
    with bus:
        late = bus.send("state.change", {"n": 1}, expires_s=3)
        place.wait_for_state(late, "delayed")
        assert place.wait_for_state(late, "expired")["waits"] == "nobody is subscribed to state.change"
        groups.subscribe(place.database, "state.change", "archive", by="ada", now=place.connection.clock.now())
        bus.send("state.change", {"n": 2})
        assert seen.wait_for(1) == [2]
