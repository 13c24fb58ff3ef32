"""HTTP to CouchDB: what comes between, what answers in its place, and what takes its time."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared import couchdb_http, errors
from shared.dbcon import DbConnection
from shared.settings import read_settings


class Server(ThreadingHTTPServer):
    """Answers each request with the next of its answers: status, headers, and JSON or bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict, object]] = []
        self.asked: list[tuple[str, str]] = []
        self.bytes_a_second = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 18))
            left -= len(piece)
            if self.server.bytes_a_second:
                time.sleep(len(piece) / self.server.bytes_a_second)
        self.server.asked.append((self.command, self.path))
        status, headers, content = self.server.answers.pop(0)
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = _answer  # noqa: N815 (names that http.server looks for)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server():
    made = Server()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def connection(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_address[1]}"
    made = DbConnection(read_settings({"DRW_HOME": str(tmp_path), "DRW_COUCHDB_URL": url}))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((302, {"Location": "https://login.example.org/"}, b""), "redirects to https://login.example.org/"),
        ((200, {"Content-Type": "text/html; charset=utf-8"}, b"<h1>Please log in</h1>"), "a page and no JSON"),
        ((408, {}, {"error": "timeout", "reason": "slow"}), "408: timeout: slow"),
        ((429, {}, {"error": "busy", "reason": "later"}), "429: busy: later"),
        ((503, {}, b"<h1>no server</h1>"), "503: <h1>no server</h1>"),
    ],
)
def test_what_is_not_couchdbs_answer_is_an_outage_and_is_said_once(server, connection, caplog, answer, said):
    server.answers = [answer] * 2 + [(200, {}, {"couchdb": "Welcome"})]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(errors.DatabaseAway, match="answered GET / with"):
                connection.welcome()
        assert connection.welcome() == {"couchdb": "Welcome"}
    begun, ended = caplog.messages
    assert said in begun
    assert "is back" in ended


def test_a_server_that_takes_its_time_over_a_long_body_is_not_one_that_cannot_be_reached(
    server, connection, monkeypatch
):
    monkeypatch.setattr(couchdb_http, "_CONNECT_S", 0.3)
    server.bytes_a_second = 8_000_000
    server.answers = [(201, {}, [])]
    begun = time.monotonic()
    assert connection.database("msgq").bulk_bytes(b" " * 12_000_000) == []
    assert time.monotonic() - begun > 0.9, "the server was not slow: this has shown nothing"


def test_leaves_that_could_not_be_read_are_not_taken_for_none(server, connection):
    def answer(error):
        return 200, {}, {"results": [{"id": "a", "docs": [{"error": {"id": "a", "error": error, "reason": "x"}}]}]}

    server.answers = [answer("not_found"), answer("internal_server_error")]
    assert connection.database("msgq").leaves(["a"]) == {"a": []}
    with pytest.raises(errors.DatabaseAway, match="could not read document a"):
        connection.database("msgq").leaves(["a"])


def test_a_change_that_too_few_copies_took_counts_only_where_it_stands(server, connection):
    database = connection.database("status-entities", remembers=5)
    accepted = {"ok": True, "id": "a"}
    server.answers = [
        (200, {}, {"_id": "a", "_rev": "1-x", "n": 1}),
        (202, {}, accepted | {"rev": "2-mine"}),
        (200, {}, {"_id": "a", "_rev": "2-theirs", "n": 5}),  # that did not stand
        (200, {}, {"_id": "a", "_rev": "2-theirs", "n": 5}),
        (202, {}, accepted | {"rev": "3-mine"}),
        (200, {}, {"_id": "a", "_rev": "3-mine", "n": 6}),
    ]
    assert database.mutate("a", lambda doc: doc | {"n": doc["n"] + 1}) == {"_id": "a", "_rev": "3-mine", "n": 6}
    assert [method for method, _ in server.asked] == ["GET", "PUT", "GET", "GET", "PUT", "GET"]


def test_a_connection_that_was_reset_does_not_keep_the_others_from_being_closed(connection, tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    connection.close()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    requests = couchdb_http.Requests(
        read_settings({"DRW_COUCHDB_URL": url, "DRW_HOME": str(tmp_path)}), connection.clock
    )

    def reset() -> None:
        line, _ = listener.accept()
        line.recv(65536)
        line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        line.close()

    peer = threading.Thread(target=reset)
    peer.start()
    with requests.stream("/msgq/_changes", read_timeout_s=5):
        peer.join()
        requests.close()
    listener.close()


@pytest.mark.parametrize("url", ["http://exa mple:5984", "http://[::1:5984"])
def test_what_is_no_address_is_said_in_a_sentence(tmp_path, url):
    with pytest.raises(errors.BadInput, match="address"):
        DbConnection(read_settings({"DRW_HOME": str(tmp_path), "DRW_COUCHDB_URL": url}))
