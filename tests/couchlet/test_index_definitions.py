"""What `_index` leaves in the design document, and when it says that an index exists."""

from __future__ import annotations


def make(server, database, index, **members):
    return server.ask("POST", f"{database}/_index", {"index": index, "ddoc": "d", "name": "n", **members}).json()


def view(server, database):
    return server.ask("GET", f"{database}/_design/d").json()["views"]["n"]


def test_the_definition_is_kept_as_it_was_given(server, database):
    given = {"partial_filter_selector": {"b": 1}, "fields": ["a", {"c": "asc"}]}
    assert make(server, database, given)["result"] == "created"
    held = view(server, database)
    assert held["options"] == {"def": given}
    assert list(held["options"]["def"]) == list(given)
    assert held["map"] == {
        "fields": {"a": "asc", "c": "asc"},
        "partial_filter_selector": {"b": {"$eq": 1}},
    }


def test_only_the_same_words_exist(server, database):
    for given in ({"fields": ["a"]}, {"fields": [{"a": "asc"}]}, {"fields": ["a"], "partial_filter_selector": {}}):
        assert make(server, database, given)["result"] == "created"
        assert make(server, database, given)["result"] == "exists"


def test_an_index_of_an_older_couchlet_is_used_and_taken_over(server, database):
    older = {
        "map": {"fields": {"a": "asc"}, "partial_filter_selector": {}},
        "reduce": "_count",
        "options": {"def": {"fields": [{"a": "asc"}]}},
    }
    body = {"language": "query", "views": {"n": older}}
    assert server.ask("PUT", f"{database}/_design/d", body).status == 201
    server.ask("PUT", f"{database}/x", {"a": 1})
    explained = server.ask("POST", f"{database}/_explain", {"selector": {"a": 1}}).json()
    assert explained["index"]["name"] == "n"
    assert make(server, database, {"fields": ["a"]}, partitioned=False)["result"] == "created"
    assert make(server, database, {"fields": ["a"]}, partitioned=False)["result"] == "exists"
    found = server.ask("POST", f"{database}/_find", {"selector": {"a": 1}, "use_index": "d"}).json()
    assert [document["_id"] for document in found["docs"]] == ["x"]
    assert "warning" not in found


def test_a_design_document_is_partitioned_or_not_as_a_whole(server, database):
    assert make(server, database, {"fields": ["a"]}, partitioned=False)["result"] == "created"
    assert server.ask("GET", f"{database}/_design/d").json()["options"] == {"partitioned": False}
    assert make(server, database, {"fields": ["a"]}, partitioned=False)["result"] == "exists"
    assert make(server, database, {"fields": ["b"]})["error"] == "invalid_partitioned_option"
    assert make(server, database, {"fields": ["b"]}, ddoc="e")["result"] == "created"
    assert (
        make(server, database, {"fields": ["c"]}, ddoc="e", partitioned=False)["error"] == "invalid_partitioned_option"
    )
