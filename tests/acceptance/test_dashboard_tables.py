"""The tables of documents, page by page and in every order that they offer, by Flask's client, on a real database."""

from __future__ import annotations

import html
import random
import re
from operator import itemgetter

import pytest

from dashboard import tables
from dashboard.context import Site
from dashboard.live import Live
from dashboard.server import create_app
from drw import setup
from shared import listing
from shared.dbcon import DbConnection
from shared.settings import read_settings

URL = "http://localhost:5000"
COUNT = 61
"""More than two pages have."""

VALUES = {
    "size": lambda rng: rng.choice([0, 7, 7, 12_000_000_000, 1.5, None, "big", [1], {"a": 1}]),
    "complete": lambda rng: rng.choice([True, False]),
}


@pytest.fixture(scope="module")
def place(couchlet_of_module):
    settings = read_settings({"DRW_HOME": str(couchlet_of_module.home), "DRW_COUCHDB_URL": couchlet_of_module.url})
    setup.ensure(settings)
    connection = DbConnection(settings)
    for kind in tables.KINDS:
        if kind.key != "ous":
            connection.database(kind.database).bulk(strange(kind.database))
    live = Live(connection)
    live.loaded.set()
    live.post_loaded.set()
    yield connection, create_app(Site(connection, settings, live)).test_client()
    connection.close()


def strange(database):
    """Return documents that have few values many times, and of which some lack a field or two."""
    rng = random.Random(database)
    docs = []
    for number in range(COUNT):
        doc = {"_id": f"{rng.randrange(10**6):06}.uid___X1_X1_X{number:x}", "schema": 1, "encodedReport": "x" * 1000}
        for field in listing.FIELDS[database]:
            if rng.random() < 0.9:
                doc[field] = VALUES.get(field, lambda rng: f"value {rng.randrange(4)}")(rng)
        docs.append(doc)
    return docs


ORDERS = [
    (kind.key, by, order)
    for kind in tables.KINDS
    if kind.key != "ous"
    for by in ("", *kind.sorts.values())
    for order in ("up", "down")
]


def walk(browser, address):
    """Return the texts of all pages from an address on, and the rows of each."""
    pages = []
    while address:
        answer = browser.get(address, base_url=URL)
        assert answer.status_code == 200, answer.text
        onward = re.search(r'<a href="([^"]*)">Next page', answer.text)
        pages.append((answer.text, re.findall(r"<tr><td.*?</tr>", answer.text)))
        address = html.unescape(onward[1]) if onward else ""
    return pages


@pytest.mark.parametrize(("key", "by", "order"), ORDERS)
def test_every_document_is_on_one_page_of_every_order(place, key, by, order):
    _, browser = place
    pages = walk(browser, f"/table/{key}?sort={by}&order={order}")
    assert [len(rows) for _, rows in pages] == [25, 25, 11]
    assert all(f'<span class="total">{COUNT}</span>' in text for text, _ in pages)
    assert "26 to 50 of 61 shown" in pages[1][0]
    assert "51 to 61 of 61 shown" in pages[2][0]
    assert f'aria-sort="{"ascending" if order == "up" else "descending"}"' in pages[0][0]


def walked(browser, key, by, order):
    address, docs = f"/api/tables/{key}?sort={by}&order={order}&limit=7", []
    while address:
        answer = browser.get(address, base_url=URL).json
        assert answer["total"] == COUNT
        docs += answer["items"]
        address = answer["next"]
    return docs


@pytest.mark.parametrize(("key", "by", "order"), ORDERS)
def test_programs_get_every_document_once_in_the_order_asked_for(place, key, by, order):
    connection, browser = place
    docs = walked(browser, key, by, order)
    kind = next(each for each in tables.KINDS if each.key == key)
    ids = [doc["id"] for doc in docs]
    field = by or kind.own
    stored = [doc for doc in connection.database(kind.database).every() if not doc["_id"].startswith("_design/")]
    assert sorted(ids) == sorted(doc["_id"] for doc in stored)
    assert not [doc for doc in docs if kind.only and "encodedReport" in doc]
    if not field:
        assert ids == sorted(ids, reverse=order == "down")
        return
    having = [doc for doc in docs if field in doc]
    assert docs[: len(having)] == having, "those without come last"
    if field != "size":  # which has values of all types, in the order of CouchDB
        assert having == sorted(having, key=itemgetter(field, "id"), reverse=order == "down")
    else:
        numbers = [doc["size"] for doc in having if type(doc["size"]) in {int, float}]
        assert numbers == sorted(numbers, reverse=order == "down")


def test_a_page_reads_no_more_than_it_shows_and_only_through_indexes(place, monkeypatch):
    _, browser = place
    asked, seen = [], 0
    original = DbConnection.call

    def call(self, method, path, **more):
        answer = original(self, method, path, **more)
        if path.endswith("_find"):
            asked.append(answer)
        return answer

    monkeypatch.setattr(DbConnection, "call", call)
    for key, by, order in ORDERS:
        del asked[:]
        walk(browser, f"/table/{key}?sort={by}&order={order}")
        for answer in asked:
            assert not answer.warning, (key, by, order)
            assert len(answer.docs) <= 26
        seen += len(asked)
    assert seen > 0


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("field", ["size", "writeTimestamp"])
def test_what_goes_away_between_two_pages_takes_nothing_else_along(place, field, descending):
    database = place[0].database("ngas")
    by = listing.Listing(database, field, descending=descending)
    docs, _ = by.read("", COUNT)
    found, after = by.read("", 3)
    while after:
        last = database.get(found[-1]["_id"])
        database.put({**last, "_deleted": True})
        more, after = by.read(after, 3)
        found += more
        database.put({key: value for key, value in last.items() if key != "_rev"})
    assert [doc["_id"] for doc in found] == [doc["_id"] for doc in docs]


@pytest.mark.parametrize("after", ["x", "{}", "[]", "[1,2,3]", "[1,2]", "[1]"])
def test_what_is_no_place_in_a_table_is_said(place, after):
    _, browser = place
    answer = browser.get(f"/api/tables/ngas?sort=size&after={after}", base_url=URL)
    assert (answer.status_code, "begin at its first page" in answer.json["error"]) == (400, True)
    assert browser.get(f"/table/ngas?sort=size&after={after}", base_url=URL).status_code == 400


@pytest.mark.parametrize("after", ["123456789x", "x", "-1", "1" * 10, pytest.param("1" * 5000, id="very many digits")])
def test_what_is_no_place_among_the_cards_is_said(place, after):
    _, browser = place
    answer = browser.get(f"/api/tables/ous?sort=program&after={after}", base_url=URL)
    assert (answer.status_code, "begin at its first page" in answer.json["error"]) == (400, True)
    assert browser.get(f"/table/ous?sort=program&after={after}", base_url=URL).status_code == 400


def test_an_order_that_there_is_not_is_said_to_programs_and_is_the_own_one_for_people(place):
    _, browser = place
    answer = browser.get("/api/tables/ngas?sort=sha256", base_url=URL)
    assert answer.status_code == 400
    assert "size, writeTimestamp" in answer.json["error"]
    assert 'aria-sort="ascending"><a href="/table/ngas?order=down">file' in (
        browser.get("/table/ngas?sort=sha256", base_url=URL).text
    )


def test_an_index_that_is_missing_is_said_with_what_to_do(place):
    connection, browser = place
    connection.call("DELETE", "/ngas/_index/drw/json/by-size")
    try:
        answer = browser.get("/table/ngas?sort=size", base_url=URL)
        assert answer.status_code == 503
        assert "drw setup" in answer.text
        assert browser.get("/table/ngas", base_url=URL).status_code == 200
    finally:
        setup.ensure_databases(connection)
    assert browser.get("/table/ngas?sort=size", base_url=URL).status_code == 200


def test_whether_an_ous_is_launched_asks_the_queue_nothing(place, monkeypatch):
    connection, browser = place
    site = browser.application.extensions["drw"]
    doc = {"_id": "uid___X1_X1_Xb0", "entityId": "uid://X1/X1/Xb0", "state": "ReadyForProcessing"}
    connection.database("status-entities").put(doc)
    asked, original = [], DbConnection.call

    def call(self, method, path, **more):
        asked.append(path)
        return original(self, method, path, **more)

    monkeypatch.setattr(DbConnection, "call", call)
    assert "waits for a launch" in browser.get(f"/ous/{doc['_id']}", base_url=URL).text
    assert sum("msgq" in path for path in asked) == 1, "of what was settled, there is no other place"
    sent = {"selector": "pipeline.process.NA", "state": "ready", "creationTimestamp": "noon"}
    site.live.post.put("pipeline.process.NA:1:a", {"_id": "a", "body": {"ousUID": doc["entityId"]}, **sent})
    del asked[:]
    assert "waits for a launch" not in browser.get("/table/ous", base_url=URL).text
    assert not [path for path in asked if "msgq" in path]
