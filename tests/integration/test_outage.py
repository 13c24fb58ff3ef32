"""The database away for half a minute in the middle of traffic, and nobody the worse for it."""

import threading
import time
from collections import Counter

AWAY_S = 30.0
RESUMED_S = 2.0
TIMES = {"DRW_LEASE_S": "60", "DRW_CLOCK_SPARE_S": "5", "DRW_HEARTBEAT_S": "1", "DRW_ATTEMPTS": "8"}


class Traffic:
    """Sends one message after another until told to stop; what was sent is what :meth:`Bus.send` returned for."""

    def __init__(self, bus):
        self.sent = []
        self._bus = bus
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.01):
            n = len(self.sent)
            self._bus.send("work.EU", {"n": n, "work_s": 0.01, "next": ["next.EU"]}, within_s=2 * AWAY_S)
            self.sent.append(n)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(2 * AWAY_S)
        assert not self._thread.is_alive()


def begun_again(workers, worker, back):
    """Return when a worker began its first work after the database was back."""
    workers.wait_until(lambda _: any(line["at"] > back for line in workers.lines(what="begun", by=worker.name)))
    return min(line["at"] for line in workers.lines(what="begun", by=worker.name) if line["at"] > back)


def test_half_a_minute_without_a_database_loses_and_repeats_nothing(place, couchlet, workers):
    first = [workers.start(f"first{n}", "work.EU:10", **TIMES) for n in range(2)]
    second = [workers.start(f"second{n}", "next.EU:10", **TIMES) for n in range(2)]
    sender = place.bus("sender")
    backlog = [sender.compose("work.EU", {"n": -1 - n, "work_s": 0.05, "next": ["next.EU"]}) for n in range(200)]
    sender.send_many(backlog)
    with Traffic(place.bus("traffic")) as traffic:
        workers.wait_for(20, what="worked", selector="next.EU")
        couchlet.kill()
        threading.Event().wait(AWAY_S)
        couchlet.start()
        back = time.time()
        for worker in first:
            assert begun_again(workers, worker, back) - back < RESUMED_S
        before = len(traffic.sent)
        workers.wait_until(lambda _: len(traffic.sent) > before)
    numbers = [*traffic.sent, *(-1 - n for n in range(len(backlog)))]
    workers.wait_for(len(numbers), what="worked", selector="next.EU", timeout=90)
    effects = Counter(line["n"] for line in workers.lines(what="begun", selector="next.EU"))
    assert effects == dict.fromkeys(numbers, 1)
    runs = Counter(line["n"] for line in workers.lines(what="begun", selector="work.EU"))
    assert set(runs) == set(numbers)
    assert runs.total() - len(runs) <= len(first)  # who could not send for so long begins again, and sends once
    for worker in first + second:
        assert worker.process.poll() is None
        assert (worker.said("; trying until it does"), worker.said("is back after")) == (1, 1), worker.log.read_text()
        assert worker.said("Traceback") == 0
        worker.terminate()
        assert worker.wait() == 0
    messages = [doc for doc in place.database.every() if doc["_id"].startswith(("work.EU:", "next.EU:"))]
    assert Counter((doc["state"], doc["attempts"]) for doc in messages) == {("consumed", 1): 2 * len(numbers)}


def test_what_was_handled_during_an_outage_longer_than_its_lease_is_not_handled_again(place, couchlet, workers):
    times = TIMES | {"DRW_LEASE_S": "3", "DRW_CLOCK_SPARE_S": "0.3"}
    holder = workers.start("holder", "work.EU:20:20", **times)
    sender = place.bus("sender")
    ids = sender.send_many([sender.compose("work.EU", {"n": n, "work_s": 4}) for n in range(20)])
    workers.wait_for(20, what="begun", by=holder.name)
    workers.start("idle", "work.EU:20:20", **times)
    couchlet.kill()
    workers.wait_for(20, what="worked", by=holder.name)
    threading.Event().wait(5.0)
    couchlet.start()
    for message_id in ids:
        assert place.wait_for_state(message_id, "consumed", timeout=30)["attempts"] == 1
    assert len(workers.lines(what="begun")) == 20


def test_an_idle_process_says_within_seconds_that_an_outage_is_over(place, couchlet, caplog):
    rare = {"DRW_POLL_S": "60", "DRW_POLL_MAX_S": "60", "DRW_HEARTBEAT_S": "30"}
    idle = place.bus("idle", through=place.proxy(), **rare)
    idle.listen("work.EU", lambda _: None)
    said = []
    with idle:
        threading.Event().wait(1.0)
        couchlet.kill()
        threading.Event().wait(2.0)
        couchlet.start()
        until = time.monotonic() + 15
        while not said and time.monotonic() < until:
            threading.Event().wait(0.2)
            said = [each.getMessage() for each in caplog.records if "is back after" in each.getMessage()]
    assert len(said) == 1
