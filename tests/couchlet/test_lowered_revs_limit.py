"""A limit of revisions that is lowered: what is shown at once, and what a compaction makes of it."""

from __future__ import annotations

import pytest
from waiting import until

A, B, C, D = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)


@pytest.fixture
def edited(server, database):
    """A document of five revisions, and one of two branches with common ancestors; returns the first one's."""
    revisions = []
    for number in range(5):
        query = f"?rev={revisions[-1]}" if revisions else ""
        revisions.append(server.ask("PUT", f"{database}/x{query}", {"n": number}).json()["rev"])
    docs = [{"_id": "t", "_rev": f"3-{leaf}", "_revisions": {"start": 3, "ids": [leaf, B, A]}} for leaf in (C, D)]
    server.ask("POST", f"{database}/_bulk_docs", {"new_edits": False, "docs": docs})
    return revisions


def length(server, database, id_="x"):
    """Return how many revisions are shown, and how many are known."""
    shown = server.ask("GET", f"{database}/{id_}?revs=true&revs_info=true").json()
    return len(shown["_revisions"]["ids"]), len(shown["_revs_info"])


def compact(server, database):
    server.ask("POST", f"{database}/_compact", {})
    until(lambda: not server.ask("GET", database).json()["compact_running"])


def test_it_counts_for_what_is_shown_at_once(server, database, edited):
    for limit, expected in ((2, 2), (4, 4), (1000, 5)):
        assert server.ask("PUT", f"{database}/_revs_limit", limit).status == 200
        assert server.ask("GET", f"{database}/_revs_limit").json() == limit
        assert length(server, database) == (expected, 5)
        asked = {"docs": [{"id": "x"}]}
        got = server.ask("POST", f"{database}/_bulk_get?revs=true", asked).json()["results"][0]["docs"][0]["ok"]
        assert len(got["_revisions"]["ids"]) == expected


def test_a_compaction_forgets_the_rest(server, database, edited):
    assert server.ask("PUT", f"{database}/_revs_limit", 2).status == 200
    compact(server, database)
    assert server.ask("PUT", f"{database}/_revs_limit", 1000).status == 200
    assert length(server, database) == (2, 2)
    assert length(server, database, "t") == (2, 2)
    leaves = server.ask("GET", f"{database}/t?open_revs=all&revs=true").json()
    assert [leaf["ok"]["_revisions"]["ids"] for leaf in leaves] == [[C, B], [D, B]]
    missing = server.ask("POST", f"{database}/_revs_diff", {"x": edited, "t": [f"1-{A}", f"2-{B}"]}).json()
    assert missing["x"]["missing"] == edited[:3]
    assert missing["t"]["missing"] == [f"1-{A}"]
    made = server.ask("PUT", f"{database}/x?rev={edited[-1]}", {})
    assert made.status == 201
    assert length(server, database) == (3, 3)
