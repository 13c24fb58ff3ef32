"""The database's time, learnt from the dates of its answers."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import Clock, Ticker, elapsed_s, stamp


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
def test_a_database_with_another_time_is_followed_within_a_second(ahead_s):
    clock = Clock()
    answer(clock, ahead_s)
    assert abs(off_s(clock) - ahead_s) < 1.2


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
    assert abs(off_s(clock) - 3600.0) < 1.2
    for _ in range(3):
        answer(clock, 0.0)
    assert abs(off_s(clock)) < 1.2


def test_what_is_no_date_teaches_nothing():
    clock = Clock()
    for text in ("", "yesterday", "Fri, 99 Nov 2026 00:00:00 GMT"):
        clock.learn(text, elapsed_s(), elapsed_s())
    assert abs(off_s(clock)) < 0.1


def test_a_ticker_rises_strictly_however_fast_it_is_asked():
    ticker = Ticker(Clock())
    moments = [stamp(ticker.next()) for _ in range(10_000)]
    assert moments == sorted(set(moments))
