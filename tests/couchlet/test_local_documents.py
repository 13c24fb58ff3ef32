"""`_local` documents as CouchDB 3.5.0 has them: above all, the checkpoints that its replicator writes."""

from __future__ import annotations

import pytest


def test_a_checkpoint_is_written_again_with_its_revisions(server, database):
    """CouchDB's replicator opens its checkpoint with `revs=true`, and sends all of that back."""
    path = f"{database}/_local/checkpoint"
    server.ask("PUT", path, {"n": 1})
    opened = server.ask("GET", f"{path}?revs=true").json()
    assert opened == {"_id": "_local/checkpoint", "_rev": "0-1", "n": 1, "_revisions": {"start": 0, "ids": ["1"]}}
    again = server.ask("PUT", path, opened | {"n": 2})
    assert (again.status, again.json()["rev"]) == (201, "0-2")
    assert server.ask("GET", path).json() == {"_id": "_local/checkpoint", "_rev": "0-2", "n": 2}


def test_attachments_are_passed_over(server, database):
    path = f"{database}/_local/x"
    assert server.ask("PUT", path, {"_attachments": {"a": {"data": "aGVsbG8="}}}).status == 201
    assert server.ask("GET", path).json() == {"_id": "_local/x", "_rev": "0-1"}


def test_a_revision_that_is_no_number_fails_alone(server, database):
    alone = server.ask("PUT", f"{database}/_local/x", {"_rev": "1-abc"})
    assert (alone.status, alone.json()) == (500, {"error": "error", "reason": "Invalid rev format"})
    both = server.ask("POST", f"{database}/_bulk_docs", {"docs": [{"_id": "_local/x", "_rev": "1-abc"}, {"_id": "y"}]})
    failed, written = both.json()
    assert failed == {"id": "_local/x", "error": "error", "reason": "Invalid rev format"}
    assert written["id"] == "y"


def test_one_is_copied_to_a_document_and_back(server, database):
    server.ask("PUT", f"{database}/_local/x", {"n": 1})
    assert server.ask("COPY", f"{database}/_local/x", headers={"Destination": "y"}).status == 201
    assert server.ask("GET", f"{database}/y").json()["n"] == 1
    assert server.ask("COPY", f"{database}/y", headers={"Destination": "_local/z"}).status == 201
    assert server.ask("GET", f"{database}/_local/z").json()["n"] == 1


@pytest.mark.parametrize("history", [{"start": 1, "ids": ["c", "b", "a"]}, {"start": -1, "ids": ["a"]}])
def test_a_history_longer_than_its_generation_is_refused(server, database, history):
    refused = server.ask("PUT", f"{database}/x", {"_revisions": history})
    assert (refused.status, refused.json()["error"]) == (400, "doc_validation")


def test_a_history_without_revisions_is_none(server, database):
    made = server.ask("PUT", f"{database}/x", {"_revisions": {"start": 1, "ids": []}})
    assert made.json()["rev"].startswith("1-")
