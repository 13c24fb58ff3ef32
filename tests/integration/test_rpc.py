"""Calls: the reply is the settlement, and asking again executes nothing twice."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from shared.bus import Done, Executor, ExecutorClient, envelope
from shared.errors import BadInput, Conflict, DeadlineExceeded, DrwError, RemoteError, StateRefused, Stopped


@pytest.fixture
def serve(place, seen):
    """Start an executor that notes what it is asked, and return a client of another process."""
    executors = []

    def start(execute):
        bus = place.bus("executor")
        Executor(bus, "echo", lambda delivery: seen.add(delivery.body) or execute(delivery))
        bus.start()
        executors.append(bus)
        return ExecutorClient(place.bus("client"), "echo", deadline_s=10)

    return start


def test_a_call_returns_the_reply(serve):
    client = serve(lambda delivery: {"twice": delivery.body["n"] * 2})
    assert client.call({"n": 21}) == {"twice": 42}
    assert client.call({"n": 1}) == {"twice": 2}


def test_an_executors_error_comes_back_as_one_of_its_kind(serve):
    def refuse(delivery):
        if delivery.body.get("state"):
            raise StateRefused("it is Delivered", found="Delivered")
        raise BadInput("n is missing")

    client = serve(refuse)
    with pytest.raises(RemoteError, match="n is missing") as caught:
        client.call({})
    assert caught.value.kind == "BadInput"
    with pytest.raises(StateRefused, match="it is Delivered") as refused:
        client.call({"state": 1})
    assert refused.value.found == "Delivered"


def test_a_bug_in_the_executor_is_an_error_of_the_call(serve, seen):
    client = serve(lambda delivery: 1 / 0)
    with pytest.raises(RemoteError, match="division by zero") as caught:
        client.call({})
    assert caught.value.kind == "ZeroDivisionError"
    assert len(seen.items) == 1


class Peculiar(DrwError):
    def __str__(self):
        return "\ud800" * 20_000


@pytest.mark.parametrize("error", [SystemExit(3), Conflict("twelve times"), Stopped("by itself"), Peculiar("odd")])
def test_whatever_else_an_executor_raises_is_told_once(serve, seen, error):
    def fail(_):
        raise error

    client = serve(fail)
    with pytest.raises(RemoteError) as caught:
        client.call({})
    assert caught.value.kind == type(error).__name__
    assert seen.items == [{}]


def test_a_call_does_not_wait_behind_a_long_one_while_another_executor_is_idle(place, seen):
    go_on = threading.Event()

    def execute(delivery):
        seen.add(delivery.body["n"])
        return go_on.wait(60) if delivery.body["n"] == "long" else delivery.body["n"]

    first, second = (place.bus(name) for name in ("first", "second"))
    Executor(first, "echo", execute)
    first.start()
    caller = place.bus("caller")
    long_one = threading.Thread(target=lambda: ExecutorClient(caller, "echo", deadline_s=60).call({"n": "long"}))
    long_one.start()
    seen.wait_for(1)
    caller.send_many([caller.compose("echo", {"n": n}) for n in range(12)])
    threading.Event().wait(0.5)
    Executor(second, "echo", execute)
    with second:
        assert sorted(seen.wait_for(13)[1:]) == list(range(12))
    go_on.set()
    long_one.join()
    first.stop()


def test_many_that_ask_with_one_id_at_once_all_have_the_reply(serve, seen):
    client = serve(lambda delivery: delivery.body["n"])
    for n in range(10):
        with ThreadPoolExecutor(10) as callers:
            asked = [callers.submit(client.call, {"n": n}, message_id=f"echo:same-{n}") for _ in range(10)]
        assert [each.result() for each in asked] == [n] * 10
    assert len(seen.items) == 10


def test_who_asks_again_has_all_of_its_own_time(place, seen):
    """The one before had less, and its executor was busy all that time."""
    go_on = threading.Event()

    def execute(delivery):
        seen.add(delivery.body["n"])
        return go_on.wait(60) if delivery.body["n"] == "long" else delivery.body["n"]

    executor, caller = place.bus("executor"), place.bus("caller")
    Executor(executor, "echo", execute, batch=2)
    long_one = threading.Thread(target=lambda: ExecutorClient(caller, "echo", deadline_s=60).call({"n": "long"}))
    with executor:
        long_one.start()
        seen.wait_for(1)
        with pytest.raises(DeadlineExceeded):
            ExecutorClient(caller, "echo", deadline_s=1.5).call({"n": 1}, message_id="echo:1:again")
        threading.Timer(2.0, go_on.set).start()
        assert ExecutorClient(caller, "echo", deadline_s=30).call({"n": 1}, message_id="echo:1:again") == 1
    long_one.join()


def test_what_was_refused_may_be_asked_again_under_the_same_id(serve, seen):
    def refuse_once(delivery):
        if len(seen.items) < 2:
            raise StateRefused("it is Processing", found="Processing")
        return "now it is not"

    client = serve(refuse_once)
    with pytest.raises(StateRefused):
        client.call({"n": 1}, message_id="echo:0123:twice")
    assert client.call({"n": 1}, message_id="echo:0123:twice") == "now it is not"


def test_asking_again_with_the_same_id_executes_nothing_twice(serve, seen):
    client = serve(lambda delivery: len(seen.items))
    assert client.call({"n": 1}, message_id="echo:0123:once") == 1
    assert client.call({"n": 1}, message_id="echo:0123:once") == 1
    assert len(seen.items) == 1


def test_a_call_that_nobody_answers_ends_at_its_deadline_and_is_then_never_executed(place, serve, seen):
    client = ExecutorClient(place.bus("client"), "echo", deadline_s=0.5)
    with pytest.raises(DeadlineExceeded, match=r"echo did not answer .* \(it was not begun and is withdrawn\)"):
        client.call({"n": 1}, message_id="echo:0123:late")
    assert place.database.get("echo:0123:late")["state"] == "expired"
    assert serve(lambda delivery: "served").call({"n": 2}) == "served"
    assert seen.items == [{"n": 2}]


def test_a_call_that_was_begun_and_given_back_is_not_withdrawn(place):
    """As after an answer that was lost: the executor may have done it, and only wants to know whether it did."""
    client = ExecutorClient(place.bus("client"), "echo", deadline_s=2.0)
    with ThreadPoolExecutor() as pool:
        call = pool.submit(client.call, {"n": 1}, message_id="echo:0123:begun")
        [request] = place.bus().queue.fetch([place.wait_for_message("echo")])
        now = place.connection.clock.now()
        claimed = envelope.claim(request, by="x", token="t", now=now, lease_s=9)
        lost = envelope.snooze(claimed, waits="for its answer", due=now, begun=True)
        again = envelope.claim(lost, by="x", token="u", now=now, lease_s=9)
        place.database.put(msgspec.to_builtins(envelope.give_back(again, refund=True)))
        with pytest.raises(DeadlineExceeded, match="it may still be executed"):
            call.result()
    assert place.database.get("echo:0123:begun")["state"] == "ready"


@pytest.mark.parametrize("result", ["ok", 42, {"error": "lost"}, {"error": {"kind": "X"}}])
def test_a_result_that_is_no_executors_is_an_error_of_the_call(place, result):
    listening = place.bus("listener")
    listening.listen("plain", lambda _: Done(result))
    listening.start()
    with pytest.raises(RemoteError, match="does not answer calls: its result is") as caught:
        ExecutorClient(place.bus("client"), "plain", deadline_s=10).call({})
    assert caught.value.kind == "BadReply"


def test_a_call_that_expired_can_be_asked_again(place, serve):
    client = ExecutorClient(place.bus("client"), "echo", deadline_s=0.3)
    with pytest.raises(DeadlineExceeded):
        client.call({"n": 1}, message_id="echo:0123:again")
    assert place.database.get("echo:0123:again")["state"] == "expired"
    answering = serve(lambda delivery: "at last")
    assert answering.call({"n": 1}, message_id="echo:0123:again") == "at last"


def test_a_request_that_an_operator_discarded_is_no_success(place, serve, seen):
    bus = place.bus("stranger")
    bus.send("echo", {}, message_id="echo:1:mine")
    [request] = bus.queue.fetch(["echo:1:mine"])
    now = place.connection.clock.now()
    claimed = envelope.claim(request, by="x", token="t", now=now, lease_s=9)
    dead = envelope.dead(claimed, what="broken", by="x", now=now)
    gone = envelope.discard(dead, by="ada", now=now, why="sent by mistake")
    place.database.put(msgspec.to_builtins(gone))
    client = serve(lambda _: "done")
    with pytest.raises(RemoteError, match="message echo:1:mine was discarded: sent by mistake") as raised:
        client.call({}, message_id="echo:1:mine")
    assert raised.value.kind == "Discarded"
    assert seen.items == []


def test_the_largest_request_has_room_for_the_largest_reply(serve, seen):
    """A reply that cannot be stored leaves the request dead, and to be executed again by who asks again."""
    text = "x" * (envelope.BODY_BYTES - len('{"text":""}'))
    reply = "y" * (envelope.RESULT_BYTES - len('{"value":""}'))
    client = serve(lambda _: reply)
    assert client.call({"text": text}, message_id="echo:1:large") == reply
    assert client.call({"text": text}, message_id="echo:1:large") == reply
    assert len(seen.items) == 1


def test_a_reply_that_is_no_json_is_an_error_of_the_call(serve, seen):
    client = serve(lambda delivery: object())
    with pytest.raises(RemoteError) as caught:
        client.call({})
    assert caught.value.kind == "TypeError"
    assert seen.items == [{}]


def test_a_reply_that_is_too_large_is_an_error(serve):
    client = serve(lambda delivery: "x" * 2_000_000)
    with pytest.raises(RemoteError, match="larger than 1 MB"):
        client.call({})


def test_two_threads_that_ask_with_one_id_both_have_the_reply(place, serve, seen):
    asked, go = threading.Event(), threading.Event()

    def execute(delivery):
        asked.set()
        assert go.wait(20)
        return delivery.body["n"]

    client = serve(execute)
    replies = []
    threads = [
        threading.Thread(target=lambda: replies.append(client.call({"n": 7}, message_id="echo:same"))) for _ in range(2)
    ]
    threads[0].start()
    assert asked.wait(10)
    threads[1].start()
    bus = client._bus
    deadline = time.monotonic() + 10
    while len(bus.replies._waiting.get("echo:same", ())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)  # nothing tells that a thread has begun to wait
    go.set()
    for each in threads:
        each.join(5)
    assert replies == [7, 7]
    assert len(seen.items) == 1
    assert not bus.replies._waiting


def test_of_a_request_that_was_begun_and_given_back_it_is_not_said_that_it_was_not_begun(place, seen):
    executor = place.bus("executor")

    def execute(delivery):
        seen.add(1)
        while True:
            delivery.check()
            time.sleep(0.01)

    Executor(executor, "work.add", execute)
    executor.start()
    caller = ExecutorClient(place.bus("caller"), "work.add", deadline_s=3)
    stopping = threading.Thread(target=lambda: (seen.wait_for(1), executor.stop(0.1)))
    stopping.start()
    with pytest.raises(DeadlineExceeded, match="it may still be executed"):
        caller.call({}, message_id="work.add:1:x")
    stopping.join()
    left = place.database.get("work.add:1:x")
    assert (left["state"], left["attempts"]) == ("ready", 1)


def test_a_listener_answers_calls_without_an_executor_in_its_form(place):
    bus = place.bus("listener")
    bus.listen("echo", lambda delivery: Done({"value": delivery.body["n"]}))
    with bus:
        assert ExecutorClient(place.bus("client"), "echo", deadline_s=10).call({"n": [1]}) == [1]
