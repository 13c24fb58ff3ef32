"""Requests that bring no body where one is needed."""

from __future__ import annotations

import http.client
import json

import pytest


def send(server, method, path, *headers):
    """Send a request with no other headers, so without a length of its body if none is among them."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    connection.putrequest(method, path)
    for header in (("Authorization", server.authorization), *headers):
        connection.putheader(*header)
    connection.endheaders()
    response = connection.getresponse()
    status, body = response.status, json.loads(response.read())
    connection.close()
    return status, body


JSON = ("Content-Type", "application/json")
EMPTY = ("Content-Length", "0")
MISSING = (400, {"error": "bad_request", "reason": "Missing request body"})
NO_JSON = (400, {"error": "bad_request", "reason": "invalid UTF-8 JSON"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/x"),
        ("PUT", "/_local/x"),
        ("PUT", "/_design/x"),
        ("PUT", "/_security"),
        ("PUT", "/_revs_limit"),
        ("PUT", "/_purged_infos_limit"),
        ("POST", ""),
        ("POST", "/_bulk_docs"),
        ("POST", "/_bulk_get"),
        ("POST", "/_all_docs"),
        ("POST", "/_all_docs/queries"),
        ("POST", "/_find"),
        ("POST", "/_explain"),
        ("POST", "/_index"),
        ("POST", "/_index/_bulk_delete"),
        ("POST", "/_revs_diff"),
        ("POST", "/_missing_revs"),
        ("POST", "/_purge"),
    ],
)
def test_a_body_that_is_missing_is_told_from_one_that_is_empty(server, database, method, path):
    assert send(server, method, database + path, JSON) == MISSING
    assert send(server, method, database + path, JSON, EMPTY) == NO_JSON


def test_a_changes_feed_takes_an_empty_body_but_not_none(server, database):
    assert send(server, "POST", f"{database}/_changes", JSON) == MISSING
    assert send(server, "POST", f"{database}/_changes", JSON, EMPTY)[0] == 200
    for name in ("_doc_ids", "_selector"):
        assert send(server, "POST", f"{database}/_changes?filter={name}", JSON, EMPTY) == NO_JSON


def test_a_login_and_an_attachment_without_body(server, database):
    assert send(server, "POST", "/_session", JSON) == NO_JSON
    assert send(server, "PUT", f"{database}/x/a")[0] == 201
