"""What a changes feed says of where it is and of what is left: `last_seq` and `pending`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def changed(server, database):
    """Ten changes: six documents, a design document, a document, a design document, a document."""
    for id_, n in zip("abcdef", (1, 2, 0, 1, 2, 0), strict=True):
        server.ask("PUT", f"{database}/{id_}", {"n": n})
    for id_, body in (("_design/x", {}), ("g", {"n": 1}), ("_design/y", {}), ("h", {"n": 5})):
        assert server.ask("PUT", f"{database}/{id_}", body).status == 201
    return database


FILTERS = {
    "": None,
    "filter=_design": None,
    "filter=_doc_ids": {"doc_ids": ["b", "d", "none", "g"]},
    "filter=_selector": {"selector": {"n": 1}},
    "many": {"doc_ids": ["b", "d", "g", *(f"none{number}" for number in range(1000))]},
}


def left(server, database, name, options):
    """Return the numbers of the rows, of the last sequence, and what is pending."""
    body = FILTERS[name]
    filter_ = "filter=_doc_ids" if name == "many" else name
    method = "POST" if body else "GET"
    answer = server.ask(method, f"{database}/_changes?{filter_}&{options}", body).json()
    number = [int(row["seq"].split("-")[0]) for row in answer["results"]]
    return number, int(answer["last_seq"].split("-")[0]), answer["pending"]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("", "limit=2", ([1, 2], 2, 8)),
        ("", "limit=0", ([], 0, 10)),
        ("", "descending=true&limit=2", ([10, 9], 9, 8)),
        # Documents that are looked up: what was passed over is pending.
        ("filter=_design", "", ([7, 9], 10, 8)),
        ("filter=_design", "limit=1", ([7], 7, 9)),
        ("filter=_design", "limit=0", ([], 0, 10)),
        ("filter=_doc_ids", "", ([2, 4, 8], 10, 7)),
        ("filter=_doc_ids", "limit=3", ([2, 4, 8], 8, 7)),
        ("filter=_doc_ids", "descending=true", ([8, 4, 2], 2, 7)),
        # Changes that are tried: one more than is sent.
        ("filter=_selector", "", ([1, 4, 8], 10, 0)),
        ("filter=_selector", "limit=1", ([1], 2, 9)),
        ("filter=_selector", "limit=0", ([], 0, 10)),
        ("filter=_selector", "limit=1&descending=true", ([8], 7, 7)),
        ("many", "", ([2, 4, 8], 10, 0)),
        ("many", "limit=1", ([2], 3, 8)),
        ("many", "limit=0", ([], 1, 9)),
    ],
)
def test_last_sequence_and_pending(server, changed, name, options, expected):
    assert left(server, changed, name, options) == expected
    if expected[0]:
        assert left(server, changed, name, options + "&feed=longpoll") == expected


def test_a_continuous_feed_says_it_too(server, changed):
    text = server.ask("GET", f"{changed}/_changes?filter=_design&feed=continuous&timeout=10").body
    end = json.loads(text.splitlines()[-2])
    assert (int(end["last_seq"].split("-")[0]), end["pending"]) == (10, 8)


def test_the_later_of_since_and_last_event_id_counts(server, changed):
    rows = server.ask("GET", f"{changed}/_changes").json()["results"]
    third, sixth = rows[2]["seq"], rows[5]["seq"]
    for query, count in ((f"since={third}&last-event-id={sixth}", 4), (f"last-event-id={sixth}&since={third}", 7)):
        assert len(server.ask("GET", f"{changed}/_changes?{query}").json()["results"]) == count
