"""Numbers in addresses and compressed bodies are taken as Apache CouchDB 3.5.0 takes them."""

from __future__ import annotations

import gzip

import pytest
from waiting import until

WHOLE = gzip.compress(b'{"docs":[{"_id":"a"}]}', mtime=0)
QUERY = (400, "query_parse_error")
UNKNOWN = (500, "unknown_error")


@pytest.mark.parametrize("number", ["1_0", " 1", "1 ", "\uff11"])
@pytest.mark.parametrize(
    ("path", "answered"),
    [
        ("/_all_docs?limit={}", QUERY),
        ("/_all_docs?skip={}", QUERY),
        ("/_changes?limit={}", UNKNOWN),
        ("/_changes?timeout={}", UNKNOWN),
        ("/_changes?seq_interval={}", (400, "bad_request")),
        ("/_changes?feed=longpoll&heartbeat={}", (400, "bad_request")),
    ],
)
def test_what_erlang_does_not_take_for_a_number_is_none(server, database, path, number, answered):
    answer = server.ask("GET", database + path.format(number.replace(" ", "%20")))
    assert (answer.status, answer.json()["error"]) == answered


def test_what_erlang_takes_for_a_number_is_one(server, database):
    assert server.ask("PUT", f"{database}/a", {}).status == 201
    assert server.ask("GET", f"{database}/_all_docs?limit=%2B01").json()["rows"]
    beyond = server.ask("GET", f"{database}/_all_docs?skip=99999999999999999999")
    assert (beyond.status, beyond.json()["rows"]) == (200, [])
    assert len(server.ask("GET", "/_uuids?count=00002").json()["uuids"]) == 2
    assert server.ask("PUT", "/digits?q=%EF%BC%91").status == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (WHOLE, 201),
        (gzip.compress(b'{"docs":[', mtime=0) + gzip.compress(b'{"_id":"a"}]}', mtime=0), 201),
        (WHOLE[:-4], 400),
        (WHOLE[:-8] + bytes(8), 400),
        (WHOLE + b"xx", 400),
        (b"", 400),
        (gzip.compress(b"", mtime=0) * 100_001 + WHOLE, 400),
        (b"".join(gzip.compress(bytes([byte]), mtime=0) for byte in b'{"docs":[{"_id":"a"}]}'), 201),
    ],
)
def test_a_compressed_body_is_whole_or_refused(server, database, body, status):
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = server.ask("POST", f"{database}/_bulk_docs", body, headers=headers)
    assert answer.status == status
    assert server.ask("GET", f"{database}/a").status == (200 if status == 201 else 404)


def test_old_attachments_are_given_up_without_being_asked(server, database):
    revision = ""
    for number in range(12):
        content = bytes([number]) * 2_000_000
        headers = {"Content-Type": "application/octet-stream"}
        answer = server.ask("PUT", f"{database}/d/a{revision}", content, headers=headers)
        revision = f"?rev={answer.json()['rev']}"
    until(lambda: server.ask("GET", database).json()["sizes"]["active"] < 12_000_000)
