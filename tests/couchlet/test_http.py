"""HTTP itself: addresses, headers, and clients that speak its older version."""

from __future__ import annotations

import base64
import re
import socket
import threading

import pytest


def old_client(server, request: str, connection_header: str = "close") -> tuple[str, bytes]:
    """Send a request as HTTP/1.0 clients do; return the head and the body, which ends with the connection."""
    method, path = request.split(" ")
    text = f"{method} {path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: {server.authorization}\r\n"
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(f"{text}Accept: */*\r\nConnection: {connection_header}\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


class TestOldClients:
    """HTTP/1.0 knows no chunks: an answer of unknown length ends with the connection."""

    def test_a_long_list(self, server, database):
        server.ask("POST", f"{database}/_bulk_docs", {"docs": [{"_id": f"{n:05}"} for n in range(3000)]})
        head, body = old_client(server, f"GET {database}/_all_docs")
        assert head.startswith("HTTP/1.0 200")
        assert "chunked" not in head.lower()
        assert body.startswith(b'{"total_rows":3000,')
        assert body.endswith(b"\r\n]}\n")

    def test_a_feed_that_waits(self, server, database):
        threading.Timer(0.3, lambda: server.ask("PUT", f"{database}/x", {})).start()
        _, body = old_client(server, f"GET {database}/_changes?feed=longpoll&timeout=8000")
        assert b'"id":"x"' in body
        assert b'"last_seq"' in body

    @pytest.mark.parametrize("connection", ["close", "keep-alive"])
    def test_revisions_in_parts(self, server, database, connection):
        server.ask("PUT", f"{database}/x", {"n": 1})
        head, body = old_client(server, f"GET {database}/x?open_revs=all", connection)
        assert "keep-alive" not in head
        assert b'"n":1' in body
        assert body.endswith(b"--")

    def test_attachments(self, server, database):
        data = base64.b64encode(b"0123456789").decode()
        server.ask("PUT", f"{database}/x", {"_attachments": {"a": {"content_type": "image/png", "data": data}}})
        assert old_client(server, f"GET {database}/x/a")[1] == b"0123456789"
        assert b"0123456789" in old_client(server, f"GET {database}/x?attachments=true")[1]

    def test_whole_answers(self, server, database):
        head, body = old_client(server, f"GET {database}")
        assert f"content-length: {len(body)}" in head.lower()


@pytest.mark.parametrize("path", ["/x%zz", "/x%", "/x%4", "?a=%zz", "/x?a=%"])
def test_escapes_that_are_none_are_refused(server, database, path):
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(
            f"GET {database}{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.authorization}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"bad_request"' in answer


@pytest.mark.parametrize(
    ("headers", "start"),
    [
        ({"X-Forwarded-Host": "mysite.com"}, "http://mysite.com/"),
        ({"X-Forwarded-Host": "mysite.com", "X-Forwarded-Proto": "https"}, "https://mysite.com/"),
        ({"X-Forwarded-Host": "mysite.com", "X-Forwarded-Ssl": "on"}, "https://mysite.com/"),
        ({"X-Forwarded-Proto": "gopher"}, "http://127.0.0.1:"),
    ],
)
def test_locations_are_as_a_proxy_says(server, database, headers, start):
    answer = server.ask("PUT", f"{database}/x", {}, headers=headers)
    assert answer.headers["location"].startswith(start)
    assert answer.headers["location"].endswith(f"{database}/x")


def test_answers_name_their_request(server, database):
    for path in (database, f"{database}/none", f"{database}/_changes?feed=continuous&timeout=10", "/_utils/"):
        given = server.ask("GET", path, headers={"X-Couch-Request-ID": "abc-_123"})
        assert given.headers["x-couch-request-id"] == "abc-_123"
        assert given.headers["x-couchdb-body-time"] == "0"
        for other in ("x" * 37, "a b"):
            made = server.ask("GET", path, headers={"X-Couch-Request-ID": other})
            assert re.fullmatch("[0-9a-f]{10}", made.headers["x-couch-request-id"])
    assert server.ask("PUT", f"{database}/x", {}).headers["x-couchdb-body-time"].isdigit()


def test_a_client_names_how_it_is_asked_for_credentials(server, database):
    for way in ("Cookie", 'Basic realm="here"'):
        asked = {"X-CouchDB-WWW-Authenticate": way}
        refused = server.ask("GET", database, headers=asked, auth=None)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, way)
        assert "www-authenticate" not in server.ask("GET", database, headers=asked).headers
    assert "www-authenticate" not in server.ask("GET", database, auth=None).headers


@pytest.mark.parametrize("parameter", ["placement=moon", "placement=", "placement=a:0", "engine=foo", "q=0"])
def test_databases_are_made_as_asked_or_not_at_all(server, database, parameter):
    for path in (database, "/never"):
        answer = server.ask("PUT", f"{path}?{parameter}")
        assert (answer.status, answer.json()["error"]) == (400, "bad_request")
    assert server.ask("GET", "/never").status == 404
    assert server.ask("PUT", f"{database}?placement=metro:1,east:2&engine=couch").status == 412


def test_ids_are_not_kept_on_the_way(server):
    headers = server.ask("GET", "/_uuids").headers
    assert (headers["cache-control"], headers["expires"]) == ("no-cache", "Mon, 01 Jan 1990 00:00:00 GMT")


def test_the_boundary_inside_a_bulk_answer_has_no_quotes(server, database):
    data = base64.b64encode(b"x").decode()
    server.ask("PUT", f"{database}/x", {"_attachments": {"a": {"content_type": "image/png", "data": data}}})
    path = f"{database}/_bulk_get?attachments=true"
    answer = server.ask("POST", path, {"docs": [{"id": "x"}]}, headers={"Accept": "multipart/mixed"})
    assert re.search(rb"Content-Type: multipart/related; boundary=--[0-9a-f]+\r\n", answer.body)


@pytest.mark.parametrize("coding", ["deflate", "GZIP", ""])
def test_codings_of_bodies_that_are_not_known_are_refused(server, database, coding):
    answer = server.ask("PUT", f"{database}/x", {"a": 1}, headers={"Content-Encoding": coding})
    assert (answer.status, answer.json()["error"]) == (415, "bad_content_type")


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        ("POST", "x", (400, "bad_request")),
        ("GET", "_temp_view", (410, "gone")),
        ("POST", "_temp_view", (410, "gone")),
        ("GET", "_auto_purge", (404, "not_found")),
        ("PUT", "_partition/x", (405, "method_not_allowed")),
    ],
)
def test_what_couchdb_has_no_more_or_not_so(server, database, method, name, expected):
    answer = server.ask(method, f"{database}/{name}", {} if method != "GET" else None)
    assert (answer.status, answer.json()["error"]) == expected


def test_facts_of_databases_have_a_tag(server, database):
    answer = server.ask("GET", "/_dbs_info")
    assert server.ask("GET", "/_dbs_info", headers={"If-None-Match": answer.headers["etag"]}).status == 304
    assert "etag" not in server.ask("POST", "/_dbs_info", {"keys": []}).headers
