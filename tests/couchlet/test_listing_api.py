"""`_all_docs` and its like: keys, bounds and what counts if the address and the body disagree."""

from __future__ import annotations

import base64

import pytest


@pytest.fixture
def filled(server, database):
    """Three documents, a design document and two `_local` ones."""
    docs = [{"_id": id_} for id_ in ("m1", "m2", "m3", "_design/d", "_local/a", "_local/b")]
    assert server.ask("POST", f"{database}/_bulk_docs", {"docs": docs}).status == 201
    return database


def listed(server, database, path, body=None):
    answer = server.ask("GET" if body is None else "POST", f"{database}/{path}", body)
    assert answer.status == 200, answer.body
    return answer.json()


def keys(found):
    return [row["key"] for row in found["rows"]]


def test_the_address_counts_more_than_the_body(server, filled):
    assert keys(listed(server, filled, "_all_docs?limit=1", {"limit": 2})) == ["_design/d"]
    assert keys(listed(server, filled, "_all_docs?limit=1", {"keys": ["m3", "m1"], "limit": 2})) == ["m3"]
    assert keys(listed(server, filled, "_local_docs?limit=1", {"limit": 2})) == ["_local/a"]
    found = listed(server, filled, "_all_docs/queries?limit=1", {"queries": [{"limit": 2}, {}]})
    assert [len(result["rows"]) for result in found["results"]] == [2, 1]


@pytest.mark.parametrize(("kind", "own"), [("_design_docs", "_design/d"), ("_local_docs", "_local/a")])
def test_keys_of_another_kind_have_no_row(server, filled, kind, own):
    asked = {"keys": ["m1", own, "none", 1]}
    assert keys(listed(server, filled, kind, asked)) == [own]
    assert keys(listed(server, filled, f"{kind}?limit=1", asked)) == []
    assert keys(listed(server, filled, f"{kind}/queries", {"queries": [asked]})["results"][0]) == [own]


def test_one_key_of_several_queries_is_a_range(server, filled):
    asked = {"queries": [{"keys": ["nope"]}, {"keys": ["m2"]}, {"keys": ["nope", "m2"]}]}
    one, two, both = listed(server, filled, "_all_docs/queries", asked)["results"]
    assert (one["rows"], one["offset"]) == ([], 4)
    assert (keys(two), two["offset"]) == (["m2"], 2)
    assert (keys(both), both["offset"]) == (["nope", "m2"], None)
    assert keys(listed(server, filled, "_all_docs", {"keys": ["nope"]})) == ["nope"]


def test_a_list_by_keys_has_no_sequence(server, filled):
    assert listed(server, filled, "_all_docs?update_seq=true", {"keys": ["m1"]})["update_seq"] is None
    assert isinstance(listed(server, filled, "_all_docs?update_seq=true")["update_seq"], str)


def test_codings_of_attachments_are_told(server, database):
    data = base64.b64encode(b"text" * 100).decode()
    server.ask("PUT", f"{database}/x", {"_attachments": {"a": {"content_type": "text/plain", "data": data}}})
    found = listed(server, database, "_all_docs?include_docs=true&att_encoding_info=true")
    assert found["rows"][0]["doc"]["_attachments"]["a"]["encoding"] == "gzip"


def test_what_is_below_a_list_is_an_attachment_that_is_not_there(server, filled):
    for path in ("_all_docs/foo", "_design_docs/foo", "_local_docs/queries/x"):
        assert server.ask("GET", f"{filled}/{path}").status == 404


def test_there_are_no_partitions(server, filled):
    answer = server.ask("GET", f"{filled}/_all_docs?partition=x")
    assert (answer.status, answer.json()["error"]) == (400, "query_parse_error")


def test_of_a_parameter_given_twice_the_last_counts(server, filled):
    assert len(listed(server, filled, "_all_docs?limit=1&limit=2")["rows"]) == 2


def test_a_truth_may_be_text(server, filled):
    assert "doc" in listed(server, filled, "_all_docs", {"include_docs": "true"})["rows"][0]
    assert server.ask("POST", f"{filled}/_all_docs", {"include_docs": "yes"}).status == 400
    assert server.ask("POST", f"{filled}/_all_docs", {"include_docs": 1}).status == 400


def test_keys_and_bounds_may_say_the_same(server, filled):
    assert keys(listed(server, filled, '_all_docs?keys=["m1"]&key="m1"')) == ["m1"]
    assert keys(listed(server, filled, '_all_docs?keys=[]&startkey="m1"')) == []
    for wrong in ('keys=["m1"]&key="m2"', 'keys=["m1","m2"]&key="m1"', 'keys=["m1"]&startkey="a"'):
        answer = server.ask("GET", f"{filled}/_all_docs?{wrong}")
        assert (answer.status, answer.json()["error"]) == (400, "query_parse_error")


def test_couchdbs_own_marks_are_hidden(server, filled):
    server.ask("PUT", f"{filled}/_local/purge-mrview-1", {"purge_seq": 1})
    server.ask("PUT", f"{filled}/_local/purge-mine", {"n": 1})
    server.ask("PUT", f"{filled}/_local/shard-sync-1", {"target_uuid": "x", "seq": 1})
    seen = ["_local/a", "_local/b", "_local/purge-mine"]
    assert keys(listed(server, filled, "_local_docs")) == seen
    assert keys(listed(server, filled, "_local_docs?skip=1&limit=1")) == seen[1:2]
    every = ["_local/a", "_local/b", "_local/purge-mine", "_local/purge-mrview-1", "_local/shard-sync-1"]
    assert keys(listed(server, filled, "_local_docs?include_system=true")) == every


@pytest.mark.parametrize(
    ("query", "offset"),
    [
        ("", 2),
        ("limit=0", 2),
        ("descending=true", 3),
        ("skip=1", 3),
        ('startkey="_design/d"', 5),
        ('startkey="_design/d"&descending=true', 5),
        ('startkey="0"', 2),
        ('startkey="a"', 6),
        ('key="A"', 2),
        ("endkey=1", 2),
    ],
)
def test_offsets_of_design_documents_count_the_others_before_them(server, database, query, offset):
    ids = ["A", "B", *(f"_design/{name}" for name in "abcdef"), "z1", "z2", "z3"]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": [{"_id": id_} for id_ in ids]})
    assert listed(server, database, f"_design_docs?{query}")["offset"] == offset


def test_ids_of_documents_stand_for_keys_that_are_not_given(server, filled):
    assert keys(listed(server, filled, "_all_docs?startkey_docid=m2")) == ["m2", "m3"]
    assert keys(listed(server, filled, "_all_docs?endkey_docid=m1&inclusive_end=false")) == ["_design/d"]
    assert keys(listed(server, filled, '_all_docs?startkey="m3"&startkey_docid=m1')) == ["m3"]


def test_keys_may_name_local_documents(server, filled):
    rows = listed(server, filled, "_all_docs?include_docs=true", {"keys": ["_local/a", "_local/none", "m1"]})["rows"]
    assert rows[0]["value"] == {"rev": "0-1"}
    assert rows[0]["doc"] == {"_id": "_local/a", "_rev": "0-1"}
    assert rows[1] == {"key": "_local/none", "error": "not_found"}
    assert rows[2]["id"] == "m1"


@pytest.mark.parametrize("kind", ["_all_docs", "_design_docs", "_local_docs"])
def test_a_limit_has_a_limit(server, filled, kind):
    answer = server.ask("GET", f"{filled}/{kind}?limit={2**59}")
    assert (answer.status, answer.json()["error"]) == (400, "query_parse_error")
    assert server.ask("GET", f"{filled}/{kind}?limit={2**59 - 1}").status == 200


def test_a_list_of_local_documents_has_no_sequence(server, filled):
    assert listed(server, filled, "_local_docs?update_seq=true")["update_seq"] is None


def test_nothing_comes_after_what_is_no_text_downwards(server, filled):
    found = listed(server, filled, "_all_docs?startkey=true&descending=true")
    assert (keys(found), found["offset"]) == ([], 4)
