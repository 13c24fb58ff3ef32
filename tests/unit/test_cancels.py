"""Cancelled launches: who is told, and that a run of an earlier launch cannot pass for one of the next."""

from __future__ import annotations

import pytest

from shared import cancels, launching, status
from shared.cancels import Cancellations
from shared.errors import StateRefused
from shared.lifecycle import PROCESSING, READY_FOR_PROCESSING, READY_FOR_REVIEW
from shared.status import Change, Expected, Signature

UID = "uid://X1/X1/Xb0"


def through(*states):
    """Return an OUS that has gone through some states, a second each."""
    entity = status.created(UID, "2015.1.00657.S", "PipelineCalibration", "EU", Signature("t0", "ada"))
    for second, state in enumerate(states, start=1):
        entity = status.changed(entity, Change(state=state), Signature(f"t{second}", "ada"))
    return entity


def test_the_result_of_an_earlier_launch_is_refused_while_the_next_is_processed():
    entity = through(PROCESSING, "ProcessingProblem", READY_FOR_PROCESSING, PROCESSING)
    assert status.launch_of(entity) == "t3"
    passed_on = Change(state=READY_FOR_REVIEW)
    with pytest.raises(StateRefused, match="was launched again at t3"):
        status.changed(
            entity, passed_on, Signature("t9", "old"), expected=Expected(states=(PROCESSING,), launched="t0")
        )
    now = Expected(states=(PROCESSING,), launched="t3")
    assert status.changed(entity, passed_on, Signature("t9", "new"), expected=now).state == READY_FOR_REVIEW


def test_who_does_not_know_its_launch_is_not_refused_for_it():
    entity = through(PROCESSING)
    assert status.changed(entity, Change(state=READY_FOR_REVIEW), Signature("t9", "x")).state == READY_FOR_REVIEW


def test_a_launch_after_a_cancellation_is_another_than_the_one_before():
    assert launching.keys(UID, 3) == [f"launch {UID} 3"]
    assert launching.keys(UID, 3, "", "t5") == [f"launch {UID} 3", f"launch {UID} 3 after t5"]


def test_only_who_is_concerned_hears_of_a_cancellation():
    told = Cancellations(None)
    with told.watching(UID) as mine, told.watching("uid://X1/X1/Xb1") as others:
        assert mine.is_set(), "to ask at first: it may have been cancelled before"
        mine.clear()
        others.clear()
        told.changed("xtss:1:a", 1, own=False)
        told.changed("control:pause:xtss", 1, own=False)
        assert not mine.is_set()
        told.changed("control:cancel:uid___X1_X1_Xb0", 1, own=False)
        assert (mine.is_set(), others.is_set()) == (True, False)
        told.restarted()
        assert others.is_set()
    mine.clear()
    told.restarted()
    assert not mine.is_set()


def test_a_cancellation_is_named_in_the_history():
    made = cancels.Cancellation(UID, "ada", "t1", "wrong recipe", ["m"])
    assert made.note == "cancelled: wrong recipe"
