"""A verdict survives the death of its worker between any two of its steps."""

import signal
import subprocess
import sys

import pytest
from desk_place import make_ready_for_review, operator

from actors.aqua_qa2.desk import Desk
from actors.aqua_qa2.holding import Returns, verdict_key
from shared import names
from shared.errors import StateRefused
from shared.messages import VERDICT, Verdict

DYING = """
import os, signal, sys, threading
from actors.aqua_qa2 import background, prompt
from shared.bus.delivery import Delivery
from shared.bus.replies import Replies
from shared.state import StateClient

working = threading.local()
ous, left, asked = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def die_if_due():
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(step, is_ours):
    def run(first, *args, **more):
        global left
        if not is_ours(first, args):
            return step(first, *args, **more)
        die_if_due()
        result = step(first, *args, **more)
        left -= 1
        return result
    return run

def settled(carry_out):
    def run(self, delivery):
        working.on = delivery.body["ousUID"]
        outcome = carry_out(self, delivery)
        if delivery.body["ousUID"] == ous:
            die_if_due()
        return outcome
    return run

def answered(wait):
    def run(self, *args, **more):
        global asked
        if getattr(working, "on", "") != ous:
            return wait(self, *args, **more)
        if asked == 0:
            wait(self, *args, **more)  # the state system has done it, and nobody has heard so
            os.kill(os.getpid(), signal.SIGKILL)
        asked -= 1
        return wait(self, *args, **more)
    return run

Replies.wait = answered(Replies.wait)
StateClient.set = counted(StateClient.set, lambda first, args: args[0] == ous)
Delivery.send = counted(Delivery.send, lambda first, args: first.body["ousUID"] == ous)
background.Background.carry_out = settled(background.Background.carry_out)
sys.exit(prompt.main(["--listen"]))
"""
"""An aqua-qa2 that kills itself when it has done so many steps of the verdict on an OUS, and not settled it.

Or when the state system has done so many of them and it has not heard so.
"""


@pytest.fixture(scope="module")
def system(system_of_module):
    system_of_module.start("xtss", "--strict")
    return system_of_module


PASS = ["Verified", "DeliveryInProgress"]
NEVER = -1
STEPS = [
    *(("P", done, NEVER) for done in range(4)),
    *(("P", NEVER, asked) for asked in range(2)),
    *(("F", done, NEVER) for done in range(2)),
]
"""Flag, how many steps are done, and how many are done and not heard of."""


def uid(flag, *numbers):
    return f"uid://X1/{flag}/X{'n'.join(map(str, numbers)).replace('-1', 'x')}"


def give(me, system, ous, flag):
    """Take an OUS and send the verdict, as a reviewer's program does that then vanishes."""
    desk = Desk(me, "ada")
    taken, report = desk.take(ous)
    verdict = Verdict(
        ousUID=ous,
        flag={"P": "Pass", "F": "Fail"}[flag],
        timestamp=report.timestamp,
        productsDir=report.products_dir,
        reviewer="ada",
        session=me.me,
        comment="[imaging] seen",
    )
    me.bus.send(VERDICT, verdict.body(), dedup=verdict_key(taken))


def test_killed_between_any_two_steps_a_verdict_ends_the_same(system):
    ouss = {uid(*step): step for step in STEPS}
    make_ready_for_review(system, *ouss)
    with operator(system) as me:
        for ous, (flag, *dies) in ouss.items():
            give(me, system, ous, flag)
            dying = subprocess.run(
                [sys.executable, "-c", DYING, ous, *map(str, dies)], env=system.environ, timeout=60, check=False
            )
            assert dying.returncode == -signal.SIGKILL, ous
    listening = system.start("aqua-qa2", "--listen")
    for ous, (flag, *_) in ouss.items():
        found = system.wait_for_state(ous, "DeliveryInProgress" if flag == "P" else "ReadyForProcessing")
        after = [each.state for each in found.history][[each.state for each in found.history].index("Reviewing") + 1 :]
        assert after == (PASS if flag == "P" else ["ReadyForProcessing"]), ous
        assert found.reviewer is None

    def verdicts():
        return [each for each in system.messages(VERDICT) if each["body"]["ousUID"] in ouss]

    system.wait_until(lambda: all(each["state"] == "consumed" for each in verdicts()), database="msgq")
    assert all(each["attempts"] > 1 for each in verdicts())
    assert sorted(each["body"]["ousUID"] for each in system.messages("ingest.JAO")) == sorted(
        ous for ous, (flag, *_) in ouss.items() if flag == "P"
    )
    listening.stop()


@pytest.mark.parametrize(("state", "given_back"), [("ready", 0), ("dead", 1), ("none", 1)])
def test_a_review_with_a_verdict_on_its_way_is_neither_given_back_nor_taken(system, state, given_back):
    ous = uid("P", state)
    make_ready_for_review(system, ous)
    with operator(system) as me:
        if state == "none":
            Desk(me, "ada").take(ous)
        else:
            give(me, system, ous, "P")
        if state == "dead":
            (message,) = [each for each in system.messages(VERDICT) if each["body"]["ousUID"] == ous]
            dead = {"state": "dead", "doneAt": message["creationTimestamp"], "errors": []}
            system.connection.database("msgq").put({**message, **dead})
        long_ago = {"at": "2026-11-20T10:00:00.000000", "every": 1.0, "ended": False, "schema": 1}
        system.connection.database("actors").mutate(me.me, lambda doc: (doc or {}) | {"kind": "aqua-qa2"} | long_ago)
        another = type(me)("another", system.settings)
        entity = system.entity(ous)
        aged = {**system.connection.database("status-entities").get(entity.id), "timestamp": long_ago["at"]}
        system.connection.database("status-entities").put(aged)
        with another.bus:
            assert Returns(another).run_once() == given_back
            assert Returns(another).run_once() == 0
            if not given_back:
                with pytest.raises(StateRefused, match=r"has a verdict, Pass, that is about to be carried out"):
                    Desk(another, "bob").take(ous, over=True)
        another.connection.close()
    assert system.entity(ous).state == ("ReadyForReview" if given_back else "Reviewing")


def test_an_ous_that_xtss_refuses_keeps_no_other_from_being_given_back(system):
    ouss = [uid("P", name) for name in ("bad", "good")]
    make_ready_for_review(system, *ouss)
    database = system.connection.database("status-entities")
    with operator(system) as me:
        for ous in ouss:
            Desk(me, "ada").take(ous)
            aged = {**database.get(system.entity(ous).id), "timestamp": "2026-11-20T10:00:00.000000"}
            if ous == ouss[0]:  # made by hand: xtss knows no OUS of this name
                aged |= {"entityId": uid("P", "unknown")}
            database.put(aged)
    listening = system.start("aqua-qa2", "--listen")
    system.wait_for_state(ouss[1], "ReadyForReview")
    listening.wait_for(f"WARNING.*{uid('P', 'unknown')} cannot be given back.*there is no OUS", times=2)
    database.remove(
        [(doc["_id"], doc["_rev"]) for doc in database.every() if doc.get("entityId") == uid("P", "unknown")]
    )
    assert listening.stop() == 0


@pytest.mark.parametrize(("field", "value"), [("entityId", "uid://X1/X1"), ("run", "yesterday")])
def test_an_ous_with_a_name_that_is_none_keeps_no_other_from_the_list_or_from_being_given_back(system, field, value):
    ouss = [uid(f"N{field}", name) for name in ("bad", "left", "waiting")]
    make_ready_for_review(system, *ouss)
    database = system.connection.database("status-entities")
    with operator(system) as me:
        for ous in ouss[:2]:
            Desk(me, "ada").take(ous)
            aged = {**database.get(system.entity(ous).id), "timestamp": "2026-11-20T10:00:00.000000"}
            database.put(aged | ({field: value} if ous == ouss[0] else {}))
        listed = [row.json(me.connection.clock.now(), "http://w")["ousUID"] for row in Desk(me, "ada").rows()]
    assert [each for each in listed if each in ouss] == ouss[1:]
    with operator(system) as another:
        another.me = "another"
        assert Returns(another).run_once() == 1
    assert system.entity(ouss[1]).state == "ReadyForReview"
    doc = database.get(names.document_id(ouss[0]))
    database.remove([(doc["_id"], doc["_rev"])])


def test_a_long_list_is_there_before_all_of_its_reports_are_read(system):
    ouss = [uid("L", number) for number in range(3)]
    make_ready_for_review(system, *ouss)
    with operator(system) as me:
        desk = Desk(me, "ada")
        waiting = len(desk.rows(0))
        scores = [[row.scores.final for row in desk.rows(waiting - 1)] for _ in range(2)]
    assert scores == [[0.4] * (waiting - 1) + [None], [0.4] * waiting]
