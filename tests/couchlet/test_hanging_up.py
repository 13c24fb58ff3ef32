"""Whoever hangs up in the middle of a write leaves nothing half done; what is damaged is not passed off as whole."""

from __future__ import annotations

import asyncio
import http.client
import json
import sqlite3
import time

import pytest
from couchdb_server import start_couchlet
from waiting import until

from couchlet.documents import NewDocument
from couchlet.errors import CouchError
from couchlet.storage.catalog import Catalog
from couchlet.storage.transaction import Transaction

COMMIT_S = 0.3
SLOW_DISK = f"""
import time
from couchlet.storage.writer import Writer
transact = Writer._transact
def slowly(writer, jobs):
    outcomes = transact(writer, jobs)
    time.sleep({COMMIT_S})
    return outcomes
Writer._transact = slowly
"""


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """A couchlet whose commits take their time, and its directory of data."""
    site, data = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("data")
    (site / "sitecustomize.py").write_text(SLOW_DISK)
    running = start_couchlet(data, environment={"PYTHONPATH": str(site)})
    yield running, data
    running.stop()


def hang_up(server, method, path, body=None, *, after_s, kind="application/json"):
    """Send a request, and close the connection when some time has passed."""
    line = server.connect()
    line.request(method, path, body, {"Authorization": server.authorization, "Content-Type": kind})
    time.sleep(after_s)
    line.close()


def test_an_attachment_whose_sender_hangs_up_is_whole_or_not_there(slow):
    server, _ = slow
    assert server.ask("PUT", "/uploads").status == 201
    contents = {f"d{number}": bytes([97 + number]) * 5000 for number in range(8)}
    for number, (id_, content) in enumerate(contents.items()):
        hang_up(server, "PUT", f"/uploads/{id_}/a.bin", content, after_s=number / 8 * 2 * COMMIT_S, kind="a/b")
    assert server.ask("PUT", "/uploads/last", {}).status == 201  # after all that was begun
    there = [id_ for id_ in contents if server.ask("GET", f"/uploads/{id_}").status == 200]
    assert there
    for id_ in there:
        assert server.ask("GET", f"/uploads/{id_}/a.bin").body == contents[id_]


def test_rights_whose_sender_hangs_up_are_in_force_when_they_are_stored(slow):
    server, _ = slow
    assert server.ask("PUT", "/rights").status == 201
    hang_up(server, "PUT", "/rights/_security", json.dumps({"members": {"names": ["bob"]}}), after_s=COMMIT_S / 2)
    until(lambda: server.ask("GET", "/rights/_security").json() == {"members": {"names": ["bob"]}})


def test_a_database_is_deleted_though_who_asked_for_it_hangs_up(slow):
    server, data = slow
    assert server.ask("PUT", "/gone").status == 201
    assert server.ask("PUT", "/gone/a", {}).status == 201
    files = set(data.rglob("*.couchlet"))
    assert server.ask("PUT", "/other").status == 201
    writing = server.connect()
    writing.request("PUT", "/gone/b", "{}", {"Authorization": server.authorization})
    hang_up(server, "DELETE", "/gone", after_s=COMMIT_S / 3)
    until(lambda: server.ask("GET", "/gone").status == 404)
    until(lambda: len(files & set(data.rglob("*.couchlet"))) == len(files) - 1)
    writing.close()


def test_a_content_that_is_damaged_breaks_the_connection(slow):
    server, data = slow
    assert server.ask("PUT", "/damaged").status == 201
    assert server.ask("PUT", "/damaged/a/f", b"x" * 600_000, headers={"Content-Type": "a/b"}).status == 201
    for path in data.rglob("*.couchlet"):
        with sqlite3.connect(path) as file:
            file.execute("DELETE FROM content WHERE piece = 1")
        file.close()
    for headers in ({}, {"Range": "bytes=0-1,400000-500000"}):
        line = server.connect()
        line.request("GET", "/damaged/a/f", headers={"Authorization": server.authorization, **headers})
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            line.getresponse().read()
        line.close()
    assert server.ask("GET", "/damaged/a?attachments=true").status == 500


def test_a_disk_that_was_away_for_a_moment_ends_no_writing(tmp_path):
    def fail(_):
        raise sqlite3.OperationalError("disk I/O error")

    async def run():
        catalog = Catalog(tmp_path)
        database = await catalog.create("x")
        await database.edit([NewDocument(id="a", body=b"{}")])
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Transaction, "before_commit", fail)
            patched.setattr(Transaction, "_stored_counters", fail)
            for _ in range(2):
                with pytest.raises(CouchError, match="disk I/O error"):
                    await asyncio.wait_for(database.edit([NewDocument(id="b", body=b"{}")]), 20)
        await asyncio.wait_for(database.edit([NewDocument(id="c", body=b"{}")]), 20)
        assert (database.counters.living, database.reader.document("b")) == (2, None)
        await catalog.close()

    asyncio.run(run())


def test_the_key_of_a_content_that_was_dropped_is_not_given_out_again(tmp_path):
    async def run():
        catalog = Catalog(tmp_path)
        database = await catalog.create("x")
        first = await database.begin_content(b"one")
        await database.drop_content(first)
        assert await database.begin_content(b"two") != first
        await catalog.close()

    asyncio.run(run())
