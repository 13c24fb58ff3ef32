"""Purging of leaves, and compaction that gives disk back."""

from __future__ import annotations

from pathlib import Path

from waiting import until

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def wait_for_compaction(server, database):
    until(lambda: not server.ask("GET", database).json()["compact_running"])


def sizes(server, database):
    return server.ask("GET", database).json()["sizes"]


def test_purging_the_shown_leaf_brings_the_loser_to_light(server, database):
    docs = [
        {"_id": "x", "_rev": f"2-{leaf}", "_revisions": {"start": 2, "ids": [leaf, A]}, "v": leaf} for leaf in (B, C)
    ]
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": docs})
    purged = server.ask("POST", f"{database}/_purge", {"x": [f"2-{C}", f"1-{A}", "9-dead"], "none": ["1-a"]})
    assert purged.status == 201
    assert purged.json() == {"purge_seq": None, "purged": {"x": [f"2-{C}"], "none": []}}
    assert server.ask("GET", f"{database}/x?conflicts=true").json() == {"_id": "x", "_rev": f"2-{B}", "v": B}
    assert server.ask("POST", f"{database}/_purge", {"x": [f"2-{B}"]}).json()["purged"] == {"x": [f"2-{B}"]}
    assert server.ask("GET", f"{database}/x").json()["reason"] == "missing"
    changes = server.ask("GET", f"{database}/_changes").json()
    assert changes["results"] == []
    infos = server.ask("GET", f"{database}/_purged_infos").json()["purged_infos"]
    assert [info["id"] for info in infos] == ["none", "x", "x"]


def test_purged_documents_leave_indexes_and_counts(server, database):
    index = {"index": {"fields": ["n"]}, "ddoc": "n", "name": "n"}
    server.ask("POST", f"{database}/_index", index)
    rows = server.ask("POST", f"{database}/_bulk_docs", {"docs": [{"_id": f"d{n}", "n": n} for n in range(10)]}).json()
    request = {row["id"]: [row["rev"]] for row in rows[:7]}
    assert server.ask("POST", f"{database}/_purge", request).status == 201
    query = {"selector": {"n": {"$gte": 0}}, "use_index": "n", "allow_fallback": False}
    assert [doc["n"] for doc in server.ask("POST", f"{database}/_find", query).json()["docs"]] == [7, 8, 9]
    assert server.ask("GET", database).json()["doc_count"] == 4
    assert server.ask("PUT", f"{database}/d0", {"_rev": rows[0]["rev"]}).status == 201


def test_limits_of_a_purge(server, database):
    assert server.ask("POST", f"{database}/_purge", {f"d{n}": ["1-a"] for n in range(100)}).status == 201
    assert server.ask("POST", f"{database}/_purge", {f"d{n}": ["1-a"] for n in range(101)}).status == 400
    assert server.ask("POST", f"{database}/_purge", {"d": ["1-a"] * 1001}).status == 400
    assert server.ask("PUT", f"{database}/_purged_infos_limit", 10).status == 200
    assert server.ask("GET", f"{database}/_purged_infos_limit").json() == 10
    server.ask("POST", f"{database}/_compact", {})
    wait_for_compaction(server, database)
    assert len(server.ask("GET", f"{database}/_purged_infos").json()["purged_infos"]) == 10
    for bad in (0, -1, "x", 1.5, True):
        assert server.ask("PUT", f"{database}/_purged_infos_limit", bad).status == 400


def test_purge_then_compaction_gives_disk_back(server, database):
    docs = [{"_id": f"d{n}", "text": "x" * 5000} for n in range(400)]
    rows = server.ask("POST", f"{database}/_bulk_docs", {"docs": docs}).json()
    for first in range(0, 400, 100):
        server.ask("POST", f"{database}/_purge", {row["id"]: [row["rev"]] for row in rows[first : first + 100]})
    full = sizes(server, database)["file"]
    assert server.ask("POST", f"{database}/_compact", {}).status == 202
    wait_for_compaction(server, database)
    after = sizes(server, database)
    assert after["file"] < full / 5
    assert after["external"] == 0


def test_compaction_drops_old_content_and_keeps_leaves(server, database):
    first = server.ask("PUT", f"{database}/x", {"n": 1}).json()["rev"]
    second = server.ask("PUT", f"{database}/x", {"n": 2, "_rev": first}).json()["rev"]
    docs = [{"_id": "y", "_rev": f"2-{leaf}", "_revisions": {"start": 2, "ids": [leaf, A]}} for leaf in (B, C)]
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": docs})
    assert server.ask("GET", f"{database}/x?rev={first}").status == 200
    server.ask("POST", f"{database}/_compact", {})
    wait_for_compaction(server, database)
    assert server.ask("GET", f"{database}/x?rev={first}").status == 404
    info = server.ask("GET", f"{database}/x?revs_info=true").json()
    assert [item["status"] for item in info["_revs_info"]] == ["available", "missing"]
    assert info["_rev"] == second
    assert len(server.ask("GET", f"{database}/y?open_revs=all").json()) == 2


def test_compaction_drops_attachments_that_nothing_refers_to(server, database):
    made = server.ask("PUT", f"{database}/x/file", b"x" * 2_000_000).json()["rev"]
    kept = server.ask("PUT", f"{database}/y/file", b"y" * 300_000)
    assert kept.status == 201
    server.ask("DELETE", f"{database}/x?rev={made}")
    before = sizes(server, database)["file"]
    server.ask("POST", f"{database}/_compact", {})
    wait_for_compaction(server, database)
    assert sizes(server, database)["file"] < before - 1_500_000
    assert server.ask("GET", f"{database}/y/file").body == b"y" * 300_000


def test_deleting_a_database_frees_its_files(server):
    assert server.process is not None
    data = Path(server.process.args[server.process.args.index("--data") + 1])
    before = set(data.iterdir())
    server.ask("PUT", "/short-lived")
    server.ask("PUT", "/short-lived/x", {"text": "x" * 100_000})
    assert set(data.iterdir()) > before
    server.ask("DELETE", "/short-lived")
    assert set(data.iterdir()) <= before
    assert server.ask("GET", "/short-lived/x").status == 404


def test_a_document_that_is_edited_often_does_not_fill_the_disk(server, database):
    rev = server.ask("PUT", f"{database}/hot", {}).json()["rev"]
    for number in range(60):
        body = {"_rev": rev, "text": "x" * 1_000_000, "n": number}
        rev = server.ask("PUT", f"{database}/hot", body).json()["rev"]
    wait_for_compaction(server, database)
    assert sizes(server, database)["file"] < 50_000_000
    assert server.ask("GET", f"{database}/hot").json()["n"] == 59


def test_sizes_are_honest(server, database):
    docs = [{"_id": f"d{n:04}", "text": "x" * 1000} for n in range(1000)]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    got = sizes(server, database)
    assert 1_000_000 < got["external"] < 1_100_000
    assert got["external"] <= got["active"] <= got["file"]
