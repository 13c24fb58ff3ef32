"""Conditions that CouchDB fails on when it comes to them, and what it makes of them below elements."""

from __future__ import annotations

import pytest

NOR = {"$nor": [{"$eq": 2}]}
ZERO = {"$mod": [0, 1]}


@pytest.fixture
def lists(server, database):
    """Three documents with a list, one of them empty, and objects."""
    docs = [
        {"_id": "x", "a": [1, 2], "k": {"p": 1, "q": 2}},
        {"_id": "y", "a": [], "k": {}},
        {"_id": "z", "a": ["m"], "n": 5},
    ]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    return database


def find(server, database, selector):
    answer = server.ask("POST", f"{database}/_find", {"selector": selector})
    return answer.status, answer.json()


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"a": {"$elemMatch": NOR}}, ""),
        ({"a": {"$not": {"$elemMatch": NOR}}}, "xyz"),
        # The first element matches before the condition is come to.
        ({"a": {"$elemMatch": {"$or": [{"$eq": 1}, NOR]}}}, "x"),
        ({"a": {"$elemMatch": {"$or": [NOR, {"$eq": 1}]}}}, ""),
        ({"a": {"$allMatch": NOR}}, ""),
        ({"a": {"$not": {"$allMatch": NOR}}}, "xyz"),
        ({"k": {"$keyMapMatch": NOR}}, ""),
        ({"k": {"$keyMapMatch": {"$or": [{"$eq": "p"}, NOR]}}}, "x"),
        ({"a": {"$elemMatch": ZERO}}, ""),
        ({"a": ZERO}, ""),
        ({"none": ZERO}, ""),
        ({"$or": [{"n": 5}, {"n": ZERO}]}, "z"),
    ],
)
def test_what_fails_below_elements_does_not_match(server, lists, selector, expected):
    status, body = find(server, lists, selector)
    assert (status, [document["_id"] for document in body["docs"]]) == (200, list(expected))


def test_a_number_that_is_divided_by_zero_fails_the_query(server, lists):
    status, body = find(server, lists, {"n": ZERO})
    assert (status, body["reason"]) == (500, "badarith")
    feed = server.ask("POST", f"{lists}/_changes?filter=_selector", {"selector": {"n": ZERO}})
    assert (feed.status, feed.json()["reason"]) == (500, "badarith")


def test_a_filter_that_fails_on_a_document_keeps_it_from_the_index_only(server, lists):
    index = {"fields": ["a"], "partial_filter_selector": {"n": ZERO}}
    made = server.ask("POST", f"{lists}/_index", {"index": index, "ddoc": "i"})
    assert made.json()["result"] == "created"
    # CouchDB makes this name, for a list of small integers too.
    assert made.json()["name"] == "5e881e5f6f3f09d66cff5a6ed191045f24b4b6b4"
    assert server.ask("PUT", f"{lists}/new", {"a": [1], "n": 7}).status == 201
    found = server.ask("POST", f"{lists}/_find", {"selector": {"a": {"$gt": None}}, "use_index": "i"}).json()
    assert found["docs"] == []


def test_no_index_to_explain_is_an_error_only_without_fallback(server, lists):
    query = {"selector": {"x": 1}, "sort": ["x"]}
    assert server.ask("POST", f"{lists}/_explain", query).json()["index"] is None
    refused = server.ask("POST", f"{lists}/_explain", {**query, "allow_fallback": False})
    assert (refused.status, refused.json()["error"]) == (400, "invalid_index")
    refused = server.ask("POST", f"{lists}/_find", {**query, "allow_fallback": False})
    assert (refused.status, refused.json()["error"]) == (400, "no_usable_index")
