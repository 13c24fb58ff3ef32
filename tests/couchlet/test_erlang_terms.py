"""Erlang's External Term Format; what is expected was made by Erlang 25, `term_to_binary(_, [{minor_version, 1}])`."""

from __future__ import annotations

import hashlib

import pytest

from couchlet.erlang_terms import _PAIR_HEADS, VERSION, atom, integer, json_value, list_of, tuple_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "6400046e756c6c"),
        (True, "64000474727565"),
        (False, "64000566616c7365"),
        (0, "6100"),
        (255, "61ff"),
        (256, "6200000100"),
        (-1, "62ffffffff"),
        (2**31 - 1, "627fffffff"),
        (2**31, "6e040000000080"),
        (-(2**31), "6280000000"),
        (-(2**31) - 1, "6e040101000080"),
        (2**64, "6e0900000000000000000001"),
        (-(2**64), "6e0901000000000000000001"),
        (1.5, "463ff8000000000000"),
        (-0.0, "468000000000000000"),
        ("", "6d00000000"),
        ("é", "6d00000002c3a9"),
        ({}, "68016a"),
        (
            {"a": 1, "b": {"c": None}},
            "68016c0000000268026d0000000161610168026d000000016268016c0000000168026d00000001636400046e756c6c6a6a",
        ),
    ],
)
def test_values(value, expected):
    assert json_value(value).hex() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "6a"),
        ([0, 255], "6b000200ff"),
        ([0, 256], "6c00000002610062000001006a"),
        ([1, True], "6c000000026101640004747275656a"),
        ([1, 1.0], "6c000000026101463ff00000000000006a"),
        ([[1], []], "6c000000026b0001016a6a"),
    ],
)
def test_an_array_of_bytes_is_written_as_text_is(value, expected):
    assert json_value(value).hex() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([7] * 65535, "7d49e64704352a46596dcd18cd5dc4b9"),
        ([7] * 65536, "d16202cd36bcdc3ce9aaedc8aa3c99f2"),
        (2**2039, "4fba3bad362e6886ed03a174cd3c50f1"),
        (2**2040, "156f678d0967d3ee751eee9cc4f83024"),
        (-(2**2040), "46354559255db141a8589fe670c52076"),
        ("x" * 255, "c043a600573104acc68cd1ec0b8b0593"),
        ("x" * 256, "4418d5ea429af2f72f1efb4845ec38f4"),
    ],
)
def test_what_is_too_large_to_be_shown(value, expected):
    assert hashlib.md5(VERSION + json_value(value), usedforsecurity=False).hexdigest() == expected


def test_terms_around_them():
    assert list_of(atom("undefined"), tuple_of(integer(1))).hex() == "6c00000002640009756e646566696e656468016101" + "6a"
    assert list_of().hex() == "6a"


def test_names_of_members_are_not_remembered_without_end():
    many = {f"name {number}": number for number in range(10_000)}
    assert json_value(many) == json_value(many)
    long = {"x" * 1000: 1}
    assert json_value(long) == json_value(long)
    assert 0 < len(_PAIR_HEADS) <= 4096
    assert "x" * 1000 not in _PAIR_HEADS
