"""An idle process asks seldom, however many listeners it has: counted at the database's door."""

import itertools
import threading
import time

from troubles import asks

LISTENERS = [f"work{n:02}.*" for n in range(10)] + [f"site{n:02}" for n in range(10)]
MINUTE_S = 60.0
FACTOR = 1.5
SLACK_S = 0.5


def on_the_queue(request):
    """Match what counts: the feed's reopening and the heartbeat to ``actors`` do not."""
    return request.path.startswith("/msgq") and not request.path.endswith("/_changes")


def surveys(proxy):
    return [each.at for each in proxy.requests(asks("/_find")) if each.json["use_index"][1] == "ready"]


def test_an_idle_process_asks_twice_a_minute(workers, proxy):
    """With back-off grown to its default longest: the next test shows how it grows."""
    workers.start("idle", *LISTENERS, url=proxy.url, DRW_POLL_S="60", DRW_POLL_MAX_S="60", DRW_HEARTBEAT_S="10")
    proxy.wait_for_feed()
    proxy.wait_until(lambda: len(surveys(proxy)) > 0)
    proxy.wait_for_quiet(2.0)  # what belongs to the start is over
    since = time.monotonic()
    threading.Event().wait(MINUTE_S)
    asked = [(each.at - since, each.method, each.target) for each in proxy.requests(on_the_queue, since=since)]
    assert len(asked) <= 2, asked
    assert len(proxy.requests(asks("/_changes"))) == 2  # where the feed begins, and the feed


def test_polls_come_ever_more_seldom_and_each_asks_two_indexes_once(place, workers, proxy):
    first_s, longest_s = 0.2, 1.0
    workers.start("idle", *LISTENERS, url=proxy.url, DRW_POLL_S=str(first_s), DRW_POLL_MAX_S=str(longest_s))
    proxy.wait_for_feed()
    proxy.wait_until(lambda: len(surveys(proxy)) > 1)
    since = surveys(proxy)[-1]
    proxy.wait_until(lambda: len([at for at in surveys(proxy) if at >= since]) == 8)
    times = [at for at in surveys(proxy) if at >= since]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    least = [min(first_s * FACTOR**polls, longest_s) for polls in range(len(gaps))]
    assert all(gap >= wait - 0.02 for gap, wait in zip(gaps, least, strict=True)), gaps
    assert all(gap <= 1.25 * FACTOR**2 * wait + SLACK_S for gap, wait in zip(gaps, least, strict=True)), gaps
    asked = [each for each in proxy.requests(on_the_queue, since=since) if each.at < times[-1]]
    assert len(asked) == 2 * len(gaps), [each.target for each in asked]
    place.bus("sender").send("work00.EU", {"n": 1})
    workers.wait_for(1, what="worked")
    proxy.wait_until(lambda: len([at for at in surveys(proxy) if at > times[-1]]) > 1)


def test_beside_one_that_works_for_long_an_idle_process_looks_ever_more_seldom(place, workers, proxy):
    """Its neighbour's renewals look like any other write; each could be a message that was given back."""
    busy, go_on = place.bus("busy"), threading.Event()
    busy.listen("work00.EU", lambda _: go_on.wait(30))
    with busy:
        sent = busy.send("work00.EU", {})
        place.wait_for_state(sent, "claimed")
        workers.start("idle", *LISTENERS, url=proxy.url, DRW_POLL_S="60", DRW_POLL_MAX_S="60", DRW_HEARTBEAT_S="10")
        proxy.wait_for_feed()
        proxy.wait_for_quiet(1.5)
        since, generation = time.monotonic(), int(place.database.get(sent)["_rev"].partition("-")[0])
        threading.Event().wait(12)
        renewals = int(place.database.get(sent)["_rev"].partition("-")[0]) - generation
        go_on.set()
    looks = [at for at in surveys(proxy) if at > since]
    assert renewals > 8
    assert len(looks) <= 4, [at - since for at in looks]
