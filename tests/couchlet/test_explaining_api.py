"""What `_explain` says of the indexes that a query does not use."""

from __future__ import annotations

import pytest


@pytest.fixture
def indexed(server, database):
    """A database with indexes, one of them partial."""
    for fields in (["a"], ["a", "b"], ["c"], ["a", "z"]):
        name = "-".join(fields)
        server.ask("POST", f"{database}/_index", {"index": {"fields": fields}, "ddoc": name, "name": name})
    index = {"fields": ["a"], "partial_filter_selector": {"ready": True}}
    server.ask("POST", f"{database}/_index", {"index": index, "ddoc": "p", "name": "p"})
    return database


def explain(server, database, selector, **more):
    answer = server.ask("POST", f"{database}/_explain", {"selector": selector, **more})
    assert answer.status == 200
    return answer.json()


def candidates(explained):
    """Name, reason, ranking and use of each candidate."""
    return [
        (
            candidate["index"]["name"],
            candidate["analysis"]["reasons"][0]["name"],
            candidate["analysis"]["ranking"],
            candidate["analysis"]["usable"],
        )
        for candidate in explained["index_candidates"]
    ]


def test_all_candidates_are_ranked_in_groups(server, indexed):
    explained = explain(server, indexed, {"a": 1, "b": 2})
    assert explained["index"]["name"] == "a-b"
    assert candidates(explained) == [
        ("p", "is_partial", 4, False),
        ("c", "field_mismatch", 3, False),
        ("a-z", "field_mismatch", 3, False),
        ("a", "less_overlap", 1, True),
        ("_all_docs", "unfavored_type", 2, True),
    ]


def test_wider_and_later_ones_stand_behind(server, indexed):
    server.ask("POST", f"{indexed}/_index", {"index": {"fields": ["a"]}, "ddoc": "q", "name": "q"})
    explained = explain(server, indexed, {"a": 1, "$or": [{"b": 1}, {"b": 2}]})
    assert explained["index"]["name"] == "a"
    assert candidates(explained) == [
        ("q", "alphabetically_comes_after", 1, True),
        ("p", "is_partial", 5, False),
        ("c", "field_mismatch", 4, False),
        ("a-z", "field_mismatch", 4, False),
        ("a-b", "too_many_fields", 2, True),
        ("_all_docs", "unfavored_type", 3, True),
    ]


def test_what_the_query_leaves_out_is_said_to_be(server, indexed):
    explained = explain(server, indexed, {"a": 1, "b": 2}, use_index="a")
    assert explained["index"]["name"] == "a"
    assert candidates(explained) == [
        ("p", "is_partial", 3, False),
        ("c", "field_mismatch", 2, False),
        ("a-z", "field_mismatch", 2, False),
        ("a-b", "excluded_by_user", 1, True),
        ("_all_docs", "excluded_by_user", 1, True),
    ]


def test_without_an_index_there_is_an_explanation_all_the_same(server, indexed):
    explained = explain(server, indexed, {"d": 1}, sort=["d"])
    assert explained["index"] is None
    assert "mrargs" not in explained
    assert "covering" not in explained
    assert candidates(explained) == [
        ("p", "is_partial", 2, False),
        ("c", "field_mismatch", 1, False),
        ("a-z", "field_mismatch", 1, False),
        ("a-b", "field_mismatch", 1, False),
        ("a", "field_mismatch", 1, False),
        ("_all_docs", "field_mismatch", 1, False),
    ]
    find = server.ask("POST", f"{indexed}/_find", {"selector": {"d": 1}, "sort": ["d"]})
    assert (find.status, find.json()["error"]) == (400, "no_usable_index")


def test_an_order_that_an_index_does_not_have_is_a_reason(server, indexed):
    explained = explain(server, indexed, {"a": {"$gt": 1}, "b": 2}, sort=["b"])
    assert ("a-b", "sort_order_mismatch") in [(name, reason) for name, reason, *_ in candidates(explained)]


def test_candidates_cover_by_the_fields_asked_for(server, indexed):
    explained = explain(server, indexed, {"a": 1, "b": 2}, fields=["a", "_id"])
    covering = {item["index"]["name"]: item["analysis"]["covering"] for item in explained["index_candidates"]}
    assert covering == {"p": True, "c": False, "a-z": True, "a": True, "_all_docs": None}
    assert explained["covering"] is True
