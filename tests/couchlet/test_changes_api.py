"""`_changes` in all its forms and combinations."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time

import pytest

A, B = "a" * 32, "b" * 32


@pytest.fixture
def changed(server, database):
    """Five documents, one of them deleted, one in conflict, and a design document."""
    docs = [{"_id": f"d{n}", "n": n, "even": n % 2 == 0} for n in range(4)]
    rows = server.ask("POST", f"{database}/_bulk_docs", {"docs": docs}).json()
    leaves = [{"_id": "c", "_rev": f"1-{leaf}", "n": 10} for leaf in (A, B)]
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": leaves})
    server.ask("DELETE", f"{database}/d3?rev={rows[3]['rev']}")
    server.ask("PUT", f"{database}/_design/x", {"language": "query"})
    return database


def read(server, database, query="", body=None):
    method = "GET" if body is None else "POST"
    answer = server.ask(method, f"{database}/_changes{query}", body)
    assert answer.status == 200, answer.body
    return answer.json()


def ids(found):
    return [row["id"] for row in found["results"]]


def test_every_change_once_in_order(server, changed):
    found = read(server, changed)
    assert ids(found) == ["d0", "d1", "d2", "c", "d3", "_design/x"]
    assert found["results"][4]["deleted"] is True
    assert found["pending"] == 0
    assert found["last_seq"] == found["results"][-1]["seq"]


def test_since_each_sequence_gives_the_rest(server, changed):
    rows = read(server, changed)["results"]
    for place, row in enumerate(rows):
        found = read(server, changed, f"?since={row['seq']}&limit=2")
        assert ids(found) == [later["id"] for later in rows[place + 1 : place + 3]]
        assert found["pending"] == max(len(rows) - place - 3, 0)


COMBINATIONS = list(
    itertools.product(
        ("", "&descending=true"),
        ("", "&include_docs=true"),
        ("", "&style=all_docs"),
        ("", "&conflicts=true"),
        ("", "&limit=2"),
        ("", "_doc_ids", "_selector", "_design"),
    )
)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: "".join(c) or "plain")
def test_options_combine(server, changed, combination):
    descending, docs, style, conflicts, limit, filter_ = combination
    bodies = {"_doc_ids": {"doc_ids": ["d1", "d3", "c"]}, "_selector": {"selector": {"n": {"$gte": 1}}}}
    expected = {
        "": ["d0", "d1", "d2", "c", "d3", "_design/x"],
        "_doc_ids": ["d1", "c", "d3"],
        "_selector": ["d1", "d2", "c"],
        "_design": ["_design/x"],
    }[filter_]
    query = f"?{'filter=' + filter_ if filter_ else ''}{descending}{docs}{style}{conflicts}{limit}".replace("?&", "?")
    found = read(server, changed, query, bodies.get(filter_))
    expected = expected[::-1] if descending else expected
    assert ids(found) == (expected[:2] if limit else expected)
    for row in found["results"]:
        assert list(row)[:3] == ["seq", "id", "changes"]
        assert ("doc" in row) == bool(docs)
        assert len(row["changes"]) == (2 if style and row["id"] == "c" else 1)
        if docs and row["id"] == "c":
            assert row["doc"].get("_conflicts") == ([f"1-{A}"] if conflicts else None)
        if docs and row["id"] == "d3":
            assert row["doc"]["_deleted"] is True


@pytest.mark.parametrize("feed", ["normal", "longpoll", "continuous", "eventsource"])
def test_feeds_send_the_same_changes(server, changed, feed):
    answer = server.ask("GET", f"{changed}/_changes?feed={feed}&timeout=50")
    expected = read(server, changed)["results"]
    if feed in {"normal", "longpoll"}:
        assert answer.json()["results"] == expected
    elif feed == "continuous":
        lines = [json.loads(line) for line in answer.body.splitlines() if line]
        assert lines[:-1] == expected
        assert lines[-1]["last_seq"] == expected[-1]["seq"]
    else:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [
            dict(line.split(": ", 1) for line in event.split("\n"))
            for event in answer.body.decode().split("\n\n")
            if event
        ]
        assert [json.loads(event["data"]) for event in events] == expected
        assert [json.loads(event["id"]) for event in events] == [row["seq"] for row in expected]


def test_event_sources_go_on_from_the_last_event(server, changed):
    rows = read(server, changed)["results"]
    headers = {"Last-Event-ID": rows[3]["seq"]}
    answer = server.ask("GET", f"{changed}/_changes?feed=eventsource&timeout=50", headers=headers)
    assert answer.body.count(b"data: ") == 2
    quoted = {"Last-Event-ID": json.dumps(rows[3]["seq"])}
    assert server.ask("GET", f"{changed}/_changes?feed=eventsource&timeout=50", headers=quoted).body == answer.body


@pytest.mark.parametrize("feed", ["longpoll", "continuous", "eventsource"])
def test_waiting_feeds_hear_of_a_change_that_passes_their_filter(server, changed, feed):
    connection = server.connect()
    headers = {"Authorization": server.authorization, "Content-Type": "application/json"}
    url = f"{changed}/_changes?feed={feed}&since=now&filter=_selector&limit=1&heartbeat=60000"
    connection.request("POST", url, json.dumps({"selector": {"wanted": True}}), headers)
    response = connection.getresponse()
    heard = []
    thread = threading.Thread(target=lambda: heard.append(response.read()))
    thread.start()
    server.ask("PUT", f"{changed}/unwanted", {"wanted": False})
    server.ask("PUT", f"{changed}/wanted", {"wanted": True})
    thread.join(10)
    connection.close()
    assert b'"id":"wanted"' in heard[0]
    assert b'"id":"unwanted"' not in heard[0]


def test_heartbeats_keep_a_feed_open_past_its_timeout(server, database):
    connection = server.connect()
    connection.request(
        "GET",
        f"{database}/_changes?feed=continuous&heartbeat=50&timeout=10",
        headers={"Authorization": server.authorization},
    )
    response = connection.getresponse()
    beats = [response.readline() for _ in range(4)]
    connection.close()
    assert beats == [b"\n"] * 4


def test_a_timeout_ends_a_feed(server, database):
    for feed in ("longpoll", "continuous", "eventsource"):
        began = time.monotonic()
        answer = server.ask("GET", f"{database}/_changes?feed={feed}&timeout=300&since=now")
        assert 0.25 < time.monotonic() - began < 3
        assert answer.status == 200


def test_deleting_the_database_ends_its_feeds(server, database):
    connection = server.connect()
    url = f"{database}/_changes?feed=continuous&heartbeat=60000"
    connection.request("GET", url, headers={"Authorization": server.authorization})
    response = connection.getresponse()
    server.ask("DELETE", database)
    assert b'"last_seq"' in response.read()
    connection.close()


def test_functions_of_design_documents_are_refused(server, database):
    functions = {"views": {"v": {"map": "function () {}"}}, "filters": {"f": "function () {}"}}
    server.ask("PUT", f"{database}/_design/x", functions)
    for query, status in (
        ("filter=_view&view=x/v", 501),
        ("filter=_view&view=x/none", 404),
        ("filter=x/f", 501),
        ("filter=x/none", 404),
    ):
        assert server.ask("GET", f"{database}/_changes?{query}").status == status


def test_downwards_the_beginning_does_not_matter(server, changed):
    everything = ids(read(server, changed, "?descending=true"))
    assert ids(read(server, changed, "?descending=true&since=now")) == everything
    assert ids(read(server, changed, "?descending=true&since=nonsense")) == everything


@pytest.mark.parametrize(("query", "shown"), [("limit=4&seq_interval=2", [0, 2]), ("seq_interval=5", [0, 5])])
def test_sequences_at_intervals(server, changed, query, shown):
    rows = read(server, changed)["results"]
    found = read(server, changed, f"?{query}")
    for place, row in enumerate(found["results"]):
        assert row == {**rows[place], "seq": rows[place]["seq"] if place in shown else None}
    assert found["last_seq"] == rows[len(found["results"]) - 1]["seq"]
    events = server.ask("GET", f"{changed}/_changes?feed=eventsource&timeout=50&{query}").body
    assert events.count(b"\nid: null\n") == len(found["results"]) - len(shown)


def test_a_sequence_of_a_database_made_anew_means_everything(server, changed):
    last = read(server, changed)["last_seq"]
    server.ask("DELETE", changed)
    server.ask("PUT", changed)
    server.ask("PUT", f"{changed}/new", {})
    assert ids(read(server, changed, f"?since={last}")) == ["new"]


def test_conditional_requests_for_changes(server, changed):
    etag = server.ask("GET", f"{changed}/_changes").headers["etag"]
    assert server.ask("GET", f"{changed}/_changes", headers={"If-None-Match": etag}).status == 304
    server.ask("PUT", f"{changed}/more", {})
    assert server.ask("GET", f"{changed}/_changes", headers={"If-None-Match": etag}).status == 200


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("?since=x", None, 400),
        ("?since=5-", None, 400),
        ("?since=-1", None, 400),
        ("?since=", None, 400),
        ("?since=5", None, 400),
        ("?limit=x", None, 500),
        ("?timeout=x", None, 500),
        ("?heartbeat=0", None, 400),
        ("?heartbeat=x", None, 400),
        ("?style=x", None, 500),
        ("?feed=x", None, 400),
        ("?seq_interval=0", None, 400),
        ("?seq_interval=x", None, 400),
        ("?filter=_nonsense", None, 400),
        ("?filter=_selector", None, 400),
        ("?filter=_selector", {"selector": 1}, 400),
        ("?filter=_selector", {"selector": {"a": {"$bad": 1}}}, 400),
        ("?filter=_doc_ids", {"doc_ids": 1}, 400),
        ("?filter=_doc_ids", {"doc_ids": [1]}, 400),
        ("?filter=_doc_ids&doc_ids=x", None, 400),
        ("?filter=_view", None, 400),
        ("?filter=_view&view=a", None, 400),
        ("?filter=_view&view=a/b", None, 404),
        ("?filter=a", None, 400),
        ("?filter=a/b", None, 404),
        ("?filter=a/b/c", None, 400),
        ("", [1], 400),
    ],
)
def test_malformed_requests_are_refused(server, database, query, body, status):
    answer = server.ask("GET" if body is None else "POST", f"{database}/_changes{query}", body)
    assert answer.status == status
    assert set(answer.json()) == {"error", "reason"}


def test_ids_can_come_in_the_address(server, changed):
    found = read(server, changed, '?filter=_doc_ids&doc_ids=["d0","c"]')
    assert ids(found) == ["d0", "c"]


def test_selected_fields_of_documents(server, changed):
    body = {"selector": {"n": 0}, "fields": ["_id", "n"]}
    found = read(server, changed, "?filter=_selector&include_docs=true", body)
    assert found["results"][0]["doc"] == {"_id": "d0", "n": 0}


class Following(threading.Thread):
    """Reads a continuous feed until the document ``end`` comes."""

    def __init__(self, server, database, query):
        super().__init__(daemon=True)
        self.rows = []
        self._connection = server.connect()
        url = f"{database}/_changes?feed=continuous&heartbeat=60000&{query}"
        self._connection.request("GET", url, headers={"Authorization": server.authorization})
        self._response = self._connection.getresponse()
        self.start()

    def run(self):
        while not self.rows or self.rows[-1]["id"] != "end":
            line = self._response.readline()
            if line.strip():
                self.rows.append(json.loads(line))
        self._connection.close()


@pytest.mark.parametrize("seed", range(3))
def test_feeds_at_different_places_show_the_same_in_order(server, database, seed):
    chance = random.Random(seed)
    revisions, feeds, starts = {}, [], ["0"]

    def write(count):
        docs = []
        for number in chance.sample(range(300), count):
            id_ = f"d{number}"
            held = {"_rev": revisions[id_]} if id_ in revisions else {}
            docs.append({"_id": id_, "_deleted": bool(held) and chance.random() < 0.2, **held})
        for row, doc in zip(server.ask("POST", f"{database}/_bulk_docs", {"docs": docs}).json(), docs, strict=True):
            assert row.get("ok"), row
            revisions[row["id"]] = row["rev"]
            if doc["_deleted"]:
                del revisions[row["id"]]

    for _ in range(40):
        write(chance.choice([1, 1, 2, 5, 150]))
        if chance.random() < 0.2:
            starts.append(read(server, database, "?since=now&limit=0")["last_seq"])
        if chance.random() < 0.3:
            query = chance.choice(["", "&style=all_docs", "&include_docs=true", "&seq_interval=3"])
            feeds.append(Following(server, database, f"since={chance.choice(starts)}{query}"))
        if chance.random() < 0.1 and revisions:
            gone = chance.choice(list(revisions))
            assert server.ask("POST", f"{database}/_purge", {gone: [revisions.pop(gone)]}).status == 201
    server.ask("PUT", f"{database}/end", {})
    expected = read(server, database)["results"]
    last = {row["id"]: row["changes"] for row in expected}
    for feed in feeds:
        feed.join(20)
        assert not feed.is_alive()
        numbers = [int(row["seq"].partition("-")[0]) for row in feed.rows if row["seq"]]
        assert numbers == sorted(set(numbers))
        shown = {row["id"]: row["changes"] for row in feed.rows}
        assert {id_: shown[id_] for id_ in shown if id_ in last} == {id_: last[id_] for id_ in shown if id_ in last}
    assert any(len(feed.rows) > 150 for feed in feeds)


def test_a_feed_that_begins_late_shows_no_row_of_what_was_purged(server, database):
    first = Following(server, database, "since=now")
    revision = server.ask("PUT", f"{database}/gone", {}).json()["rev"]
    server.ask("PUT", f"{database}/kept", {})
    while len(first.rows) < 2:
        time.sleep(0.01)
    server.ask("POST", f"{database}/_purge", {"gone": [revision]})
    server.ask("PUT", f"{database}/end", {})
    second = Following(server, database, "since=0")
    first.join(10)
    second.join(10)
    assert [row["id"] for row in first.rows] == ["gone", "kept", "end"]
    assert [row["id"] for row in second.rows] == ["kept", "end"]


def test_fewer_rows_than_none_are_all(server, changed):
    everything = read(server, changed)
    assert len(everything["results"]) == 6
    assert read(server, changed, "?limit=-1") == everything
    assert read(server, changed, "?feed=longpoll&limit=-1")["results"] == everything["results"]


def test_no_row_downwards_names_the_newest(server, changed):
    newest = read(server, changed)["last_seq"]
    found = read(server, changed, "?descending=true&limit=0")
    assert (found["results"], found["last_seq"], found["pending"]) == ([], newest, 6)


def test_of_a_parameter_given_twice_the_last_counts(server, changed):
    assert len(read(server, changed, "?limit=1&limit=2")["results"]) == 2
