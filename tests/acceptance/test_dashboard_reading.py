"""Reading all open and dead messages through the indexes, page by page, whatever lies across the ends of pages."""

from __future__ import annotations

import random

import pytest

from drw import setup
from shared import letters
from shared.bus import queue
from shared.dbcon import DbConnection
from shared.settings import read_settings

SELECTORS = ("cached.EU", "cached.JAO", "ingest.JAO", "ingest.JAO-2", "xtss")
STATES = ("ready", "delayed", "claimed", "dead", "consumed")


@pytest.fixture
def database(couchlet):
    settings = read_settings({"DRW_HOME": str(couchlet.home), "DRW_COUCHDB_URL": couchlet.url})
    setup.ensure(settings)
    connection = DbConnection(settings)
    yield connection.database(queue.DATABASE)
    connection.close()


def test_every_open_and_dead_message_is_met_and_no_other(database, monkeypatch):
    rng = random.Random(1)
    docs = []
    for number in range(400):
        state = rng.choice(STATES)
        at = f"2026-11-20T10:00:00.{rng.randrange(9):06}"  # many at one time, more than a page has
        more = (
            {"due": at} if state in {"delayed", "claimed"} else {"doneAt": at} if state in {"dead", "consumed"} else {}
        )
        docs.append(
            {
                "_id": f"{rng.choice(SELECTORS)}:{number}:abc",
                "state": state,
                "priority": rng.randrange(3),
                "creationTimestamp": at,
                "body": {"ousUID": "uid://X1/X1/X1", "report": "x" * 100},
                **more,
            }
        )
    for doc in docs:
        doc["selector"] = doc["_id"].partition(":")[0]
    database.bulk(docs)
    monkeypatch.setattr(letters, "_PAGE", 19)
    found = list(letters.unsettled(database))
    assert sorted(each.id for each in found) == sorted(doc["_id"] for doc in docs if doc["state"] != "consumed")
    assert {each.ous for each in found} == {"uid://X1/X1/X1"}
