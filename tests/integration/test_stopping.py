"""Stopping real processes by SIGTERM in the middle of a batch."""

from shared.actor import FAILURE, Actor

BATCH = 50
TIMES = {"DRW_LEASE_S": "60", "DRW_GRACE_S": "10"}


def begin(place, workers, *, first, name="worker", **settings):
    """Send a batch of which the first message takes long, and have a process begin it."""
    sender = place.bus("sender")
    ids = sender.send_many([sender.compose("work.EU", {"n": n, **(first if n == 0 else {})}) for n in range(BATCH)])
    worker = workers.start(name, f"work.EU:{BATCH}", **TIMES | settings)
    workers.wait_for(1, what="begun", n=0)
    place.wait_for_state(ids[10], "claimed")  # and more, as many as it thinks fit
    return worker, ids


def test_what_has_not_begun_is_given_back_at_once_and_what_has_is_finished(place, workers):
    worker, ids = begin(place, workers, first={"work_s": 3, "deaf": True})
    worker.terminate()
    for message_id in ids[1:]:
        place.wait_for_state(message_id, "ready")
    assert workers.lines(what="worked") == []  # the first one is still being worked on
    assert {doc.get("attempts", 0) for doc in place.database.fetch(ids[1:])} == {0}
    assert worker.wait() == 0
    assert [(line["n"], line["aborted"]) for line in workers.lines(what="worked")] == [(0, False)]
    assert place.database.get(ids[0])["state"] == "consumed"
    workers.start("heir", f"work.EU:{BATCH}")
    workers.wait_for(BATCH - 1, what="worked", by="heir")
    assert sorted(line["n"] for line in workers.lines(what="begun")) == list(range(BATCH))


def test_what_does_not_finish_in_time_is_ended_before_it_is_given_back(place, workers):
    worker, ids = begin(place, workers, first={"work_s": 60}, DRW_GRACE_S="1")
    worker.terminate()
    doc = place.wait_for_state(ids[0], "ready")
    (line,) = workers.lines(what="worked", n=0)
    assert line["aborted"]
    assert doc["attempts"] == 1
    assert worker.wait() == 0
    workers.start("heir", f"work.EU:{BATCH}")
    (again,) = workers.wait_for(1, what="begun", n=0, by="heir")
    assert again["attempt"] == 2
    assert again["at"] > line["at"]


def test_what_cannot_be_ended_keeps_its_lease_so_that_nobody_else_begins_it(place, workers):
    times = {"DRW_GRACE_S": "0.5", "DRW_LEASE_S": "5", "DRW_CLOCK_SPARE_S": "0.5"}
    worker, ids = begin(place, workers, first={"work_s": 60, "deaf": True}, **times)
    worker.terminate()
    for message_id in ids[1:]:
        place.wait_for_state(message_id, "ready")
    worker.wait()
    assert place.database.get(ids[0])["state"] == "claimed"
    workers.start("heir", f"work.EU:{BATCH}", **times)
    workers.wait_for(BATCH - 1, what="worked", by="heir")
    (again,) = workers.wait_for(1, what="begun", n=0, by="heir")
    assert again["attempt"] == 2


def test_an_actor_whose_parts_end_because_it_was_told_to_has_not_failed(place):
    """Told so just before it looks whether they live."""
    me = Actor("aqua", place.settings)

    def is_alive():
        me.stopping.set()
        return False

    me.part("returns of reviews", is_alive)
    assert me.serve("works") == 0


def test_an_actor_of_which_a_part_has_died_ends_loudly(place, caplog):
    me = Actor("aqua", place.settings)
    me.part("returns of reviews", lambda: False)
    assert me.serve("works") == FAILURE
    assert "returns of reviews has died: this actor ends" in caplog.text
