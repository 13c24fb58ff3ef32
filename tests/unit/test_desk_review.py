"""What reviewers said: written into the history as a note, and read back."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drw.explain import why
from drw.explain.case import Facts
from shared import review
from shared.errors import BadInput
from shared.printable import visible
from shared.status import HistoryEntry, StatusEntity

RUN = "2026-11-20T10:00:00.001"
PRODUCTS = "2015.1.00657.S_2026_11_20T10_00_00.001"


def entry(state, note="", by="somebody", at="2026-11-20T10:00:00.000000"):
    return HistoryEntry(at, by, state, note=note)


def reviewed(note, after):
    return [
        entry("ReadyForProcessing"),
        entry("Processing"),
        entry("ReadyForReview", f"run {PRODUCTS}", "driver"),
        entry("Reviewing", by="ada"),
        entry(after, note, "ada", "2026-11-20T12:00:00.000000"),
    ]


@given(
    flag=st.sampled_from(["Pass", "Semipass", "Fail"]),
    reason=st.sampled_from(["", *review.REASONS]),
    comment=st.text().map(review.comment).filter(lambda text: not text.startswith("[")),
)
def test_what_was_said_is_read_back(flag, reason, comment):
    note = ": ".join(filter(None, (flag, review.remark(reason, comment))))
    after = "ReadyForProcessing" if flag == "Fail" else "Verified"
    (found,) = review.of_history(reviewed(note, after))
    assert (found.run, found.flag, found.reason, found.comment) == (RUN, flag, reason, comment)
    assert (found.reviewer, found.at) == ("ada", "2026-11-20T12:00:00.000000")


@pytest.mark.parametrize(
    ("note", "after"),
    [
        ("launched", "ReadyForProcessing"),
        ("Fail: no", "Verified"),
        ("Pass", "ReadyForProcessing"),
        ("Passed", "Verified"),
        ("cancelled", "ReadyForReview"),
    ],
)
def test_what_is_no_verdict_is_none(note, after):
    assert review.of_history(reviewed(note, after)) == []


def test_a_verdict_is_about_the_run_that_was_reviewed_and_the_last_one_goes_to_the_next_run():
    history = [
        *reviewed("cancelled", "ReadyForReview"),
        entry("Reviewing", by="bob"),
        entry("ReadyForProcessing", "Fail: [imaging] too wide", "bob"),
        entry("ReadyForReview", "run 2015.1.00657.S_2026_11_20T11_00_00.001"),
        entry("Reviewing"),
        entry("Verified", "Semipass: good enough"),
    ]
    assert [(each.run, each.flag) for each in review.of_history(history)] == [
        (RUN, "Fail"),
        ("2026-11-20T11:00:00.001", "Semipass"),
    ]
    assert review.for_next_run(history[:7]) == {
        "run": RUN,
        "flag": "Fail",
        "reason": "imaging",
        "comment": "too wide",
        "reviewer": "bob",
        "at": "2026-11-20T10:00:00.000000",
    }
    assert review.for_next_run(history[:3]) == {}


def test_a_review_that_is_given_back_does_not_make_an_ous_younger():
    history = [
        entry("ReadyForReview", at="1"),
        entry("Reviewing", at="2"),
        entry("ReadyForReview", at="3"),
    ]
    assert review.waiting_since(history) == "1"
    assert review.waiting_since([*history, entry("ReadyForProcessing", at="4")]) == ""
    later = [*history, entry("Processing", at="4"), entry("ReadyForReview", at="5")]
    assert review.waiting_since(later) == "5"


def test_drw_why_says_for_how_long_as_the_list_does():
    history = [
        entry("ReadyForReview", at="2026-11-20T10:00:00.000000"),
        entry("Reviewing", at="2026-11-20T10:30:00.000000"),
        entry("ReadyForReview", at="2026-11-20T11:59:30.000000"),
    ]
    given_back = StatusEntity(
        id="uid___X1_X1_Xb0",
        entity_id="uid://X1/X1/Xb0",
        prog_id="2015.1.00657.S",
        recipe="PipelineCalibration",
        executive="EU",
        state="ReadyForReview",
        timestamp=history[-1].at,
        run=RUN,
        history=history,
    )
    answer = why.explain(Facts(uid=given_back.entity_id, now=datetime(2026, 11, 20, 12, tzinfo=UTC), entity=given_back))
    assert answer.waits_for == "it has waited for a reviewer for 2 h"


@pytest.mark.parametrize(("typed", "code"), [("imaging", "imaging"), (" Im ", "imaging"), ("p", "pipeline")])
def test_a_reason_is_named_by_its_beginning(typed, code):
    assert review.reason(typed) == code


@pytest.mark.parametrize("typed", ["", "x", "imaging!"])
def test_what_is_no_reason_is_refused_with_what_there_is(typed):
    with pytest.raises(BadInput, match="one of dataset, flagging"):
        review.reason(typed)


def test_comments_are_one_line_of_plain_characters_and_not_too_long():
    assert review.comment(" a\nb\x1b[2Jc\u202e ") == "a b\\x1b[2Jc\\u202e"
    with pytest.raises(BadInput, match="2001 characters"):
        review.comment("x" * 2001)


@given(st.text(alphabet=st.characters()))
def test_what_is_shown_cannot_steer_a_terminal(text):
    shown = visible(text)
    assert shown.isprintable()
    assert visible(shown) == shown
