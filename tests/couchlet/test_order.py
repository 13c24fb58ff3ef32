"""CouchDB's order of text and of JSON values. The order of texts was recorded from ICU 72's root collator."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from couchlet.order.collation import compare_text, sort_key
from couchlet.order.json_order import ABOVE_ALL, compare_json, compare_raw, json_key

RECORDED = json.loads((Path(__file__).parent / "icu_root_order.json").read_text(encoding="utf-8"))

IN_ORDER = [
    None, False, True, -(10**400), -1e308, -(2**53) - 1, -(2**53), -1.5, -1, 0, 0.5, 1, 1.5, 2**53, 2**53 + 1, 10**25,
    10**25 + 1, 10**400, "", "_", "1", "a", "A", "aa", "b", "é", "z", "あ", [], [None], [1], [1, 2], ["a"], [[]], {},
    {"a": 1}, {"a": 1, "b": 1}, {"a": 2}, {"b": 1}, {"b": 2}, {"b": 2, "c": 2},
]  # fmt: skip

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_texts_sort_as_recorded():
    keys = [{sort_key(text) for text in group} for group in RECORDED]
    assert all(len(group) == 1 for group in keys)
    flat = [key for group in keys for key in group]
    assert flat == sorted(flat)
    assert len(set(flat)) == len(flat)


@pytest.mark.parametrize(("left", "right"), list(itertools.combinations(range(0, len(IN_ORDER), 2), 2)))
def test_values_sort_by_type_and_then_by_value(left, right):
    low, high = IN_ORDER[left], IN_ORDER[right]
    assert compare_json(low, high) < 0 < compare_json(high, low)
    assert json_key(low) < json_key(high) < ABOVE_ALL


def test_all_neighbours_are_in_order():
    assert all(compare_json(low, high) < 0 for low, high in itertools.pairwise(IN_ORDER))


def test_numbers_are_equal_whatever_their_form():
    assert compare_json(1, 1.0) == 0
    assert json_key(1) == json_key(1.0)
    assert json_key(-0.0) == json_key(0)
    assert compare_json(2**53 + 1, float(2**53)) > 0


def test_texts_that_look_alike_are_equal():
    assert compare_text("é", "e\u0301") == 0
    assert compare_text("a\u0000b", "ab") == 0
    assert compare_text("a", "A") < 0


@settings(max_examples=150, deadline=None)
@given(json_values, json_values)
def test_keys_compare_as_values_do(left, right):
    order = compare_json(left, right)
    assert (json_key(left) > json_key(right)) - (json_key(left) < json_key(right)) == order
    assert compare_json(right, left) == -order


@settings(max_examples=100, deadline=None)
@given(st.lists(json_values, max_size=3), st.lists(json_values, max_size=3))
def test_keys_can_be_put_one_behind_the_other(left, right):
    joined = [b"".join(map(json_key, values)) for values in (left, right)]
    order = compare_json(left, right)
    assert (joined[0] > joined[1]) - (joined[0] < joined[1]) == order


def test_the_other_order_is_erlangs():
    values = [1, False, None, True, {}, [], "", "B", "a", "é"]
    assert all(compare_raw(low, high) < 0 for low, high in itertools.pairwise(values))
