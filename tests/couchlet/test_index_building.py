"""A new index on a large database: writes go on while it is filled, and who asks it gets the whole answer."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from couchdb_server import start_couchlet

COUNT = 20_000


@pytest.fixture(scope="module")
def large(server):
    """The path of a database of many documents."""
    assert server.ask("PUT", "/large").status == 201
    for first in range(0, COUNT, 1000):
        docs = [{"_id": f"d{number:06}", "n": number % 100, "s": "x"} for number in range(first, first + 1000)]
        assert server.ask("POST", "/large/_bulk_docs", {"docs": docs}).status == 201
    yield "/large"
    server.ask("DELETE", "/large")


def make_index(server, path, name):
    body = {"index": {"fields": ["n", "s"]}, "ddoc": name, "name": name}
    return server.ask("POST", f"{path}/_index", body)


def found(server, path, name):
    query = {
        "selector": {"n": 7, "s": "x"},
        "use_index": name,
        "limit": COUNT,
        "allow_fallback": False,
        "fields": ["_id"],
    }
    answer = server.ask("POST", f"{path}/_find", query)
    assert answer.status == 200, answer.body
    return sorted(doc["_id"] for doc in answer.json()["docs"])


def test_writes_go_on_while_an_index_is_made_and_it_has_them_all(server, large):
    with ThreadPoolExecutor(1) as pool:
        began = time.perf_counter()
        assert make_index(server, large, "busy").json()["result"] == "created"
        (task,) = server.ask("GET", "/_active_tasks").json()
        assert (task["type"], task["database"], task["design_document"]) == ("indexer", "large", "_design/busy")
        assert 0 <= task["changes_done"] < task["total_changes"] == COUNT + 1
        query = pool.submit(found, server, large, "busy")
        waits = []
        while not query.done():
            sent = time.perf_counter()
            number = len(waits)
            assert server.ask("PUT", f"{large}/new{number}", {"n": 7, "s": "x"}).status == 201
            removed = server.ask("GET", f"{large}/d{number * 100 + 7:06}").json() if number < 5 else None
            if removed:
                assert server.ask("DELETE", f"{large}/{removed['_id']}?rev={removed['_rev']}").status == 200
            waits.append(time.perf_counter() - sent)
        took_s = time.perf_counter() - began
    assert len(query.result()) >= COUNT // 100 - 5
    assert server.ask("GET", "/_active_tasks").json() == []
    # No write waited for the whole of it.
    assert len(waits) >= 5
    assert max(waits) < max(took_s / 2, 0.2)
    expected = {f"new{number}" for number in range(len(waits))}
    expected |= {f"d{number:06}" for number in range(7, COUNT, 100)} - {f"d{n * 100 + 7:06}" for n in range(5)}
    assert found(server, large, "busy") == sorted(expected)


def test_an_index_that_was_cut_short_is_finished_after_a_restart(tmp_path):
    server = start_couchlet(tmp_path)
    server.ask("PUT", "/large")
    for first in range(0, 5000, 1000):
        docs = [{"_id": f"d{number:06}", "n": number % 100, "s": "x"} for number in range(first, first + 1000)]
        server.ask("POST", "/large/_bulk_docs", {"docs": docs})
    make_index(server, "/large", "cut")
    assert server.process is not None
    server.process.kill()
    server.stop()
    again = start_couchlet(tmp_path)
    try:
        assert found(again, "/large", "cut") == [f"d{number:06}" for number in range(7, 5000, 100)]
    finally:
        again.stop()


def test_a_document_that_shows_another_leaf_is_found_by_that(server, database):
    assert make_index(server, database, "leaves").status == 200
    low, high = "a" * 32, "b" * 32
    for revision, number in ((low, 7), (high, 8)):
        docs = [{"_id": "d", "_rev": f"1-{revision}", "n": number, "s": "x"}]
        server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": docs})
    assert found(server, database, "leaves") == []
    assert server.ask("DELETE", f"{database}/d?rev=1-{high}").status == 200
    assert found(server, database, "leaves") == ["d"]
    server.ask("PUT", f"{database}/d?rev=1-{low}", {"n": 9, "s": "x"})
    assert found(server, database, "leaves") == []


def test_what_was_written_before_an_index_was_made_leaves_it_when_it_changes(server, database):
    revision = server.ask("PUT", f"{database}/d", {"n": 7, "s": "x"}).json()["rev"]
    assert make_index(server, database, "later").status == 200
    assert found(server, database, "later") == ["d"]
    server.ask("PUT", f"{database}/d?rev={revision}", {"n": 8, "s": "x"})
    assert found(server, database, "later") == []
