"""The database's time, learnt from the dates of its answers."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import Clock, Ticker, elapsed_s, span, stamp

FOLLOWED_S = 2.7


def date(moment):
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


def answer(clock, ahead_s, *, took_s=0.0):
    """Let a clock learn from a database that is ``ahead_s`` ahead of this machine."""
    asked_s = elapsed_s()
    clock.learn(date(datetime.now(UTC) + timedelta(seconds=ahead_s)), asked_s, asked_s + took_s)


def off_s(clock):
    return (clock.now() - datetime.now(UTC)).total_seconds()


def test_a_clock_that_agrees_is_believed():
    clock = Clock()
    for _ in range(5):
        answer(clock, 0.0)
        assert abs(off_s(clock)) < 0.1


@given(st.floats(-5000, 5000))
def test_a_database_with_another_time_is_followed_as_closely_as_its_dates_tell(ahead_s):
    clock = Clock()
    answer(clock, ahead_s)
    assert abs(off_s(clock) - ahead_s) < FOLLOWED_S


@given(st.lists(st.floats(0.0, 1.4), max_size=20))
def test_dates_as_old_as_couchdb_gives_them_turn_no_clock_back_that_agrees(ages_s):
    """It looks at its clock once a second only, and the nodes of a cluster do so at different moments."""
    clock = Clock()
    for age_s in ages_s:
        looked_at = time.time() - age_s
        clock.learn(date(datetime.fromtimestamp(looked_at, UTC)), elapsed_s(), elapsed_s())
        assert abs(off_s(clock)) < 0.1


def test_one_wrong_date_changes_nothing_and_three_that_agree_do():
    clock = Clock()
    answer(clock, 0.0)
    answer(clock, 3600.0)
    assert abs(off_s(clock)) < 0.1
    answer(clock, 0.0)
    answer(clock, 3600.0)
    answer(clock, 3600.0)
    assert abs(off_s(clock)) < 0.1
    answer(clock, 3600.0)
    assert abs(off_s(clock) - 3600.0) < FOLLOWED_S
    for _ in range(3):
        answer(clock, 0.0)
    assert abs(off_s(clock)) < FOLLOWED_S


def test_what_is_no_date_teaches_nothing():
    clock = Clock()
    for text in ("", "yesterday", "Fri, 99 Nov 2026 00:00:00 GMT"):
        clock.learn(text, elapsed_s(), elapsed_s())
    assert abs(off_s(clock)) < 0.1


def test_a_ticker_rises_strictly_however_fast_it_is_asked():
    ticker = Ticker(Clock())
    moments = [stamp(ticker.next()) for _ in range(10_000)]
    assert moments == sorted(set(moments))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_spans_are_said_in_their_largest_unit(seconds, said):
    assert span(seconds) == said
