"""A thousand selectors in one process: one feed, no thread a selector, and nobody starves."""

from collections import Counter, defaultdict

LISTENERS, SELECTORS, FLOOD, TRICKLE = 20, 50, 108, 8  # 20 * (108 + 49 * 8) = 10,000
SPARE_THREADS = 15
"""What a process has besides its listeners' threads: feed, taker, leases, settler, heartbeat, signals, and spare."""


def test_ten_thousand_messages_for_a_thousand_selectors_in_one_process(place, proxy, workers):
    sender = place.bus("sender")
    for listener in range(LISTENERS):
        names = [f"area{listener:02}.s{number:02}" for number in range(SELECTORS)]
        crowd = [sender.compose(names[0], {"n": n}) for n in range(FLOOD)]  # first in every order
        crowd += [sender.compose(name, {"n": n}) for name in names[1:] for n in range(TRICKLE)]
        sender.send_many(crowd)
    patterns = [f"area{listener:02}.*:50" for listener in range(LISTENERS)]
    worker = workers.start("worker", *patterns, url=proxy.url, DRW_LEASE_S="60", DRW_HEARTBEAT_S="5")
    threads = []
    for share in range(1, 11):
        workers.wait_for(share * 1000, what="worked", timeout=60)
        threads.append(worker.threads())
    handled = [(line["selector"], line["n"]) for line in workers.lines(what="begun")]
    assert len(handled) == len(set(handled)) == 10_000
    assert max(threads) <= LISTENERS + SPARE_THREADS, threads
    assert proxy.most_feeds == 1
    for order in orders(handled).values():
        last_of_the_flood = max(at for at, selector in enumerate(order) if selector.endswith(".s00"))
        assert all(order.index(selector) < last_of_the_flood for selector in set(order))


def orders(handled):
    """Return the selectors of what was handled, in order, for each listener."""
    found = defaultdict(list)
    for selector, _ in handled:
        found[selector.partition(".")[0]].append(selector)
    assert Counter(map(len, found.values())) == {FLOOD + (SELECTORS - 1) * TRICKLE: LISTENERS}
    return found
