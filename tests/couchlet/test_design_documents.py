"""Design documents: what CouchDB refuses in them, and what is stored though it is not run here."""

from __future__ import annotations

import pytest

MAP = "function (doc) { emit(doc._id); }"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"views": 1}, "`views` field must have object type"),
        ({"views": None}, "`views` field must have object type"),
        ({"views": {"a": 1}}, "`views.a` field must have object type"),
        ({"views": {"a": {}}}, "View `a` must contain map function"),
        ({"views": {"a": {"map": {}}}}, "`views.a.map` field must have string type"),
        ({"views": {"a": {"map": MAP, "reduce": 1}}}, "`views.a.reduce` field must have string type"),
        ({"language": "query", "views": {"a": {"map": MAP}}}, "`views.a.map` field must have object type"),
        ({"views": {"lib": "x"}}, "`views.lib` field must have object type"),
        ({"language": 5}, "`language` field must have string type"),
        ({"filters": []}, "`filters` field must have object type"),
        ({"filters": {"a": 1}}, "`filters.a` field must have string or object type"),
        ({"options": {"local_seq": "x"}}, "`options.local_seq` field must have boolean type"),
        ({"rewrites": {}}, "`rewrites` field must have array or string type"),
        ({"validate_doc_update": 1}, "`validate_doc_update` field must have string type"),
    ],
)
def test_malformed_ones_are_refused(server, database, body, reason):
    answer = server.ask("PUT", f"{database}/_design/x", body)
    assert (answer.status, answer.json()) == (400, {"error": "invalid_design_doc", "reason": reason})
    row = server.ask("POST", f"{database}/_bulk_docs", {"docs": [{"_id": "_design/x", **body}]}).json()[0]
    assert (row["error"], row["reason"]) == ("invalid_design_doc", reason)
    assert server.ask("GET", f"{database}/_design/x").status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"views": {"a": {"map": MAP, "reduce": "_count"}, "lib": {"m": "exports.x = 1"}}},
        {"language": "query", "views": {"a": {"map": {"fields": {}}, "reduce": "_count", "options": {}}}},
        {"filters": {"a": "function () {}"}, "rewrites": [], "shows": {}, "whatever": 1},
        {"_deleted": True, "views": 1},
    ],
)
def test_well_formed_ones_are_stored(server, database, body):
    assert server.ask("PUT", f"{database}/_design/x", body).status in {200, 201}


@pytest.mark.parametrize("query", ["stale=x", "update=x", "stable=x"])
def test_values_of_what_makes_no_difference_are_checked(server, database, query):
    answer = server.ask("GET", f"{database}/_all_docs?{query}")
    assert (answer.status, answer.json()["error"]) == (400, "query_parse_error")
    assert server.ask("GET", f"{database}/_all_docs?stale=ok&update=lazy&stable=true").status == 200


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "_view/none", (404, "not_found")),
        ("POST", "_view/none", (404, "not_found")),
        ("PUT", "_view/v", (405, "method_not_allowed")),
        ("GET", "_view", (405, "method_not_allowed")),
        ("GET", "_view/v", (501, "not_implemented")),
        ("GET", "_show/none", (404, "not_found")),
        ("GET", "_list/none/v", (404, "not_found")),
        ("POST", "_update/none", (404, "not_found")),
    ],
)
def test_functions_that_are_missing_are_told_from_those_that_are_not_run(server, database, method, path, expected):
    design = {"views": {"v": {"map": "function (doc) { emit(doc._id); }"}}, "shows": {}}
    assert server.ask("PUT", f"{database}/_design/x", design).status == 201
    answer = server.ask(method, f"{database}/_design/x/{path}", None if method == "GET" else {})
    assert (answer.status, answer.json()["error"]) == expected
