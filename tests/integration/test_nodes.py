"""On a real cluster, through each of its nodes at once: DRW_TEST_COUCHDB_NODES has their addresses, spaces between.

What test_cluster.py has a stand-in do, CouchDB does here by itself: of two who meet it tells both that they wrote.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from changing import add, take

from shared import changes, ngas
from shared.bus import queue, trees
from shared.dbcon import DbConnection
from shared.settings import read_settings

ENTITIES = "status-entities"
ADDRESSES = os.environ.get("DRW_TEST_COUCHDB_NODES", "").split()
_TOLD_S = 8.0
"""After so long the copies have told one another: CouchDB begins five seconds after a write (mem3's ``sync_delay``)."""

pytestmark = pytest.mark.skipif(len(ADDRESSES) < 2, reason="needs the addresses of nodes in DRW_TEST_COUCHDB_NODES")


@dataclass(frozen=True)
class Node:
    url: str


@pytest.fixture
def nodes(tmp_path, couchlet):
    """The nodes of a cluster that has three copies of the queue too."""
    connection = DbConnection(read_settings({"DRW_HOME": str(tmp_path), "DRW_COUCHDB_URL": couchlet.url}))
    assert connection.create_database(queue.DATABASE, n=3)
    assert connection.database(queue.DATABASE).copies() == 3
    connection.close()
    return [Node(address) for address in ADDRESSES]


@pytest.fixture
def hands(nodes, place, monkeypatch):
    """Processes' hands on the entities, two at each node, who have all the time to give way."""
    monkeypatch.setattr(changes, "_DISPUTE_S", 20.0)
    urls = [node.url for node in nodes for _ in range(2)]
    connections = [DbConnection(read_settings(place.environ | {"DRW_COUCHDB_URL": url})) for url in urls]
    yield [connection.database(ENTITIES, remembers=5) for connection in connections]
    for connection in connections:
        connection.close()


def forks(database):
    """Return the living leaves of each document that has several.

    A leaf may be in one copy only until the copies have told one another, and whoever is to remove it reads a majority.
    """
    threading.Event().wait(_TOLD_S)
    found = {doc["_id"]: database.leaves_of_every_copy(doc["_id"]) for doc in database.every()}
    living = {doc_id: [leaf for leaf in leaves if not leaf.get("_deleted")] for doc_id, leaves in found.items()}
    return {doc_id: leaves for doc_id, leaves in living.items() if len(leaves) > 1}


def test_no_message_is_handled_twice_or_stays_behind_and_what_lost_is_a_claim(nodes, place, seen):
    lease = {"DRW_LEASE_S": "20", "DRW_CLOCK_SPARE_S": "3"}
    workers = []
    for number in range(6):
        worker = place.bus(f"worker{number}", through=nodes[number % len(nodes)], **lease)
        worker.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), slots=2, batch=10)
        workers.append(worker)
        worker.start()
    sender = place.bus("sender", **lease)
    for start in range(0, 120, 20):
        sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(start, start + 20)])
    seen.wait_for(120, timeout=120)
    for worker in workers:
        worker.stop()
    assert sorted(seen.items) == list(range(120))
    left = forks(place.database)
    assert {doc["state"] for doc in place.database.every()} == {"consumed"}
    for leaves in left.values():  # which the janitor purges with the message
        assert sorted(leaf["state"] for leaf in leaves) == ["claimed"] * (len(leaves) - 1) + ["consumed"]
        assert max(leaves, key=trees.generation)["state"] == "consumed"


def test_no_change_of_a_document_is_lost_and_no_conflict_is_left(hands):
    def work(number):
        for n in range(5):
            assert [number, n] in add(hands[number], [number, n])

    add(hands[0], [0, 0])
    with ThreadPoolExecutor(len(hands)) as pool:
        list(pool.map(work, range(len(hands))))
    add(hands[0], "last")
    expected = [[number, n] for number in range(len(hands)) for n in range(5)]
    assert sorted(hands[0].get("a")["changes"][:-1]) == expected
    assert forks(hands[0]) == {}


def test_of_two_who_expect_the_same_one_makes_the_change(hands):
    two = [hands[0], hands[-1]]
    for n in range(30):
        doc_id, start = f"ous{n}", threading.Barrier(len(two))
        hands[0].put({"_id": doc_id, "state": "ReadyForReview"})

        def try_it(number, doc_id=doc_id, start=start):
            start.wait()
            return take(two[number], doc_id, number)

        with ThreadPoolExecutor(len(two)) as pool:
            said = set(pool.map(try_it, range(len(two))))
        assert said == {hands[0].get(doc_id)["by"]}
    for doc_id in forks(hands[0]):  # the lesser of equals stays until the other has grown
        assert hands[0].mutate(doc_id, lambda doc: doc | {"state": "Verified"})["state"] == "Verified"
    assert forks(hands[0]) == {}


def test_of_several_who_archive_a_file_at_once_no_conflict_is_left(nodes, place, tmp_path):
    path = tmp_path / "product.data"
    path.write_bytes(b"x" * 3000)
    facts = {"size": 3000, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    connections = [
        DbConnection(read_settings(place.environ | {"DRW_COUCHDB_URL": nodes[n % len(nodes)].url})) for n in range(4)
    ]
    archives = [ngas.Archive(each.database(ngas.DATABASE), each.clock) for each in connections]
    with ThreadPoolExecutor(len(archives)) as pool:
        for n in range(20):
            assert {each.size for each in pool.map(lambda it, n=n: it.put(path, f"p{n}", **facts), archives)} == {3000}
    database = connections[0].database(ngas.DATABASE)
    assert [archives[0].check(f"p{n}", **facts) for n in range(20)] == [""] * 20
    assert forks(database) == {}
    for connection in connections:
        connection.close()


def test_a_file_that_one_archives_is_stored_once(nodes, place, proxy, tmp_path):
    """The copy that is late refuses the description, which is no reason to send the content again."""
    path = tmp_path / "product.data"
    path.write_bytes(b"x" * 3000)
    facts = {"size": 3000, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    connection = DbConnection(read_settings(place.environ | {"DRW_COUCHDB_URL": proxy.url}))
    archive = ngas.Archive(connection.database(ngas.DATABASE), connection.clock)
    for n in range(30):
        archive.put(path, f"p{n}", **facts)
    assert len(proxy.requests(lambda request: request.path.count("/") == 3 and request.method == "PUT")) == 30
    assert forks(connection.database(ngas.DATABASE)) == {}
    connection.close()
