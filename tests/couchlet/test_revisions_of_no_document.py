"""What becomes of a revision that a write names for a document that is not there.

CouchDB looks whether there is such a revision only while it does not know whether there are rules for writes, or if
there are some: after a database was opened, and after a design document was written, until the next document.
"""

from __future__ import annotations

import pytest
from couchdb_server import start_couchlet

REVISION = "1-" + "a" * 32


def put(server, database, id_):
    return server.ask("PUT", f"{database}/{id_}", {"_rev": REVISION}).status


@pytest.fixture
def settled(server, database):
    """A database in which a document was written."""
    assert server.ask("PUT", f"{database}/first", {}).status == 201
    return database


def test_a_new_database_refuses_it_until_a_document_is_written(server, database):
    assert put(server, database, "x") == 409
    assert server.ask("PUT", f"{database}/x?rev={REVISION}", {}).status == 409
    assert server.ask("PUT", f"{database}/x", {}, headers={"If-Match": REVISION}).status == 409
    assert server.ask("PUT", f"{database}/_local/x", {}).status == 201
    docs = [{"_id": "x", "_rev": REVISION}, {"_id": "y"}]
    assert [row.get("error") for row in server.ask("POST", f"{database}/_bulk_docs", {"docs": docs}).json()] == [
        "conflict",
        None,
    ]
    assert put(server, database, "x") == 201
    assert server.ask("GET", f"{database}/x").json()["_rev"].startswith("2-")


def test_a_design_document_begins_it_anew(server, settled):
    assert put(server, settled, "a") == 201
    assert server.ask("PUT", f"{settled}/_design/d", {"language": "query"}).status == 201
    assert put(server, settled, "b") == 409
    assert server.ask("PUT", f"{settled}/first", {}).status == 409
    assert put(server, settled, "b") == 409
    assert server.ask("PUT", f"{settled}/second", {}).status == 201
    assert put(server, settled, "b") == 201
    assert server.ask("PUT", f"{settled}/_design/d", {"language": "query"}).status == 409
    assert put(server, settled, "c") == 201
    assert server.ask("POST", f"{settled}/_index", {"index": {"fields": ["a"]}}).status == 200
    assert put(server, settled, "d") == 409


def test_a_replicated_document_counts_unless_it_is_known(server, settled):
    def replicate(id_):
        body = {"new_edits": False, "docs": [{"_id": id_, "_rev": REVISION}]}
        assert server.ask("POST", f"{settled}/_bulk_docs", body).json() == []

    replicate("r")
    replicate("_design/r")
    assert put(server, settled, "x") == 409
    replicate("r")
    assert put(server, settled, "x") == 409
    replicate("s")
    assert put(server, settled, "x") == 201


def test_users_are_under_rules_always(server):
    user = {"type": "user", "roles": []}
    assert server.ask("PUT", "/_users/org.couchdb.user:ruled", {**user, "name": "ruled"}).status == 201
    other = {**user, "name": "other", "_rev": REVISION}
    assert server.ask("PUT", "/_users/org.couchdb.user:other", other).status == 409


def test_a_restart_begins_it_anew(tmp_path):
    for expected in (201, 409):
        running = start_couchlet(tmp_path)
        try:
            if expected == 201:
                assert running.ask("PUT", "/db").status == 201
                assert running.ask("PUT", "/db/first", {}).status == 201
            assert put(running, "/db", f"x{expected}") == expected
        finally:
            running.stop()
