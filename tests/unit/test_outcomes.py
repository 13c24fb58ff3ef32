"""Outcomes: what cannot be stored is refused where the handler says it, and not in the thread that writes it."""

from datetime import UTC, datetime, timedelta

import pytest

from shared import errors
from shared.bus import Dead, Done, Retry, RetryPolicy, Snooze, envelope
from shared.bus.outcomes import LONGEST_S, of_error, settled
from shared.names import shown

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def claimed(**fields):
    message = envelope.new("work.EU:1:a", {}, created=NOW, sender="me", **fields)
    return envelope.claim(message, by="me", token="t", now=NOW, lease_s=60)


@pytest.mark.parametrize("say", [Snooze, Retry, Dead])
@pytest.mark.parametrize("words", [None, ValueError("no"), b"no", 7])
def test_an_outcome_says_why_in_words(say, words):
    with pytest.raises(TypeError, match="is no text"):
        say(words)


@pytest.mark.parametrize("say", [Snooze, Retry])
@pytest.mark.parametrize("span", [float("inf"), float("nan"), -1, 1e12, "3"])
def test_an_outcome_waits_for_a_time_that_there_is(say, span):
    with pytest.raises(ValueError, match="is no time to wait"):
        say("later", span)


@pytest.mark.parametrize("outcome", [Done(), Retry("x", LONGEST_S), Snooze("x", LONGEST_S), Dead("x"), Retry("x", 0)])
def test_every_outcome_that_can_be_said_can_be_written(outcome):
    message = settled(claimed(), outcome, policy=RetryPolicy(), by="me", now=NOW, chance=1.0)
    assert message.state != envelope.CLAIMED
    envelope.check(message)


def test_what_a_message_waits_for_may_be_the_name_of_a_file_that_is_no_text():
    message = settled(claimed(), Snooze("no such file: \udcff"), policy=RetryPolicy(), by="me", now=NOW, chance=1.0)
    assert message.waits == "no such file: \\udcff"


@pytest.mark.parametrize("error", [errors.WrongPassword("x"), errors.Forbidden("x"), errors.DatabaseMissing("x")])
def test_what_somebody_has_to_mend_first_spends_no_attempt(error):
    assert isinstance(of_error(error), Snooze)


def test_what_was_begun_and_left_by_its_worker_does_not_expire():
    """``expired`` says that nobody has handled it: its caller may ask again and have it executed."""
    held = claimed(expires=NOW + timedelta(seconds=5))
    later = NOW + timedelta(seconds=100)
    again = envelope.claim(held, by="another", token="u", now=later, lease_s=60)
    assert again.expires is None
    assert not envelope.is_expired(again, later)
    assert envelope.claim(envelope.give_back(held, refund=True), by="b", token="v", now=NOW, lease_s=60).expires


class Unspeakable(errors.BadMessage):
    def __str__(self) -> str:
        raise GeneratorExit

    __repr__ = __str__


def test_what_fails_to_say_what_it_is_is_named_by_its_type():
    error = Unspeakable()
    assert errors.text_of(error) == "Unspeakable"
    assert shown(error) == "<Unspeakable>"
    assert of_error(error) == Dead("Unspeakable")


def test_an_error_without_a_text_says_what_its_class_does_or_its_name():
    assert str(errors.LeaseLost()).startswith("The claim on a message is no longer ours")
    assert str(type("Mine", (errors.DrwError,), {})()) == "Mine"
    assert str(type("Blank", (errors.DrwError,), {"__doc__": "  "})()) == "Blank"
