"""Writes that want more copies than there are nodes, and writes whose outcome nobody waits for."""

from __future__ import annotations

import pytest

BAD = (500, "badarg")


@pytest.mark.parametrize("number", ["2", "3", "+2", "02", "9" * 30])
def test_a_write_that_wants_more_copies_is_accepted_only(server, database, number):
    query = f"w={number.replace('+', '%2B')}"
    made = server.ask("PUT", f"{database}/x?{query}", {})
    assert made.status == 202
    assert server.ask("PUT", f"{database}/x?{query}", {}).status == 409
    assert server.ask("DELETE", f"{database}/x?rev={made.json()['rev']}&{query}").status == 202
    assert server.ask("PUT", f"{database}/_local/x?{query}", {}).status == 202
    assert server.ask("POST", f"{database}?{query}", {}).status == 202
    assert server.ask("PUT", f"{database}/y/a?{query}", b"a").status == 202
    assert server.ask("COPY", f"{database}/y?{query}", headers={"Destination": "z"}).status == 201
    assert server.ask("PUT", f"{database}/r?new_edits=false&{query}", {"_rev": "1-a"}).status == 201
    assert server.ask("POST", f"{database}/_purge?{query}", {"x": []}).status == 202


@pytest.mark.parametrize("number", ["1", "0", "-1", "-3", "+1", "01"])
def test_one_copy_there_is(server, database, number):
    assert server.ask("PUT", f"{database}/x?w={number.replace('+', '%2B')}", {}).status == 201


@pytest.mark.parametrize("number", ["x", "", "1.5", "%202", "2x"])
def test_what_is_no_number_of_copies_is_refused_and_nothing_written(server, database, number):
    for method, path, body in (("PUT", "/x", {}), ("POST", "/_bulk_docs", {"docs": [{"_id": "x"}]})):
        answer = server.ask(method, f"{database}{path}?w={number}", body)
        assert (answer.status, answer.json()["reason"]) == BAD
    assert server.ask("GET", f"{database}/x").status == 404
    assert server.ask("POST", f"{database}/_bulk_docs?w={number}", {"docs": []}).status == 201


def test_of_many_documents_those_written_are_accepted(server, database):
    server.ask("PUT", f"{database}/old", {})
    docs = [{"_id": "new"}, {"_id": "old"}]
    answer = server.ask("POST", f"{database}/_bulk_docs", {"docs": docs, "w": 2})
    assert answer.status == 202
    assert list(answer.json()[0]) == ["ok", "id", "rev", "accepted"]
    assert answer.json()[1]["error"] == "conflict"
    assert server.ask("POST", f"{database}/_bulk_docs?w=2", {"docs": docs}).status == 201
    assert server.ask("POST", f"{database}/_bulk_docs?w=2", {"docs": [{}], "w": 1}).status == 201
    assert server.ask("POST", f"{database}/_bulk_docs?w=2", {"docs": [{}], "w": True}).status == 202
    replicated = {"docs": [{"_id": "r", "_rev": "1-a"}], "new_edits": False}
    assert server.ask("POST", f"{database}/_bulk_docs?w=2", replicated).status == 201


@pytest.mark.parametrize(
    ("id_", "body"),
    [
        ("x", {}),
        ("old", {}),
        ("x", {"_attachments": {"a": {"stub": True}}}),
        ("_design/x", {"views": 1}),
        ("_local/x", {}),
    ],
)
def test_a_batch_is_not_told_what_is_wrong_with_its_documents(server, database, id_, body):
    server.ask("PUT", f"{database}/old", {})
    for answer in (
        server.ask("PUT", f"{database}/{id_}?batch=ok", body),
        server.ask("POST", f"{database}?batch=ok", {"_id": id_, **body}),
    ):
        assert (answer.status, answer.json()) == (202, {"ok": True, "id": id_})


def test_a_batch_is_told_what_is_not_to_be_had_here(server, database):
    refused = server.ask("PUT", f"{database}/_design/x?batch=ok", {"validate_doc_update": "function () {}"})
    assert refused.status == 501
    assert server.ask("PUT", f"{database}/x?batch=ok", {"_foo": 1}).status == 400
