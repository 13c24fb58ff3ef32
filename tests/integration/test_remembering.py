"""A document that is remembered from its last write saves a reading, and never decides against what is stored."""

from __future__ import annotations

import pytest

from shared import changes, errors
from shared.dbcon import DbConnection

ID = "uid___A003_X1_X1b"


class Changed:
    """One process's hand on the document."""

    def __init__(self, place, *, remembers=10):
        self.connection = DbConnection(place.settings)
        self.database = self.connection.database("status-entities", remembers=remembers)
        self.asked = []
        send = self.connection.send

        def noted(method, path, **options):
            self.asked.append(method)
            return send(method, path, **options)

        self.connection.send = noted

    def move(self, *, to, only_from=()):
        def change(doc):
            state = doc["state"] if doc else ""
            if only_from and state not in only_from:
                raise errors.StateRefused(f"is {state}", found=state)
            return None if state == to else {**(doc or {}), "state": to, "moves": [*(doc or {}).get("moves", []), to]}

        return self.database.mutate(ID, change)


def test_what_was_written_last_is_not_read_again(place):
    mine = Changed(place)
    mine.move(to="a")
    mine.asked.clear()
    assert mine.move(to="b")["moves"] == ["a", "b"]
    assert mine.move(to="c")["moves"] == ["a", "b", "c"]
    assert mine.asked == ["PUT", "PUT"]


def test_another_hand_is_noticed_by_the_revision(place):
    mine, theirs = Changed(place), Changed(place)
    mine.move(to="a")
    theirs.move(to="b")
    assert mine.move(to="c")["moves"] == ["a", "b", "c"]


def test_a_change_is_refused_by_what_is_stored_and_not_by_what_is_remembered(place):
    mine, theirs = Changed(place), Changed(place)
    mine.move(to="a")
    theirs.move(to="b")
    assert mine.move(to="c", only_from=("b",))["moves"] == ["a", "b", "c"]
    theirs.move(to="d")
    with pytest.raises(errors.StateRefused, match="is d"):
        mine.move(to="e", only_from=("c",))


def test_a_change_that_would_make_no_difference_is_compared_with_what_is_stored(place):
    mine, theirs = Changed(place), Changed(place)
    mine.move(to="a")
    theirs.move(to="b")
    assert mine.move(to="a")["moves"] == ["a", "b", "a"]


def test_only_so_many_are_remembered(place):
    database = DbConnection(place.settings).database("status-entities", remembers=2)
    for name in "abc":
        database.mutate(name, lambda _: {"state": "x"})
    assert [database._changes._written.take(name) is not None for name in "abc"] == [False, True, True]


def test_what_was_written_long_ago_is_read_again(place, monkeypatch):
    """Or it would come back where its database was deleted and made anew: CouchDB takes a write at any revision."""
    mine = Changed(place)
    mine.move(to="a")
    place.connection.drop_database("status-entities")
    place.connection.create_database("status-entities")
    now_s = changes.elapsed_s()
    monkeypatch.setattr(changes, "elapsed_s", lambda: now_s + 1.5)
    assert mine.move(to="b")["moves"] == ["b"]
