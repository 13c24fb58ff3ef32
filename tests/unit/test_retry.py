"""Back-off: grows, is capped, and its jitter stays within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.retry import BackOff, RetryPolicy
from shared.errors import BadInput

CHANCE = st.floats(0, 1)


@given(st.integers(1, 10_000), CHANCE)
def test_a_retry_waits_between_half_and_all_of_the_doubled_time(attempts, chance):
    policy = RetryPolicy(first_s=1.0, longest_s=300.0)
    full = min(2.0 ** min(attempts - 1, 60), 300.0)
    assert full / 2 <= policy.wait_s(attempts, chance) <= full


@given(st.integers(0, 100_000), CHANCE)
def test_polling_backs_off_to_the_longest_wait_and_not_beyond(empty, chance):
    back_off = BackOff(first_s=1.0, longest_s=60.0)
    assert 1.0 <= back_off.wait_s(empty, chance) <= 60.0
    assert back_off.wait_s(empty + 1) >= back_off.wait_s(empty)


def test_polling_reaches_its_longest_wait():
    assert BackOff().wait_s(12) == 60.0


def test_the_last_attempt_is_the_policys():
    assert [RetryPolicy(attempts=3).is_spent(number) for number in (1, 2, 3, 4)] == [False, False, True, True]


NO_SPANS = [float("inf"), float("nan"), 1e15, -5, "1", None]


@pytest.mark.parametrize("kind", [RetryPolicy, BackOff])
@pytest.mark.parametrize("name", ["first_s", "longest_s"])
@pytest.mark.parametrize("span", NO_SPANS)
def test_a_wait_that_there_cannot_be_is_refused_where_it_is_said(kind, name, span):
    with pytest.raises(BadInput, match=rf"^{name} cannot be "):
        kind(**{name: span})


@pytest.mark.parametrize("attempts", [0, -1, 2.5, float("inf"), "3"])
def test_attempts_are_a_whole_number(attempts):
    with pytest.raises(BadInput, match=r"^attempts cannot be .*: it is a whole number, 1 or more$"):
        RetryPolicy(attempts=attempts)


@pytest.mark.parametrize("factor", [0, 0.5, float("nan"), float("inf"), 1e9])
def test_a_back_off_grows_and_can_be_counted_with(factor):
    with pytest.raises(BadInput, match=r"^factor cannot be "):
        BackOff(factor=factor)
    assert BackOff(longest_s=1e9, factor=100.0).wait_s(10_000, 1.0) == 1e9
