"""Revision ids are CouchDB's: those that are expected were recorded from Apache CouchDB 3.5.0."""

from __future__ import annotations

import base64

import pytest

from couchlet.auth.users import with_password_hashed
from couchlet.documents import content_digest
from couchlet.revision_ids import new_revision_id
from couchlet.revisions import Revision


def attachment(content: bytes, content_type: str):
    return {"content_type": content_type, "digest": content_digest(content)}


def made(body=None, *, parent=None, deleted=False, **more):
    revision = Revision(int(parent.partition("-")[0]), parent.partition("-")[2]) if parent else None
    return new_revision_id(body=body or {}, parent=revision, deleted=deleted, **{"attachments": {}, **more})


@pytest.mark.parametrize(
    ("expected", "parent", "body"),
    [
        ("1-967a00dff5e02add41819138abb3284d", None, {}),
        ("1-0785e9eb543380151003dc452c3a001a", None, {"x": 1}),
        (
            "1-81a20adb70ca11ce421133551bb25ac8",
            None,
            {"x": 1, "t": "é", "n": None, "f": 1.5, "b": True, "deep": {"l": [1, {"k": "v"}]}},
        ),
        ("2-1289d6fe14ce91aea6fa059b380bdfa1", "1-81a20adb70ca11ce421133551bb25ac8", {"x": 2}),
        ("1-7e014342e28dfc4d388dd47d3bf605d4", None, {"entityId": "uid://A001/X1/Xb0"}),
        ("1-25f9b97d75a648d1fcd23f0a73d2776e", None, {"a": 1, "b": 2}),
        ("1-caca8b193c5fc9720d024664e9310ed2", None, {"b": 2, "a": 1}),
        ("1-bda23e2b55fe72d952cfa0d02814861a", None, {"n": [1]}),
        ("1-f2786f4ecaaaff0ff9300c57795e5c44", None, {"n": [1.0]}),
        ("3-6deae9919b98204b620500acff1af41c", "2-abc", {"v": 3}),
        ("3-9f82bdc699bb44c189a9db3b47eb03ff", "2-abcdefabcdefabcdefabcdefabcdefab", {"v": 4}),
    ],
)
def test_members_and_what_was_before(expected, parent, body):
    assert made(body, parent=parent) == expected.partition("-")[2]


def test_deletions():
    assert made(deleted=True) == "de715bf126efc93d225d9e3f8e8eb81a"
    assert made(deleted=True, parent="1-a6664c0114e6002415a47b18d4c9d32f") == "a17463c3ae0a9011d7fdde0ee603c091"
    assert made({"n": [1]}, deleted=True) == "768440cba6f7dc9ae5e738f78090be45"


def test_made_anew():
    assert made({"again": True}, parent="2-a17463c3ae0a9011d7fdde0ee603c091") == "3ca45d9a893b58f49423e42b3330eb9c"
    attachments = {"t.txt": attachment(b"whatever", "text/plain"), "u": attachment(b"", "image/png")}
    again = made({"a": 3}, parent="6-4eb3312f55b4e4f759851f3edb3e2c16", attachments=attachments, revives=True)
    assert again == "daa0637c000433947117123286355e20"


def test_attachments():
    zipped = {"weblog.zip": attachment(b"PK-not-really-a-zip", "application/zip")}
    assert made(attachments=zipped) == "c2a2ab3b05b9097cc1b510d9674af5ea"
    # Text is kept compressed, and so summed: see `test_attachments_api`.
    text = {"t.txt": {"content_type": "text/plain", "digest": "md5-iMaiC8wqiFlD2NjLTemvCQ=="}}
    assert made({"a": 1}, attachments=text) == "ff57d2e81de37f4eafaea4cdde19c85f"


def test_a_user_whose_salt_is_preserved():
    user = {
        "x": 1,
        "name": "c",
        "roles": ["r"],
        "type": "user",
        "password": "pw",
        "preserve_salt": True,
        "salt": "00112233445566778899aabbccddeeff",
        "z": 3,
    }
    assert made(with_password_hashed(user)) == "0ff80b835fa700b4a88557bb37c08bae"
    assert with_password_hashed({**user, "preserve_salt": False})["salt"] != user["salt"]


def test_deep_members(server, database):
    answer = server.ask("PUT", f"{database}/x", f'{{"a":{"[" * 999}{"]" * 999}}}')
    assert answer.json()["rev"] == "1-4ec5321b4bb0a5237fbf1d2a88bff177"


def test_an_attachment_that_comes_alone_is_the_first(server, database):
    data = base64.b64encode(b"x").decode()
    body = {"_attachments": {"a": {"data": data}, "b": {"data": data}}}
    rev = server.ask("PUT", f"{database}/x", body).json()["rev"]
    assert list(server.ask("GET", f"{database}/x").json()["_attachments"]) == ["a", "b"]
    server.ask("PUT", f"{database}/x/b?rev={rev}", b"y", headers={"Content-Type": "text/plain"})
    assert list(server.ask("GET", f"{database}/x").json()["_attachments"]) == ["b", "a"]


def test_the_same_edit_on_two_servers_is_one_revision(server, database):
    """What another server made of the same edit comes by replication, and is no conflict."""
    server.ask("PUT", f"{database}/x", {"x": 1})
    other = {"_id": "x", "_rev": "1-0785e9eb543380151003dc452c3a001a", "x": 1}
    assert server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": [other]}).status == 201
    found = server.ask("GET", f"{database}/x?conflicts=true").json()
    assert found == other


def test_revisions_with_other_ids_go_on(server, database):
    """Databases have revisions that an older couchlet made, whose ids were its own."""
    older = {"_id": "x", "_revisions": {"start": 2, "ids": ["1" * 32, "2" * 32]}, "v": 1}
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": [older]})
    answer = server.ask("PUT", f"{database}/x", {"_rev": f"2-{'1' * 32}", "v": 2})
    assert answer.json()["rev"] == "3-" + made({"v": 2}, parent=f"2-{'1' * 32}")
    shown = server.ask("GET", f"{database}/x?revs=true").json()
    assert shown["_revisions"]["ids"][1:] == older["_revisions"]["ids"]
