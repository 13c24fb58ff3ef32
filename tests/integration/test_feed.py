"""The feed broken: polling finds everything within its back-off, and what a feed repeats harms nobody."""

import time

import pytest
from troubles import asks, change_request, fail, follows_feed, hang, rewind

POLLS = {"DRW_POLL_S": "0.3", "DRW_POLL_MAX_S": "1.2"}
LONGEST_S = 1.2
SLACK_S = 1.5


def listening(place, proxy, seen, **settings):
    bus = place.bus("worker", through=proxy, **POLLS | settings)
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=10)
    return bus


def surveys(proxy, since=0.0):
    """Return when the queue was surveyed: each survey begins with the index of ready messages."""
    return [each.at for each in proxy.requests(asks("/_find"), since=since) if each.json["use_index"][1] == "ready"]


def wait_for_full_back_off(proxy):
    """Wait until the polls are as far apart as they get."""

    def is_full():
        times = surveys(proxy)
        return len(times) > 1 and times[-1] - times[-2] > 0.9 * LONGEST_S

    proxy.wait_until(is_full)


def open_and_silent(proxy):
    proxy.stall_feeds()


def heartbeats_without_rows(proxy):
    """A feed that looks alive and tells nothing: it follows a time that never comes."""
    proxy.rule(
        follows_feed, change_request(lambda request: request.query.update(filter="_doc_ids", doc_ids='["none"]'))
    )


BREAKS = {
    "silent": open_and_silent,
    "heartbeats only": heartbeats_without_rows,
    "refused": lambda proxy: proxy.rule(follows_feed, fail(503)),
    "hanging": lambda proxy: proxy.rule(follows_feed, hang),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_without_a_feed_polling_finds_everything_within_its_back_off(place, proxy, seen, broken):
    BREAKS[broken](proxy)
    heartbeat = {"DRW_HEARTBEAT_S": "20"} if broken in {"silent", "hanging"} else {}  # nobody notices for so long
    with listening(place, proxy, seen, **heartbeat):
        wait_for_full_back_off(proxy)
        sender = place.bus("sender")
        sent = time.monotonic()
        sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(30)])
        seen.wait_for(30, timeout=LONGEST_S + SLACK_S)
        assert time.monotonic() - sent < LONGEST_S + SLACK_S
    assert sorted(seen.items) == list(range(30))


def test_a_feed_that_is_closed_is_opened_again_and_what_came_meanwhile_is_found(place, proxy, seen):
    with listening(place, proxy, seen, DRW_POLL_S="60", DRW_POLL_MAX_S="60"):
        sender = place.bus("sender")
        for n in range(5):
            sender.send("work.EU", {"n": n})
            seen.wait_for(n + 1, timeout=10)  # no poll comes to its help: the feed, or the survey after its break
            proxy.close_feeds()
    assert seen.items == list(range(5))
    assert len(proxy.requests(follows_feed)) > 1


def test_a_feed_that_works_is_what_wakes(place, proxy, seen):
    """Without this the other tests would pass with a feed that never works at all."""
    with listening(place, proxy, seen, DRW_POLL_S="60", DRW_POLL_MAX_S="60"):
        proxy.wait_for_feed()
        proxy.wait_until(lambda: len(surveys(proxy)) > 0)
        for n in range(5):
            since = time.monotonic()
            place.bus("sender").send("work.EU", {"n": n})
            seen.wait_for(n + 1, timeout=10)
        assert surveys(proxy, since) == []
    assert len(proxy.requests(follows_feed)) == 1


def test_a_feed_that_went_silent_is_given_up_and_opened_again(place, proxy, seen):
    with listening(place, proxy, seen, DRW_POLL_S="60", DRW_POLL_MAX_S="60"):
        sender = place.bus("sender")
        sender.send("work.EU", {"n": 0})
        seen.wait_for(1)
        proxy.wait_for_quiet(1.5)  # no survey is to come
        proxy.stall_feeds()
        sender.send("work.EU", {"n": 1})
        seen.wait_for(2, timeout=10)
    assert seen.items == [0, 1]


def test_a_feed_that_is_rewound_repeats_nothing_and_costs_little(place, proxy, seen):
    sender = place.bus("sender")
    with listening(place, proxy, seen) as bus:
        bus.send_many([sender.compose("work.EU", {"n": n}) for n in range(300)])
        seen.wait_for(300)
    proxy.rule(follows_feed, change_request(rewind))
    since = time.monotonic()
    other = place.bus("other", through=proxy, DRW_POLL_S="60", DRW_POLL_MAX_S="60")
    other.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), batch=10)
    with other:
        sender.send("work.EU", {"n": 300})
        seen.wait_for(301)
        proxy.close_feeds()
        sender.send("work.EU", {"n": 301})
        seen.wait_for(302)
    assert sorted(seen.items) == list(range(302))
    asked = proxy.requests(lambda request: not request.is_feed, since=since)
    assert len(asked) < 60, [(each.method, each.target) for each in asked]
    fetched = [doc["id"] for each in asked if each.path.endswith("/_bulk_get") for doc in each.json["docs"]]
    assert len(fetched) < 10, fetched  # of 300 that were repeated, twice
