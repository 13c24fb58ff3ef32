"""Launching an OUS that is somewhere in its life already."""

from itertools import pairwise

from drw.demo.check import Checker
from shared.bus import Bus
from shared.state import StateClient
from shared.status import Change

OUS = "uid://X1/X1/Xb1"


def test_a_delivered_ous_can_be_launched_again_and_the_earlier_run_is_kept(system):
    system.start_all()
    assert system.launch(OUS).returncode == 0
    first = system.wait_for_state(OUS, "ReadyForReview").run
    system.review(OUS)
    system.wait_for_state(OUS, "Delivered")

    assert system.launch(OUS).returncode == 0
    second = system.wait_for_state(OUS, "ReadyForReview").run
    assert second > first
    system.review(OUS, "S")
    system.wait_for_state(OUS, "Delivered")

    assert Checker(system.connection).ous(OUS, runs=2).wrong == []
    directories = {path.name[-23:] for path in system.jao.iterdir() if path.name.startswith("2015.1.00657.S_")}
    assert directories == {run.replace("-", "_").replace(":", "_") for run in (first, second)}
    assert len(list(system.connection.database("ngas").every())) == 12


def test_an_ous_in_review_cannot_be_launched_and_the_reason_says_what_to_do(system):
    system.start("xtss", "--strict")
    moves = pairwise(["ReadyForProcessing", "Processing", "ReadyForReview", "Reviewing"])
    assert system.launch(OUS).returncode == 0
    with Bus(system.connection, system.settings, me="test") as bus:
        state = StateClient(bus, deadline_s=10)
        for before, after in moves:
            state.set(OUS, Change(state=after), expected=(before,))
        refused = system.launch(OUS)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "is Reviewing" in refused.stderr
    assert "wait for the reviewer" in refused.stderr
    assert len(system.messages("pipeline.process.EU")) == 1


def test_launching_twice_sends_one_message(system):
    system.start("xtss", "--strict")
    assert system.launch(OUS).returncode == 0
    again = system.launch(OUS)
    assert again.returncode == 0
    assert "was launched before, and still waits" in again.stdout
    assert len(system.messages("pipeline.process.EU")) == 1
