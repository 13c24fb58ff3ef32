"""JSON that a stranger wrote into the database is read as far as that can be, and never ends a program."""

import contextlib
import json
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus import envelope
from shared.errors import Refused
from shared.readable_json import DEEPEST, TOO_DEEP, TOO_LONG, decode

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_what_any_program_can_read_is_read_as_it_is(value):
    assert decode(json.dumps(value).encode(), Any) == value


@pytest.mark.parametrize("depth", [DEEPEST, sys.getrecursionlimit() + 1, 10_000, 100_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_only_what_is_too_deep_is_left_out(depth, brackets):
    first, last = brackets
    deep = first * depth + b"1" + last * depth
    found = decode(b'{"_id":"a\\"[[[","deep":' + deep + b',"beside":[1,2]}', Any)
    assert (found["_id"], found["beside"]) == ('a"[[[', [1, 2])
    assert (TOO_DEEP in json.dumps(found)) == (depth > DEEPEST)


@pytest.mark.parametrize("number", [b"1" * 5000, b"-" + b"1" * 5000, b"1" * 5000 + b".5e-3"])
def test_only_a_number_that_is_too_long_is_left_out(number):
    found = decode(b'{"n":' + number + b',"text":"' + b"1" * 5000 + b'"}', Any)
    assert found == {"n": found["n"], "text": "1" * 5000}
    assert found["n"] == TOO_LONG or isinstance(found["n"], float)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[" * 10_000,
        b"[" * 10_000 + b"]" * 9_999,
        b"]" * 10,
        b"NaN",
        b"<html>",
        b'"\xff"',
        b'{"\xe9":1}',
        b"\xff",
    ],
)
def test_what_is_cut_off_or_no_json_is_refused(text):
    with pytest.raises(msgspec.DecodeError):
        decode(text, Any)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(text):
    with contextlib.suppress(msgspec.DecodeError):
        decode(text, Any)


def nested(depth):
    body = 1
    for _ in range(depth):
        body = [body]
    return body


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "Out of range float values"),
        (float("inf"), "Out of range float values"),
        (nested(10_000), "recursion"),
        ("a" * 50_000_000, "more than the 6800000"),
        ("\udc80", "must be a JSON object"),
        (10**5000, "must be a JSON object"),
    ],
    ids=["NaN", "infinity", "10,000 deep", "50 MB", "a lone surrogate", "5,000 digits"],
)
def test_what_cannot_be_a_message_is_refused_before_it_is_sent(value, says):
    with pytest.raises(Refused, match=says):
        envelope.new("work.EU:1:x", {"x": value}, created=datetime.now(UTC), sender="test")
