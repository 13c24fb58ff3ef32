"""A verdict survives the death of its worker between any two of its steps."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from desk_place import make_ready_for_review, operator

from actors.aqua_qa2.desk import Desk
from actors.aqua_qa2.holding import Returns, verdict_key
from shared.messages import VERDICT, Verdict

DYING = """
import os, signal, sys
from actors.aqua_qa2 import background, prompt
from shared.bus.delivery import Delivery
from shared.state import StateClient

ous, left = sys.argv[1], int(sys.argv[2])

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
        outcome = carry_out(self, delivery)
        if delivery.body["ousUID"] == ous:
            die_if_due()
        return outcome
    return run

StateClient.set = counted(StateClient.set, lambda first, args: args[0] == ous)
Delivery.send = counted(Delivery.send, lambda first, args: first.body["ousUID"] == ous)
background.Background.carry_out = settled(background.Background.carry_out)
sys.exit(prompt.main(["--listen"]))
"""
"""An aqua-qa2 that kills itself when it has done so many steps of the verdict on an OUS, and not settled it."""

PASS = ["Verified", "DeliveryInProgress"]
STEPS = [("P", 0), ("P", 1), ("P", 2), ("P", 3), ("F", 0), ("F", 1)]


def uid(flag, done):
    return f"uid://X1/{flag}/X{done}"


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
    system.start("xtss", "--strict")
    ouss = {uid(*step): step for step in STEPS}
    make_ready_for_review(system, *ouss)
    with operator(system) as me:
        for ous, (flag, _) in ouss.items():
            give(me, system, ous, flag)
            dying = subprocess.run(
                [sys.executable, "-c", DYING, ous, str(ouss[ous][1])], env=system.environ, timeout=60, check=False
            )
            assert dying.returncode == -signal.SIGKILL, ous
    system.start("aqua-qa2", "--listen")
    for ous, (flag, _) in ouss.items():
        found = system.wait_for_state(ous, "DeliveryInProgress" if flag == "P" else "ReadyForProcessing")
        after = [each.state for each in found.history][[each.state for each in found.history].index("Reviewing") + 1 :]
        assert after == (PASS if flag == "P" else ["ReadyForProcessing"]), ous
        assert found.reviewer is None
    system.wait_until(lambda: all(each["state"] == "consumed" for each in system.messages(VERDICT)), database="msgq")
    assert all(each["attempts"] == 2 for each in system.messages(VERDICT))
    assert sorted(each["body"]["ousUID"] for each in system.messages("ingest.JAO")) == sorted(
        ous for ous, (flag, _) in ouss.items() if flag == "P"
    )


@pytest.mark.parametrize(("state", "given_back"), [("ready", 0), ("dead", 1), ("none", 1)])
def test_a_review_with_a_verdict_on_its_way_is_not_given_back(system, state, given_back):
    system.start("xtss", "--strict")
    ous = uid("P", 9)
    make_ready_for_review(system, ous)
    with operator(system) as me:
        if state == "none":
            Desk(me, "ada").take(ous)
        else:
            give(me, system, ous, "P")
        if state == "dead":
            (message,) = system.messages(VERDICT)
            dead = {"state": "dead", "doneAt": message["creationTimestamp"], "errors": []}
            system.connection.database("msgq").put({**message, **dead})
        long_ago = {"at": "2026-11-20T10:00:00.000000", "every": 1.0, "ended": False, "schema": 1}
        system.connection.database("actors").put({"_id": me.me, "kind": "aqua-qa2", **long_ago})
        another = type(me)("another", system.settings)
        entity = system.entity(ous)
        aged = {**system.connection.database("status-entities").get(entity.id), "timestamp": long_ago["at"]}
        system.connection.database("status-entities").put(aged)
        with another.bus:
            assert Returns(another).run_once() == given_back
            assert Returns(another).run_once() == 0
        another.connection.close()
    assert system.entity(ous).state == ("ReadyForReview" if given_back else "Reviewing")
