"""Attachments: inline, as stubs, in parts, compressed, and larger than memory."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from email import message_from_bytes
from pathlib import Path

import pytest
from waiting import until

MULTIPART = {"Accept": "multipart/related, multipart/mixed"}


def inline(data: bytes, content_type="text/plain", **more):
    return {"content_type": content_type, "data": base64.b64encode(data).decode(), **more}


def parts(answer):
    """The parts of a multipart answer, as (headers, body)."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.body)
    assert message.is_multipart(), answer.body[:200]
    return [(part, part.get_payload(decode=False)) for part in message.get_payload()]


def test_inline_attachments_come_back(server, database):
    made = server.ask("PUT", f"{database}/x", {"_attachments": {"a": inline(b"hello"), "b": inline(b"", "image/png")}})
    assert made.status == 201
    stubs = server.ask("GET", f"{database}/x").json()["_attachments"]
    assert stubs["a"] == {
        "content_type": "text/plain",
        "revpos": 1,
        "digest": "md5-iMaiC8wqiFlD2NjLTemvCQ==",  # CouchDB's for this content, which it keeps compressed
        "length": 5,
        "stub": True,
    }
    whole = server.ask("GET", f"{database}/x?attachments=true").json()["_attachments"]
    assert base64.b64decode(whole["a"]["data"]) == b"hello"
    assert whole["b"]["data"] == ""
    assert server.ask("GET", f"{database}/x/b").body == b""
    assert server.ask("HEAD", f"{database}/x/a").headers["content-length"] == "5"


def test_stubs_keep_and_others_replace(server, database):
    rev = server.ask("PUT", f"{database}/x", {"_attachments": {"a": inline(b"a"), "b": inline(b"b")}}).json()["rev"]
    body = {"_rev": rev, "_attachments": {"a": {"stub": True}, "c": inline(b"c")}}
    rev = server.ask("PUT", f"{database}/x", body).json()["rev"]
    held = server.ask("GET", f"{database}/x").json()["_attachments"]
    assert {name: fields["revpos"] for name, fields in held.items()} == {"a": 1, "c": 2}
    body = {"_rev": rev, "_attachments": {"z": {"stub": True}}}
    answer = server.ask("PUT", f"{database}/x", body)
    assert (answer.status, answer.json()["error"]) == (412, "missing_stub")
    bulk = {"docs": [{"_id": "ok"}, {"_id": "new", "_attachments": {"z": {"stub": True}}}]}
    assert server.ask("POST", f"{database}/_bulk_docs", bulk).status == 412
    assert server.ask("GET", f"{database}/ok").status == 404


@pytest.mark.parametrize("bad", [{"a": {"data": 1}}, {"a": {"data": "!"}}, {"a": {}}, {"_a": inline(b"x")}])
def test_malformed_attachments_are_refused(server, database, bad):
    assert server.ask("PUT", f"{database}/x", {"_attachments": bad}).status == 400
    assert server.ask("PUT", f"{database}/x", {"_attachments": 5}).status == 400


def test_old_revisions_have_their_own_attachments(server, database):
    first = server.ask("PUT", f"{database}/x/f", b"old", headers={"Content-Type": "text/plain"}).json()["rev"]
    server.ask("PUT", f"{database}/x/f?rev={first}", b"new", headers={"Content-Type": "text/plain"})
    assert server.ask("GET", f"{database}/x/f").body == b"new"
    assert server.ask("GET", f"{database}/x/f?rev={first}").body == b"old"


def test_names_may_hold_slashes_and_anything_else(server, database):
    for number, name in enumerate(("a/b/c.txt", "ü%20ä", "a%3Fb")):
        assert server.ask("PUT", f"{database}/doc{number}/{name}", b"x").status == 201
        assert server.ask("GET", f"{database}/doc{number}/{name}").body == b"x"
    assert server.ask("PUT", f"{database}/_design/d/img/logo.png", b"x").status == 201
    assert server.ask("GET", f"{database}/_design/d/img/logo.png").body == b"x"


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=8-", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=5-100", 206, b"56789"),
        ("bytes=0-", 200, b"0123456789"),
        ("bytes=9-9", 206, b"9"),
        # CouchDB's count, not the standard's.
        ("bytes=-100", 206, b"123456789"),
        ("bytes=-10", 206, b"123456789"),
        ("bytes=10-", 416, None),
        ("bytes=5-3", 416, None),
        ("bytes=x", 200, b"0123456789"),
        ("bytes=0-9", 206, b"0123456789"),
        ("bytes=0-1,x", 200, b"0123456789"),
        ("bytes=0-1,0-", 200, b"0123456789"),
        ("bytes=0-1,10-", 416, None),
        ("bytes=" + ",".join(["1-2"] * 10), 200, b"0123456789"),
        ("items=0-1", 200, b"0123456789"),
    ],
)
def test_ranges(server, database, header, status, content):
    server.ask("PUT", f"{database}/x/f", b"0123456789")
    answer = server.ask("GET", f"{database}/x/f", headers={"Range": header})
    assert answer.status == status
    if content is not None:
        assert answer.body == content
    if status == 206:
        assert re.fullmatch(r"bytes \d+-\d+/10", answer.headers["content-range"])


def test_several_ranges_come_as_parts(server, database):
    server.ask("PUT", f"{database}/x/f", b"0123456789", headers={"Content-Type": "image/png"})
    answer = server.ask("GET", f"{database}/x/f", headers={"Range": "bytes=0-1, 4-4,-2"})
    assert answer.status == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = answer.body.split(b"--" + boundary.strip('"').encode())
    assert parts[0] == b""
    assert parts[-1] == b"--"
    expected = [("0-1", b"01"), ("4-4", b"4"), ("8-9", b"89")]
    assert parts[1:-1] == [
        f"\r\nContent-Type: image/png\r\nContent-Range: bytes {span}/10\r\n\r\n".encode() + content + b"\r\n"
        for span, content in expected
    ]


def test_ranges_across_pieces(server, database):
    content = bytes(number % 251 for number in range(700_000))
    server.ask("PUT", f"{database}/x/f", content)
    assert server.ask("GET", f"{database}/x/f").body == content
    answer = server.ask("GET", f"{database}/x/f", headers={"Range": "bytes=262100-524400"})
    assert answer.body == content[262100:524401]


def test_compressed_content_is_kept_and_given_either_way(server, database):
    content = b"text " * 100_000
    headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
    assert server.ask("PUT", f"{database}/x/f", gzip.compress(content), headers=headers).status == 201
    assert server.ask("GET", f"{database}/x/f").body == content
    packed = server.ask("GET", f"{database}/x/f", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == content
    whole = server.ask("GET", f"{database}/x?attachments=true").json()["_attachments"]["f"]
    assert base64.b64decode(whole["data"]) == content
    shown = server.ask("GET", f"{database}/x?att_encoding_info=true").json()["_attachments"]["f"]
    assert shown["encoding"] == "gzip"
    assert server.ask("PUT", f"{database}/y/f", b"x", headers={"Content-Encoding": "br"}).status == 415


def test_a_document_with_its_attachments_in_parts(server, database):
    attachments = {"a": inline(b"one", "image/png"), "b.html": inline(b"<b>", "text/html")}
    server.ask("PUT", f"{database}/x", {"n": 1, "_attachments": attachments})
    answer = server.ask("GET", f"{database}/x?attachments=true", headers=MULTIPART)
    assert answer.headers["content-type"].startswith("multipart/related")
    (document, text), *rest = parts(answer)
    assert document.get_content_type() == "application/json"
    assert '"follows":true' in text
    assert [part.get_filename() for part, _ in rest] == ["a", "b.html"]
    assert rest[0][1] == "one"
    # Text goes out as it is kept.
    assert rest[1][0]["Content-Encoding"] == "gzip"
    assert gzip.compress(b"<b>")[:3] in answer.body
    leaves = server.ask("GET", f"{database}/x?open_revs=all&revs=true&attachments=true", headers=MULTIPART)
    assert leaves.headers["content-type"].startswith("multipart/mixed")
    assert len(parts(leaves)) == 1
    bulk = server.ask(
        "POST",
        f"{database}/_bulk_get?revs=true&attachments=true",
        {"docs": [{"id": "x"}, {"id": "none"}]},
        headers=MULTIPART,
    )
    assert bulk.headers["content-type"].startswith("multipart/mixed")
    (first, _), (second, failure) = parts(bulk)
    assert first["X-Doc-Id"] == "x"
    assert second.get_param("error") == "true"
    assert "not_found" in failure


def test_the_latest_revision_in_parts_has_its_conflicts_whichever_is_named(server, database):
    docs = [
        {"_id": "x", "_rev": "1-b", "_attachments": {"f": {"content_type": "text/plain", "data": "aGk="}}},
        {"_id": "x", "_rev": "1-a"},
    ]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs, "new_edits": False})

    def document(query):
        answer = server.ask("GET", f"{database}/x?attachments=true&conflicts=true&{query}", headers=MULTIPART)
        assert answer.headers["content-type"].startswith("multipart/related")
        return json.loads(answer.body.split(b"\r\n")[3])

    for query in ("", "latest=true", "latest=true&rev=1-a"):
        assert (document(query)["_rev"], document(query)["_conflicts"]) == ("1-b", ["1-a"])
    assert "_conflicts" not in document("rev=1-b")


def test_attachments_that_the_asker_knows_stay_stubs(server, database):
    first = server.ask("PUT", f"{database}/x/old", b"old").json()["rev"]
    second = server.ask("PUT", f"{database}/x/new?rev={first}", b"new").json()["rev"]
    query = f'?rev={second}&atts_since=["{first}"]&attachments=true&revs=true'
    shown = server.ask("GET", f"{database}/x{query}").json()["_attachments"]
    assert shown["old"]["stub"] is True
    assert "data" in shown["new"]
    asked = {"docs": [{"id": "x", "rev": second, "atts_since": [first]}]}
    got = server.ask("POST", f"{database}/_bulk_get?revs=true", asked).json()["results"][0]["docs"][0]["ok"]
    assert {name: "data" in fields for name, fields in got["_attachments"].items()} == {"old": False, "new": True}


def related(document: str, *contents: tuple[str, bytes], boundary="xyz") -> tuple[bytes, dict[str, str]]:
    lines = [f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{document}\r\n--{boundary}".encode()]
    for name, content in contents:
        head = f'\r\nContent-Disposition: attachment; filename="{name}"\r\nContent-Length: {len(content)}\r\n\r\n'
        lines.append(head.encode() + content + f"\r\n--{boundary}".encode())
    return b"".join(lines) + b"--", {"Content-Type": f'multipart/related; boundary="{boundary}"'}


def test_a_document_with_its_attachments_is_written_in_parts(server, database):
    document = (
        '{"n":1,"_attachments":{"a":{"content_type":"text/plain","follows":true,"length":3},'
        '"b":{"content_type":"image/png","follows":true,"length":300000}}}'
    )
    body, headers = related(document, ("a", b"one"), ("b", b"x" * 300_000))
    assert server.ask("PUT", f"{database}/x", body, headers=headers).status == 201
    assert server.ask("GET", f"{database}/x/a").body == b"one"
    assert server.ask("GET", f"{database}/x/b").body == b"x" * 300_000
    assert server.ask("GET", f"{database}/x").json()["_attachments"]["a"]["revpos"] == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--xyz--",
        b"--xyz\r\n\r\n{bad\r\n--xyz--",
        b"no parts",
        b"--xyz\r\nContent-Type: application/json\r\n\r\n{}",
    ],
)
def test_malformed_parts_are_refused(server, database, body):
    answer = server.ask("PUT", f"{database}/x", body, headers={"Content-Type": 'multipart/related; boundary="xyz"'})
    assert answer.status in {201, 400, 415} or answer.json()["error"] == "error"
    answer = server.ask("PUT", f"{database}/y", body, headers={"Content-Type": "multipart/related"})
    assert answer.status == 400


def peak_mib(server) -> float:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def test_large_attachments_pass_in_constant_memory(server, database):
    size = 192 * 1024 * 1024
    block = bytes(range(256)) * 4096
    before = peak_mib(server)
    connection = server.connect()
    connection.putrequest("PUT", f"{database}/large/file")
    connection.putheader("Authorization", server.authorization)
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    for _ in range(size // len(block)):
        connection.send(block)
    response = connection.getresponse()
    assert response.status == 201
    response.read()
    connection.request("GET", f"{database}/large/file", headers={"Authorization": server.authorization})
    response = connection.getresponse()
    digest, length = hashlib.md5(), 0
    while chunk := response.read(1 << 20):
        digest.update(chunk)
        length += len(chunk)
    connection.close()
    assert length == size
    expected = "md5-" + base64.b64encode(digest.digest()).decode()
    assert server.ask("GET", f"{database}/large").json()["_attachments"]["file"]["digest"] == expected
    assert peak_mib(server) - before < 40


def held(server, database, id_="x"):
    """The revpos of each attachment."""
    attachments = server.ask("GET", f"{database}/{id_}").json()["_attachments"]
    return {name: fields["revpos"] for name, fields in attachments.items()}


def test_what_an_edit_brings_is_of_its_generation(server, database):
    server.ask("PUT", f"{database}/x", {"_attachments": {"a": inline(b"a", revpos=5), "b": inline(b"b")}})
    assert held(server, database) == {"a": 1, "b": 1}
    whole = server.ask("GET", f"{database}/x?attachments=true").json()
    assert whole["_attachments"]["a"]["revpos"] == 1
    assert server.ask("PUT", f"{database}/x", whole).status == 201
    assert held(server, database) == {"a": 2, "b": 2}
    document = '{"_attachments":{"f":{"follows":true,"content_type":"text/plain","length":1,"revpos":9}}}'
    body, headers = related(document, ("f", b"1"))
    assert server.ask("PUT", f"{database}/y", body, headers=headers).status == 201
    assert held(server, database, "y") == {"f": 1}


def test_what_a_replicated_revision_brings_is_of_the_generation_it_says(server, database):
    attachments = {"a": inline(b"a", revpos=2), "b": inline(b"b")}
    document = {"_id": "x", "_rev": "3-" + "a" * 32, "_attachments": attachments}
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": [document]})
    assert held(server, database) == {"a": 2, "b": 0}
    assert set(server.ask("GET", f"{database}/x?attachments=true").json()["_attachments"]["b"]) >= {"data"}
    text = '{"_rev":"4-b","_attachments":{"f":{"follows":true,"content_type":"text/plain","length":1,"revpos":3}}}'
    body, headers = related(text, ("f", b"1"))
    assert server.ask("PUT", f"{database}/y?new_edits=false", body, headers=headers).status == 201
    assert held(server, database, "y") == {"f": 3}


def test_a_stub_that_names_a_generation_names_the_right_one(server, database):
    rev = server.ask("PUT", f"{database}/x", {"_attachments": {"a": inline(b"a")}}).json()["rev"]
    wrong = server.ask("PUT", f"{database}/x", {"_rev": rev, "_attachments": {"a": {"stub": True, "revpos": 10}}})
    assert (wrong.status, wrong.json()["error"]) == (412, "missing_stub")
    right = server.ask("PUT", f"{database}/x", {"_rev": rev, "_attachments": {"a": {"stub": True, "revpos": 1}}})
    assert right.status == 201


def test_an_attachment_that_is_no_object_is_passed_over(server, database):
    made = server.ask("PUT", f"{database}/x", {"_attachments": {"a": 1, "b": inline(b"b")}})
    assert made.status == 201
    assert held(server, database) == {"b": 1}


def test_a_document_in_parts_has_a_length(server, database):
    attachments = {"a": inline(b"text" * 100), "b": inline(b"x" * 300_000, "image/png"), "c": inline(b"", "image/png")}
    server.ask("PUT", f"{database}/x", {"_attachments": attachments})
    answer = server.ask("GET", f"{database}/x?attachments=true", headers=MULTIPART)
    assert "transfer-encoding" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert len(parts(answer)) == 4


@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_a_part_outside_of_a_compressed_attachment_is_refused(server, database, coding):
    server.ask("PUT", f"{database}/x/f", b"0123456789", headers={"Content-Type": "text/plain"})

    def status(span):
        return server.ask("GET", f"{database}/x/f", headers={"Range": span, "Accept-Encoding": coding}).status

    assert [status(span) for span in ("bytes=5-2", "bytes=100-200", "bytes=1-2")] == [416, 416, 200]


def test_contents_of_parts_go_when_the_document_is_not_written(server, database):
    server.ask("PUT", f"{database}/x", {})
    content = bytes(range(256)) * 4096
    announced = {"follows": True, "content_type": "image/png", "length": len(content)}
    document = json.dumps({"_attachments": {"f": announced}})
    for name in ("x", "y"):
        body, headers = related(document, ("f", content))
        assert server.ask("PUT", f"{database}/{name}", body, headers=headers).status == (409 if name == "x" else 201)
    rev = server.ask("GET", f"{database}/y").json()["_rev"]
    assert server.ask("DELETE", f"{database}/y?rev={rev}").status == 200
    server.ask("POST", f"{database}/_compact", {})
    until(lambda: server.ask("GET", database).json()["sizes"]["active"] <= len(content) // 2)


@pytest.fixture
def text(server, database):
    """The path of an attachment that is kept compressed."""
    server.ask("PUT", f"{database}/x/f", b"hello", headers={"Content-Type": "text/plain"})
    return f"{database}/x/f"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("*", "gzip"), ("gzip;q=0", None), ("deflate, gzip; q=0.5", "gzip"), ("*, gzip;q=0", None)],
)
def test_gzip_is_given_to_who_takes_it(server, text, accepted, coding):
    answer = server.ask("GET", text, headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == coding


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=-1000", 206, b"bcde"),
        ("bytes=-2", 206, b"de"),
        ("bytes=0-1,", 206, b"ab"),
        ("Bytes=0-1", 200, b"abcde"),
    ],
)
def test_ranges_are_read_as_couchdb_reads_them(server, database, wanted, status, body):
    server.ask("PUT", f"{database}/x/f", b"abcde", headers={"Content-Type": "image/png"})
    answer = server.ask("GET", f"{database}/x/f", headers={"Range": wanted})
    assert (answer.status, answer.body) == (status, body)


def test_several_parts_have_no_tag(server, database):
    server.ask("PUT", f"{database}/x/f", b"abcde", headers={"Content-Type": "image/png"})
    answer = server.ask("GET", f"{database}/x/f", headers={"Range": "bytes=0-1,3-4"})
    assert answer.status == 206
    assert not {"etag", "accept-ranges"} & answer.headers.keys()


def test_who_has_no_revision_gets_all_attachments(server, database, text):
    shown = server.ask("GET", f"{database}/x?atts_since=[]").json()
    assert shown["_attachments"]["f"]["data"] == "aGVsbG8="


def test_stubs_in_parts_tell_their_coding(server, database, text):
    revision = server.ask("GET", f"{database}/x").json()["_rev"]
    asked = {"docs": [{"id": "x", "atts_since": [revision]}]}
    answer = server.ask("POST", f"{database}/_bulk_get", asked, headers={"Accept": "multipart/mixed"})
    assert b'"stub":true,"encoding":"gzip","encoded_length":25' in answer.body


def test_an_attachment_alone_is_not_put_off(server, database):
    made = server.ask("PUT", f"{database}/x/f?batch=ok", b"x", headers={"Content-Type": "text/plain"})
    assert (made.status, made.json()["rev"].split("-")[0]) == (201, "1")


def test_an_attachment_of_a_document_made_anew_is_of_its_first_generation(server, database):
    first = server.ask("PUT", f"{database}/x", {}).json()["rev"]
    server.ask("DELETE", f"{database}/x?rev={first}")
    made = server.ask("PUT", f"{database}/x", {"_attachments": {"a": {"data": "YQ=="}}}).json()["rev"]
    assert made.startswith("3-")
    server.ask("PUT", f"{database}/x", {"_rev": made, "_attachments": {"a": {"stub": True}, "b": {"data": ""}}})
    held = server.ask("GET", f"{database}/x").json()["_attachments"]
    assert {name: fields["revpos"] for name, fields in held.items()} == {"a": 1, "b": 4}
