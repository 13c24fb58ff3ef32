"""What the demo does with an OUS that failed."""

from __future__ import annotations

from types import SimpleNamespace

from drw.demo.ten import Ten
from shared import lifecycle


def entity(state, note, changes):
    history = [SimpleNamespace(note="")] * (changes - 1) + [SimpleNamespace(note=note)]
    return SimpleNamespace(entity_id="uid://X1/X1/Xb2", state=state, history=history)


def test_a_failed_ous_is_launched_once_however_long_nobody_takes_it():
    ten = Ten(SimpleNamespace(database=lambda _: None), {}, SimpleNamespace(is_terminal=False))
    launched = []
    ten._launch = launched.append
    failed = entity(lifecycle.READY_FOR_PROCESSING, "Fail: once more", 5)
    for each in (failed, failed, entity(lifecycle.PROCESSING, "", 6)):
        ten._act({each.entity_id: each})
    assert len(launched) == 1
    ten._act({"uid://X1/X1/Xb2": entity(lifecycle.PROCESSING_PROBLEM, "exited with 3", 7)})
    assert len(launched) == 2
