"""What a document announces of its attachments has to be what comes, inline or in parts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json

import pytest

NO_MATCH = (500, "function_clause")
SHORT = (400, "attachment shorter than expected")
LONG = (400, "attachment longer than expected")
NO_DATA = (400, "Invalid attachment data for a")


def put_parts(server, database, attachments, *parts, content_type="application/json"):
    """Write a document in parts, each the lines of its head and its content; returns the status and the reason."""
    head = f"Content-Type: {content_type}\r\n" if content_type else ""
    body = f"--x\r\n{head}\r\n".encode() + json.dumps({"_attachments": attachments}).encode()
    for lines, content in parts:
        body += b"\r\n--x\r\n" + lines + b"\r\n" + content
    headers = {"Content-Type": 'multipart/related; boundary="x"'}
    answer = server.ask("PUT", f"{database}/x", body + b"\r\n--x--", headers=headers)
    return answer.status, answer.json().get("reason")


def follows(length=None, **members):
    lengths = {} if length is None else {"length": length}
    return {"follows": True, "content_type": "image/png", **lengths, **members}


def digest(content):
    return "md5-" + base64.b64encode(hashlib.md5(content).digest()).decode()


PACKED = gzip.compress(b"12345", mtime=0)


@pytest.mark.parametrize(
    ("announced", "content", "expected"),
    [
        (follows(5), b"12345", (201, None)),
        (follows(0), b"", (201, None)),
        (follows(30), b"12345", SHORT),
        (follows(2), b"12345", LONG),
        (follows(-1), b"12345", LONG),
        (follows(), b"12345", NO_MATCH),
        (follows("5"), b"12345", NO_MATCH),
        (follows(5, digest=digest(b"12345")), b"12345", (201, None)),
        (follows(5, digest=digest(b"1234")), b"12345", NO_MATCH),
        (follows(5, digest="sha-x"), b"12345", (201, None)),
        ({**follows(5, digest=digest(b"12345")), "content_type": "text/plain"}, b"12345", (201, None)),
        (follows(5, encoding="gzip", encoded_length=len(PACKED), digest=digest(PACKED)), PACKED, (201, None)),
        (follows(5, encoding="gzip", encoded_length=7), PACKED, LONG),
        (follows(len(PACKED), encoding="gzip"), PACKED, (201, None)),
    ],
)
def test_a_part_is_what_was_announced(server, database, announced, content, expected):
    assert put_parts(server, database, {"a": announced}, (b"", content)) == expected
    assert server.ask("GET", f"{database}/x").status == (200 if expected[0] == 201 else 404)


def test_every_part_that_is_announced_has_to_come(server, database):
    assert put_parts(server, database, {"a": follows(5), "b": follows(3)}, (b"", b"12345")) == SHORT
    assert put_parts(server, database, {"a": follows(5)}) == SHORT


def test_parts_come_in_the_order_of_the_document_whatever_they_are_called(server, database):
    def named(name):
        return f'Content-Disposition: attachment; filename="{name}"\r\n'.encode()

    attachments = {"a": follows(2), "z": {"data": "Wg=="}, "b": follows(2)}
    parts = (named("b"), b"BB"), (named("a"), b"AA")
    assert put_parts(server, database, attachments, *parts) == (201, None)
    assert [server.ask("GET", f"{database}/x/{name}").body for name in "azb"] == [b"BB", b"Z", b"AA"]
    assert list(server.ask("GET", f"{database}/x").json()["_attachments"]) == ["a", "z", "b"]


@pytest.mark.parametrize("content_type", ["text/plain", ""])
def test_the_first_part_is_json(server, database, content_type):
    sent = put_parts(server, database, {"a": follows(1)}, (b"", b"1"), content_type=content_type)
    assert sent == (415, "Content-Type must be application/json")
    assert put_parts(server, database, {}, content_type="application/json; charset=utf-8") == (201, None)


@pytest.mark.parametrize(
    ("attachment", "expected"),
    [
        ({"data": "!"}, NO_DATA),
        ({"data": "YQ"}, NO_DATA),
        ({"data": 1}, NO_DATA),
        ({}, NO_DATA),
        ({"follows": True}, NO_MATCH),
        (follows(3), NO_MATCH),
        ({"data": "YQ==", "content_type": 1}, NO_MATCH),
        ({"data": "YQ==", "content_type": None}, NO_MATCH),
        ({"data": "Y Q=\n="}, (201, None)),
    ],
)
def test_what_comes_inline_is_refused_as_a_whole(server, database, attachment, expected):
    document = {"_attachments": {"a": attachment}}
    answer = server.ask("PUT", f"{database}/x", document)
    assert (answer.status, answer.json().get("reason")) == expected
    for new_edits in ({}, {"new_edits": False}):
        docs = [{"_id": "y", "_rev": "1-abc"}, {"_id": "z", "_rev": "1-abc", **document}]
        answer = server.ask("POST", f"{database}/_bulk_docs", {"docs": docs, **new_edits})
        if expected[0] != 201:
            assert (answer.status, answer.json()["reason"]) == expected
            assert server.ask("GET", f"{database}/y").status == 404
