"""The life cycle: the seed's figure, and nothing else."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs, to_builtins

from shared import lifecycle, status
from shared.errors import BadInput, StateRefused
from shared.status import Change, Signature

SIGNATURE = Signature(at="2026-01-01T00:00:00.000000", by="somebody", cause="xtss:1:1")
FIGURE = {
    ("ReadyForProcessing", "Processing"),
    ("Processing", "ProcessingProblem"),
    ("Processing", "ReadyForReview"),
    ("ProcessingProblem", "ReadyForProcessing"),
    ("ReadyForReview", "Reviewing"),
    ("Reviewing", "ReadyForReview"),
    ("Reviewing", "ReadyForProcessing"),
    ("Reviewing", "Verified"),
    ("Verified", "DeliveryInProgress"),
    ("DeliveryInProgress", "Delivered"),
    ("Delivered", "ReadyForProcessing"),
}


def entity(state="ReadyForProcessing", substate="PipelineCalibration", **more):
    return status.StatusEntity(
        id="uid___X1_X1_Xb0",
        entity_id="uid://X1/X1/Xb0",
        prog_id="2015.1.00657.S",
        recipe="PipelineCalibration",
        state=state,
        substate=substate,
        executive="EU",
        timestamp="2026-01-01T00:00:00.000000",
        **more,
    )


@pytest.mark.parametrize("before", lifecycle.STATES)
@pytest.mark.parametrize("after", lifecycle.STATES)
def test_the_moves_are_those_of_the_figure(before, after):
    assert lifecycle.may_follow(before, after) == (before == after or (before, after) in FIGURE)


def test_an_unknown_state_is_refused():
    with pytest.raises(BadInput, match="'Lost' is not a state"):
        lifecycle.state("Lost")


def test_a_new_ous_is_ready_for_processing_with_its_creation_in_the_history():
    made = status.created("uid://X1/X1/Xb0", "2015.1.00657.S", "PipelineImaging", "NA", SIGNATURE)
    assert (made.state, made.substate, made.executive) == ("ReadyForProcessing", "PipelineImaging", "NA")
    assert [each.state for each in made.history] == ["ReadyForProcessing"]


def test_a_change_is_signed_in_the_history():
    after = status.changed(entity(), Change(state="Processing"), SIGNATURE)
    assert after.state == "Processing"
    assert after.history[-1].by == "somebody"
    assert after.timestamp == SIGNATURE.at


def test_setting_what_is_set_leaves_no_history():
    before = entity(state="Processing")
    assert status.changed(before, Change(state="Processing"), SIGNATURE) is before


def test_a_request_that_was_carried_out_is_not_carried_out_again():
    once = status.changed(entity(), Change(state="Processing"), SIGNATURE)
    later = status.changed(once, Change(state="ProcessingProblem"), Signature("t", "me", "xtss:2:2"))
    assert status.changed(later, Change(state="Processing"), SIGNATURE) is later


def test_an_unexpected_state_is_refused_and_told():
    with pytest.raises(StateRefused, match="is Delivered, not Reviewing") as caught:
        status.changed(
            entity("Delivered", ""),
            Change(state="Verified"),
            SIGNATURE,
            expected=status.Expected(states=("Reviewing",)),
        )
    assert caught.value.found == "Delivered"


def test_strict_refuses_what_the_figure_lacks_and_says_what_it_has():
    with pytest.raises(StateRefused, match="it goes to Processing"):
        status.changed(entity(), Change(state="Delivered"), SIGNATURE, strict=True)
    assert status.changed(entity(), Change(state="Delivered"), SIGNATURE).state == "Delivered"


def test_a_state_that_there_is_not_is_left_by_force_alone():
    odd = structs.replace(entity(), state="Foo")
    with pytest.raises(StateRefused, match="it goes to nowhere, which is no state of the life cycle"):
        status.changed(odd, Change(state="ReadyForProcessing"), SIGNATURE, strict=True)
    assert status.changed(odd, Change(state="ReadyForProcessing"), SIGNATURE).state == "ReadyForProcessing"
    assert not status.is_legal(odd, entity())


@pytest.mark.parametrize(
    ("before", "after", "substate"),
    [
        (("Reviewing", ""), "ReadyForProcessing", "PipelineCalibration"),
        (("ReadyForProcessing", "PipelineCalibration"), "Processing", "PipelineCalibration"),
        (("Processing", "PipelineCalibration"), "ReadyForReview", ""),
        (("Verified", "IngestingProducts"), "DeliveryInProgress", "IngestingProducts"),
        (("DeliveryInProgress", "ProductsIngested"), "Delivered", ""),
    ],
)
def test_the_substate_follows_the_state(before, after, substate):
    changed = status.changed(entity(*before), Change(state=after), SIGNATURE, strict=True)
    assert changed.substate == substate
    assert status.is_legal(entity(*before), changed)


def test_the_reviewer_is_forgotten_when_the_review_ends():
    reviewing = status.changed(
        entity("ReadyForReview", ""), Change(state="Reviewing", reviewer=status.Reviewer("ada")), SIGNATURE
    )
    assert reviewing.reviewer == status.Reviewer("ada")
    back = status.changed(reviewing, Change(state="ReadyForReview"), Signature("t", "ada", "xtss:2:2"))
    assert back.reviewer is None


@given(st.lists(st.sampled_from(lifecycle.STATES), max_size=30))
def test_strict_changes_never_leave_the_figure(wanted):
    current = status.created("uid://X1/X1/Xb0", "P", "R", "EU", SIGNATURE)
    for number, state in enumerate(wanted):
        try:
            current = status.changed(
                current, Change(state=state), Signature(f"{number}", "me", f"xtss:{number}:n"), strict=True
            )
        except StateRefused:
            continue
    states = [each.state for each in current.history]
    assert all(pair in FIGURE for pair in pairwise(states))
    assert current.state == states[-1]


NAMED = {"entityId": "uid://X1/X1/Xb0", "progID": "2015.1.00657.S", "executive": "EU", "run": "2018-07-19T07:10:03.781"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("entityId", "uid://X1/X1"), ("progID", "2015_1"), ("executive", "MARS"), ("run", "yesterday")],
)
def test_a_document_with_a_name_that_is_none_is_no_status_entity(field, value):
    doc = to_builtins(entity()) | NAMED
    assert status.read(doc).run == NAMED["run"]
    with pytest.raises(BadInput, match=f"uid___X1_X1_Xb0 of status-entities is no status entity: '{value}' is not a"):
        status.read(doc | {field: value})
    assert [each.prog_id for each in status.readable([doc | {field: value}, doc])] == [NAMED["progID"]]


def test_what_is_no_status_entity_is_said_once(caplog):
    bad = [{"_id": "said"}, {"_id": "said"}, {"_id": "said too"}]
    assert [*status.readable(bad), *status.readable(bad)] == []
    assert [each.message.split(" of ")[0] for each in caplog.records] == ["document said", "document said too"]
