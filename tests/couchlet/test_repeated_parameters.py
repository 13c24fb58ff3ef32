"""Parameters that are named several times, values that are none, and revisions that are asked for twice."""

from __future__ import annotations

import pytest

R = "1-" + "a" * 32


@pytest.fixture
def revisions(server, database):
    """A document of two revisions, the first of which has no content."""
    pair = [{"start": 2, "ids": ["b" * 32, "a" * 32]}]
    docs = [{"_id": "x", "_rev": f"2-{'b' * 32}", "_revisions": pair[0], "_attachments": {"f": {"data": "eA=="}}}]
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": docs})
    return R, f"2-{'b' * 32}"


@pytest.mark.parametrize("path", ["/x", "/x/f"])
def test_the_last_revision_is_read(server, database, revisions, path):
    old, new = revisions
    assert server.ask("GET", f"{database}{path}?rev={old}&rev={new}").status == 200
    assert server.ask("GET", f"{database}{path}?rev={new}&rev={old}").status == 404
    assert server.ask("GET", f"{database}{path}?rev={new}&rev=zzz").status == 400


def test_the_first_revision_is_edited(server, database, revisions):
    old, new = revisions
    assert server.ask("PUT", f"{database}/x?rev={old}&rev={new}", {}).status == 409
    assert server.ask("PUT", f"{database}/x?rev={new}&rev={old}", {}).status == 201


def test_what_is_on_once_is_on(server, database, revisions):
    for order in (("true", "false"), ("false", "true")):
        query = "&".join(f"{name}={value}" for value in order for name in ("revs", "revs_info"))
        assert {"_revisions", "_revs_info"} <= server.ask("GET", f"{database}/x?{query}").json().keys()
        query = "&".join(f"{name}={value}" for value in order for name in ("descending", "include_docs"))
        server.ask("PUT", f"{database}/y", {})
        rows = server.ask("GET", f"{database}/_changes?{query}").json()["results"]
        assert [row["doc"]["_id"] for row in rows] == ["y", "x"]


def test_the_last_of_other_parameters_counts(server, database, revisions):
    assert isinstance(server.ask("GET", f"{database}/x?open_revs=[]&open_revs=all").json(), list)
    assert server.ask("GET", f"{database}/x?open_revs=all&open_revs=[]").json()["_id"] == "x"
    made = server.ask("PUT", f"{database}/n?new_edits=true&new_edits=false", {"_rev": "1-x"}).json()
    assert made["rev"] == "1-x"


def test_what_is_no_revision_is_refused_with_latest_too(server, database, revisions):
    for text in ("zzz", ""):
        answer = server.ask("GET", f"{database}/x?rev={text}&latest=true")
        assert (answer.status, answer.json()["reason"]) == (400, "Invalid rev format")
    assert server.ask("GET", f"{database}/x?rev={R}&latest=true").json()["_rev"] == revisions[1]


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ([R], []),
        ([R, R], [R]),
        ([R, R, R], [R, R]),
        (["2-x", R, R, "3-x"], [R, "2-x", "3-x"]),
        ([R, R.upper()], [R]),
        (["3-x", "3-x"], ["3-x", "3-x"]),
    ],
)
def test_a_revision_that_is_there_is_crossed_out_once(server, database, revisions, asked, missing):
    answer = server.ask("POST", f"{database}/_missing_revs", {"x": asked}).json()["missing_revs"]
    assert answer.get("x", []) == missing
    assert server.ask("POST", f"{database}/_revs_diff", {"x": asked}).json().get("x", {}).get("missing", []) == missing


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("descending=", "Invalid boolean parameter: []"),
        ("descending=x", 'Invalid boolean parameter: "x"'),
        ('include_docs="true"', 'Invalid boolean parameter: "\\"true\\""'),
        ("limit=", "Invalid value for integer: []"),
        ("reduce=true", "Reduce is invalid for map-only views."),
    ],
)
def test_words_for_values_that_are_none(server, database, query, reason):
    answer = server.ask("GET", f"{database}/_all_docs?{query}")
    assert (answer.status, answer.json()["reason"]) == (400, reason)


def test_what_is_not_found_is_called_an_object(server, database):
    for method, path in (("GET", f"{database}/none"), ("HEAD", f"{database}/none"), ("GET", "/none")):
        connection = server.connect()
        connection.request(method, path, headers={"Authorization": server.authorization})
        response = connection.getresponse()
        assert (response.status, response.reason) == (404, "Object Not Found")
        response.read()
        connection.close()


def test_an_index_tells_its_order_of_text(server, database):
    server.ask("POST", f"{database}/_index", {"index": {"fields": ["a"]}, "ddoc": "d"})
    info = server.ask("GET", f"{database}/_design/d/_info").json()["view_index"]
    assert info["collator_versions"] == ["153.120"]
