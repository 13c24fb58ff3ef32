"""Requests that few clients make are answered as Apache CouchDB 3.5.0 answered them beside couchlet."""

from __future__ import annotations

import pytest
from waiting import until

HUGE = "99999999999999999999-a"
NO_FORMAT = (400, {"error": "bad_request", "reason": "Invalid rev format"})
EMPTY_HISTORY = {"_revisions": {"start": 5, "ids": []}, "_rev": "1-q"}
MANGO = "Unknown Error: mango_opts :: "


def fault(status, error, reason):
    return status, {"error": error, "reason": reason}


@pytest.mark.parametrize(
    ("request_", "answered"),
    [
        (("GET", f"/a?rev={HUGE}", None), fault(404, "not_found", "missing")),
        (("POST", "/_missing_revs", {"a": [HUGE]}), (200, {"missing_revs": {"a": [HUGE]}})),
        (("POST", "/_purge", {"a": [HUGE]}), (201, {"purge_seq": None, "purged": {"a": []}})),
        (("POST", "/_revs_diff", {"a": [["3-c"]]}), NO_FORMAT),
        (("PUT", "/_revs_limit", 99999999999999), (200, {"ok": True})),
        (("PUT", "/_purged_infos_limit", 99999999999999), (200, {"ok": True})),
        (("POST", "/_bulk_get", {"docs": None}), fault(500, "unknown_error", "function_clause")),
        (
            ("PUT", "/b?new_edits=false", EMPTY_HISTORY),
            fault(400, "bad_request", "When `new_edits: false`, the document needs `_rev` or `_revisions` specified"),
        ),
        (
            ("POST", "/_all_docs/queries", {"queries": [{"keys": "x"}]}),
            fault(400, "query_parse_error", "`keys` must be an array of strings."),
        ),
        (
            ("POST", "/_find", {"selector": {}, "stale": "x"}),
            fault(500, "unknown_error", MANGO + "{invalid_ok_or_false_value,<<120>>}"),
        ),
        (
            ("POST", "/_find", {"selector": {}, "partition": 1}),
            fault(400, "illegal_partition", "Partition must be a string"),
        ),
        (
            ("POST", "/_find", {"selector": {}, "partition": "x"}),
            fault(400, "query_parse_error", "`partition` parameter is not supported on this db"),
        ),
        (
            ("POST", "/_index", {"index": {"fields": ["a"]}, "partitioned": "x"}),
            fault(500, "unknown_error", MANGO + "{invalid_partitioned_value,<<120>>}"),
        ),
        (
            ("POST", "/_index", {"index": {"fields": ["a"]}, "partitioned": True}),
            fault(500, "error_saving_ddoc", "Unknown error while saving the design document: invalid_design_doc"),
        ),
        (
            ("POST", "/_index/_bulk_delete", {"docids": "x"}),
            fault(400, "invalid_bulk_docs", "Bulk Delete requires an array of non-null docids. Docids: <<120>>"),
        ),
        (("POST", "/_index/_bulk_delete", {"docids": [None]}), fault(500, "unknown_error", "badarg")),
        (
            ("POST", "/_changes?filter=_selector", {"selector": {}, "fields": [1]}),
            fault(400, "bad_request", "Invalid JSON for field spec: 1"),
        ),
    ],
)
def test_answers(server, database, request_, answered):
    assert server.ask("PUT", f"{database}/a", {}).status == 201
    method, path, body = request_
    answer = server.ask(method, database + path, body)
    assert (answer.status, answer.json()) == answered


@pytest.mark.parametrize("path", [f"/b?rev={HUGE}", f"/b?rev={HUGE}&new_edits=false"])
def test_a_revision_that_nobody_can_have_come_to_is_not_written(server, database, path):
    answer = server.ask("PUT", database + path, {})
    assert (answer.status, answer.json()) == NO_FORMAT
    assert server.ask("PUT", f"{database}/a", {}).status == 201
    assert server.ask("COPY", f"{database}/a", headers={"Destination": f"b?rev={HUGE}"}).status == 400


def test_a_limit_that_is_huge_keeps_compaction_going(server, database):
    assert server.ask("PUT", f"{database}/_purged_infos_limit", 10**25).status == 200
    revision = server.ask("PUT", f"{database}/a", {"a": "x" * 1_000_000}).json()["rev"]
    server.ask("PUT", f"{database}/a?rev={revision}", {})
    server.ask("POST", f"{database}/_compact", {})
    until(lambda: server.ask("GET", database).json()["sizes"]["file"] < 900_000)


def test_an_empty_history_counts_more_than_a_revision(server, database):
    answer = server.ask("PUT", f"{database}/b", EMPTY_HISTORY)
    assert (answer.status, answer.json()["rev"]) == (201, "1-967a00dff5e02add41819138abb3284d")


@pytest.mark.parametrize(("keys", "reason"), [("x", "`keys` member must be an array."), (["x"] * 101, "too_many_keys")])
def test_names_of_databases_are_a_list_that_is_not_too_long(server, keys, reason):
    assert server.ask("POST", "/_dbs_info", {"keys": keys}).json() == {"error": "bad_request", "reason": reason}


@pytest.mark.parametrize(
    ("kind", "status"), [("application/json;x", 201), ("application/json; x", 201), ("application/json ; x", 415)]
)
def test_a_content_type_ends_where_couchdb_has_it_end(server, database, kind, status):
    answer = server.ask("POST", f"{database}/_bulk_docs", '{"docs":[]}', headers={"Content-Type": kind})
    assert answer.status == status


def test_a_document_is_copied_to_an_id_of_any_script(server, database):
    assert server.ask("PUT", f"{database}/a", {}).status == 201
    copied = server.ask("COPY", f"{database}/a", headers={"Destination": "é".encode().decode("latin-1")})
    assert (copied.status, copied.json()["id"]) == (201, "é")


def test_an_empty_content_type_is_kept(server, database):
    assert server.ask("PUT", f"{database}/a/f", b"x", headers={"Content-Type": ""}).status == 201
    assert server.ask("GET", f"{database}/a").json()["_attachments"]["f"]["content_type"] == ""


def test_there_are_no_updates_of_all_databases(server):
    assert server.ask("GET", "/_db_updates").status == 501
