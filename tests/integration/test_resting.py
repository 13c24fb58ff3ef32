"""While there is work at hand the feed rests from a flood of changes; what cannot wait is heard of all the same."""

import threading
import time

import pytest
from troubles import asks, follows_feed

from shared.bus import Executor, ExecutorClient, pauses, wake

BACKLOG = 1500


@pytest.fixture
def busy(place, proxy, seen, monkeypatch):
    """A consumer with a backlog, whose feed takes everything for a flood."""
    monkeypatch.setattr(wake, "_FLOOD_A_S", 0.0)
    monkeypatch.setattr(wake, "_MEASURED_S", 0.0)
    sender = place.bus("sender")
    sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(BACKLOG)])
    bus = place.bus("consumer", through=proxy, DRW_POLL_S="60", DRW_POLL_MAX_S="60")

    def work(delivery):
        threading.Event().wait(0.002)
        seen.add(delivery.body["n"])

    bus.listen("work.EU", work, batch=50)
    return bus


def rested(proxy):
    """Tell whether the feed has rested: before it does, it asks which database this is."""
    return bool(proxy.requests(lambda request: request.path.rstrip("/") == "/msgq")[1:])


def test_it_rests_while_there_is_work_and_is_open_again_when_there_is_none(place, proxy, seen, busy):
    with busy:
        proxy.wait_until(lambda: rested(proxy))
        seen.wait_for(BACKLOG)
        proxy.wait_until(lambda: len(proxy.requests(follows_feed)) > 1)
        proxy.wait_for_quiet(1.0)
        place.bus("sender").send("work.EU", {"n": BACKLOG})
        assert sorted(seen.wait_for(BACKLOG + 1)) == list(range(BACKLOG + 1))


def test_a_pause_is_obeyed_within_a_second_all_the_same(place, proxy, seen, busy):
    with busy:
        proxy.wait_until(lambda: rested(proxy))
        pauses.pause(place.database, "work.EU", by="ada", reason="test", now=place.connection.clock.now(), until=None)
        threading.Event().wait(1.0)
        handled = len(seen.items)
        threading.Event().wait(0.5)
        assert len(seen.items) == handled < BACKLOG


def test_a_call_is_answered_as_soon_as_ever(place, proxy, busy):
    executor = place.bus("executor")
    Executor(executor, "echo", lambda delivery: delivery.body["n"])
    with busy, executor:
        proxy.wait_until(lambda: rested(proxy))
        client = ExecutorClient(busy, "echo", deadline_s=10)
        begun = time.monotonic()
        assert [client.call({"n": n}) for n in range(3)] == [0, 1, 2]
        assert time.monotonic() - begun < 3, "not by polling, which begins after half a second each"


def test_who_watches_for_something_else_keeps_it_open(proxy, seen, busy):
    class Watcher:
        def changed(self, doc_id, generation, *, own):
            pass

        def restarted(self):
            pass

    busy.feed.watch(Watcher())
    with busy:
        seen.wait_for(BACKLOG)
    assert not rested(proxy)
    assert len(proxy.requests(follows_feed)) == 1


def test_claims_are_doubted_where_the_database_was_made_anew_in_a_rest(proxy, busy, monkeypatch):
    doubted = threading.Event()
    busy.feed.when_broken(doubted.set)
    with busy:
        proxy.wait_until(lambda: rested(proxy))
        doubted.clear()
        monkeypatch.setattr(busy.queue.database, "made", lambda: "another")
        assert doubted.wait(20)
    assert len(proxy.requests(asks("/_changes"))) >= 4
