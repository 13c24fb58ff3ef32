"""HTTP to CouchDB: what comes between, what answers in its place, and what takes its time."""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared import connections, couchdb_http, errors
from shared.bus import envelope
from shared.bus.queue import Queue
from shared.clock import elapsed_s
from shared.dbcon import DbConnection
from shared.settings import read_settings


class Server(ThreadingHTTPServer):
    """Answers each request with the next of its answers: status, headers, and JSON or bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, dict, object]] = []
        self.asked: list[tuple[str, str]] = []
        self.begun = threading.Event()
        self.bytes_a_second = 0
        self.meet = threading.Barrier(1)
        self.open_lines = 0
        self.counting = threading.Condition()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def process_request_thread(self, request, client_address) -> None:
        self._count(1)
        super().process_request_thread(request, client_address)
        self._count(-1)

    def _count(self, more: int) -> None:
        with self.counting:
            self.open_lines += more
            self.counting.notify_all()

    def wait_for_lines(self, count: int) -> None:
        with self.counting:
            assert self.counting.wait_for(lambda: self.open_lines == count, 10), self.open_lines


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.server.meet.wait(10)
        self.server.begun.set()
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

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 (names that http.server looks for)

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
        ((502, {}, b'{"error":"bad_gateway","reason":"d\xe9faillante"}'), "502: {"),
        ((412, {}, {"error": "nodedown", "reason": "progress not possible"}), "412: nodedown: progress not possible"),
        ((404, {}, {"error": "not_found", "reason": "no_db_file"}), "404: not_found: no_db_file"),
    ],
)
def test_what_is_not_couchdbs_answer_is_an_outage_and_is_said_once(server, connection, caplog, answer, said):
    server.answers = [answer] * 2 + [(200, {}, {"couchdb": "Welcome"})]
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(errors.DatabaseAway, match="answered GET / with"):
                connection.welcome()
        assert connection.welcome() == {"couchdb": "Welcome"}
        connection.close()
    begun, ended = caplog.messages
    assert said in begun
    assert "is back" in ended


ASKED = {
    "a document": lambda database: database.get("x"),
    "documents": lambda database: database.fetch(["x"]),
    "an index": lambda database: database.find({}, index="i", sort=["a"], limit=1),
    "ids": lambda database: database.rows(),
    "a write": lambda database: database.put({"_id": "x"}),
    "writes": lambda database: database.bulk([{"_id": "x"}]),
    "a sequence": lambda database: database.last_seq(),
    "the database": lambda database: database.copies(),
    "databases": lambda database: database.server.database_names(),
}


@pytest.mark.parametrize("answer", [{}, [], [{}], {"rows": 1, "docs": "x", "results": [{}]}, 7, None])
@pytest.mark.parametrize("ask", ASKED)
def test_json_that_is_not_what_couchdb_answers_there_is_an_outage(server, connection, ask, answer):
    """A proxy's, for instance; an empty list of databases may be true, and so may a database that tells no copies."""
    server.answers += [(200, {}, answer)] * 2
    if (ask, answer) == ("databases", []) or (ask == "the database" and isinstance(answer, dict)):
        assert ASKED[ask](connection.database("queue")) in ([], 1)
        return
    with pytest.raises(errors.DatabaseAway, match="not"):
        ASKED[ask](connection.database("queue"))


def test_an_outage_of_one_node_which_others_answer_for_by_turns_is_said_once(server, connection, caplog, monkeypatch):
    down = (412, {}, {"error": "nodedown", "reason": "progress not possible"})
    server.answers = [down, (200, {}, {"couchdb": "Welcome"})] * 3
    monkeypatch.setattr(couchdb_http, "_CALM_S", 2.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(errors.DatabaseAway):
                connection.database("msgq").info()
            connection.welcome()
        assert len(caplog.messages) == 1
        wait_for_messages(caplog, 2)
    assert "is back after" in caplog.messages[1]


def wait_for_messages(caplog, count):
    """Wait until so many were logged; a clock does it, and nothing tells of it."""
    until = time.monotonic() + 15
    while len(caplog.messages) < count and time.monotonic() < until:
        time.sleep(0.02)


def test_a_full_disk_is_no_silence_and_ends_with_what_is_stored_again(server, connection, caplog, monkeypatch):
    monkeypatch.setattr(couchdb_http, "_CALM_S", 0.0)
    full = (507, {}, {"error": "insufficient_storage", "reason": "the disk is full"})
    server.answers = [full, (200, {}, {"couchdb": "Welcome"}), full, (201, {}, [{"ok": True, "id": "a", "rev": "1-x"}])]
    with caplog.at_level(logging.WARNING):
        for ask in (lambda: connection.database("msgq").bulk([{"_id": "a"}]), connection.welcome):
            with suppress(errors.DatabaseAway):
                ask()
        with pytest.raises(errors.DatabaseAway):
            connection.database("msgq").bulk([{"_id": "a"}])
        connection.database("msgq").bulk([{"_id": "a"}])
        wait_for_messages(caplog, 2)
    begun, ended = caplog.messages
    assert "stores nothing (507: insufficient_storage: the disk is full)" in begun
    assert "stores again after" in ended


def test_a_server_that_takes_its_time_over_a_long_body_is_not_one_that_cannot_be_reached(
    server, connection, monkeypatch
):
    monkeypatch.setattr(couchdb_http, "_CONNECT_S", 0.3)
    server.bytes_a_second = 8_000_000
    server.answers = [(201, {}, [])]
    begun = time.monotonic()
    assert connection.database("msgq").bulk_bytes(b" " * 12_000_000, 0) == []
    assert time.monotonic() - begun > 0.9, "the server was not slow: this has shown nothing"


def test_leaves_that_could_not_be_read_are_not_taken_for_none(server, connection):
    def answer(error):
        return 200, {}, {"results": [{"id": "a", "docs": [{"error": {"id": "a", "error": error, "reason": "x"}}]}]}

    server.answers = [answer("not_found"), answer("internal_server_error")]
    assert connection.database("msgq").leaves(["a"]) == {"a": []}
    with pytest.raises(errors.DatabaseAway, match="could not read document a"):
        connection.database("msgq").leaves(["a"])


def leaves(*revs):
    docs = [
        {"ok": {"_id": "a", "_rev": rev, "_revisions": {"start": int(rev[0]), "ids": [rev[2:], *ids]}}}
        for rev, *ids in revs
    ]
    return 200, {}, {"results": [{"id": "a", "docs": docs}]}


@pytest.mark.parametrize("found", [leaves(["2-mine", "x"]), leaves(["3-theirs", "mine", "x"]), leaves()])
def test_a_change_that_too_few_copies_took_counts_where_it_stands_alone(server, connection, found):
    """As on a cluster of which too many nodes are down."""
    server.answers = [
        (200, {}, {"cluster": {"n": 3}}),
        leaves(["1-x"]),
        (202, {}, {"ok": True, "id": "a", "rev": "2-mine"}),
        found,
    ]
    changed = connection.database("status-entities").mutate("a", lambda doc: {"n": 1, "_rev": doc["_rev"]})
    assert changed == {"_id": "a", "_rev": "2-mine", "n": 1}
    assert server.answers == []


def test_of_a_batch_with_a_shard_that_cannot_be_reached_the_others_are_known_to_be_written(server, connection):
    """CouchDB answers 500, with a row for each document."""
    written = {"ok": True, "id": "a", "rev": "1-x"}
    unwritten = {"id": "b", "error": "internal_server_error", "reason": "No DB shards could be opened."}
    server.answers = [(500, {}, [written, unwritten]), (500, {}, {"error": "internal_server_error", "reason": "x"})]
    rows = connection.database("msgq").bulk([{"_id": "a"}, {"_id": "b"}])
    assert [(row.rev, row.is_away) for row in rows] == [("1-x", False), ("", True)]
    with pytest.raises(errors.DatabaseAway):
        connection.database("msgq").bulk([{"_id": "a"}])


@pytest.mark.parametrize("error", ["insufficent_storage", "internal_server_error", "not_found", "timeout"])
def test_a_document_that_could_not_be_written_for_now_is_not_taken_for_a_refused_one(server, connection, error):
    written, unwritten = {"ok": True, "id": "a", "rev": "1-x"}, {"id": "b", "error": error, "reason": "later"}
    server.answers = [(201, {}, [written, unwritten]), (201, {}, [unwritten])]
    assert [row.is_away for row in connection.database("msgq").bulk([{"_id": "a"}, {"_id": "b"}])] == [False, True]
    with pytest.raises(errors.DatabaseAway, match=f"takes no document now: {error}: later"):
        connection.database("msgq").bulk([{"_id": "b"}])


def test_messages_that_a_full_disk_does_not_take_hold_up_no_others_and_are_not_refused(server, connection):
    queue = Queue(connection.database("msgq"), connection.clock, me="me", lease_s=60, spare_s=0)
    now = connection.clock.now()
    messages = [envelope.new(f"work.EU:0:{n}", {"n": n}, created=now, sender="me") for n in range(2)]
    full = {"id": messages[1].id, "error": "insufficent_storage", "reason": "the disk is full"}
    server.answers = [(200, {}, {}), (201, {}, [{"ok": True, "id": messages[0].id, "rev": "1-x"}, full])]
    results = queue.write(messages, until_s=elapsed_s() + 60)
    assert [result.standing for result in results] == ["written", "unknown"]
    assert results[1].reason == "insufficent_storage: the disk is full"


def test_an_index_that_somebody_else_makes_at_the_same_time_is_there(server, connection):
    met = (
        500,
        {},
        {"error": "error_saving_ddoc", "reason": "Encountered a conflict"},
    )
    wanted = {"ready": (["selector"], None)}
    listed = (200, {}, {"total_rows": 1, "indexes": [{"ddoc": "_design/drw", "name": "ready"}]})
    server.answers = [met, (200, {}, {"result": "exists", "id": "_design/drw", "name": "ready"}), listed]
    connection.create_indexes("msgq", wanted)
    server.answers = [met] * 10
    with pytest.raises(errors.DatabaseAway, match="error_saving_ddoc"):
        connection.create_indexes("msgq", wanted)
    server.answers = [(500, {}, {"error": "unknown_error", "reason": "undefined"})]
    with pytest.raises(errors.DatabaseAway, match="undefined"):
        connection.create_indexes("msgq", wanted)


GONE = (404, {}, {"error": "not_found", "reason": "Database does not exist."})
EXISTS = (412, {}, {"error": "file_exists", "reason": "The database could not be created, the file already exists."})


def test_a_database_that_is_believed_to_exist_though_it_was_deleted_is_made(server, connection):
    """CouchDB 3.5.0 does so for some milliseconds."""
    server.answers = [(200, {}, {"ok": True}), (200, {}, {"db_name": "x"}), GONE]
    assert connection.drop_database("x")
    assert server.asked == [("DELETE", "/x"), ("GET", "/x"), ("GET", "/x")]
    server.answers = [EXISTS, GONE, (201, {}, {"ok": True})]
    assert connection.create_database("x", n=1)
    server.answers = [EXISTS, (200, {}, {"db_name": "x"})]
    assert not connection.create_database("x", n=1)


@pytest.mark.parametrize(
    "said",
    [
        {"error": "internal_server_error", "reason": "No DB shards could be opened."},
        {
            "error": "{error,missing_target}",
            "reason": '[{mem3_util,get_or_create_db_int,2,[{file,"src/mem3_util.erl"}]}]',
        },
    ],
)
def test_while_the_shards_of_a_database_go_it_is_neither_there_nor_away(server, connection, said):
    going = (500, {}, said)
    server.answers = [(200, {}, {"ok": True}), going, GONE]
    assert connection.drop_database("x")
    server.answers = [EXISTS, going, (201, {}, {"ok": True})]
    assert connection.create_database("x", n=1)
    server.answers = [(200, {}, {"ok": True}), (500, {}, {"error": "unknown_error", "reason": "undefined"})]
    with pytest.raises(errors.DatabaseAway, match="undefined"):
        connection.drop_database("x")


def test_what_couchdb_cannot_count_is_refused_and_no_outage(server, connection):
    server.answers = [(500, {}, {"error": "unknown_error", "reason": "badarith", "ref": 1})]
    row = connection.database("x").put_row("a", b"{}")
    assert (row.error, row.reason) == ("refused", "CouchDB stores no whole number of 309 digits or more")


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b'"x"',
        b'{"id":5}',
        b'{"id":"a","changes":[{"rev":"x"}]}',
        b'{"id":"a","changes":{}}',
        b'{"id":"a"',
        b"\xff",
        b'{"id":"\xff"}',
    ],
)
def test_what_is_no_row_breaks_a_feed(server, connection, line):
    """Whoever follows it then takes it for a line that broke, and opens another."""
    row = b'{"seq":"1-x","id":"a","changes":[{"rev":"1-b"}]}'
    server.answers = [(200, {}, b"\n" + row + b"\n" + line + b"\n" + row + b"\n")]
    rows = connection.database("x").feed("now", heartbeat_s=1.0)
    assert [next(rows).id, next(rows).id] == ["", "a"]
    with pytest.raises(errors.DatabaseAway, match="not its own"):
        next(rows)


def test_a_limit_that_is_set_is_not_set_again(server, connection):
    """CouchDB 3.5.0 waits for every node to set it, for a minute where one is down."""
    server.answers = [(200, {}, 20), (200, {}, 1000), (200, {}, {"ok": True})]
    for _ in range(2):
        connection.database("actors").limit_revisions(20)
    assert [method for method, _ in server.asked] == ["GET", "GET", "PUT"]


def test_who_lacks_a_right_is_not_told_of_a_wrong_password(server, connection):
    server.answers = [(401, {}, {"error": "unauthorized", "reason": "You are not a server admin."})]
    with pytest.raises(errors.Forbidden, match="You are not a server admin"):
        connection.database_names()


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

    peer, reading, closed = threading.Thread(target=reset), threading.Event(), threading.Event()

    def read() -> None:
        with requests.stream("/msgq/_changes", read_timeout_s=5):
            reading.set()
            closed.wait(5)

    reader = threading.Thread(target=read)
    for thread in (peer, reader):
        thread.start()
    assert reading.wait(5)
    peer.join()
    threading.Timer(0.1, closed.set).start()
    requests.close()
    listener.close()
    reader.join(5)
    assert not reader.is_alive()


def test_to_close_is_to_wait_for_the_last_answers(server, connection):
    server.bytes_a_second, server.answers = 1_000_000, [(200, {}, {"ok": True})]
    asking = threading.Thread(target=connection.call, args=("POST", "/msgq"), kwargs={"content": b"1" * 300_000})
    asking.start()
    assert server.begun.wait(5)
    connection.close()
    assert server.asked == [("POST", "/msgq")]
    asking.join(5)


def test_to_close_is_to_end_the_lines_that_are_read_and_to_wait_until_nobody_reads(couchlet, tmp_path):
    """A thread that still reads while the interpreter ends can take the process down with a signal."""
    settings = read_settings({"DRW_COUCHDB_URL": couchlet.url, "DRW_HOME": str(tmp_path)})
    connection, reading, left = DbConnection(settings), threading.Event(), []
    connection.create_database("msgq")

    def read() -> None:
        path, params = "/msgq/_changes", {"feed": "continuous", "since": "now", "heartbeat": "100"}
        with suppress(errors.DatabaseAway), connection.stream(path, params, read_timeout_s=30) as response:
            try:
                for _ in couchdb_http.pieces(response):
                    reading.set()
            finally:
                time.sleep(0.3)  # a thread that is slow to notice
                left.append("the line")

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(10)
    connection.close()
    assert left == ["the line"]
    reader.join(5)


@pytest.mark.parametrize("url", ["http://exa mple:5984", "http://[::1:5984"])
def test_what_is_no_address_is_said_in_a_sentence(tmp_path, url):
    with pytest.raises(errors.BadInput, match="address"):
        DbConnection(read_settings({"DRW_HOME": str(tmp_path), "DRW_COUCHDB_URL": url}))


def test_connections_that_nobody_needs_any_more_are_given_back(server, connection, monkeypatch):
    """Many are open after a moment in which much was asked at once; in the calm after it the one in use is kept."""
    server.answers = [(200, {}, {"version": "3.5.0"})] * 8
    server.meet = threading.Barrier(5)
    threads = [threading.Thread(target=connection.send, args=("GET", "/")) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    server.meet = threading.Barrier(1)
    connection.send("GET", "/")
    server.wait_for_lines(5)
    later_s = elapsed_s() + connections.UNUSED_S + 1
    monkeypatch.setattr(connections, "elapsed_s", lambda: later_s)
    connection.send("GET", "/")
    server.wait_for_lines(1)
    connection.send("GET", "/")
    server.wait_for_lines(1)
