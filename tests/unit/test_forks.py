"""Which leaf of a forked history counts, and that there is always one left."""

import itertools

import pytest

from shared import forks


def leaf(rev, *ancestors, **fields):
    ids = [rev.partition("-")[2], *ancestors]
    return {"_rev": rev, "_revisions": {"start": forks.generation(rev), "ids": ids}, **fields}


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        ([leaf("2-b", "a")], []),
        ([], []),  # the copies that were read do not have it yet
        ([leaf("2-b", "a"), leaf("2-c", "a")], ["2-c"]),
        ([leaf("2-c", "a")], ["2-c"]),
        ([leaf("2-b", "a"), leaf("3-d", "c", "a")], ["3-d"]),
        ([leaf("3-d", "b", "a")], []),  # somebody went on from ours
        ([leaf("2-b", "a"), leaf("3-c", "x", "a", _deleted=True)], []),
        ([leaf("3-b", "a"), leaf("1-c")], ["3-b"]),
        ([leaf("2-b", "a"), leaf("1-c")], []),
        ([leaf("900-z", "y", "x")], ["900-z"]),  # too long ago to be known
    ],
)
def test_a_rival_is_as_long_or_longer_and_has_not_grown_from_ours(leaves, expected):
    assert forks.rivals("2-b", leaves) == expected


@pytest.mark.parametrize(
    ("others", "gives_way"),
    [([], False), (["2-c"], False), (["2-a"], True), (["3-z"], True), (["1-a"], False), (["2-c", "10-x"], True)],
)
def test_of_leaves_that_lost_the_longest_and_then_least_stays(others, gives_way):
    assert forks.gives_way("2-b", others) is gives_way


@pytest.mark.parametrize(
    "written", list(itertools.product(["5-a", "5-b", "5-c"], ["5-b", "5-d", "6-a"], ["5-c", "6-b", "7-a"]))
)
def test_whatever_each_has_seen_of_the_others_they_do_not_all_give_way(written):
    """Each was told 202, and has read the leaves of some copies: no, one or both of the others' leaves."""
    leaves = sorted(set(written))
    views = [
        [set(seen) for count in range(len(leaves)) for seen in itertools.combinations(set(leaves) - {mine}, count)]
        for mine in leaves
    ]
    for seen in itertools.product(*views):
        staying = [mine for mine, others in zip(leaves, seen, strict=True) if not forks.gives_way(mine, others)]
        assert staying, seen


def test_what_is_read_is_the_longest_and_of_equals_what_couchdb_shows():
    leaves = [leaf("2-b"), leaf("3-a"), leaf("3-c"), leaf("3-b")]
    assert [each["_rev"] for each in forks.longest(leaves)] == ["3-c", "3-b", "3-a"]
    assert [each["_rev"] for each in forks.longest(leaves, but={"3-c", "3-b"})] == ["3-a"]
    assert [each["_rev"] for each in forks.longest(leaves[:1], but={"2-b"})] == ["2-b"], "where there is no other"
    assert [each["_rev"] for each in forks.longest([leaf("3-a"), leaf("2-b")], but={"3-a"})] == ["3-a"], "nor as long"
    assert forks.longest([]) == []


@pytest.mark.parametrize(
    ("leaves", "expected"),
    [
        ([], None),
        ([leaf("2-a", _deleted=True)], None),
        ([leaf("9-a"), leaf("10-a")], "10-a"),
        ([leaf("2-b"), leaf("2-c"), leaf("2-a")], "2-c"),
        ([leaf("2-b"), leaf("3-c", _deleted=True)], "2-b"),
    ],
)
def test_the_leaf_that_is_shown_is_alive_then_long_then_great(leaves, expected):
    for order in itertools.permutations(leaves):
        assert (forks.shown(order) or {"_rev": None})["_rev"] == expected


@pytest.mark.parametrize(
    ("rev", "grew"),
    [("3-c", True), ("2-b", True), ("1-a", True), ("2-x", False), ("4-c", False), ("4-a", False), ("7-a", False)],
)
def test_a_leaf_grew_from_what_led_to_it_and_not_from_what_is_longer(rev, grew):
    assert forks.grew_from(leaf("3-c", "b", "a"), rev) == grew


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([leaf("4-d", "c", "b", "a")], []),  # written since
        ([leaf("2-b", "a")], []),  # as a copy shows that lags
        ([leaf("2-x", "a"), leaf("1-z"), leaf("3-y", "b", "a")], ["2-x", "1-z", "3-y"]),
        ([leaf("4-d", "y", "b", "a")], ["4-d"]),
        ([leaf("3-y", "b", "a", _deleted=True)], []),
    ],
)
def test_apart_is_what_lives_on_another_branch(others, expected):
    own = leaf("3-c", "b", "a")
    for leaves in itertools.permutations([own, *others]):
        assert sorted(each["_rev"] for each in forks.apart("3-c", leaves)) == sorted(expected)


def test_of_what_is_in_no_history_nothing_is_known():
    """A copy that lags has its past, and the copies that have it do not answer."""
    assert forks.apart("3-c", [leaf("2-b", "a")]) is None
    assert forks.apart("3-c", []) is None
    assert forks.apart("3-c", [leaf("5-e", "d", "c", "b", "a"), leaf("2-b", "a")]) == []


def test_what_is_longer_than_a_leaf_that_was_not_read_is_known_by_its_ancestors_alone():
    assert forks.apart("3-c", [leaf("4-d", "c", "b", "a"), leaf("4-e", "y", "b", "a")]) == [leaf("4-e", "y", "b", "a")]
