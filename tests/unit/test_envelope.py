"""The stored message and its transitions, as pure functions."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus import envelope
from shared.bus.envelope import Message
from shared.bus.outcomes import Dead, Done, Expire, GiveBack, Retry, Snooze, of_error, settled
from shared.bus.retry import RetryPolicy
from shared.clock import stamp
from shared.errors import BadInput, BadMessage, DatabaseAway, LeaseLost, Refused, SourceAway

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(seconds=100)
POLICY = RetryPolicy(attempts=3)


def ready(**more):
    return envelope.new("cached.JAO:1:ab", {"a": 1}, created=NOW, sender="me", **more)


def claimed(**more):
    return envelope.claim(ready(**more), by="worker", token="t1", now=NOW, lease_s=60)


def test_a_new_message_is_stored_with_every_field_of_its_index():
    doc = msgspec.to_builtins(ready())
    assert doc["_id"] == "cached.JAO:1:ab"
    assert "_rev" not in doc
    assert (doc["selector"], doc["state"], doc["priority"]) == ("cached.JAO", "ready", 5)
    assert doc["creationTimestamp"] == "2026-01-02T03:04:05.678901"
    assert doc["schema"] == 1
    assert "due" not in doc


def test_a_stored_message_comes_back_as_it_was():
    message = envelope.retry(claimed(), what="oops", now=NOW, due=LATER)
    assert msgspec.convert(msgspec.to_builtins(message), Message) == message


def test_a_claim_names_its_owner_and_counts():
    held = claimed()
    assert (held.state, held.attempts, held.claim.by, held.claim.token) == ("claimed", 1, "worker", "t1")
    assert held.due == held.claim.until == stamp(NOW + timedelta(seconds=60))


def test_claiming_a_lapsed_message_notes_who_let_it_lapse():
    again = envelope.claim(claimed(), by="other", token="t2", now=LATER, lease_s=60)
    assert again.attempts == 2
    assert [(each.by, each.what) for each in again.errors] == [("worker", "lease expired")]
    assert again.claim.token == "t2"


def test_a_message_that_kills_its_workers_is_buried():
    buried = envelope.bury_lapsed(claimed(), by="reaper", now=LATER)
    assert (buried.state, buried.errors[-1].what) == ("dead", "lease expired")
    assert buried.due is None


@pytest.mark.parametrize(
    ("outcome", "state", "attempts"),
    [
        (Done(), "consumed", 1),
        (Retry("no"), "delayed", 1),
        (Snooze("away"), "delayed", 0),
        (Dead("never"), "dead", 1),
        (GiveBack(refund=True), "ready", 0),
        (GiveBack(refund=False), "ready", 1),
    ],
)
def test_each_outcome_has_its_state_and_its_count(outcome, state, attempts):
    after = settled(claimed(), outcome, policy=POLICY, by="worker", now=NOW, chance=0.5)
    assert (after.state, after.attempts) == (state, attempts)
    assert (after.due is not None) == (state == "delayed")
    assert (after.done_at is not None) == (state in envelope.TERMINAL_STATES)
    assert after.last.op_id != claimed().last.op_id


@pytest.mark.parametrize(
    ("outcome", "waits"),
    [
        (Expire(), "the sun"),
        (GiveBack(refund=True), "the sun"),
        (GiveBack(refund=False), ""),
        (Snooze("the moon"), "the moon"),
        (Retry("no"), ""),
        (Dead("no"), ""),
        (Done(), ""),
    ],
)
def test_what_a_message_waits_for_is_kept_until_its_handler_is_done(outcome, waits):
    """One that was claimed again and expired before its handler began has expired because of what it waited for."""
    snoozed = settled(claimed(), Snooze("the sun"), policy=POLICY, by="worker", now=NOW, chance=0.5)
    again = envelope.claim(snoozed, by="worker", token="t2", now=LATER, lease_s=60)
    assert settled(again, outcome, policy=POLICY, by="worker", now=LATER, chance=0.5).waits == waits


def test_past_its_attempts_a_message_is_dead_with_every_error():
    message = ready()
    for _ in range(3):
        held = envelope.claim(message, by="w", token="t", now=NOW, lease_s=60)
        message = settled(held, Retry("broken"), policy=POLICY, by="w", now=NOW, chance=0)
    assert message.state == "dead"
    assert [each.what for each in message.errors] == ["broken"] * 3


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BadMessage("field"), Dead),
        (DatabaseAway("gone"), Snooze),
        (SourceAway("not yet"), Snooze),
        (ValueError("bug"), Retry),
        (LeaseLost("taken"), type(None)),
    ],
)
def test_exceptions_become_outcomes(error, outcome):
    assert isinstance(of_error(error), outcome)


def test_requeue_starts_anew_and_keeps_the_children_unless_it_was_edited():
    dead = envelope.dead(claimed(), what="never", by="w", now=NOW)
    again = envelope.requeue(dead, by="operator")
    edited = envelope.requeue(dead, by="operator", body={"a": 2})
    assert (again.state, again.attempts, again.epoch) == ("ready", 0, 0)
    assert [each.what for each in again.errors] == ["never"]
    assert (edited.epoch, edited.body) == (1, {"a": 2})
    assert edited.digest != dead.digest


def test_only_the_dead_are_requeued_or_discarded():
    with pytest.raises(BadInput, match="only dead messages"):
        envelope.requeue(ready(), by="operator")
    with pytest.raises(BadInput, match="only dead messages"):
        envelope.discard(claimed(), by="operator", now=NOW, why="tidy")


def test_ids_from_a_cause_are_the_same_each_time_and_differ_by_name_and_epoch():
    one = envelope.caused_id("cached.JAO", "cause", 0, "weblog")
    assert one == envelope.caused_id("cached.JAO", "cause", 0, "weblog")
    assert (
        len({one, *(envelope.caused_id("cached.JAO", *rest) for rest in [("cause", 1, "weblog"), ("cause", 0, "x")])})
        == 3
    )
    assert envelope.selector_of(one) == "cached.JAO"
    assert envelope.is_message_id(one)
    assert envelope.is_message_id("add:order-17")
    assert not any(envelope.is_message_id(each) for each in ("add", "control:pause:work", "_design/drw:1"))


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": float("inf")}, {"a": object()}])
def test_a_body_that_is_not_json_is_refused(body):
    with pytest.raises(Refused, match="must be a JSON object"):
        envelope.digest(body)


def test_a_body_that_is_too_large_is_refused():
    with pytest.raises(Refused, match="more than the 6800000"):
        envelope.digest({"a": "x" * 7_000_001})


def test_a_body_that_is_nested_too_deep_is_refused():
    body: dict = {}
    for _ in range(100_000):
        body = {"a": body}
    with pytest.raises(Refused, match="must be a JSON object"):
        envelope.digest(body)


@given(
    st.recursive(st.none() | st.text("[{", max_size=3), lambda part: st.lists(part) | st.dictionaries(st.text(), part))
)
def test_how_deep_a_body_is_nested_is_counted_in_lists_and_objects(value):
    def levels(part):
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if parts is None else 1 + max(map(levels, parts), default=0)

    body = {"a": value}
    for _ in range(envelope.BODY_LEVELS - levels(body)):
        body = {"a": body, "b": ["[{"]}
    assert envelope.digest(body)
    with pytest.raises(Refused, match="more than 90 levels deep"):
        envelope.digest({"a": body})


@pytest.mark.parametrize("text", ["", "Cached.JAO", "a:b", "a b", "a/b", "a" * 200, "ä", None])
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(BadInput, match="is not a selector"):
        envelope.selector(text)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_keys(body):
    assert envelope.digest(body) == envelope.digest(dict(reversed(body.items())))


OUTCOMES = st.sampled_from([Done(), Retry("r"), Snooze("s"), Dead("d"), GiveBack(refund=True), GiveBack(refund=False)])


@given(st.lists(OUTCOMES, max_size=12), st.floats(0, 1))
def test_whatever_happens_a_message_is_open_or_has_ended_and_attempts_never_go_below_none(outcomes, chance):
    message = ready()
    for outcome in outcomes:
        if not message.is_open:
            assert message.done_at
            break
        held = envelope.claim(message, by="w", token="t", now=NOW, lease_s=60)
        message = settled(held, outcome, policy=POLICY, by="w", now=NOW, chance=chance)
        assert message.attempts >= 0
        assert message.state != "delayed" or message.attempts < POLICY.attempts or isinstance(outcome, Snooze)
        assert (message.state == "delayed") == (message.due is not None)
