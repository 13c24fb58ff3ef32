"""Where selectors lie in CouchDB's indexes, told without ICU."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.patterns import Pattern, behind, rank, stretch
from shared.errors import BadInput

SELECTORS = st.from_regex(r"[a-z][A-Za-z0-9._-]{0,8}", fullmatch=True)


def test_the_order_is_that_of_icu():
    ordered = ["cached", "cached_EU", "cached-EU", "cached.EU", "cached.NA", "cached1", "cachedA", "cachedb", "xtss"]
    shuffled = ordered.copy()
    random.Random(7).shuffle(shuffled)
    assert sorted(shuffled, key=rank) == ordered


@given(SELECTORS, SELECTORS)
def test_a_range_holds_whatever_begins_so_and_its_ends_enclose_that(prefix, rest):
    pattern = Pattern(f"{prefix}.*")
    selector = f"{prefix}.{rest}"
    assert pattern.covers(selector)
    assert rank(pattern.first) <= rank(selector) <= rank(pattern.last)


@given(SELECTORS, SELECTORS)
def test_behind_a_selector_come_all_that_are_greater(one, other):
    if rank(one) < rank(other):
        assert rank(one) < rank(behind(one)) <= rank(other)


@pytest.mark.parametrize("text", ["", ".*", "*", "cached.**", "Cached.*", "a:b"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(BadInput):
        Pattern(text)


def test_one_selector_is_looked_for_exactly_and_several_between_the_outermost():
    assert stretch([Pattern("cached.EU")]) == ("cached.EU", "cached.EU")
    assert stretch([Pattern("xtss"), Pattern("cached.EU")]) == ("cached.EU", "xtss")
    assert stretch([Pattern("cached.*")]) == ("cached.", "cached.\ufff0")


def test_after_a_full_page_the_next_pattern_follows_and_strangers_are_skipped():
    patterns = [Pattern("cached.EU"), Pattern("xtss")]
    assert stretch(patterns, behind("ingest.JAO")) == ("xtss", "xtss")
    assert stretch(patterns, behind("xtss")) is None
    assert stretch([Pattern("cached.*")], behind("cached.EU")) == ("cached.EU\t", "cached.\ufff0")


@given(SELECTORS, st.text(alphabet="éß漢 !\u00ad", min_size=1, max_size=3))
def test_what_a_stranger_wrote_into_the_queue_lies_within_its_range(prefix, strange):
    pattern = Pattern(f"{prefix}.*")
    selector = f"{prefix}.{strange}"
    assert rank(pattern.first) <= rank(selector) <= rank(pattern.last)
    assert stretch([pattern], behind(selector)) is not None
