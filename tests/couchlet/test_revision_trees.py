"""Trees of revisions, as values: whatever order revisions come in, every server ends with the same tree."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from couchlet.revisions import (
    Branch,
    Revision,
    branches_by_rank,
    holds,
    is_deleted,
    merge,
    pack,
    possible_ancestors,
    remove_leaves,
    stem,
    unpack,
    winner,
)


def id_(text: str) -> str:
    return text * 32


def branch(ids: str, *, start: int | None = None, deleted: bool = False) -> Branch:
    """A branch from one letter a revision, newest first."""
    return Branch(start or len(ids), tuple(id_(letter) for letter in ids), deleted)


def grown(*branches: Branch):
    tree = ()
    for item in branches:
        tree = merge(tree, item)
    return tree


def test_an_edit_replaces_its_leaf():
    assert grown(branch("a"), branch("ba")) == (branch("ba"),)


def test_two_edits_of_one_revision_are_two_branches():
    tree = grown(branch("ba"), branch("ca"))
    assert {item.leaf for item in tree} == {Revision(2, id_("b")), Revision(2, id_("c"))}
    assert winner(tree) == branch("ca")


def test_what_is_known_changes_nothing():
    tree = grown(branch("cba"))
    assert merge(tree, branch("ba")) == tree
    assert merge(tree, branch("cba")) == tree


def test_a_path_that_was_cut_off_joins_what_is_there():
    tree = grown(branch("cba"), branch("dc", start=4))
    assert tree == (branch("dcba"),)


def test_older_history_that_comes_later_is_added():
    tree = grown(branch("c", start=3), branch("dcba"))
    assert tree == (branch("dcba"),)
    tree = grown(branch("dc", start=4), branch("ecba"))
    assert {item.ids[-1] for item in tree} == {id_("a")}


def test_cutting_keeps_the_newest():
    assert stem(grown(branch("edcba")), 2) == (branch("ed", start=5),)


def test_a_document_is_deleted_when_all_leaves_are():
    tree = grown(branch("ba", deleted=True), branch("ca"))
    assert not is_deleted(tree)
    assert winner(tree) == branch("ca")
    assert is_deleted(grown(branch("ba", deleted=True)))


def test_purging_removes_leaves_only():
    tree = grown(branch("cba"), branch("da"))
    rest, removed = remove_leaves(tree, [Revision(3, id_("c")), Revision(1, id_("a")), Revision(9, "x")])
    assert (rest, removed) == ((branch("da"),), [Revision(3, id_("c"))])


def test_possible_ancestors_are_shorter_leaves():
    tree = grown(branch("ba"), branch("edca"))
    assert possible_ancestors(tree, [Revision(3, id_("f"))]) == [Revision(2, id_("b"))]


def test_ids_of_servers_are_compared_by_value():
    low, high = Branch(1, ("0" * 31 + "f",), False), Branch(1, ("f" + "0" * 31,), False)
    assert winner(grown(high, low)) == high


@st.composite
def histories(draw):
    """Paths of one document: each from a leaf to its root, in a tree that grows at random."""
    parents = {0: None}
    for number in range(1, draw(st.integers(1, 10))):
        parents[number] = draw(st.integers(0, number - 1))
    paths = []
    for number in parents:
        ids, at = [], number
        while at is not None:
            ids.append(f"{at:032x}")
            at = parents[at]
        paths.append(Branch(len(ids), tuple(ids), deleted=draw(st.booleans()) if number else False))
    return paths


@settings(max_examples=200, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(paths, random):
    shuffled = list(paths)
    random.shuffle(shuffled)
    one, other = grown(*paths), grown(*shuffled)
    assert {item.ids for item in one} == {item.ids for item in other}
    assert winner(one).leaf == winner(one[::-1]).leaf == branches_by_rank(one)[0].leaf
    assert all(holds(other, revision) for path in paths for revision in path.revisions())


@settings(max_examples=100, deadline=None)
@given(histories())
def test_storing_keeps_the_tree(paths):
    tree = grown(*paths)
    shown = winner(tree)
    assert set(unpack(shown.start, shown.deleted, *pack(tree))) == set(tree)
