"""A 2xx of a write is on disk: couchlet is killed under load, again and again, and nothing acknowledged is gone."""

from __future__ import annotations

import http.client
import json
import resource
import signal
import sqlite3
import threading

from couchdb_server import Server, start_couchlet

KILLS = 20
WRITERS = 4


class _Load:
    """Four writers that remember what was acknowledged, until the server dies."""

    def __init__(self, server: Server, round_number: int) -> None:
        self.acknowledged: dict[str, str] = {}
        self.enough = threading.Event()
        self._server = server
        self._round = round_number
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _write(self, writer: int) -> None:
        connection = self._server.connect(10)
        number = 0
        try:
            while True:
                number += 1
                self._write_once(connection, writer, number)
        except (OSError, http.client.HTTPException, ValueError):
            return
        finally:
            connection.close()

    def _write_once(self, connection: http.client.HTTPConnection, writer: int, number: int) -> None:
        name = f"r{self._round}w{writer}n{number}"
        if number % 4 == 0:
            docs = [{"_id": f"{name}-{part}", "part": part} for part in range(20)]
            answer = self._server.ask("POST", "/load/_bulk_docs", {"docs": docs}, connection=connection)
            for row in answer.json():
                self.acknowledged[row["id"]] = row["rev"]
        elif number % 4 == 1 and number > 1:
            id_ = f"r{self._round}w{writer}n{number - 2}"
            revision = self.acknowledged[id_]
            answer = self._server.ask("PUT", f"/load/{id_}", {"_rev": revision, "again": True}, connection=connection)
            self.acknowledged[id_] = answer.json()["rev"]
        else:
            answer = self._server.ask("PUT", f"/load/{name}", {"n": number}, connection=connection)
            self.acknowledged[name] = answer.json()["rev"]
        assert answer.status == 201
        if len(self.acknowledged) > 100:
            self.enough.set()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)


def test_nothing_acknowledged_is_lost_when_killed_under_load(tmp_path):
    acknowledged: dict[str, str] = {}
    for round_number in range(KILLS):
        server = start_couchlet(tmp_path)
        if round_number == 0:
            assert server.ask("PUT", "/load").status == 201
            index = {"index": {"fields": ["n"]}, "ddoc": "n", "name": "n"}
            assert server.ask("POST", "/load/_index", index).status == 200
        load = _Load(server, round_number)
        assert load.enough.wait(20)
        assert server.process is not None
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(10)
        load.join()
        server.stop()
        acknowledged |= load.acknowledged
        _check_files(tmp_path)
    _check_documents(tmp_path, acknowledged)


def _check_files(directory):
    for path in [*directory.glob("*.couchlet"), directory / "catalogue.sqlite"]:
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
        connection.close()


def _check_documents(directory, acknowledged):
    server = start_couchlet(directory)
    try:
        body = json.dumps({"keys": list(acknowledged)})
        rows = server.ask("POST", "/load/_all_docs", body).json()["rows"]
        # A write whose answer was lost may have happened: then the document is newer, never older.
        for row in rows:
            assert "value" in row, f"{row['key']} was acknowledged and is gone"
            assert int(row["value"]["rev"].split("-")[0]) >= int(acknowledged[row["id"]].split("-")[0])
            if row["value"]["rev"].startswith(acknowledged[row["id"]].split("-")[0] + "-"):
                assert row["value"]["rev"] == acknowledged[row["id"]]
        query = {"selector": {"n": {"$gt": 0}}, "use_index": "n", "limit": 100_000, "fields": ["_id"]}
        indexed = {doc["_id"] for doc in server.ask("POST", "/load/_find", query).json()["docs"]}
        scanned = server.ask("GET", "/load/_all_docs?include_docs=true").json()["rows"]
        assert indexed == {row["id"] for row in scanned if "n" in row["doc"]}
        info = server.ask("GET", "/load").json()
        assert info["doc_count"] == len(scanned)
    finally:
        server.stop()


def test_a_full_disk_is_an_answer_and_no_damage(tmp_path):
    # A limit on the size of files stands for a full disk: writes beyond it fail in the same place.
    limit_kib = 2048
    server = start_couchlet(tmp_path, preexec_fn=_limiter(limit_kib * 1024))
    try:
        assert server.ask("PUT", "/full").status == 201
        stored = {}
        failures = 0
        for number in range(60):
            answer = server.ask("PUT", f"/full/d{number}", {"text": "x" * 100_000})
            if answer.status == 201:
                stored[f"d{number}"] = answer.json()["rev"]
            else:
                assert answer.status in {500, 507}
                assert set(answer.json()) == {"error", "reason"}
                failures += 1
        assert failures
        assert stored
        for id_, revision in stored.items():
            assert server.ask("GET", f"/full/{id_}").json()["_rev"] == revision
    finally:
        server.stop()
    _check_files(tmp_path)
    again = start_couchlet(tmp_path)
    try:
        for id_, revision in stored.items():
            assert again.ask("GET", f"/full/{id_}").json()["_rev"] == revision
        assert again.ask("PUT", "/full/after", {}).status == 201
    finally:
        again.stop()


def _limiter(limit_bytes: int):
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return limit
