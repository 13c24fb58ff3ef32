"""Claim by revision: processes that race for the same messages handle each of them once."""

import os
from collections import Counter

import pytest

THOROUGH = "DRW_TEST_THOROUGH" in os.environ
"""Set it to race for 5,000 messages one by one too, which takes a minute."""

MESSAGES = 5000
PROCESSES = 4


@pytest.mark.parametrize(("batch", "messages"), [(1, MESSAGES if THOROUGH else 1500), (50, MESSAGES)])
def test_four_processes_handle_each_message_once(place, workers, batch, messages):
    sender = place.bus("sender")
    for start in range(0, messages, 500):
        sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(start, start + 500)])
    for number in range(PROCESSES):
        workers.start(f"worker{number}", f"work.EU:{batch}", ready=False, DRW_LEASE_S="60", DRW_CLOCK_SPARE_S="5")
    handled = workers.wait_for(messages, timeout=180, what="worked")
    for worker in workers.all():
        worker.terminate()
    assert [worker.wait() for worker in workers.all()] == [0] * PROCESSES
    runs = Counter(line["n"] for line in workers.lines(what="begun"))
    assert runs == dict.fromkeys(range(messages), 1)
    assert len({line["by"] for line in handled}) == PROCESSES
    docs = [doc for doc in place.database.every() if doc["_id"].startswith("work.EU:")]
    assert Counter((doc["state"], doc["attempts"]) for doc in docs) == {("consumed", 1): messages}
