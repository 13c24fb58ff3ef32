"""The janitor: purges what is over in every respect, and nothing else, and gives the space back."""

from datetime import timedelta

import pytest

from shared.bus import janitor, queue
from shared.clock import stamp

KEPT_S = janitor.retention_s(0, lease_s=1.5)


@pytest.fixture
def tidy(place):
    def tidied():
        return janitor.Janitor(place.database, kept_s=KEPT_S).tidy()

    return tidied


def put(place, name, state, *, age_s=2 * KEPT_S, rev="", **more):
    """Write a message of which the last change is so old."""
    at = stamp(place.connection.clock.now() - timedelta(seconds=age_s))
    doc = {
        "_id": f"work.EU:1:{name}",
        "schema": 1,
        "selector": "work.EU",
        "state": state,
        "priority": 5,
        "creationTimestamp": at,
        "sender": "test",
        "body": {"name": name},
        "digest": name,
        "attempts": 1,
    }
    if state in {"consumed", "dead", "expired"}:
        doc["doneAt"] = at
    if state == "claimed":
        doc |= {"due": at, "claim": {"by": "b", "token": name, "since": at, "until": at}}
    doc |= more
    row = place.database.bulk([doc | ({"_rev": rev} if rev else {})])[0]
    assert not row.error, row
    return doc["_id"], row.rev


def leaf(place, doc_id, rev, parent, **fields):
    """Write a leaf of a revision tree as a replication would."""
    generation, _, name = rev.partition("-")
    start = {"start": int(generation), "ids": [name, parent.partition("-")[2]]}
    place.database.bulk([{**fields, "_id": doc_id, "_rev": rev, "_revisions": start}], new_edits=False)


def test_what_is_over_and_old_is_purged_and_leaves_no_tombstone(place, tidy):
    for name, state in (("a", "consumed"), ("b", "expired")):
        put(place, name, state)
    kept = [put(place, "young", "consumed", age_s=KEPT_S / 2)[0], put(place, "dead", "dead")[0]]
    kept += [put(place, "ready", "ready")[0], put(place, "claimed", "claimed")[0]]
    assert tidy().purged == 2
    assert {doc["_id"] for doc in place.database.every()} == set(kept)
    assert place.database.info()["doc_del_count"] == 0
    assert place.database.leaves(["work.EU:1:a"]) == {"work.EU:1:a": []}
    assert tidy().purged == 0


def test_a_child_stays_until_its_cause_is_over_and_an_operator_may_still_requeue_a_dead_cause(place, tidy):
    for state in ("ready", "claimed", "dead"):
        cause, _ = put(place, f"cause-{state}", state)
        put(place, f"child-{state}", "consumed", cause=cause)
    done, _ = put(place, "cause-done", "consumed", age_s=10)
    put(place, "child-done", "consumed", cause=done)
    put(place, "orphan", "consumed", cause="work.EU:1:purged-long-ago")
    tidied = tidy()
    assert (tidied.purged, tidied.kept) == (2, {"its cause is not over": 3})
    left = {doc["_id"].rpartition(":")[2] for doc in place.database.every()}
    assert left == {f"{who}-{state}" for state in ("ready", "claimed", "dead") for who in ("cause", "child")} | {
        "cause-done"
    }


def test_a_loser_of_a_conflict_never_comes_to_light(place, tidy):
    doc_id, first = put(place, "a", "ready")
    old = stamp(place.connection.clock.now() - timedelta(seconds=2 * KEPT_S))
    common = {"selector": "work.EU", "creationTimestamp": old, "priority": 5}
    _, second = put(place, "a", "claimed", rev=first)
    leaf(place, doc_id, "2-" + "b" * 32, first, state="claimed", due=old, **common)
    leaf(place, doc_id, "2-" + "c" * 32, first, _deleted=True)
    put(place, "a", "consumed", rev=second)
    assert len(place.database.leaves([doc_id])[doc_id]) == 3
    assert tidy().purged == 1
    assert place.database.leaves([doc_id]) == {doc_id: []}
    assert place.database.get(doc_id) is None


def test_a_message_with_a_leaf_that_somebody_may_still_work_on_stays(place, tidy):
    doc_id, first = put(place, "a", "ready")
    soon = stamp(place.connection.clock.now() + timedelta(seconds=60))
    _, second = put(place, "a", "claimed", rev=first)
    leaf(place, doc_id, "2-" + "b" * 32, first, state="claimed", due=soon, selector="work.EU")
    put(place, "a", "consumed", rev=second)
    tidied = tidy()
    assert (tidied.purged, tidied.kept) == (0, {"it is not over in every leaf": 1})
    assert place.database.get(doc_id)["state"] == "consumed"


@pytest.mark.parametrize("cause", [5, ["x"], {"a": 1}, "_design/drw", "long " * 500], ids=lambda cause: str(cause)[:9])
def test_what_strangers_wrote_keeps_nothing_from_being_purged(place, tidy, cause):
    """A leaf of which nobody knows the state may be somebody's work."""
    put(place, "odd", "consumed", cause=cause)
    put(place, "plain", "consumed")
    open_in_a_leaf, first = put(place, "open", "ready")
    put(place, "open", "consumed", rev=first)
    leaf(place, open_in_a_leaf, "2-0000", first, state=["ready"])
    assert tidy().purged == 2
    assert [doc["_id"] for doc in place.database.every()] == [open_in_a_leaf]


def test_thousands_are_purged_and_the_file_shrinks_to_what_is_live(place, tidy):
    at = stamp(place.connection.clock.now() - timedelta(seconds=2 * KEPT_S))
    sender = place.bus("sender")
    for start in range(0, 3000, 500):
        ids = sender.send_many(
            [sender.compose("work.EU", {"n": n, "text": "x" * 300}) for n in range(start, start + 500)]
        )
        docs = [doc | {"state": "consumed", "doneAt": at} for doc in place.database.fetch(ids)]
        place.database.bulk(docs)
    live = sender.send_many([sender.compose("work.EU", {"n": n, "text": "x" * 300}) for n in range(300)])
    before = place.database.info()["sizes"]["file"]
    tidied = tidy()
    assert tidied.purged == 3000
    assert tidied.file_bytes < before / 2
    assert tidied.file_bytes <= 3 * tidied.live_bytes
    assert len(place.bus().queue.ready("work.EU", 1000)) == len(live)


def test_more_messages_settled_at_one_moment_than_a_page_holds_are_all_seen(place, tidy, monkeypatch):
    monkeypatch.setattr(janitor, "_PAGE", 5)
    cause, _ = put(place, "cause", "ready")
    at = stamp(place.connection.clock.now() - timedelta(seconds=2 * KEPT_S))
    for number in range(12):
        put(place, f"kept{number:02}", "consumed", cause=cause, doneAt=at)
        put(place, f"over{number:02}", "consumed", doneAt=at)
    tidied = tidy()
    assert (tidied.purged, tidied.kept) == (12, {"its cause is not over": 12})


def test_a_message_edited_more_often_than_once_a_replication_makes_no_conflict(place, tidy):
    """41 renewals between two replications: the target follows, because its history is long enough."""
    place.connection.create_database("elsewhere")
    target = place.connection.database("elsewhere")
    doc_id, rev = put(place, "a", "ready")
    replicate(place.database, target)
    for _ in range(41):
        _, rev = put(place, "a", "claimed", rev=rev)
    replicate(place.database, target)
    put(place, "a", "consumed", rev=rev)
    replicate(place.database, target)
    assert target.get(doc_id, conflicts=True)["state"] == "consumed"
    assert len(target.leaves([doc_id])[doc_id]) == 1


def replicate(source, target):
    """Carry everything over, by the steps of CouchDB's replication protocol."""
    call = source.server.call
    changes = call("GET", source.path("_changes"), params={"style": "all_docs"})["results"]
    for row in (each for each in changes if not each["id"].startswith("_design/")):
        leaves = [change["rev"] for change in row["changes"]]
        for rev in leaves:
            doc = source.get(row["id"], rev=rev, revs=True)
            target.bulk([doc], new_edits=False)


@pytest.mark.parametrize(("wanted", "lease", "kept"), [(0, 1, 3600), (7200, 1, 7200), (0, 600, 12_000)])
def test_retention_is_never_under_an_hour_or_twenty_leases(wanted, lease, kept):
    assert janitor.retention_s(wanted, lease) == kept


def test_replications_out_of_the_queue_are_known_by_their_source():
    assert janitor._names("http://127.0.0.1:5984/msgq/", queue.DATABASE)
    assert janitor._names("https://eu.example.org/msgq", queue.DATABASE)
    assert not janitor._names("https://eu.example.org/msgq2", queue.DATABASE)
