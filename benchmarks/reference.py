"""What the bus is measured against: the database's own speed, and the queue that people write first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from shared import errors
from shared.bus import envelope

if TYPE_CHECKING:
    from shared.bus.envelope import Message
    from shared.dbcon import Database, Doc

BATCH = 100
FIND_INDEX = "by_selector"


def send_floor(database: Database, messages: list[Message]) -> float:
    """Return documents a second of plain ``_bulk_docs`` calls: these very messages, nothing else."""
    docs = [msgspec.to_builtins(message) for message in messages]
    begun = time.perf_counter()
    for start in range(0, len(docs), BATCH):
        database.bulk(docs[start : start + BATCH])
    return len(docs) / (time.perf_counter() - begun)


def single_floor(database: Database, messages: list[Message]) -> float:
    """Return documents a second of plain PUTs, one after another."""
    docs = [msgspec.to_builtins(message) for message in messages]
    begun = time.perf_counter()
    for doc in docs:
        database.put(doc)
    return len(docs) / (time.perf_counter() - begun)


def receive_floor(database: Database, messages: list[Message], batch: int) -> float:
    """Return messages a second of plain ``_bulk_docs`` calls, two writes each as a claim and a settlement are.

    ``batch`` is how many documents a call writes. The messages are stored; what is written has all that a claimed and
    a consumed message have.
    """
    now = database.server.clock.now()
    claimed = [envelope.claim(message, by="floor", token="0" * 16, now=now, lease_s=60) for message in messages]
    stages = [claimed, [envelope.done(message, now=now) for message in claimed]]
    prepared = [[msgspec.to_builtins(message) for message in stage] for stage in stages]
    begun = time.perf_counter()
    for start in range(0, len(messages), batch):
        revisions = [message.rev for message in messages[start : start + batch]]
        for stage in prepared:
            docs = [{**doc, "_rev": rev} for doc, rev in zip(stage[start : start + batch], revisions, strict=True)]
            revisions = [row.rev for row in database.bulk(docs)]
    return len(messages) / (time.perf_counter() - begun)


def make_find_queue(database: Database, count: int) -> None:
    """Fill a database with ready messages for :func:`find_then_overwrite`, and index them."""
    database.server.create_indexes(database.name, {FIND_INDEX: (["selector", "state", "creationTimestamp"], None)})
    docs: list[Doc] = [
        {"_id": f"work:{number:06}", "selector": "work", "state": "ready", "creationTimestamp": f"{number:012}"}
        for number in range(count)
    ]
    for start in range(0, count, BATCH):
        database.bulk(docs[start : start + BATCH])


def find_then_overwrite(database: Database) -> int:
    """Consume a queue in the way that suggests itself, until it is empty; return how many messages were handled.

    Find one ready message, read its newest revision, overwrite it: where several do so, they handle each other's.
    """
    handled = 0
    while True:
        found = database.find(
            {"selector": "work", "state": "ready"},
            index=FIND_INDEX,
            sort=["selector", "state", "creationTimestamp"],
            limit=1,
        )
        if not found:
            return handled
        doc = database.get(found[0]["_id"])
        if doc is None:
            continue
        handled += 1
        while True:
            try:
                database.put(doc | {"state": "consumed"})
                break
            except errors.Conflict:
                doc = database.get(found[0]["_id"]) or doc
