"""What a hostile or careless client may send: it gets an answer, and nothing else happens."""

from __future__ import annotations

import gzip
import json
import re
import socket
import urllib.parse

import pytest
from couchdb_server import start_couchlet


def raw(server, text: bytes) -> bytes:
    """Send bytes as they are and return the whole answer."""
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(text)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5984", "127.0.0.1.evil.example", "", "localhost.evil:1"]
)
def test_a_foreign_host_is_refused(server, host):
    answer = server.ask("GET", "/", headers={"Host": host})
    assert (answer.status, answer.json()["error"]) == (400, "bad_request")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:5984", "[::1]:5984"])
def test_our_own_names_are_answered(server, host):
    assert server.ask("GET", "/", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "name",
    [
        "..", "../x", "..%2F..%2Fetc%2Fpasswd", "%2e%2e", "a%00b", "a'b", 'a"b', "a;drop", "a b", "A", "-a", "_a", "é",
        "a.b", "a%5Cb", "%2F", "1", "a" * 300,
    ],
)  # fmt: skip
def test_names_of_databases_are_checked(server, name):
    assert server.ask("PUT", f"/{name}").status in {400, 404, 412}


@pytest.mark.parametrize(
    "id_",
    [
        "..", "../../x", "'; DROP TABLE doc; --", '"', "%", "?", "#", "&", "\\", "a\tb", "a\nb", "x" * 5000, "é", "😀",
        "\u0000", "\uffff", "_design/../x", "NUL", "a/b/c", "+", " ", "true", "null", "ﬀ", "e\u0301",
    ],
)  # fmt: skip
def test_odd_ids_are_ids(server, database, id_):
    path = f"{database}/{urllib.parse.quote(id_, safe='').replace('_design%2F', '_design/')}"
    made = server.ask("PUT", path, {"n": 1})
    assert made.status == 201
    assert server.ask("GET", path).json() == {"_id": id_, "_rev": made.json()["rev"], "n": 1}
    assert [row["id"] for row in server.ask("GET", f"{database}/_all_docs").json()["rows"]] == [id_]
    found = server.ask("POST", f"{database}/_bulk_get", {"docs": [{"id": id_}]}).json()
    assert found["results"][0]["docs"][0]["ok"]["n"] == 1
    assert server.ask("PUT", f"{path}/%2e%2e%2f%2e%2e%2fevil?rev={made.json()['rev']}", b"x").status == 201
    assert server.ask("GET", f"{path}/..%2f..%2fevil").body == b"x"


@pytest.mark.parametrize("part", ["%ff", "%c3%28", "%ed%a0%80"])
def test_ids_have_to_be_utf8(server, database, part):
    assert server.ask("PUT", f"{database}/{part}", {}).status == 400


def test_a_document_that_is_too_large_is_refused(server, database):
    fits = {"text": "x" * (8_000_000 - 20)}
    assert server.ask("PUT", f"{database}/large", fits).status == 201
    answer = server.ask("PUT", f"{database}/larger", {"text": "x" * 8_000_000})
    assert (answer.status, answer.json()) == (413, {"error": "document_too_large", "reason": "larger"})
    docs = {"docs": [{"_id": "small"}, {"_id": "larger", "text": "x" * 8_000_000}]}
    assert server.ask("POST", f"{database}/_bulk_docs", docs).status == 413
    assert server.ask("GET", f"{database}/small").status == 404


def test_what_counts_of_a_document_is_not_the_length_of_its_json(server, database):
    """As ``couch_ejson_size`` has it: text without escapes, a number by its magnitude."""
    assert server.ask("PUT", f"{database}/escaped", {"text": "\n" * 7_900_000}).status == 201
    body = b'{"numbers":[' + b",".join([b"1.2345678901234567"] * 700_000) + b"]}"
    assert server.ask("PUT", f"{database}/numbers", body).status == 201


@pytest.mark.parametrize("number", [10**309, -(10**4000), 2**1024])
def test_a_whole_number_beyond_all_floats_is_answered_as_couchdb_does(server, database, number):
    document = {"a": [{"b": number}]}
    for method, path, body in (
        ("PUT", f"{database}/x", document),
        ("POST", database, document),
        ("POST", f"{database}/_bulk_docs", {"docs": [{"_id": "y"}, document]}),
    ):
        answer = server.ask(method, path, body)
        assert (answer.status, answer.json()) == (500, {"error": "unknown_error", "reason": "badarith"})
    assert server.ask("GET", f"{database}/y").status == 404
    fits = {"n": 10**308, "text": "1" * 400}
    assert server.ask("PUT", f"{database}/x", fits).status == 201
    assert server.ask("GET", f"{database}/x").json()["n"] == 10**308


def test_a_body_that_is_too_large_is_refused(tmp_path):
    server = start_couchlet(tmp_path, "--max-request-bytes", "100000")
    try:
        server.ask("PUT", "/small")
        answer = server.ask("POST", "/small/_bulk_docs", {"docs": [{"text": "x" * 100_000}]})
        assert (answer.status, answer.json()["error"]) == (413, "too_large")
        # Attachments that come alone are stored in pieces, so they have no limit.
        assert server.ask("PUT", "/small/doc/attachment", b"x" * 200_000).status == 201
        bomb = gzip.compress(b'{"text":"' + b"x" * 10_000_000 + b'"}')
        answer = server.ask("PUT", "/small/bomb", bomb, headers={"Content-Encoding": "gzip"})
        assert answer.status == 413
    finally:
        server.stop()


def test_compressed_bodies_are_read(server, database):
    body = gzip.compress(b'{"n":1}')
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert server.ask("PUT", f"{database}/packed", body, headers=headers).status == 201
    assert server.ask("GET", f"{database}/packed").json()["n"] == 1
    assert server.ask("PUT", f"{database}/bad", b"no gzip", headers=headers).status == 400


@pytest.mark.parametrize("text", [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00\xff\x00", b"GET  / \r\n\r\n"])
def test_what_is_no_http_is_refused(server, text):
    answer = raw(server, text)
    assert re.match(rb"HTTP/1\.\d 400 ", answer)
    assert b"Traceback" not in answer
    assert server.ask("GET", "/").status == 200


def test_headers_beyond_the_limit_are_refused(server):
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n")
    assert b" 400 " in answer.split(b"\r\n")[0] or b" 431 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "text",
    [
        b"BLAH\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_answered_as_every_other_error(server, text):
    head, _, body = raw(server, text).partition(b"\r\n\r\n")
    assert b" 400 " in head.split(b"\r\n")[0]
    assert b"aiohttp" not in head
    assert json.loads(body)["error"] == "bad_request"


def test_a_write_that_breaks_off_is_not_done(server, database):
    head = (
        f"PUT {database}/torn HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.authorization}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    )
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(head.encode() + b'{"a":1')
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(head.replace("/torn ", "/torn/file ").encode() + b"x" * 50)
    assert server.ask("GET", f"{database}/torn").status == 404


def test_a_client_that_waits_to_be_asked_is_asked(server, database):
    body = b'{"n":1}'
    head = (
        f"PUT {database}/asked HTTP/1.1\r\nHost: localhost\r\nAuthorization: {server.authorization}\r\n"
        f"Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")


def test_deep_nesting_is_refused(server, database):
    assert server.ask("PUT", f"{database}/deep", b"[" * 100_000).status == 400
    server.ask("POST", f"{database}/_index", {"index": {"fields": ["a"]}, "ddoc": "a", "name": "a"})
    for levels, status in ((999, 201), (1001, 400), (5000, 400)):
        nested = b'{"a":' * levels + b"1" + b"}" * levels
        assert server.ask("PUT", f"{database}/deep{levels}", nested).status == status
    text = {"text": "[{" * 5000, "list": [[number] for number in range(5000)]}
    assert server.ask("PUT", f"{database}/flat", text).status == 201
    bound = "[" * 990 + "]" * 990
    answer = server.ask("POST", f"{database}/_find", f'{{"selector":{{"a":{{"$gt":{bound}}}}}}}')
    # As text: this side may not parse so deep.
    assert re.findall(rb'"_id":"(\w+)"', answer.body) == [b"deep999"]
    selector = {"a": 1}
    for _ in range(300):
        selector = {"$not": selector}
    answer = server.ask("POST", f"{database}/_find", {"selector": selector})
    assert answer.status == 400
    assert answer.json()["error"] in {"invalid_selector", "bad_request"}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html", "text/html; charset=utf-8", "TEXT/HTML", "application/xhtml+xml", "image/svg+xml", "text/xml",
        "application/xml", "text/javascript", "application/javascript", "multipart/x-mixed-replace", "message/rfc822",
        "nonsense", "text/xsl", "text/rdf+xml",
    ],
)  # fmt: skip
def test_attachments_are_served_with_a_type_that_nothing_executes(server, database, content_type):
    content = b"<script>alert(1)</script>"
    path = f"{database}/page/index"
    assert server.ask("PUT", path, content, headers={"Content-Type": content_type}).status == 201
    answer = server.ask("GET", path)
    assert answer.body == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    # What it was sent as is still known.
    assert server.ask("GET", f"{database}/page").json()["_attachments"]["index"]["content_type"] == content_type


def test_a_content_type_cannot_carry_headers(server, database):
    data = {"_attachments": {"a": {"content_type": "text/plain\r\nX-Evil: 1", "data": "aGVsbG8="}}}
    assert server.ask("PUT", f"{database}/split", data).status == 201
    answer = server.ask("GET", f"{database}/split/a")
    assert answer.status == 200
    assert "x-evil" not in answer.headers
    assert server.ask("GET", f"{database}/split?attachments=true", headers={"Accept": "*/*"}).status == 200


def test_the_page_for_people_runs_only_its_own_script(server):
    answer = server.ask("GET", "/_utils/", auth=None)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'sha256-" in answer.headers["content-security-policy"]
    assert server.ask("GET", "/_utils", auth=None).headers["location"] == "/_utils/"
    assert server.ask("GET", "/_utils/nothing.js", auth=None).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_design/x/_view/y"),
        ("POST", "/_design/x/_view/y"),
        ("GET", "/_design/x/_show/y/z"),
        ("GET", "/_design/x/_list/y/z"),
        ("POST", "/_design/x/_update/y"),
        ("GET", "/_design/x/_rewrite/y"),
        ("GET", "/_design/x/_search/y"),
        ("GET", "/_changes?filter=_view&view=x/y"),
        ("GET", "/_changes?filter=x/f"),
    ],
)
def test_what_needs_javascript_is_refused(server, database, method, path):
    functions = {member: {"y": "function () {}"} for member in ("shows", "lists", "updates")}
    views = {"y": {"map": "function (doc) { emit(doc._id); }"}}
    design = {"views": views, "filters": {"f": "function () {}"}, **functions}
    assert server.ask("PUT", f"{database}/_design/x", design).status == 201
    answer = server.ask(method, database + path, {} if method == "POST" else None)
    assert (answer.status, answer.json()["error"]) == (501, "not_implemented")


def test_validation_that_would_not_be_kept_is_refused(server, database):
    design = {"_id": "_design/v", "validate_doc_update": "function () { throw {forbidden: 'no'}; }"}
    answer = server.ask("PUT", f"{database}/_design/v", design)
    assert (answer.status, answer.json()["error"]) == (501, "not_implemented")
    rows = server.ask("POST", f"{database}/_bulk_docs", {"docs": [design, {"_id": "ok"}]}).json()
    assert [row.get("error") for row in rows] == ["not_implemented", None]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/_replicate", {"source": "a", "target": "b"}),
        ("PUT", "/_replicator", None),
        ("PUT", "/parts?partitioned=true", None),
        ("GET", "/_node/_local/_config", None),
        ("GET", "/_scheduler/jobs", None),
    ],
)
def test_what_is_not_here_is_refused(server, method, path, body):
    answer = server.ask(method, path, body)
    assert (answer.status, answer.json()["error"]) == (501, "not_implemented")


def test_every_answer_has_a_date(server, database):
    for path in ("/", "/nothing", database, f"{database}/_changes", f"{database}/_all_docs", f"{database}/missing"):
        assert "date" in server.ask("GET", path).headers
        assert server.ask("GET", path).headers["server"].startswith("CouchDB/")


def test_pipelined_requests_are_answered_in_order(server):
    request = b"GET /_up HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = raw(server, request * 3 + last)
    assert answer.count(b"HTTP/1.1 200") == 4
    assert answer.rstrip().endswith(b"}")
