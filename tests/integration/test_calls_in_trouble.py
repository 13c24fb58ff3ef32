"""Calls over a line that loses things: executed once, answered truly, and a late reply harms nobody."""

from __future__ import annotations

import threading

import pytest
from troubles import asks, change_request, fail, follows_feed, gateway_error, keep_answer, lose_answer, rewind, writes

from shared.bus import Executor, ExecutorClient
from shared.errors import DeadlineExceeded, OutcomeUnknown, StateRefused

LEASE = {"DRW_LEASE_S": "6", "DRW_CLOCK_SPARE_S": "1"}
ID = "echo:0123:once"


@pytest.fixture
def serve(place, proxy, seen):
    """Start an executor behind the proxy; it notes what it executes and does ``execute``."""

    def start(execute=lambda delivery: delivery.body["n"], me="executor"):
        bus = place.bus(me, through=proxy, **LEASE)
        Executor(bus, "echo", lambda delivery: seen.add(delivery.body["n"]) or execute(delivery))
        bus.start()
        return bus

    return start


@pytest.fixture
def client(place, proxy):
    return ExecutorClient(place.bus("client", through=proxy), "echo", deadline_s=15)


def is_read(request):
    """Match a client's reading of its reply."""
    return request.method == "GET" and request.path.startswith("/msgq/echo")


TROUBLES = {
    "the request's answer is lost": lambda proxy: proxy.rule(writes("send"), lose_answer, times=2),
    "a gateway answers the request": lambda proxy: proxy.rule(writes("send"), gateway_error, times=2),
    "the claim's answer is lost": lambda proxy: proxy.rule(writes("claim"), lose_answer, times=2),
    "the reply's answer is lost": lambda proxy: proxy.rule(writes("done"), lose_answer, times=2),
    "the reply cannot be read": lambda proxy: proxy.rule(is_read, lose_answer, times=3),
    "there is no feed": lambda proxy: proxy.rule(follows_feed, fail(503)),
    "the feed is rewound": lambda proxy: proxy.rule(follows_feed, change_request(rewind)),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_call_in_trouble_is_executed_once_and_answered(serve, client, proxy, seen, trouble):
    rule = TROUBLES[trouble](proxy)
    serve()
    assert client.call({"n": 1}, message_id=ID) == 1
    rule.wait()
    assert client.call({"n": 1}, message_id=ID) == 1
    assert client.call({"n": 2}) == 2
    assert seen.items == [1, 2]


@pytest.mark.parametrize("trouble", ["the reply's answer is lost", "the reply cannot be read"])
def test_an_error_in_trouble_comes_back_as_one_of_its_kind(serve, client, proxy, seen, trouble):
    rule = TROUBLES[trouble](proxy)

    def refuse(delivery):
        raise StateRefused("it is Delivered", found="Delivered")

    serve(refuse)
    with pytest.raises(StateRefused, match="it is Delivered") as refused:
        client.call({"n": 1})
    assert (refused.value.found, seen.items) == ("Delivered", [1])
    rule.wait()


def test_a_reply_that_is_lost_to_its_caller_is_there_when_it_asks_again(serve, client, proxy, seen):
    serve()
    unreadable = proxy.rule(is_read, fail(503))
    with pytest.raises(DeadlineExceeded, match="it may still be executed"):
        client.call({"n": 1}, message_id=ID, deadline_s=1.5)
    unreadable.lift()
    assert client.call({"n": 1}, message_id=ID) == 1
    assert seen.items == [1]


def test_a_late_reply_harms_nobody(serve, client, place, seen):
    release = threading.Event()
    serve(lambda delivery: (release.wait(20), delivery.body["n"])[1])
    with pytest.raises(DeadlineExceeded, match="it may still be executed"):
        client.call({"n": 1}, message_id=ID, deadline_s=1.0)
    release.set()
    assert client.call({"n": 2}) == 2  # not the late one
    assert place.wait_for_state(ID, "consumed")["result"] == {"value": 1}
    assert client.call({"n": 1}, message_id=ID) == 1
    assert seen.items == [1, 2]


def test_asking_again_while_it_is_executed_waits_for_that_execution(serve, client, seen):
    release = threading.Event()
    serve(lambda delivery: (release.wait(20), "once")[1])
    with pytest.raises(DeadlineExceeded):
        client.call({"n": 1}, message_id=ID, deadline_s=0.5)
    answers = []
    asking = [threading.Thread(target=lambda: answers.append(client.call({"n": 1}, message_id=ID))) for _ in range(3)]
    for each in asking:
        each.start()
    seen.wait_for(1)
    release.set()
    for each in asking:
        each.join(20)
    assert answers == ["once"] * 3
    assert seen.items == [1]


def test_a_withdrawal_whose_answer_is_lost_is_told_truly(serve, client, place, proxy, seen):
    rule = proxy.rule(writes("expire"), lose_answer, times=1)
    with pytest.raises(DeadlineExceeded, match="it was not begun and is withdrawn"):
        client.call({"n": 1}, message_id=ID, deadline_s=0.5)
    rule.wait(1)
    assert place.database.get(ID)["state"] == "expired"
    serve()
    assert client.call({"n": 2}) == 2
    assert seen.items == [2]


def test_asking_anew_after_an_error_is_executed_once_though_the_answer_is_lost(serve, client, proxy, seen):
    def refuse_once(delivery):
        if len(seen.items) == 1:
            raise StateRefused("not yet", found="Processing")
        return "done"

    serve(refuse_once)
    with pytest.raises(StateRefused):
        client.call({"n": 1}, message_id=ID)
    rule = proxy.rule(writes("ask_again"), lose_answer, times=2)
    assert client.call({"n": 1}, message_id=ID) == "done"
    rule.wait(2)
    assert seen.items == [1, 1]


def test_a_request_of_which_nobody_knows_whether_it_was_sent_is_executed_once_when_asked_again(
    serve, client, proxy, seen
):
    serve()
    kept = proxy.rule(writes("send"), keep_answer)
    unread = proxy.rule(asks("/_bulk_get"), fail(503))
    with pytest.raises(OutcomeUnknown, match="may or may not be sent"):
        client.call({"n": 1}, message_id=ID, deadline_s=1.0)
    for rule in (kept, unread):
        rule.lift()
    assert client.call({"n": 1}, message_id=ID) == 1
    assert seen.items == [1]
