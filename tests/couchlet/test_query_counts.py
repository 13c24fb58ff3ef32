"""What a query says of the documents that it read: `execution_stats`, and the warning that goes by them."""

from __future__ import annotations

import pytest

HIGH = "The number of documents examined is high in proportion to the number of results returned."


@pytest.fixture
def letters(server, database):
    """Seven documents, one index on them and two that have nothing to do with them."""
    docs = [{"_id": id_, "n": n} for id_, n in zip("Aabcdef", (2, 1, 1, 2, 1, 3, 3), strict=True)]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    for field in "nyz":
        server.ask("POST", f"{database}/_index", {"index": {"fields": [field]}, "ddoc": field})
    return database


def find(server, database, selector, **options):
    answer = server.ask("POST", f"{database}/_find", {"selector": selector, **options})
    assert answer.status == 200
    return answer.json()


def counts(server, database, selector, **options):
    stats = find(server, database, selector, execution_stats=True, **options)["execution_stats"]
    return [stats[f"total_{kind}_examined"] for kind in ("keys", "docs", "quorum_docs")] + [stats["results_returned"]]


@pytest.mark.parametrize(
    ("selector", "options", "expected"),
    [
        # Design documents are read too, but what leads to one that matches is forgotten.
        ({"q": 1}, {}, [10, 10, 0, 0]),
        ({"_id": {"$gt": None}}, {}, [7, 7, 0, 7]),
        ({"language": "query"}, {}, [6, 6, 0, 0]),
        # Behind the last result it goes on to the next match.
        ({"_id": {"$gt": None}}, {"limit": 0}, [1, 1, 0, 0]),
        ({"_id": {"$gt": None}}, {"limit": 1, "skip": 1}, [3, 3, 0, 1]),
        ({"n": 1}, {"limit": 2}, [3, 3, 0, 2]),
        ({"n": {"$gt": 0}, "_id": {"$ne": "b"}}, {"limit": 1}, [3, 3, 0, 1]),
        ({"n": 1, "_id": "d"}, {"limit": 1}, [3, 3, 0, 1]),
        ({"n": 1}, {"limit": 2, "r": 2}, [3, 0, 3, 2]),
        ({"n": 1}, {"limit": 2, "fields": ["n"]}, [3, 0, 0, 2]),
        ({"q": 1}, {"r": 2}, [7, 0, 7, 0]),
    ],
)
def test_what_was_read(server, letters, selector, options, expected):
    assert counts(server, letters, selector, **options) == expected


def test_no_result_wanted_leaves_the_bookmark_as_it_is(server, letters):
    assert find(server, letters, {"n": 1}, limit=0)["bookmark"] == "nil"


@pytest.mark.parametrize("stats", [False, True])
def test_the_warning_goes_by_what_is_read_behind_the_last_result(server, database, stats):
    server.ask("POST", f"{database}/_index", {"index": {"fields": ["n"]}})
    docs = [{"_id": f"k{k:02}", "n": 5, "k": k} for k in range(1, 31)]
    server.ask("POST", f"{database}/_bulk_docs", {"docs": docs})

    def is_warned(*wanted, limit):
        found = find(server, database, {"n": 5, "k": {"$in": wanted}}, limit=limit, execution_stats=stats)
        return HIGH in found.get("warning", "")

    assert is_warned(1, 11, limit=1)
    assert not is_warned(1, 10, limit=1)
    assert is_warned(1, limit=1)
    assert is_warned(11, limit=0)
    assert not is_warned(10, limit=0)
