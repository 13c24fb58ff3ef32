"""Revision trees over HTTP: conflicts, the deterministic winner, replication's calls."""

from __future__ import annotations

import contextlib

import pytest

A, B, C, D = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)


def replicate(server, database, *docs):
    answer = server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": list(docs)})
    assert (answer.status, answer.json()) == (201, [])


def revision(id_, ids, *, start=None, **members):
    start = start or len(ids)
    return {"_id": id_, "_rev": f"{start}-{ids[0]}", "_revisions": {"start": start, "ids": list(ids)}, **members}


def test_the_higher_id_wins_whatever_comes_first(server, database):
    for name, order in (("x", (B, C)), ("y", (C, B))):
        replicate(server, database, *[revision(name, (leaf, A), v=leaf) for leaf in order])
        shown = server.ask("GET", f"{database}/{name}?conflicts=true").json()
        assert (shown["_rev"], shown["_conflicts"]) == (f"2-{C}", [f"2-{B}"])


def test_the_longer_branch_wins_over_the_higher_id(server, database):
    replicate(server, database, revision("x", (D, A)), revision("x", (A, B, C)))
    assert server.ask("GET", f"{database}/x").json()["_rev"] == f"3-{A}"


def test_a_living_leaf_wins_over_a_longer_deleted_one(server, database):
    replicate(server, database, revision("x", (A, B, C), _deleted=True), revision("x", (D,), v=1))
    shown = server.ask("GET", f"{database}/x?meta=true").json()
    assert shown["_rev"] == f"1-{D}"
    assert shown["_deleted_conflicts"] == [f"3-{A}"]
    assert "_conflicts" not in shown


def test_deleting_the_winner_shows_the_loser(server, database):
    replicate(server, database, revision("x", (C, A), v="c"), revision("x", (B, A), v="b"))
    assert server.ask("DELETE", f"{database}/x?rev=2-{C}").status == 200
    assert server.ask("GET", f"{database}/x").json() == {"_id": "x", "_rev": f"2-{B}", "v": "b"}
    assert server.ask("DELETE", f"{database}/x?rev=2-{B}").status == 200
    assert server.ask("GET", f"{database}/x").json()["reason"] == "deleted"
    info = server.ask("GET", database).json()
    assert (info["doc_count"], info["doc_del_count"]) == (0, 1)


def test_a_losing_leaf_can_be_edited(server, database):
    replicate(server, database, revision("x", (C, A), v="c"), revision("x", (B, A), v="b"))
    made = server.ask("PUT", f"{database}/x", {"_rev": f"2-{B}", "v": "longer"})
    assert made.status == 201
    assert server.ask("GET", f"{database}/x").json()["_rev"] == made.json()["rev"]


def test_all_leaves_and_named_revisions_are_opened(server, database):
    replicate(server, database, revision("x", (C, A), v="c"), revision("x", (B, A), v="b"))
    opened = server.ask("GET", f"{database}/x?open_revs=all&revs=true").json()
    assert {item["ok"]["v"] for item in opened} == {"b", "c"}
    assert all(item["ok"]["_revisions"]["ids"][1] == A for item in opened)
    named = server.ask("GET", f'{database}/x?open_revs=["2-{B}","9-{D}"]').json()
    assert [next(iter(item)) for item in named] == ["ok", "missing"]
    latest = server.ask("GET", f'{database}/x?open_revs=["1-{A}"]&latest=true').json()
    assert {item["ok"]["_rev"] for item in latest} == {f"2-{B}", f"2-{C}"}
    assert server.ask("GET", f"{database}/none?open_revs=all").status == 404
    assert server.ask("GET", f'{database}/none?open_revs=["1-{A}"]').json() == [{"missing": f"1-{A}"}]


def test_revisions_without_content_are_missing(server, database):
    replicate(server, database, revision("x", (C, B, A), v="c"))
    info = server.ask("GET", f"{database}/x?revs_info=true").json()["_revs_info"]
    assert [item["status"] for item in info] == ["available", "missing", "missing"]
    assert server.ask("GET", f"{database}/x?rev=2-{B}").status == 404


def test_history_is_cut_at_the_limit_and_joined_again(server, database):
    assert server.ask("PUT", f"{database}/_revs_limit", 3).status == 200
    rev = server.ask("PUT", f"{database}/x", {}).json()["rev"]
    for number in range(5):
        rev = server.ask("PUT", f"{database}/x", {"_rev": rev, "n": number}).json()["rev"]
    history = server.ask("GET", f"{database}/x?revs=true").json()["_revisions"]
    assert (history["start"], len(history["ids"])) == (6, 3)


def test_replicating_twice_changes_nothing(server, database):
    document = revision("x", (B, A), v=1)
    replicate(server, database, document)
    before = server.ask("GET", database).json()["update_seq"]
    replicate(server, database, document, document)
    assert server.ask("GET", database).json()["update_seq"] == before


def test_differences_name_what_is_missing_and_possible_ancestors(server, database):
    replicate(server, database, revision("x", (B, A)))
    asked = {"x": [f"2-{B}", f"1-{A}", f"3-{C}"], "y": [f"1-{A}"], "z": []}
    answer = server.ask("POST", f"{database}/_revs_diff", asked).json()
    assert answer == {
        "x": {"missing": [f"3-{C}"], "possible_ancestors": [f"2-{B}"]},
        "y": {"missing": [f"1-{A}"]},
    }
    missing = server.ask("POST", f"{database}/_missing_revs", asked).json()
    assert missing == {"missing_revs": {"x": [f"3-{C}"], "y": [f"1-{A}"]}}


@pytest.mark.parametrize("odd", ["1-abc", "5-x", "1-" + "Z" * 31])
def test_ids_of_revisions_may_be_any_text(server, database, odd):
    replicate(server, database, {"_id": "x", "_rev": odd, "v": 1})
    assert server.ask("GET", f"{database}/x?rev={odd}").json()["_rev"] == odd
    made = server.ask("PUT", f"{database}/x", {"_rev": odd})
    assert made.status == 201
    assert server.ask("GET", f"{database}/x?revs=true").json()["_revisions"]["ids"][1] == odd.split("-")[1]


@pytest.mark.parametrize("bad", ["x", "1", "-1-a", "1x-a", "", 1, None, ["1-a"], "1-" + "Z" * 32])
def test_malformed_revisions_are_refused(server, database, bad):
    assert server.ask("PUT", f"{database}/x", {"_rev": bad}).status == 400
    diff = server.ask("POST", f"{database}/_revs_diff", {"x": [bad]})
    refused = (400, "bad_request") if isinstance(bad, str | list) else (500, "unknown_error")
    assert (diff.status, diff.json()["error"]) == refused
    assert server.ask("POST", f"{database}/_purge", {"x": [bad]}).status == 400


@pytest.mark.parametrize(
    "bad",
    [
        {"start": "1", "ids": [A]},
        {"start": 1, "ids": A},
        {"start": 1, "ids": [1]},
        {"start": 1, "ids": ["Z" * 32]},
        {"start": 1, "ids": [A, B, A]},
        {},
    ],
)
def test_malformed_histories_are_refused(server, database, bad):
    docs = {"new_edits": False, "docs": [{"_id": "x", "_revisions": bad}]}
    answer = server.ask("POST", f"{database}/_bulk_docs", docs)
    assert (answer.status, answer.json()["error"]) == (400, "doc_validation")


def test_replicated_edits_need_a_revision(server, database):
    assert server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": [{"_id": "x"}]}).status == 400
    assert server.ask("PUT", f"{database}/x?new_edits=false", {}).status == 400
    answer = server.ask("PUT", f"{database}/x?new_edits=false", revision("x", (B, A)))
    assert (answer.status, answer.json()["rev"]) == (201, f"2-{B}")


def test_a_write_with_a_revision_to_nothing_is_accepted_once_a_document_was_written(server, database):
    assert server.ask("PUT", f"{database}/first", {}).status == 201
    answer = server.ask("PUT", f"{database}/x", {"_rev": f"4-{A}"})
    assert answer.status == 201
    assert answer.json()["rev"].startswith("5-")


def test_a_deleted_document_goes_on_from_its_tombstone(server, database):
    first = server.ask("PUT", f"{database}/x", {}).json()["rev"]
    gone = server.ask("DELETE", f"{database}/x?rev={first}").json()["rev"]
    assert server.ask("PUT", f"{database}/x", {"_rev": gone}).status == 409
    again = server.ask("PUT", f"{database}/x", {"v": 1})
    assert again.json()["rev"].startswith("3-")
    ids = server.ask("GET", f"{database}/x?revs=true").json()["_revisions"]["ids"]
    assert ids[1:] == [gone.split("-")[1], first.split("-")[1]]


def test_a_tombstone_keeps_its_body(server, database):
    first = server.ask("PUT", f"{database}/x", {}).json()["rev"]
    gone = server.ask("PUT", f"{database}/x", {"_rev": first, "_deleted": True, "why": "done"})
    assert gone.status == 200
    shown = server.ask("GET", f"{database}/x?rev={gone.json()['rev']}").json()
    assert (shown["_deleted"], shown["why"]) == (True, "done")
    assert server.ask("GET", f"{database}/x?deleted=true").json()["why"] == "done"


def test_bulk_get_takes_revisions_and_reports_each_failure(server, database):
    replicate(server, database, revision("x", (C, A), v="c"), revision("x", (B, A), v="b"))
    asked = {
        "docs": [{"id": "x"}, {"id": "x", "rev": f"2-{B}"}, {"id": "x", "rev": "bad"}, {"rev": "1-a"}, 1, {"id": ""}]
    }
    results = server.ask("POST", f"{database}/_bulk_get?revs=true", asked).json()["results"]
    assert len(results[0]["docs"]) == 2
    assert results[1]["docs"][0]["ok"]["_revisions"]["ids"] == [B, A]
    assert [results[place]["docs"][0]["error"]["error"] for place in (2, 3, 4, 5)] == [
        "bad_request",
        "bad_request",
        "bad_request",
        "illegal_docid",
    ]
    for parameter in ("open_revs=all", "new_edits=false", "rev=1-a", "w=1", "atts_since=[]"):
        assert server.ask("POST", f"{database}/_bulk_get?{parameter}", {"docs": []}).status == 400


def test_local_documents_have_no_history_and_no_place_in_lists(server, database):
    path = f"{database}/_local/checkpoint"
    assert server.ask("PUT", path, {"n": 1}).json()["rev"] == "0-1"
    assert server.ask("PUT", path, {"n": 2, "_rev": "0-1"}).json()["rev"] == "0-2"
    assert server.ask("GET", path).json() == {"_id": "_local/checkpoint", "_rev": "0-2", "n": 2}
    assert server.ask("GET", f"{database}/_all_docs").json()["rows"] == []
    assert server.ask("GET", f"{database}/_changes").json()["results"] == []
    listed = server.ask("GET", f"{database}/_local_docs?include_docs=true").json()["rows"]
    assert [row["doc"]["n"] for row in listed] == [2]
    rows = server.ask("POST", f"{database}/_bulk_docs", {"docs": [{"_id": "_local/b"}, {"_id": "c"}]}).json()
    assert [row["rev"].split("-")[0] for row in rows] == ["0", "1"]
    for bad in ("_local", "_local/", "_local/a/b"):
        assert server.ask("GET", f"{database}/{bad}").status in {400, 404}


def test_conditional_requests(server, database):
    made = server.ask("PUT", f"{database}/x", {"n": 1})
    etag = made.headers["etag"]
    for header in (etag, f'"other", {etag}', f'"other" {etag}', f"W/{etag}"):
        assert server.ask("GET", f"{database}/x", headers={"If-None-Match": header}).status == 304
    for header in ('"other"', "*"):
        assert server.ask("GET", f"{database}/x", headers={"If-None-Match": header}).status == 200
    rev = made.json()["rev"]
    assert server.ask("PUT", f"{database}/x", {}, headers={"If-Match": "1-" + "0" * 32}).status == 409
    assert server.ask("PUT", f"{database}/x?rev={rev}", {}, headers={"If-Match": "1-" + "0" * 32}).status == 400
    assert server.ask("DELETE", f"{database}/x", headers={"If-Match": f'"{rev}"'}).status == 200


def test_copying(server, database):
    made = server.ask("PUT", f"{database}/x", {"n": 1}).json()["rev"]
    server.ask("PUT", f"{database}/y", {"n": 2})
    assert server.ask("COPY", f"{database}/x", headers={"Destination": "y"}).status == 409
    target = server.ask("GET", f"{database}/y").json()["_rev"]
    copied = server.ask("COPY", f"{database}/x?rev={made}", headers={"Destination": f"y?rev={target}"})
    assert copied.status == 201
    assert server.ask("GET", f"{database}/y").json()["n"] == 1
    assert server.ask("COPY", f"{database}/none", headers={"Destination": "z"}).status == 404
    assert server.ask("COPY", f"{database}/x").status == 400
    assert server.ask("COPY", f"{database}/x", headers={"Destination": "http://elsewhere/z"}).status == 400


def test_readers_of_an_encoded_slash_are_sent_to_the_plain_one(server, database):
    made = server.ask("PUT", f"{database}/_design%2Fx", {"language": "query"})
    assert made.status == 201
    answer = server.ask("GET", f"{database}/_design%2Fx?revs=true")
    assert answer.status == 301
    assert answer.headers["location"].endswith(f"{database}/_design/x?revs=true")
    assert server.ask("GET", f"{database}/_design/x").json()["_rev"] == made.json()["rev"]


def test_all_or_nothing_is_refused_and_nothing_written(server, database):
    docs = [{"_id": "a"}, {"_id": "b", "_rev": "1-x"}]
    answer = server.ask("POST", f"{database}/_bulk_docs", {"docs": docs, "all_or_nothing": True})
    assert answer.status == 417
    assert [(row["id"], row["rev"], row["error"]) for row in answer.json()] == [
        ("a", "0-", "not_implemented"),
        ("b", "1-x", "not_implemented"),
    ]
    assert server.ask("GET", f"{database}/_all_docs").json()["total_rows"] == 0


def test_revisions_are_opened_in_their_order_and_missing_ones_last(server, database):
    replicate(server, database, revision("x", (C, A)), revision("x", (B, A)), revision("x", (D, C, A)))
    asked = f'["9-{D}","3-{D}","2-{B}","1-{B}","2-{B}"]'

    def opened(parameters=""):
        rows = server.ask("GET", f"{database}/x?open_revs={asked}{parameters}").json()
        return [row["ok"]["_rev"] if "ok" in row else row["missing"] for row in rows]

    assert opened() == opened("&latest=true") == [f"2-{B}", f"3-{D}", f"1-{B}", f"9-{D}"]


def test_no_open_revisions_are_the_plain_document(server, database):
    made = server.ask("PUT", f"{database}/x", {"n": 1}).json()
    answer = server.ask("GET", f"{database}/x?open_revs=[]")
    assert answer.json() == {"_id": "x", "_rev": made["rev"], "n": 1}
    assert answer.headers["etag"] == f'"{made["rev"]}"'


def test_differences_are_in_couchdbs_order(server, database):
    replicate(server, database, revision("x", (B, A)), revision("x", (D, A)), revision("x", (C, A)))
    asked = {"x": [f"9-{B}", f"4-{B}", f"4-{A}"], "y": ["9-b", "4-b"]}
    answer = server.ask("POST", f"{database}/_revs_diff", asked).json()
    assert answer["x"]["missing"] == [f"4-{A}", f"4-{B}", f"9-{B}"]
    assert answer["x"]["possible_ancestors"] == [f"2-{D}", f"2-{C}", f"2-{B}"]
    assert answer["y"] == {"missing": ["9-b", "4-b"]}
    missing = server.ask("POST", f"{database}/_missing_revs", asked).json()["missing_revs"]
    assert missing == {"x": [f"4-{A}", f"4-{B}", f"9-{B}"], "y": ["9-b", "4-b"]}


def test_bulk_get_says_which_revision_was_wrong(server, database):
    server.ask("PUT", f"{database}/a", {})
    items = [
        {"id": "a", "rev": None},
        {"id": "_x", "rev": "1-a"},
        {"id": "a", "atts_since": ["1-a", "bad"]},
        {"id": "a", "atts_since": "bad"},
        {"id": "a", "atts_since": []},
    ]
    results = server.ask("POST", f"{database}/_bulk_get", {"docs": items}).json()["results"]
    errors = [result["docs"][0].get("error", {}) for result in results]
    assert [(error.get("error"), error.get("rev")) for error in errors] == [
        ("bad_request", None),
        ("illegal_docid", None),
        ("bad_request", "bad"),
        ("bad_request", "bad"),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("_revs_diff", {"a": "x"}),
        ("_revs_diff", {"a": [1]}),
        ("_missing_revs", {"a": [None]}),
        ("_bulk_get", {"docs": "x"}),
        ("_bulk_docs", {"docs": [{"_id": "a"}], "new_edits": "x"}),
        ("_all_docs/queries", {"queries": [1]}),
    ],
)
def test_what_couchdb_fails_on_has_its_error(server, database, path, body):
    answer = server.ask("POST", f"{database}/{path}", body)
    assert (answer.status, answer.json()["error"]) == (500, "unknown_error")


def test_a_copy_may_go_to_an_id_like_an_address(server, database):
    server.ask("PUT", f"{database}/x", {"n": 1})
    assert server.ask("COPY", f"{database}/x", headers={"Destination": "uid://A001/X1"}).status == 201
    rows = server.ask("GET", f"{database}/_all_docs").json()["rows"]
    assert [row["id"] for row in rows] == ["uid://A001/X1", "x"]
    assert server.ask("COPY", f"{database}/x", headers={"Destination": "https://elsewhere/z"}).status == 400


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_local_documents_have_names(server, database, method):
    with contextlib.closing(server.connect()) as connection:
        connection.request(method, f"{database}/_local%2F", "{}", {"Authorization": server.authorization})
        answer = connection.getresponse()
        assert (answer.status, b"bad_request" in answer.read()) == (400, True)


def test_local_documents_have_no_revisions_to_open(server, database):
    server.ask("PUT", f"{database}/_local/x", {})
    assert server.ask("GET", f"{database}/_local/x?rev=0-1").status == 404
    assert server.ask("GET", f"{database}/_local/x?open_revs=all").status == 404
    assert server.ask("GET", f'{database}/_local/x?open_revs=["0-1"]').json() == [{"missing": "0-1"}]


def test_leaves_come_in_bulk_as_the_tree_has_them(server, database):
    replicate(
        server,
        database,
        revision("x", (B, A)),
        revision("x", (D, C, A), _deleted=True),
        revision("x", (A, D, A)),
        revision("x", (C, B), start=5),
    )
    (result,) = server.ask("POST", f"{database}/_bulk_get", {"docs": [{"id": "x"}]}).json()["results"]
    assert [item["ok"]["_rev"] for item in result["docs"]] == [f"5-{C}", f"2-{B}", f"3-{D}", f"3-{A}"]


def test_branches_are_joined_when_the_link_between_them_comes(server, database):
    replicate(server, database, {"_id": "x", "_rev": f"3-{C}"})
    replicate(server, database, revision("x", (B, A)))
    assert server.ask("GET", f"{database}/x?conflicts=true").json()["_conflicts"] == [f"2-{B}"]
    replicate(server, database, revision("x", (D, C, B), start=4))
    shown = server.ask("GET", f"{database}/x?conflicts=true&revs=true").json()
    assert "_conflicts" not in shown
    assert shown["_revisions"] == {"start": 4, "ids": [D, C, B, A]}


def test_a_revision_of_what_is_not_there_conflicts_if_couchdb_looks_closer(server, database):
    assert server.ask("PUT", f"{database}/first", {}).status == 201
    attached = {"_rev": "1-abc", "_attachments": {"a": {"data": "aGVsbG8="}}}
    assert server.ask("PUT", f"{database}/x", attached).status == 409
    assert server.ask("PUT", f"{database}/_design/x", {"_rev": "1-abc"}).status == 409
    assert server.ask("PUT", f"{database}/y", {"_rev": "1-abc"}).status == 201
    docs = [{"_id": "v", "_rev": "1-abc"}, {"_id": "w", "_attachments": {"a": {"data": ""}}}]
    rows = server.ask("POST", f"{database}/_bulk_docs", {"docs": docs}).json()
    assert [row.get("error") for row in rows] == ["conflict", None]


@pytest.mark.parametrize(
    ("destination", "expected"),
    [("y?rev=", "bad_request"), ("y?foo=bar", "bad_request"), ("y?", "bad_request"), ("", "illegal_docid")],
)
def test_destinations_that_are_none_are_refused(server, database, destination, expected):
    server.ask("PUT", f"{database}/x", {})
    refused = server.ask("COPY", f"{database}/x", headers={"Destination": destination})
    assert (refused.status, refused.json()["error"]) == (400, expected)


def test_a_destination_is_ascii(server, database):
    server.ask("PUT", f"{database}/x", {})
    refused = server.ask("COPY", f"{database}/x", headers={"Destination": "\xe9"})
    assert (refused.status, refused.json()["error"]) == (400, "illegal_docid")


@pytest.mark.parametrize(
    ("late", "status", "seq"),
    [
        ([revision("x", (A,))], "available", 2),
        ([revision("x", (C, B, A)), revision("x", (A,))], "available", 2),
        ([revision("x", (A,), _attachments={"a": {"data": "YQ=="}})], "missing", 1),
        ([revision("x", (B, A))], "missing", 1),
    ],
)
def test_an_ancestor_that_comes_late_brings_its_content(server, database, late, status, seq):
    replicate(server, database, revision("x", (B, A)))
    replicate(server, database, *late)
    shown = server.ask("GET", f"{database}/x?revs_info=true&local_seq=true").json()
    assert shown["_revs_info"][-1] == {"rev": f"1-{A}", "status": status}
    assert shown["_local_seq"] == seq
