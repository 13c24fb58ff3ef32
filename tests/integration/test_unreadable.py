"""A document that CouchDB cannot read, as one that is damaged on its disk, keeps nothing else from going on."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace

import pytest
from troubles import fail
from waiting import until

from shared.bus import janitor, stored
from shared.bus.retry import BackOff
from shared.dbcon import DbConnection


def unreadable(proxy, doc_id):
    """Have CouchDB fail wherever it is asked for a document's content, alone or with others."""
    proxy.rule(lambda request: request.path.endswith("/_bulk_get") and doc_id.encode() in request.body, fail(500))


@pytest.fixture
def impatient(monkeypatch):
    """Have it said soon that a message cannot be read."""
    monkeypatch.setattr(stored, "_UNREADABLE", BackOff(first_s=0.2, longest_s=60.0, factor=2.0))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("delay_s", [None, 0.5])
def test_a_message_that_cannot_be_read_keeps_no_other_back(place, proxy, seen, caplog, delay_s):
    bus = place.bus("worker", through=proxy, DRW_POLL_MAX_S="1")
    for selector in ("work.EU", "other.EU"):
        bus.listen(selector, lambda delivery: seen.add(delivery.body["n"]))
    sent = bus.send_many([bus.compose("work.EU", {"n": n}, delay_s=delay_s) for n in range(10)])
    unreadable(proxy, sent[3])
    with bus:
        seen.wait_for(9)
        bus.send("other.EU", {"n": "other"})
        seen.wait_for(10)
        said = until(lambda: [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR])
    assert set(seen.items) == {*range(10), "other"} - {3}
    assert said == [f"message {sent[3]} cannot be read by CouchDB, and is left alone: look into CouchDB's log"]


def test_several_that_cannot_be_read_keep_no_other_selector_back(place, proxy, seen):
    """Nothing else is read together with them, and several are asked for at once."""
    bus = place.bus("worker", through=proxy, DRW_POLL_MAX_S="1")
    bus.listen("work.EU", lambda delivery: seen.add(delivery.body["n"]), slots=4)
    bus.listen("other.EU", lambda delivery: seen.add(delivery.body["n"]))
    for each in bus.send_many([bus.compose("work.EU", {"n": n}) for n in range(3)]):
        unreadable(proxy, each)
    with bus:
        bus.send("other.EU", {"n": "other"})
        assert seen.wait_for(1) == ["other"]


def test_a_message_that_can_be_read_again_is_there(place, proxy, seen):
    bus = place.bus("worker", through=proxy)
    sent = bus.send("work.EU", {"n": 1})
    unreadable(proxy, sent)
    assert bus.queue.fetch_readable([sent]) == []
    assert bus.queue.stored.is_in_the_way(sent)
    assert bus.queue.get(sent).body == {"n": 1}
    assert not bus.queue.stored.is_in_the_way(sent)


def test_the_janitor_goes_on_where_nothing_of_a_page_can_be_read(place, proxy):
    over = {"schema": 1, "selector": "work.EU", "state": "consumed", "doneAt": "2020-01-01T00:00:00.000000"}
    expired = over | {"_id": "work.EU:2:x", "state": "expired"}
    children = [over | {"_id": f"work.EU:1:{number}", "cause": "work.EU:0:x"} for number in range(3)]
    place.database.bulk([over | {"_id": "work.EU:0:x"}, *children, expired])
    unreadable(proxy, "work.EU:0:x")
    with closing(DbConnection(replace(place.settings, couchdb_url=proxy.url))) as connection:
        tidied = janitor.Janitor(connection.database("msgq"), kept_s=3600).tidy()
    assert (tidied.purged, tidied.kept) == (1, {"CouchDB cannot read it": 4})


def test_the_janitor_passes_over_what_cannot_be_read(place, proxy):
    ids = [f"work.EU:{number:03}:x" for number in range(250)]
    over = {"schema": 1, "selector": "work.EU", "state": "consumed", "doneAt": "2020-01-01T00:00:00.000000"}
    place.database.bulk([{"_id": each, **over} for each in ids])
    unreadable(proxy, ids[120])
    with closing(DbConnection(replace(place.settings, couchdb_url=proxy.url))) as connection:
        tidied = janitor.Janitor(connection.database("msgq"), kept_s=3600).tidy()
    assert (tidied.purged, tidied.kept) == (249, {"CouchDB cannot read it": 1})
    assert [row["id"] for row in place.database.rows(startkey="work.EU:", endkey="work.EU:z")] == [ids[120]]
