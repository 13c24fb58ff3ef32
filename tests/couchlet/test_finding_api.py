"""Mango over HTTP: which index is used, what is read, pages, orders and warnings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

MIXED = [
    None,
    False,
    True,
    -1,
    0,
    0.5,
    2**60,
    "",
    "_",
    "-",
    "1",
    "a",
    "A",
    "b",
    "é",
    "z",
    [],
    [1],
    [1, 2],
    ["a"],
    {},
    {"a": 1},
]


def find(server, database, **body):
    answer = server.ask("POST", f"{database}/_find", body)
    assert answer.status == 200, answer.body
    return answer.json()


def ids(found):
    return [doc["_id"] for doc in found["docs"]]


@pytest.fixture
def mixed(server, database):
    """Values of every type, in CouchDB's order, under ids in another order."""
    docs = [{"_id": f"{(place * 7) % 23:02}", "v": value, "place": place} for place, value in enumerate(MIXED)]
    assert server.ask("POST", f"{database}/_bulk_docs", {"docs": docs}).status == 201
    index = {"index": {"fields": ["v"]}, "ddoc": "v", "name": "v"}
    assert server.ask("POST", f"{database}/_index", index).json()["result"] == "created"
    return database


def places(found):
    return [doc["place"] for doc in found["docs"]]


def test_an_index_sorts_all_types_as_couchdb_does(server, mixed):
    body = {"selector": {"v": {"$gte": None}}, "use_index": "v", "fields": ["place"], "limit": 100}
    up = find(server, mixed, **body, sort=["v"])
    assert places(up) == list(range(len(MIXED)))
    assert "warning" not in up
    down = find(server, mixed, **body, sort=[{"v": "desc"}])
    assert places(down) == list(range(len(MIXED)))[::-1]


@pytest.mark.parametrize("operator", ["$lt", "$lte", "$eq", "$gte", "$gt"])
@pytest.mark.parametrize("place", range(0, len(MIXED), 3))
def test_ranges_are_the_same_with_and_without_an_index(server, mixed, operator, place):
    selector = {"v": {operator: MIXED[place]}}
    with_index = find(server, mixed, selector=selector, use_index="v", limit=100)
    without = find(server, mixed, selector={"$or": [selector, selector]}, limit=100)
    assert sorted(places(with_index)) == sorted(places(without))


def test_pages_follow_each_other(server, mixed):
    body = {"selector": {"v": {"$gte": None}}, "use_index": "v", "sort": ["v"], "limit": 5}
    seen, bookmark = [], None
    while True:
        page = find(server, mixed, **body, bookmark=bookmark)
        seen += places(page)
        if not page["docs"]:
            assert page["bookmark"] == bookmark
            break
        bookmark = page["bookmark"]
    assert seen == list(range(len(MIXED)))
    backwards = {**body, "sort": [{"v": "desc"}]}
    first = find(server, mixed, **backwards)
    second = find(server, mixed, **backwards, bookmark=first["bookmark"], skip=1)
    assert places(first) + places(second) == [*range(21, 16, -1), *range(15, 10, -1)]


def test_pages_without_an_index_follow_each_other(server, mixed):
    first = find(server, mixed, selector={}, limit=10)
    second = find(server, mixed, selector={}, limit=100, bookmark=first["bookmark"])
    assert ids(first) + ids(second) == sorted(f"{place:02}" for place in {(p * 7) % 23 for p in range(len(MIXED))})


@pytest.mark.parametrize("bookmark", ["nil", "x", "g1AAAA!!", "g1AAAAe30"])
def test_a_malformed_bookmark_is_refused(server, mixed, bookmark):
    answer = server.ask("POST", f"{mixed}/_find", {"selector": {}, "bookmark": bookmark})
    assert (answer.status, answer.json()["error"]) == (400, "invalid_bookmark")


def test_a_document_without_the_field_is_not_in_the_index(server, mixed):
    server.ask("PUT", f"{mixed}/without", {"w": 1})
    found = find(server, mixed, selector={"v": {"$gte": None}}, use_index="v", limit=100)
    assert "without" not in ids(found)
    assert find(server, mixed, selector={"v": {"$exists": False}})["docs"][0]["_id"] == "without"


def test_the_index_follows_every_change(server, database):
    server.ask("POST", f"{database}/_index", {"index": {"fields": ["a.b"]}, "ddoc": "ab", "name": "ab"})
    query = {"selector": {"a.b": {"$gt": None}}, "use_index": "ab", "allow_fallback": False}
    rev = server.ask("PUT", f"{database}/x", {"a": {"b": 1}}).json()["rev"]
    assert ids(find(server, database, **query)) == ["x"]
    rev = server.ask("PUT", f"{database}/x", {"a": {"c": 1}, "_rev": rev}).json()["rev"]
    assert ids(find(server, database, **query)) == []
    rev = server.ask("PUT", f"{database}/x", {"a": {"b": "again"}, "_rev": rev}).json()["rev"]
    assert ids(find(server, database, **query)) == ["x"]
    server.ask("DELETE", f"{database}/x?rev={rev}")
    assert ids(find(server, database, **query)) == []


def test_a_conflict_is_indexed_by_its_winner(server, database):
    server.ask("POST", f"{database}/_index", {"index": {"fields": ["v"]}, "ddoc": "v", "name": "v"})
    docs = [{"_id": "x", "_rev": f"1-{c * 32}", "v": c} for c in "ba"]
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": docs})
    body = {"use_index": "v", "allow_fallback": False}
    assert ids(find(server, database, selector={"v": "a"}, **body)) == []
    found = find(server, database, selector={"v": "b"}, conflicts=True, **body)
    assert found["docs"][0]["_conflicts"] == [f"1-{'a' * 32}"]


def test_a_partial_index_reads_only_what_it_returns(server, database):
    docs = [{"_id": f"m{n:05}", "state": "ready" if n % 500 == 0 else "done", "n": n} for n in range(5000)]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    index = {"fields": ["n"], "partial_filter_selector": {"state": "ready"}}
    server.ask("POST", f"{database}/_index", {"index": index, "ddoc": "ready", "name": "ready"})
    body = {"selector": {"n": {"$gte": 0}}, "use_index": ["ready", "ready"], "execution_stats": True}
    found = find(server, database, **body, allow_fallback=False)
    assert len(found["docs"]) == 10
    assert found["execution_stats"]["total_keys_examined"] == 10
    assert found["execution_stats"]["total_docs_examined"] == 10
    assert "warning" not in found
    # Not named, a partial index is not used: it might leave out what matches.
    other = find(server, database, selector={"n": 1}, execution_stats=True)
    assert ids(other) == ["m00001"]
    assert "warning" in other


def test_the_planner_takes_the_index_that_fits_best(server, database):
    for fields in (["a"], ["a", "b"], ["a", "b", "c"], ["b"]):
        name = "-".join(fields)
        server.ask("POST", f"{database}/_index", {"index": {"fields": fields}, "ddoc": name, "name": name})

    def chosen(selector, **more):
        return server.ask("POST", f"{database}/_explain", {"selector": selector, **more}).json()["index"]["name"]

    assert chosen({"a": 1}) == "a"
    assert chosen({"a": 1, "b": 2}) == "a-b"
    assert chosen({"a": 1, "b": {"$gt": 1}, "c": {"$exists": True}}) == "a-b-c"
    assert chosen({"a": 1, "b": 2}, use_index="b") == "b"
    assert chosen({"c": 1}) == "_all_docs"
    assert chosen({"a": 1}, sort=["a"]) == "a"
    assert chosen({"a": 1}, sort=["b"]) == "a-b"
    assert chosen({"$or": [{"a": 1}, {"b": 1}]}) == "_all_docs"
    assert chosen({"$or": [{"a": 1}, {"a": 2}]}) == "a"
    assert chosen({"_id": {"$gt": "x"}}, sort=["_id"]) == "_all_docs"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"selector": {}, "limit": 1.5}, "invalid_non_neg_integer"),
        ({"selector": {}, "skip": -1}, "invalid_non_neg_integer"),
        ({"selector": {}, "fields": "a"}, "invalid_fields"),
        ({"selector": {}, "fields": [1]}, "invalid_field"),
        ({"selector": {}, "sort": "a"}, "invalid_sort_json"),
        ({"selector": {}, "sort": [1]}, "invalid_sort_field"),
        ({"selector": {}, "sort": [{"a": "up"}]}, "invalid_sort_field"),
        ({"selector": {}, "sort": [{"a": "asc"}, {"b": "desc"}]}, "unsupported_mixed_sort"),
        ({"selector": {}, "sort": ["a"]}, "no_usable_index"),
        ({"selector": {}, "use_index": 1}, "invalid_index_name"),
        ({"selector": {}, "use_index": "a/b/c/d"}, "invalid_index_name"),
        ({"selector": {}, "conflicts": 1}, "invalid_boolean"),
        ({"selector": {}, "execution_stats": "yes"}, "invalid_boolean"),
        ({"selector": {}, "r": 0}, "invalid_pos_integer"),
        ({"selector": {}, "nonsense": 1}, "invalid_key"),
        ({"selector": {}, "allow_fallback": False}, "invalid_index"),
        ({"selector": {}, "use_index": ["a", "b"], "allow_fallback": False}, "invalid_index"),
        ({"selector": {"$and": 1}}, "bad_arg"),
        ({"selector": {"$or": {}}}, "bad_arg"),
        ({"selector": {"a": {"$in": 1}}}, "bad_arg"),
        ({"selector": {"a": {"$exists": 1}}}, "bad_arg"),
        ({"selector": {"a": {"$type": 1}}}, "bad_arg"),
        ({"selector": {"a": {"$mod": [1]}}}, "bad_arg"),
        ({"selector": {"a": {"$regex": "("}}}, "bad_arg"),
        ({"selector": {"a": {"$size": -1}}}, "bad_arg"),
        ({"selector": {"a": {"$elemMatch": 1}}}, "bad_arg"),
        ({"selector": {"$not": 1}}, "bad_arg"),
        ({"selector": {"a": {"$where": 1}}}, "not_supported"),
        ({"selector": {"": 1}}, "invalid_selector"),
        ({"selector": {"$gt": 1}}, "invalid_selector"),
        ({"selector": {"a..b": 1}}, "invalid_field_name"),
    ],
)
def test_malformed_queries_are_refused(server, database, body, error):
    answer = server.ask("POST", f"{database}/_find", body)
    assert (answer.status, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"index": {}}, 400, "missing_required_key"),
        ({"index": {"fields": "a"}}, 400, "invalid_sort_json"),
        ({"index": {"fields": [1]}}, 400, "invalid_sort_field"),
        ({"index": {"fields": ["a"], "partial_filter_selector": 1}}, 400, "invalid_selector_json"),
        ({"index": {"fields": ["a"]}, "name": 1}, 400, "invalid_string"),
        ({"index": {"fields": ["a"]}, "name": ""}, 400, "invalid_empty_string"),
        ({"index": {"fields": ["a"]}, "ddoc": ""}, 400, "invalid_empty_string"),
        ({"index": {"fields": ["a"]}, "w": 0}, 400, "invalid_pos_integer"),
        ({"index": {"fields": ["a"]}, "type": "text"}, 503, "required index service unavailable"),
        ({"index": {"fields": ["a"]}, "extra": 1}, 400, "invalid_key"),
    ],
)
def test_malformed_indexes_are_refused(server, database, body, status, error):
    answer = server.ask("POST", f"{database}/_index", body)
    assert (answer.status, answer.json()["error"]) == (status, error)


def test_indexes_share_a_design_document(server, database):
    for name in ("one", "two"):
        made = server.ask("POST", f"{database}/_index", {"index": {"fields": [name]}, "ddoc": "both", "name": name})
        assert made.json() == {"result": "created", "id": "_design/both", "name": name}
    listed = server.ask("GET", f"{database}/_index?skip=1&limit=1").json()
    assert (listed["total_rows"], [index["name"] for index in listed["indexes"]]) == (3, ["one"])
    assert server.ask("DELETE", f"{database}/_index/_design/both/json/one").json() == {"ok": True}
    assert server.ask("GET", f"{database}/_design/both").json()["views"].keys() == {"two"}
    gone = server.ask("POST", f"{database}/_index/_bulk_delete", {"docids": ["both", "none"]}).json()
    assert gone == {
        "success": [{"id": "_design/both", "ok": True}],
        "fail": [{"id": "_design/none", "error": "not_found"}],
    }
    assert server.ask("GET", f"{database}/_design/both").status == 404


def test_an_index_in_a_design_document_that_was_written_or_replicated_is_used(server, database):
    server.ask("PUT", f"{database}/x", {"a": 1})
    view = {"map": {"fields": {"a": "asc"}, "partial_filter_selector": {}}, "reduce": "_count",
            "options": {"def": {"fields": ["a"]}}}  # fmt: skip
    design = {
        "_id": "_design/came",
        "_rev": "1-abc",
        "language": "query",
        "views": {"a": view, "bad": {"map": {"fields": 1}}},
    }
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": [design]})
    found = find(server, database, selector={"a": 1}, use_index="came", allow_fallback=False)
    assert ids(found) == ["x"]
    assert server.ask("GET", f"{database}/_index").json()["total_rows"] == 2


def test_fields_are_taken_out_nested(server, database):
    server.ask("PUT", f"{database}/x", {"a": {"b": 1, "c": [5, {"d": 2}]}, "e.f": 3})
    found = find(server, database, selector={}, fields=["a.b", "a.c.1.d", "e\\.f", "none", "_id"])
    assert found["docs"] == [{"a": {"b": 1, "c": {"1": {"d": 2}}}, "e.f": 3, "_id": "x"}]


def test_design_documents_are_not_found(server, database):
    server.ask("PUT", f"{database}/_design/x", {"a": 1})
    server.ask("PUT", f"{database}/x", {"a": 1})
    assert ids(find(server, database, selector={"a": 1})) == ["x"]


def test_contradictions_find_nothing(server, mixed):
    assert find(server, mixed, selector={"v": {"$gt": 5, "$lt": 3}}, use_index="v") == {"docs": []}
    assert find(server, mixed, selector={"$or": []}) == {"docs": []}
    assert len(find(server, mixed, selector={"v": {"$gte": None}, "$or": []}, limit=100)["docs"]) == len(MIXED)


EVIL = "^(a+)+$"


def test_a_pattern_that_takes_for_ever_ends_without_a_match(server, database):
    docs = [{"_id": f"evil{n}", "s": "a" * 60 + "!"} for n in range(5)] + [{"_id": "good", "s": "a" * 60}]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    assert ids(find(server, database, selector={"s": {"$regex": EVIL}})) == ["good"]
    assert ids(find(server, database, selector={"s": {"$regex": "(a|aa)+!"}}, limit=2)) == ["evil0", "evil1"]


def test_others_are_answered_while_patterns_take_their_time(server, database):
    docs = [{"_id": f"evil{n}", "s": "a" * 60 + "!"} for n in range(30)]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(find, server, database, selector={"s": {"$regex": EVIL}})
        answered = 0
        while not slow.done():
            assert server.ask("GET", f"{database}/evil0").status == 200
            answered += 1
        assert slow.result()["docs"] == []
    # Each text is tried for a tenth of a second, and between two others have their turn.
    assert answered >= 10


def test_a_partial_index_with_such_a_pattern_does_not_hold_up_writes_for_ever(server, database):
    index = {"index": {"fields": ["n"], "partial_filter_selector": {"s": {"$regex": EVIL}}}, "name": "i", "ddoc": "i"}
    assert server.ask("POST", f"{database}/_index", index).status == 200
    assert server.ask("PUT", f"{database}/evil", {"n": 1, "s": "a" * 60 + "!"}).status == 201
    assert server.ask("PUT", f"{database}/good", {"n": 2, "s": "a" * 60}).status == 201
    assert ids(find(server, database, selector={"n": {"$gt": 0}}, use_index="i")) == ["good"]


def test_indexes_are_deleted_together(server, database):
    for name in ("a", "b"):
        server.ask("POST", f"{database}/_index", {"index": {"fields": [name]}, "ddoc": name, "name": name})

    def delete(body):
        return server.ask("POST", f"{database}/_index/_bulk_delete", body)

    for body, error in (
        ({}, "missing_required_key"),
        ({"docids": "a"}, "invalid_bulk_docs"),
        ({"docids": ["x/y/z"]}, "invalid_index_name"),
        ({"docids": ["a"], "w": 0}, "invalid_pos_integer"),
        ({"docids": ["a"], "x": 1}, "invalid_key"),
    ):
        answer = delete(body)
        assert (answer.status, answer.json()["error"]) == (400, error)
    done = delete({"docids": ["a", "c", "_design/b", "d"]}).json()
    assert [row["id"] for row in done["success"]] == ["_design/b", "_design/a"]
    assert [row["id"] for row in done["fail"]] == ["_design/d", "_design/c"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("_find", {"selector": {}, "stale": "x"}, (500, "unknown_error")),
        ("_find", {"selector": {}, "stale": []}, (500, "unknown_error")),
        ("_index", {"index": {"fields": ["a"]}, "partitioned": "x"}, (500, "unknown_error")),
        ("_index", {"index": {"fields": ["a"]}, "name": None}, (400, "invalid_string")),
        ("_index", {"index": {"fields": ["a"]}, "ddoc": None}, (400, "invalid_string")),
    ],
)
def test_options_that_are_refused(server, database, path, body, expected):
    answer = server.ask("POST", f"{database}/{path}", body)
    assert (answer.status, answer.json()["error"]) == expected


@pytest.mark.parametrize("operator", ["$regex", "$beginsWith"])
@pytest.mark.parametrize("argument", [1, None, ["a"]])
def test_operators_on_text_are_none_with_anything_else(server, database, operator, argument):
    answer = server.ask("POST", f"{database}/_find", {"selector": {"a": {operator: argument}}})
    assert (answer.status, answer.json()["error"]) == (400, "invalid_operator")


@pytest.mark.parametrize("name", ["alpha", "alnum", "upper", "punct", "print", "graph", "word"])
def test_classes_of_characters_take_bytes_for_latin_1(server, database, name):
    server.ask("PUT", f"{database}/x", {"a": "\u00e9"})
    assert ids(find(server, database, selector={"a": {"$regex": f"[[:{name}:]]"}})) == ["x"]


@pytest.mark.parametrize("name", ["lower", "space", "cntrl", "digit"])
def test_classes_of_other_characters_do_not_match(server, database, name):
    server.ask("PUT", f"{database}/x", {"a": "\u00e9"})
    assert ids(find(server, database, selector={"a": {"$regex": f"[[:{name}:]]"}})) == []


def test_what_is_for_partitions_is_refused(server, database):
    asked = {"selector": {}, "partition": "x"}
    assert server.ask("POST", f"{database}/_find", asked).json()["error"] == "query_parse_error"
    answer = server.ask("POST", f"{database}/_index", {"index": {"fields": ["a"]}, "partitioned": True})
    assert (answer.status, answer.json()["error"]) == (500, "error_saving_ddoc")
    answer = server.ask("PUT", f"{database}/_design/x", {"options": {"partitioned": True}})
    assert (answer.status, answer.json()["error"]) == (400, "invalid_design_doc")


def test_for_a_quorum_documents_are_read_apart(server, database):
    asked = {"selector": {"a": 1}, "r": 2}
    assert server.ask("POST", f"{database}/_explain", asked).json()["mrargs"]["include_docs"] is False
