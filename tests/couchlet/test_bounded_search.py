"""Which searches are made at once, and that the others end."""

from __future__ import annotations

import os
import re
import signal

import pytest

from couchlet.mango.bounded_search import BoundedSearch, steps


@pytest.fixture
def search():
    bounded = BoundedSearch(limit_s=0.05)
    yield bounded
    bounded.close()


@pytest.mark.parametrize(
    ("pattern", "length", "few"),
    [
        (rb"^uid://A00\d/", 100, True),
        (rb"ready|consumed", 10_000, True),
        (rb"^.*xtss.*$", 500, True),
        (rb"a.*b.*c", 30, True),
        (rb"a.*b.*c", 10_000, False),
        (rb"(a+)+$", 5, False),
        (rb"(?:a|aa)*b", 5, False),
        (rb"(x{1,9}){1,9}", 5, False),
        (b"a?" * 30 + b"a" * 30, 30, False),
    ],
)
def test_few_steps(pattern, length, few):
    assert (steps(pattern, length) <= 1_000_000) is few


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (rb"(ab)+c", b"xxababc", True),
        (rb"(ab)+c", b"xxabab", False),
        (rb"(?P<x>a+)+\1$", b"aaaa", True),
        (rb"(a+)+$", b"a" * 60 + b"!", False),
        (rb"(.*)*\x00", b"x" * 100_000, False),
        (rb"(a|b)*$", b"ab" * 100_000, True),
    ],
    # The name of a test is in the environment of every process that it starts, where a long one has no room.
    ids=("found", "missing", "referenced", "backtracking", "long and missing", "long and found"),
)
def test_searches_end_with_the_right_answer_or_none(search, pattern, text, found):
    assert search.matches(re.compile(pattern), text) is found


def test_it_goes_on_when_its_process_was_ended(search):
    pattern = re.compile(rb"(ab)+c")
    assert search.matches(pattern, b"abc")
    os.kill(search._process.pid, signal.SIGKILL)
    search._process.wait()
    assert search.matches(pattern, b"abc")
