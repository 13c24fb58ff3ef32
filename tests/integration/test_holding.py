"""Leases, stopping and dying: a claim is kept as long as its owner lives, and no longer."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from troubles import asks, delay, fail, hang, writes

from shared.bus import Done, settler
from shared.bus import writes as writes_of
from shared.clock import elapsed_s

READS = asks("/_bulk_get")
TIMES = {"DRW_LEASE_S": "2", "DRW_CLOCK_SPARE_S": "0.2"}
WORKER = """
import os, sys, time
from shared.bus import Bus
from shared.dbcon import DbConnection
from shared.settings import read_settings

settings = read_settings()
bus = Bus(DbConnection(settings), settings, me=sys.argv[1])

def handle(delivery):
    print("begun", delivery.message.attempts, flush=True)
    {work}

bus.listen("work.EU", handle, batch={batch})
with bus:
    sys.stdin.read()
"""


class Worker:
    """A worker in a process of its own, that can be killed and stopped."""

    def __init__(self, place, me, *, work="pass", batch=1):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER.format(work=work, batch=batch), me],
            env={**os.environ, **place.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_begun(self):
        line = self.process.stdout.readline()
        assert line.startswith("begun")
        return int(line.split()[1])

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def worker(place):
    made = []

    def make(me, **more):
        made.append(Worker(place, me, **more))
        return made[-1]

    yield make
    for each in made:
        each.end()


def test_work_that_takes_many_leases_keeps_its_message(place, seen):
    bus, other = place.bus("slow"), place.bus("other")
    release = threading.Event()

    def handle(delivery):
        seen.add(delivery.message.attempts)
        release.wait(20)

    bus.listen("work.EU", handle)
    other.listen("work.EU", lambda delivery: seen.add("stolen"))
    bus.start()
    message_id = bus.send("work.EU", {})
    seen.wait_for(1)
    other.start()
    until = place.database.get(message_id)["claim"]["until"]
    for _ in range(3):  # three renewals are about three leases
        doc = place.wait_for_state(message_id, "claimed")
        while doc["claim"]["until"] == until:
            doc = place.wait_for_state(message_id, "claimed")
        until = doc["claim"]["until"]
    release.set()
    place.wait_for_state(message_id, "consumed")
    assert seen.items == [1]


def test_the_message_of_a_killed_worker_is_taken_by_another(place, worker, seen):
    message_id = place.bus("sender").send("work.EU", {})
    victim = worker("victim", work="time.sleep(600)")
    victim.wait_begun()
    victim.process.kill()
    heir = place.bus("heir")
    heir.listen("work.EU", lambda delivery: seen.add(delivery.message.errors[-1]))
    with heir:
        done = place.wait_for_state(message_id, "consumed")
    assert done["attempts"] == 2
    assert (seen.items[0].by, seen.items[0].what) == ("victim", "lease expired")


def test_a_worker_that_slept_past_its_lease_cannot_settle(place, worker):
    message_id = place.bus("sender").send("work.EU", {})
    sleeper = worker("sleeper", work="time.sleep(0.5); print('over', flush=True)")
    sleeper.wait_begun()
    sleeper.process.send_signal(signal.SIGSTOP)
    heir = place.bus("heir")
    heir.listen("work.EU", lambda delivery: Done({"by": "heir"}))
    with heir:
        place.wait_for_state(message_id, "consumed")
    sleeper.process.send_signal(signal.SIGCONT)
    assert sleeper.process.stdout.readline() == "over\n"
    sleeper.process.stdin.close()
    sleeper.process.wait(10)
    done = place.database.get(message_id)
    assert (done["state"], done["result"], done["claim"]["by"]) == ("consumed", {"by": "heir"}, "heir")


def test_a_purged_message_is_not_revived_by_a_late_settlement(place, worker):
    message_id = place.bus("sender").send("work.EU", {})
    sleeper = worker("sleeper", work="time.sleep(0.5); print('over', flush=True)")
    sleeper.wait_begun()
    sleeper.process.send_signal(signal.SIGSTOP)
    heir = place.bus("heir")
    heir.listen("work.EU", lambda delivery: None)
    with heir:
        done = place.wait_for_state(message_id, "consumed")
    place.connection.call("POST", "/msgq/_purge", content=f'{{"{message_id}": ["{done["_rev"]}"]}}'.encode())
    sleeper.process.send_signal(signal.SIGCONT)
    assert sleeper.process.stdout.readline() == "over\n"
    sleeper.process.stdin.close()
    sleeper.process.wait(10)
    assert place.database.get(message_id) is None


@pytest.mark.parametrize("op", ["claim", "done"])
def test_nor_by_a_write_that_it_was_about_to_repeat(place, proxy, monkeypatch, op):
    """It sleeps between two tries at a write; meanwhile another settles the message, and it is purged."""
    message_id = place.bus("sender").send("work.EU", {"n": 1})
    sleeper, handled = place.bus("sleeper", through=proxy), []
    sleeper.listen("work.EU", lambda delivery: handled.append(delivery.message.id))
    rule = proxy.rule(writes(op), fail(503), times=1)
    asleep, slept_s = threading.Event(), []

    class Pause(threading.Event):
        def wait(self, timeout=None):
            if not slept_s:
                slept_s.append(60.0)
                doc = place.database.get(message_id)
                place.database.purge({message_id: [doc["_rev"]]})
                asleep.set()
            return False

    monkeypatch.setattr(sleeper.queue.writer, "_stopped", Pause())
    monkeypatch.setattr(writes_of, "elapsed_s", lambda: elapsed_s() + sum(slept_s))
    with sleeper:
        assert asleep.wait(20)
        threading.Event().wait(1.0)
        assert rule.struck == 1
        assert place.database.get(message_id) is None
    assert handled == ([message_id] if op == "done" else [])


def test_a_message_that_kills_its_worker_every_time_ends_dead(place, worker):
    message_id = place.bus("sender").send("work.EU", {})
    for number in range(3):
        killed = worker(f"worker{number}", work="os.kill(os.getpid(), 9)")
        killed.wait_begun()
        killed.process.wait(10)
    bystander = place.bus("bystander")
    bystander.listen("work.EU", lambda delivery: pytest.fail("it must not be handled a fourth time"))
    with bystander:
        dead = place.wait_for_state(message_id, "dead")
    assert [each["what"] for each in dead["errors"]] == ["lease expired"] * 3


def test_stopping_gives_back_what_has_not_begun_and_finishes_what_has(place, seen):
    bus = place.bus("stopping")
    begun, release = threading.Event(), threading.Event()

    def handle(delivery):
        begun.set()
        release.wait(10)
        seen.add(delivery.body["n"])

    bus.listen("work.EU", handle, batch=5)
    ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(5)])
    bus.start()
    begun.wait(10)
    place.wait_for_state(ids[4], "claimed")
    stopping = threading.Thread(target=bus.stop, kwargs={"grace_s": 10})
    stopping.start()
    for message_id in ids[1:]:
        given_back = place.wait_for_state(message_id, "ready")
        assert given_back.get("attempts", 0) == 0
    release.set()
    stopping.join()
    assert seen.items == [0]
    assert place.database.get(ids[0])["state"] == "consumed"


def test_what_does_not_finish_in_its_grace_is_aborted_and_given_back_unrefunded(place):
    bus = place.bus("stopping")
    begun, aborted = threading.Event(), threading.Event()

    def handle(delivery):
        delivery.on_abort(aborted.set)
        begun.set()
        aborted.wait(10)
        raise RuntimeError("ended")

    bus.listen("work.EU", handle)
    message_id = bus.send("work.EU", {})
    bus.start()
    begun.wait(10)
    bus.stop(grace_s=0.1)
    doc = place.database.get(message_id)
    assert (doc["state"], doc["attempts"]) == ("ready", 1)


def test_work_that_asks_now_and_then_ends_when_the_process_has_to(place):
    bus = place.bus("stopping")
    begun = threading.Event()

    def handle(delivery):
        begun.set()
        while True:
            delivery.check()
            time.sleep(0.02)  # as if a piece of a long copy were made

    bus.listen("work.EU", handle)
    message_id = bus.send("work.EU", {})
    bus.start()
    begun.wait(10)
    bus.stop(grace_s=0.1)
    doc = place.database.get(message_id)
    assert (doc["state"], doc["attempts"]) == ("ready", 1)


def test_a_message_that_cannot_be_settled_holds_up_no_other(place, proxy):
    bus = place.bus("worker", through=proxy)
    stuck = bus.compose("work.EU", {"n": 0})
    unread = []

    def handle(delivery):
        if delivery.message.id == stuck.id:
            unread.append(proxy.rule(lambda request: stuck.id.encode() in request.body and READS(request), fail(503)))
            delivery._held.doubtful = True  # as after a renewal without an answer: it is read before it is settled

    bus.listen("work.EU", handle)
    bus.send_many([stuck])
    with bus:
        proxy.wait_until(lambda: unread)
        unread[0].wait(2)
        for message_id in bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(1, 31)]):
            place.wait_for_state(message_id, "consumed")
        assert place.database.get(stuck.id)["state"] == "claimed"
        unread[0].lift()
        assert place.wait_for_state(stuck.id, "consumed")["attempts"] == 1


UNREAD = pytest.mark.parametrize("unread", [fail(503), hang], ids=["refused", "hanging"])


@UNREAD
def test_of_what_is_read_before_it_is_settled_one_that_cannot_be_read_holds_up_no_other(place, proxy, unread):
    """They are read together, and one by one where that fails."""
    bus = place.bus("worker", through=proxy, DRW_LEASE_S="20")
    ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(10)])
    together = threading.Barrier(
        10, lambda: proxy.rule(lambda request: ids[3].encode() in request.body and READS(request), unread)
    )

    def handle(delivery):
        delivery._held.doubtful = True
        together.wait(10)

    bus.listen("work.EU", handle, slots=10)
    with bus:
        for message_id in ids:
            if message_id != ids[3]:
                place.wait_for_state(message_id, "consumed")
        assert place.database.get(ids[3])["state"] == "claimed"


@UNREAD
def test_of_claims_that_have_to_be_read_one_that_cannot_be_read_costs_no_other_its_lease(place, proxy, unread):
    times = {"DRW_LEASE_S": "4", "DRW_CLOCK_SPARE_S": "0.2"}
    bus, idle, go_on = place.bus("worker", through=proxy, **times), place.bus("idle", **times), threading.Event()
    ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(10)])
    bus.listen("work.EU", lambda _: go_on.wait(20) and None, slots=10)
    idle.listen("work.EU", lambda _: None)
    with bus:
        for message_id in ids:
            place.wait_for_state(message_id, "claimed")
        proxy.rule(lambda request: ids[0].encode() in request.body and READS(request), unread)
        with idle:
            bus._keeper.doubt_all()
            place.wait_for_state(ids[0], "consumed")  # by the other, because its lease is over
            go_on.set()
            for message_id in ids[1:]:
                assert place.wait_for_state(message_id, "consumed")["attempts"] == 1


def test_an_outcome_without_an_answer_that_cannot_be_read_holds_up_no_other(place, proxy):
    bus = place.bus("worker", through=proxy, DRW_LEASE_S="20")
    listener = bus._listener("work.EU", lambda _: None, slots=2, batch=2, policy=None)
    ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(3)])
    claims = bus._keeper.hold(bus.queue.claim(bus.queue.fetch(ids), bus.policy, "token").mine, elapsed_s())
    settlements = [settler._Settlement(held, Done(), listener) for held in claims]
    for each in settlements:
        each.held.writing.acquire()
        each.held.doubtful = True
    settlements[0].tried = claims[0].message
    claims[2].lost = True
    proxy.rule(lambda request: ids[0].encode() in request.body and READS(request), fail(503))
    assert bus._settler._attempt(settlements) == settlements[:1]
    assert place.database.get(ids[1])["state"] == "consumed"
    assert not claims[2].writing.locked()


def test_leases_that_are_sure_do_not_wait_for_the_reading_of_others_and_those_are_read_together(place, proxy):
    """After a feed's break every claim is read before it is renewed; one by one that would outlast the leases."""
    proxy.rule(READS, delay(0.1))
    proxy.rule(lambda request: request.method == "GET" and "work.EU" in request.path, delay(0.1))
    bus, idle, go_on = place.bus("worker", through=proxy, **TIMES), place.bus("idle", **TIMES), threading.Event()
    ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(40)])
    bus.listen("work.EU", lambda _: go_on.wait(20) and None, slots=40)
    idle.listen("work.EU", lambda _: None)
    with bus:
        for message_id in ids:
            place.wait_for_state(message_id, "claimed")
        with idle:
            for _ in range(8):  # over two leases
                bus._keeper.doubt_all()
                threading.Event().wait(0.5)
            go_on.set()
            for message_id in ids:
                assert place.wait_for_state(message_id, "consumed")["attempts"] == 1


def test_what_ends_lost_work_and_takes_its_time_holds_up_no_other(place, seen):
    bus, told, go_on = place.bus("worker"), threading.Event(), threading.Event()

    def handle(delivery):
        seen.add(delivery.message.id)
        if delivery.message.id == lost:
            delivery.on_abort(lambda: told.set() or go_on.wait(20))
            go_on.wait(20)
        told.wait(20)

    lost, other = ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(2)])
    bus.listen("work.EU", handle, slots=2)
    with bus:
        seen.wait_for(len(ids))
        place.database.mutate(lost, lambda doc: doc | {"claim": doc["claim"] | {"token": "somebody else's"}})
        assert told.wait(10)
        assert place.wait_for_state(other, "consumed")["attempts"] == 1
        go_on.set()


def test_an_outage_in_the_middle_of_work_loses_nothing(place, couchlet, seen):
    bus = place.bus("worker", DRW_LEASE_S="20")
    begun, away = threading.Event(), threading.Event()

    def handle(delivery):
        begun.set()
        away.wait(10)
        seen.add(delivery.body["n"])

    bus.listen("work.EU", handle, batch=3)
    ids = bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(3)])
    bus.start()
    begun.wait(10)
    couchlet.kill()
    away.set()
    seen.wait_for(3)
    couchlet.start()
    for message_id in ids:
        assert place.wait_for_state(message_id, "consumed")["attempts"] == 1
    assert sorted(seen.items) == [0, 1, 2]
    assert bus.broken() == ""
