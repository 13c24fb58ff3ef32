"""The bus, and changes of documents, where the database has three copies of each shard.

Between us and couchlet stands what such a cluster adds: a write that lost the race is answered 202 now and then, and
its leaf stays in the revision tree, sometimes as the one that is shown.
"""

from __future__ import annotations

import json
import logging
import random
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3
from changing import add, take
from troubles import asks, hang

from drw.upkeep import lost_leaves
from shared import changes, dbcon
from shared.bus import janitor, settler, trees
from shared.clock import elapsed_s, stamp
from shared.dbcon import DbConnection
from shared.errors import Conflict, DatabaseAway, LeaseLost
from shared.settings import read_settings

ENTITIES = "status-entities"


class Cluster(ThreadingHTTPServer):
    """Passes requests on to couchlet, as the node of a cluster with three copies."""

    daemon_threads = True
    request_queue_size = 100

    def __init__(self, place, seed) -> None:
        super().__init__(("127.0.0.1", 0), Node)
        self.upstream = urllib3.connection_from_url(place.settings.couchdb_url, maxsize=100, timeout=30, retries=False)
        self.random = random.Random(seed)
        self.forked = self.shown = 0
        self.probed = threading.Semaphore(0)
        self.is_short = False
        self.away: list[str] = []
        self.is_deaf = False
        self.unheard: list[bytes] = []
        self.unheard_of = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def hears(self, content: bytes) -> bool:
        """Tell whether a request is passed on: while we are deaf, only a copy that is away hears that work is done."""
        is_unheard = self.is_deaf and b'"op":"done"' in content
        if is_unheard:
            self.unheard.append(content)
            self.unheard_of.release()
        return not is_unheard

    def fork(self, path, body, authorization) -> dict | None:
        """Keep what lost as a leaf of its own, of messages only claims; now and then only, as in a cluster."""
        is_claim = body.get("last", {}).get("op") == "claim"
        if self.random.random() < 0.3 or not (is_claim or path.startswith(f"/{ENTITIES}/")):
            return None
        shown = self.random.random() < 0.5
        generation, _, parent = body.get("_rev", "0-").partition("-")
        name = ("f" if shown else "0") * 8 + secrets.token_hex(12)
        length = int(generation) + 1
        revisions = {"start": length, "ids": [name, *([parent] if parent else [])]}
        leaf = body | {"_rev": f"{length}-{name}", "_revisions": revisions}
        content = {"docs": [leaf], "new_edits": False}
        answer = self.upstream.request(
            "POST", path.rsplit("/", 1)[0] + "/_bulk_docs", json=content, headers={"Authorization": authorization}
        )
        assert answer.status == 201, answer.data
        self.forked += 1
        self.shown += shown
        return {"ok": True, "id": body["_id"], "rev": leaf["_rev"]}


class Node(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        if "feed=continuous" in self.path:
            self._stream(headers)
            return
        if not self.server.hears(content):
            self.send_error(503)
            return
        answer = self.server.upstream.urlopen(self.command, self.path, body=content, headers=headers)
        status, body = answer.status, self._of_a_cluster(answer)
        if self.command == "PUT" and status == 201 and self.server.is_short:
            status = 202
            if "/control%3Aquorum%3A" in self.path:
                self.server.probed.release()
        if self.command == "PUT" and status == 409:
            kept = self.server.fork(self.path, json.loads(content), self.headers["Authorization"])
            if kept:
                status, body = 202, json.dumps(kept).encode()
        self.send_response(status)
        for name in ("Content-Type", "Date"):
            if name in answer.headers and name != "Date":
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _of_a_cluster(self, answer) -> bytes:
        """Return what couchlet answers, as a cluster has it."""
        if self.command == "GET" and self.path in {"/msgq", f"/{ENTITIES}"}:
            return json.dumps(answer.json() | {"cluster": {"q": 2, "n": 3, "w": 2, "r": 2}}).encode()
        if self.path == "/_membership":
            nodes = ["couchdb@a", "couchdb@b", "couchdb@c"]
            there = [node for node in nodes if node not in self.server.away]
            return json.dumps({"all_nodes": there, "cluster_nodes": nodes}).encode()
        return answer.data

    def _stream(self, headers) -> None:
        answer = self.server.upstream.urlopen("GET", self.path, headers=headers, timeout=None, preload_content=False)
        self.send_response(answer.status)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while piece := answer.read1():
                self.wfile.write(piece)
                self.wfile.flush()
        except (OSError, urllib3.exceptions.HTTPError):
            return  # the reader went away, or couchlet did
        finally:
            answer.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815 (names that http.server looks for)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def cluster(place):
    made = Cluster(place, seed=7)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    direct = place.connection
    place.environ["DRW_COUCHDB_URL"] = made.url
    place.connection = DbConnection(read_settings(place.environ))
    yield made
    place.connection.close()
    place.connection = direct
    made.shutdown()
    made.server_close()
    made.upstream.close()


def conflicts(place):
    return {
        doc["_id"]: [(leaf["_rev"], leaf.get("state")) for leaf in leaves]
        for doc in place.database.every()
        for leaves in place.database.leaves([doc["_id"]]).values()
        if len([leaf for leaf in leaves if not leaf.get("_deleted")]) > 1
    }


def test_no_message_is_handled_twice_or_stays_behind_and_no_conflict_is_left(place, cluster, seen):
    workers = []
    for number in range(4):
        worker = place.bus(f"worker{number}")
        worker.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), slots=2, batch=10)
        workers.append(worker)
        worker.start()
    sender = place.bus("sender")
    for start in range(0, 120, 20):
        sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(start, start + 20)])
    seen.wait_for(120, timeout=60)
    for worker in workers:  # what has just been claimed and lost is removed by then
        worker.stop()
    assert sorted(seen.items) == list(range(120))
    assert cluster.forked > 0, "no two claims met: this has shown nothing"
    assert cluster.shown > 0
    assert {doc["state"] for doc in place.database.every()} == {"consumed"}
    assert conflicts(place) == {}


def test_while_too_few_copies_answer_no_attempt_is_spent(place, cluster, seen):
    sent = place.bus("sender").send("work.EU", {"n": 1})
    worker = place.bus("worker", DRW_ATTEMPTS="2")
    worker.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]))
    cluster.is_short = True
    with worker:
        for _ in range(8):  # over more than two leases
            assert cluster.probed.acquire(timeout=10), "nobody asks whether most copies answer"
        assert place.database.get(sent)["state"] == "claimed"
        cluster.is_short = False
        place.wait_for_state(sent, "consumed")
    assert seen.items == [1]
    assert list(place.database.every(start="control:quorum:", end="control:quorum:z")) == []


def test_a_renewal_that_too_few_copies_took_prolongs_no_lease(place, cluster, seen):
    """The others, who have not heard of it, may have the message taken by somebody else."""
    worker = place.bus("worker")

    def handle(delivery):
        cluster.is_short = True
        held = delivery._held
        before_s = held.until_s
        while held.remaining_s() > 0:
            delivery.check()
            threading.Event().wait(0.1)
        seen.add(held.until_s == before_s)
        with pytest.raises(DatabaseAway, match="cannot be renewed for now"):
            delivery.check()
        cluster.is_short = False
        delivery.check()
        seen.add(held.remaining_s() > 0)

    worker.listen("work.EU", handle)
    with worker:
        done = place.wait_for_state(worker.send("work.EU", {}), "consumed")
    assert seen.items == [True, True]
    assert done["attempts"] == 1


@pytest.mark.parametrize("state", ["claimed", "consumed"])
def test_a_claim_that_was_taken_over_on_the_other_side_of_a_split_is_lost(place, cluster, seen, state):
    """While too few copies took our renewals the others had it lapse; healed, both branches are there."""
    worker = place.bus("worker")

    def handle(delivery):
        claim = place.database.get(delivery.message.id)
        length, _, name = claim["_rev"].partition("-")
        cluster.is_short = True
        while delivery._held.remaining_s() > 0:
            threading.Event().wait(0.1)
        theirs = {"start": int(length) + 1, "ids": ["0" * 32, name]}
        token = {"by": "another", "token": "theirs", "since": claim["claim"]["since"], "until": claim["claim"]["until"]}
        leaf = claim | {"_rev": f"{int(length) + 1}-{'0' * 32}", "_revisions": theirs, "claim": token, "state": state}
        assert place.database.bulk([leaf], new_edits=False) == []
        cluster.is_short = False
        with pytest.raises(LeaseLost):
            delivery.check()
        seen.add(place.database.get(delivery.message.id)["_rev"] != leaf["_rev"])

    worker.listen("work.EU", handle)
    with worker:
        worker.send("work.EU", {})
        assert seen.wait_for(1) == [True], "ours was not the longer branch: this has shown nothing"


def test_that_too_few_copies_answer_is_said(place, cluster, caplog):
    worker = place.bus("worker")
    worker.listen("work.EU", lambda _: None)
    cluster.is_short = True
    with worker:
        sent = place.bus("sender").send("work.EU", {})
        for _ in range(3):
            assert cluster.probed.acquire(timeout=10)
        cluster.is_short = False
        place.wait_for_state(sent, "consumed")
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert said == ["no messages can be taken: too few copies of msgq take what is written"]


def test_a_document_is_not_made_anew_while_too_few_copies_answer(place, cluster):
    """Those that do not answer may have one."""
    database = place.connection.database(ENTITIES)
    cluster.is_short = True
    with pytest.raises(DatabaseAway, match="too few copies"):
        database.mutate("uid", lambda doc: doc or {"state": "ReadyForProcessing"})
    assert database.get("uid") is None
    cluster.is_short = False
    assert database.mutate("uid", lambda doc: doc or {"state": "ReadyForProcessing"})["state"] == "ReadyForProcessing"
    cluster.is_short = True
    assert database.mutate("uid", lambda doc: {**doc, "state": "Processing"})["state"] == "Processing"


def test_nothing_is_purged_while_a_node_is_away_or_has_just_come_back(place, cluster):
    sent = place.bus("sender").send("work.EU", {"n": 1})
    doc = place.database.get(sent)
    place.database.put(doc | {"state": "consumed", "doneAt": "2026-01-01T00:00:00.000000"})

    def tidy():
        """Tidy as a process that has just begun, which knows of no round before but what is kept."""
        return janitor.Janitor(place.connection.database("msgq"), kept_s=3600).tidy()

    tidy()
    cluster.away = ["couchdb@c"]
    tidied = tidy()
    assert (tidied.purged, tidied.kept) == (
        0,
        {"a node of the cluster is away, or is not known to be back for ten minutes": 1},
    )
    cluster.away = []
    assert [tidy().purged for _ in range(2)] == [0, 0], "it may not have caught up"
    ago = stamp(place.connection.clock.now() - timedelta(minutes=11))
    long_ago = {"wholeSince": "2025-12-31T00:00:00.000000", "lookedAt": "2026-01-01T00:00:00.000000"}
    place.database.mutate(janitor.ROUND, lambda doc: {**doc, **long_ago})
    (reason,) = tidy().kept
    assert reason.startswith("no round has seen the cluster for so long"), "a node may have been away meanwhile"
    place.database.mutate(janitor.ROUND, lambda doc: {**doc, "wholeSince": ago})
    assert [tidy().purged for _ in range(2)] == [1, 0]


def revision_made_of(place, content: bytes) -> str:
    """Return the revision that a copy of the document makes of a write."""
    write = json.loads(content)
    place.connection.create_database("copy")
    copy = place.connection.database("copy")
    start, _, name = write["_rev"].partition("-")
    copy.bulk([write | {"_revisions": {"start": int(start), "ids": [name]}}], new_edits=False)
    return copy.put_row(write["_id"], content).rev


def test_a_settlement_that_only_an_absent_copy_took_is_written_again_as_the_same(place, cluster, seen, monkeypatch):
    """Written anew, it would be another leaf beside the first, once that copy is back."""
    monkeypatch.setattr(settler, "_TRY_S", 0.2)
    sent = place.bus("sender").send("work.EU", {"n": 1})
    cluster.is_deaf = True
    bus = place.bus()
    bus.listen("work.EU", seen.add)
    bus.start()
    for _ in range(4):
        assert cluster.unheard_of.acquire(timeout=20)
    cluster.is_deaf = False
    stored = place.wait_for_state(sent, "consumed")
    assert {revision_made_of(place, each) for each in set(cluster.unheard)} == {stored["_rev"]}
    assert len(seen.items) == 1


def beside(doc, first, name):
    """Return a leaf that grew from the first revision of a document, beside another."""
    return doc | {"_rev": f"2-{name * 32}", "_revisions": {"start": 2, "ids": [name * 32, first.partition("-")[2]]}}


def test_the_janitor_removes_what_lost_and_stayed(place, cluster):
    """Leaves of a writer who died, or on a copy that was away when their message was settled."""
    bus = place.bus("sender")
    settled, still_open = bus.send("work.EU", {"n": 1}), bus.send("work.EU", {"n": 2})
    over = {"state": "consumed", "doneAt": stamp(place.connection.clock.now())}
    for sent, ours, theirs in ((settled, over, over), (still_open, {}, {})):
        first = place.database.get(sent)
        claimed = first | {"state": "claimed", "due": "2026-01-01T00:00:00.000000"}
        place.database.put(claimed | ours)
        leaves = [beside(claimed | theirs, first["_rev"], "0"), beside(claimed, first["_rev"], "f")]
        assert place.database.bulk(leaves, new_edits=False) == []
    assert place.database.get(settled)["state"] == "claimed", "the leaf that lost is shown"
    entities = place.connection.database(ENTITIES)
    first = entities.put({"_id": "a", "n": 1})
    entities.put({"_id": "a", "_rev": first, "n": 2})
    assert entities.bulk([beside({"_id": "a", "n": 3}, first, "f")], new_edits=False) == []

    def remove():
        """Remove it as a process that has just begun, which knows of no round before but what is kept."""
        with closing(DbConnection(read_settings(place.environ))) as connection:
            return lost_leaves.remove(connection, threading.Event())

    assert remove() == 2
    assert list(conflicts(place)) == [still_open]
    assert place.database.get(settled)["state"] == "consumed"
    assert [leaf["n"] for leaf in entities.leaves(["a"])["a"] if not leaf.get("_deleted")] == [3]
    place.database.put(place.database.get(still_open) | over)
    assert remove() == 1
    assert conflicts(place) == {}
    assert remove() == 0


def test_a_holder_whose_leaf_is_not_shown_keeps_its_message_and_a_lapsed_fork_is_taken_over(place, cluster, seen):
    """The leaf that lost is shown, and its lease runs out: nobody may take the message while its holder works."""
    del cluster
    sender, worker = place.bus("sender"), place.bus("worker")
    begun, go_on = threading.Event(), threading.Event()

    def work(delivery):
        begun.set()
        assert go_on.wait(20)
        seen.add((delivery.message.id, "worker"))

    worker.listen("work.EU", work)
    worker.start()
    sent = sender.send("work.EU", {"n": 1})
    assert begun.wait(10)
    held = place.database.get(sent)
    first = place.database.get(sent, revs=True)["_revisions"]["ids"][1]
    loser = held | {"_rev": "2-" + "f" * 32, "_revisions": {"start": 2, "ids": ["f" * 32, first]}}
    loser["claim"] = loser["claim"] | {"by": "loser", "token": "lost"}
    place.database.bulk([loser], new_edits=False)
    other = place.bus("other")
    other.listen("work.EU", lambda delivery: seen.add((delivery.message.id, "other")))
    with other:
        assert not threading.Event().wait(4)  # more than two leases
        assert seen.items == []
        go_on.set()
        assert seen.wait_for(1) == [(sent, "worker")]
        place.wait_for_state(sent, "consumed")
    worker.stop()
    assert conflicts(place) == {}


def test_a_fork_of_two_lapsed_claims_is_taken_over_once(place, cluster, seen):
    del cluster
    sent = place.bus("sender").send("work.EU", {"n": 1})
    doc = place.database.get(sent)
    at = "2026-01-01T00:00:00.000000"
    for token, name in (("a", "a" * 32), ("b", "b" * 32)):
        claim = {"by": token, "token": token, "since": at, "until": at}
        leaf = doc | {"state": "claimed", "claim": claim, "due": at, "attempts": 1, "_rev": f"2-{name}"}
        leaf["_revisions"] = {"start": 2, "ids": [name, doc["_rev"].partition("-")[2]]}
        place.database.bulk([leaf], new_edits=False)
    workers = [place.bus(f"worker{number}") for number in range(3)]
    for worker in workers:
        worker.listen("work.EU", lambda delivery, me=worker.me: seen.add(me))
        worker.start()
    seen.wait_for(1)
    place.wait_for_state(sent, "consumed")
    for worker in workers:
        worker.stop()
    assert len(seen.items) == 1
    assert conflicts(place) == {}


def test_leaves_that_lost_are_looked_for_in_every_copy_and_not_for_long_where_one_hangs(place, proxy, monkeypatch):
    monkeypatch.setattr(dbcon, "_EVERY_COPY_S", 0.3)
    bus = place.bus("worker", through=proxy)
    bus.queue.database.server.copies["msgq"] = 3
    message = bus.queue.get(bus.send("work.EU", {}))
    doc = place.database.get(message.id)
    for name in "01":
        place.database.bulk([doc | {"_rev": f"1-{name * 32}"}], new_edits=False)
        if name == "1":
            proxy.rule(lambda request: request.query.get("r") == "3", hang)
        bus.queue.prune(bus.queue.get(message.id))
        assert len([leaf for leaf in place.database.leaves([message.id])[message.id] if not leaf.get("_deleted")]) == 1
    bus.queue.prune(bus.queue.get(message.id))
    assert [each.query.get("r") for each in proxy.requests(asks("/_bulk_get"))] == ["3", "3", None, None]


@pytest.fixture
def hands(place, cluster, monkeypatch):
    """Four processes' hands on the entities, who have all the time to give way."""
    monkeypatch.setattr(changes, "_DISPUTE_S", 20.0)
    connections = [DbConnection(read_settings(place.environ | {"DRW_COUCHDB_URL": cluster.url})) for _ in range(4)]
    yield [connection.database(ENTITIES, remembers=5) for connection in connections]
    for connection in connections:
        connection.close()


def test_no_change_of_a_document_is_lost_and_no_conflict_is_left(place, cluster, hands):
    def work(number):
        for n in range(10):
            assert [number, n] in add(hands[number], [number, n])

    with ThreadPoolExecutor(len(hands)) as pool:
        list(pool.map(work, range(len(hands))))
    expected = [[number, n] for number in range(len(hands)) for n in range(10)]
    assert sorted(hands[0].get("a")["changes"]) == expected
    assert cluster.forked > 0, "no two changes met: this has shown nothing"
    assert cluster.shown > 0
    add(hands[0], "last")
    assert [leaf["_rev"] for leaf in hands[0].leaves(["a"])["a"] if not leaf.get("_deleted")] == [
        hands[0].get("a")["_rev"]
    ]


def test_of_two_who_expect_the_same_one_makes_the_change(cluster, hands):
    for n in range(8):
        doc_id, start = f"ous{n}", threading.Barrier(len(hands))
        hands[0].put({"_id": doc_id, "state": "ReadyForReview"})

        def try_it(number, doc_id=doc_id, start=start):
            start.wait()
            return take(hands[number], doc_id, number)

        with ThreadPoolExecutor(len(hands)) as pool:
            said = set(pool.map(try_it, range(len(hands))))
        assert said == {hands[0].get(doc_id)["by"]}
    assert cluster.forked > 0, "no two changes met: this has shown nothing"


def test_what_a_writer_left_who_died_is_settled_by_the_next(hands, caplog, monkeypatch):
    monkeypatch.setattr(changes, "_DISPUTE_S", 0.2)
    first = hands[0].put({"_id": "a", "n": 1}).partition("-")[2]
    for name in ("a" * 32, "b" * 32):
        leaf = {"_id": "a", "n": name[0], "_rev": f"2-{name}", "_revisions": {"start": 2, "ids": [name, first]}}
        hands[0].bulk([leaf], new_edits=False)
    assert hands[0].mutate("a", lambda doc: doc | {"seen": doc["n"]})["seen"] == "b"
    assert "was changed twice at once: 2-b" in caplog.text
    assert len([leaf for leaf in hands[0].leaves(["a"])["a"] if not leaf.get("_deleted")]) == 1


def test_a_document_whose_write_lost_is_put_by_nobody(hands, cluster):
    database = hands[0]
    rev = database.put({"_id": "a", "n": 1})
    database.put({"_id": "a", "n": 2, "_rev": rev})
    outcomes = []
    for n in range(20):
        try:
            database.put({"_id": "a", "n": n, "_rev": rev})
        except Conflict as error:
            outcomes.append(str(error))
    assert len(outcomes) == 20
    assert any("is being changed" in each for each in outcomes), "each was refused with 409: this has shown nothing"
    assert database.get("a")["n"] == 2


def test_what_was_written_to_since_it_was_read_is_not_removed_as_another_leaf(place):
    """A copy that lags shows a claim as it was before its last renewal; both leases are over."""
    bus = place.bus("first")
    message_id = bus.send("work.EU", {})
    claimed = bus.queue.claim(bus.queue.fetch([message_id]), bus.policy, "token").mine
    [renewed] = bus.queue.renew(claimed, until_s=elapsed_s() + 5)
    assert trees.Trees(place.database).reapable(claimed, is_over=lambda _: True) == []
    assert place.database.get(message_id)["_rev"] == renewed.message.rev
    assert trees.Trees(place.database).reapable([renewed.message], is_over=lambda _: True) == [renewed.message]


def test_a_lapsed_claim_is_taken_over_from_among_shorter_leaves_that_lost(place):
    """It was renewed since, so its branch is the longer; what lost long ago has no place in that one's history."""
    bus = place.bus("first")
    message_id = bus.send("work.EU", {})
    [sent] = bus.queue.fetch([message_id])
    [renewed] = bus.queue.renew(bus.queue.claim([sent], bus.policy, "token").mine, until_s=elapsed_s() + 5)
    claimed = renewed.message
    doc = place.database.get(message_id)
    leaves = [
        doc | {"_rev": f"{length}-{'e' * 32}", "_revisions": {"start": length, "ids": ["e" * 32, *ancestors]}}
        for length, ancestors in ((2, [sent.rev.partition("-")[2]]), (1, []))
    ]
    for leaf in leaves:
        assert place.database.bulk([leaf], new_edits=False) == []
    assert trees.Trees(place.database).reapable([claimed], is_over=lambda _: True) == [claimed]
    living = [each for each in place.database.leaves([message_id])[message_id] if not each.get("_deleted")]
    assert [each["_rev"] for each in living] == [claimed.rev]
