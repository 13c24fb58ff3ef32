"""Leases of real processes: kept as long as the process lives, lost with it, and never a licence to write late."""

import pytest

from shared.names import moment

LEASE_S = 1.0
LEASE = {"DRW_LEASE_S": str(LEASE_S), "DRW_CLOCK_SPARE_S": "0.3", "DRW_ATTEMPTS": "8"}


def send(place, *bodies):
    sender = place.bus("sender")
    return sender.send_many([sender.compose("work.EU", {"n": n, **body}) for n, body in enumerate(bodies)])


def states(place, ids):
    docs = place.database.fetch(ids)
    return [(doc["state"], doc["claim"]["by"].partition("@")[0], doc["attempts"]) for doc in docs]


def test_work_of_ten_leases_keeps_its_message_and_the_tail_of_its_batch(place, workers):
    ids = send(place, {"work_s": 10 * LEASE_S}, *[{}] * 9)
    workers.start("slow", "work.EU:10", **LEASE)
    workers.wait_for(1, what="begun", n=0)
    workers.start("other", "work.EU:10", **LEASE)
    workers.wait_for(10, what="worked")
    for message_id in ids:
        place.wait_for_state(message_id, "consumed")
    assert states(place, ids) == [("consumed", "slow", 1)] * 10
    assert len(workers.lines(what="begun", by="slow")) == 10


def test_a_killed_process_loses_its_batch_with_the_lease_and_not_before(place, workers):
    ids = send(place, {"work_s": 60}, *[{"work_s": 60}] * 4)
    victim = workers.start("victim", "work.EU:5", **LEASE)
    workers.wait_for(1, what="begun", by="victim")
    for message_id in ids:
        place.wait_for_state(message_id, "claimed")
    victim.kill()
    promised = [moment(doc["claim"]["until"]) for doc in place.database.fetch(ids)]
    workers.start("heir", "work.EU:5:5", **LEASE)
    workers.wait_for(5, what="begun", by="heir", timeout=15)
    taken = [moment(doc["claim"]["since"]) for doc in place.database.fetch(ids)]
    assert all(since >= until for since, until in zip(taken, promised, strict=True))
    assert all((since - until).total_seconds() < 5 for since, until in zip(taken, promised, strict=True))
    assert states(place, ids) == [("claimed", "heir", 2)] * 5


OUTCOMES = ["done", "retry", "snooze", "dead"]


@pytest.mark.parametrize("purged", [False, True])
def test_a_process_that_slept_past_its_lease_changes_nothing_any_more(place, workers, purged):
    """Whatever it wants to write, and whether what it held is settled by another or even purged."""
    bodies = [{"work_s": 0.5, "outcome": outcome, "next": ["next.EU"]} for outcome in OUTCOMES]
    ids = send(place, *bodies, {"work_s": 0.5, "deaf": True})  # the last one is not begun, and given back
    sleeper = workers.start("sleeper", "work.EU:5:4", **LEASE)
    workers.wait_for(4, what="begun", by="sleeper")
    for message_id in ids:
        place.wait_for_state(message_id, "claimed")
    sleeper.freeze()
    heir = place.bus("heir", **LEASE)
    heir.listen("work.EU", lambda delivery: None, batch=5)
    with heir:
        for message_id in ids:
            place.wait_for_state(message_id, "consumed")
    if purged:
        for doc in place.database.fetch(ids):
            content = f'{{"{doc["_id"]}": ["{doc["_rev"]}"]}}'.encode()
            place.connection.call("POST", "/msgq/_purge", content=content)
    before = place.database.fetch(ids)
    sleeper.thaw()
    workers.wait_for(4, what="worked", by="sleeper")
    sleeper.terminate()
    assert sleeper.wait() == 0
    assert place.database.fetch(ids) == before
    assert before == [None] * 5 if purged else states(place, ids) == [("consumed", "heir", 2)] * 5
    assert [doc["_id"] for doc in place.database.every() if doc["_id"].startswith("next.EU:")] == []
    assert workers.lines(what="begun", n=4) == []


def test_a_message_that_kills_its_worker_every_time_ends_dead_and_its_batch_does_not(place, workers):
    """The deadly one is first in each batch, so that those who die with it never begin its companions."""
    ids = send(place, {"kill": True}, {}, {})
    for number in range(3):
        worker = workers.start(f"worker{number}", "work.EU:3", **LEASE | {"DRW_ATTEMPTS": "3"})
        workers.wait_for(1, what="begun", by=worker.name, n=0)
        worker.wait()
    workers.start("last", "work.EU:3", **LEASE | {"DRW_ATTEMPTS": "3"})
    dead = place.wait_for_state(ids[0], "dead", timeout=30)
    assert [error["what"] for error in dead["errors"]] == ["lease expired"] * 3
    for message_id in ids[1:]:
        place.wait_for_state(message_id, "consumed")


def test_of_messages_that_lapse_together_the_deadly_one_ends_dead_alone(place, workers):
    times = LEASE | {"DRW_ATTEMPTS": "4"}
    ids = send(place, {"kill": True, "work_s": 0.3}, *[{"work_s": 0.8}] * 3)
    for number in range(4):
        workers.start(f"worker{number}", "work.EU:4:4", **times).wait(30)
    workers.start("last", "work.EU:4:4", **times)
    dead = place.wait_for_state(ids[0], "dead", timeout=30)
    assert [error["what"] for error in dead["errors"]] == ["lease expired"] * 4
    for message_id in ids[1:]:
        place.wait_for_state(message_id, "consumed")
