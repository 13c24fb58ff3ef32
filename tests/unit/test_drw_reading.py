"""What the operator's reading commands make of what they read: spans of time, near names, tallies, findings, events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from drw import ages, crew, doctor, follow, letters, mail, near, overview, setup
from drw.crew import Worker
from drw.doctor import Finding
from shared import dbcon, errors
from shared.bus.pauses import Pause
from shared.clock import stamp
from shared.errors import BadInput

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def ago(**span):
    return stamp(NOW - timedelta(**span))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30min", 1800), ("30m", 1800), ("2h", 7200), ("1.5 d", 129600)]
)
def test_spans_as_they_are_typed(text, seconds):
    assert ages.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "2 weeks", "1e9s"])
def test_what_is_no_span_is_refused_with_its_value(text):
    with pytest.raises(BadInput, match="is not a span of time"):
        ages.seconds(text)


def test_ages_of_stored_moments():
    assert ages.since(ago(minutes=5), NOW) == "5 min"
    assert ages.since("yesterday", NOW) == ages.since("", NOW) == "-"
    assert (ages.at(ago(days=1)), ages.at("")) == ("2026-11-19 12:00:00", "-")


def test_names_that_are_close_are_named_and_others_are_not():
    known = ["ingest.JAO", "verdict.JAO", "xtss"]
    assert str(near.unknown("selector", "ingest.jap", known, "remedy")) == (
        "there is no selector 'ingest.jap': did you mean ingest.JAO?"
    )
    assert near.question("verdict.JAP", ["verdict.JAO", "verdict.NA"]) == "did you mean verdict.JAO or verdict.NA?"
    assert str(near.unknown("selector", "zzz", known, "look")) == "there is no selector 'zzz': look"


def test_a_message_is_read_whatever_is_wrong_with_it():
    odd = letters.letter({"_id": "a.b:1:c", "claim": 7, "errors": ["x"], "body": None, "attempts": "many"})
    assert (odd.selector, odd.attempts, odd.error, odd.why()) == ("a.b", 0, "", "")
    held = letters.letter({"_id": "a:1:c", "state": "claimed", "claim": {"by": "me"}, "waits": "x"})
    assert held.why() == "with me"
    assert letters.letter({"_id": "a:1:c", "state": "delayed", "waits": "sun"}).why() == "waits: sun"
    assert letters.letter({"_id": "a:1:c", "state": "expired", "waits": "sun"}).why() == "waits: sun"
    assert letters.letter({"_id": "a:1:c", "state": "ready", "waits": "sun"}).why() == ""
    assert letters.letter({"_id": "a:1:c", "state": "dead", "errors": [{"what": "no"}]}).why() == "failed: no"


def test_what_waits_is_counted_by_selector_with_who_listens_and_who_paused():
    found = [
        letters.letter({"_id": f"{to}:1:{n}", "selector": to, "state": state, "creationTimestamp": ago(minutes=n)})
        for to, state, n in (("ingest.JAO", "ready", 3), ("ingest.JAO", "dead", 9), ("mine", "claimed", 1))
    ]
    ingestor = Worker(id="product-ingestor@h:1", kind="product-ingestor")
    rows = {row.selector: row for row in mail.count(found, [ingestor], [Pause("mine", "ada", ago(days=1), "x")])}
    assert set(rows) == {"ingest.JAO", "mine"}
    ingest = rows["ingest.JAO"]
    assert (ingest.counts["ready"], ingest.counts["dead"], ingest.oldest) == (1, 1, ago(minutes=3))
    assert ingest.listening == ["product-ingestor@h:1"]
    assert rows["mine"].paused.startswith("paused by ada since 2026-11-19 12:00:00 UTC: x")


def test_a_paused_selector_is_shown_also_while_nothing_waits_there():
    rows = mail.count([], [], [Pause("quiet", "ada", ago(days=1), "x")])
    assert [row.selector for row in rows] == ["quiet"]


def test_only_the_living_listen():
    gone = [Worker(id=str(stands), kind="xtss", stands=stands) for stands in ("dead", "ended")]
    assert crew.listening("xtss", gone) == []


@pytest.mark.parametrize(
    ("welcome", "stands"),
    [
        ({"version": "3.5.0", "vendor": {"name": "couchlet"}}, "ok"),
        ({"version": "3.0.1"}, "ok"),
        ({"version": "2.3.1"}, "wrong"),
        ({"version": "nightly"}, "note"),
        ({}, "note"),
    ],
)
def test_versions_of_couchdb(welcome, stands):
    assert doctor.version(welcome, "http://h:5984").stands == stands


def test_two_xtss_are_too_many_where_shards_have_several_copies():
    assert doctor.several_xtss(["xtss.a.1", "xtss.b.2"], 1).stands == "ok"
    found = doctor.several_xtss(["xtss.a.1", "xtss.b.2"], 3)
    assert found.stands == "wrong"
    assert found.fact == "2 live (xtss.a.1 and xtss.b.2), and each shard of status-entities has 3 copies"
    assert "end all but one" in found.remedy


def test_clocks_that_disagree_are_named_with_a_remedy():
    assert doctor.clocks(NOW, NOW + timedelta(seconds=4), 5.0).stands == "ok"
    ahead = doctor.clocks(NOW, NOW + timedelta(seconds=9), 5.0)
    assert ahead.stands == "wrong"
    assert "9.0 s ahead of the database" in ahead.fact
    assert "NTP" in ahead.remedy
    assert "behind" in doctor.clocks(NOW, NOW - timedelta(seconds=9), 5.0).fact


def test_a_finding_fits_its_terminal():
    found = Finding("clock", "wrong", "this machine is behind", "have both machines follow NTP, or set something")
    assert doctor.sentence(found, None) == [
        "wrong  clock: this machine is behind: have both machines follow NTP, or set something"
    ]
    lines = doctor.sentence(found, 40)
    assert max(map(len, lines)) <= 40
    assert all(line.startswith("       ") for line in lines[1:])


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 B"), (2048, "2 kB"), (5 * 1024**2, "5.0 MB"), (3 * 1024**4, "3.0 TB")]
)
def test_amounts_of_bytes(size, said):
    assert overview.amount(size) == said


def test_events_say_what_became_of_what():
    doc = {"_id": "uid___X1_X1_Xb0", "entityId": "uid://X1/X1/Xb0", "state": "Reviewing", "substate": ""}
    event = follow.of_entity(doc | {"history": [{"at": ago(), "by": "ada", "note": "taken over"}]}, "")
    assert (event.id, event.state, event.what) == ("uid://X1/X1/Xb0", "Reviewing", "by ada: taken over")
    for history in ("x", 7, {"note": "x"}, [7]):
        assert follow.of_entity(doc | {"history": history}, ago()).what == "by somebody"
    message = follow.of_message({"_id": "xtss:1:a", "state": "ready", "body": {"ousUID": event.id}}, ago())
    assert (message.selector, message.ous, message.kind) == ("xtss", event.id, "message")


def test_doctor_gives_a_node_time_to_hear_of_an_index(monkeypatch):
    monkeypatch.setattr(doctor, "_INDEX_PAUSE_S", 0.01)
    missing = {"reports": 2, "msgq": 1}  # at so many looks

    class Connection:
        def indexes(self, database):
            missing[database] = missing.get(database, 0) - 1
            return [] if missing[database] >= 0 else [(dbcon.INDEXES, each) for each in setup.INDEXES[database]]

    assert doctor._indexes(Connection()).stands == "ok"
    missing["msgq"] = 100
    found = doctor._indexes(Connection())
    assert (found.stands, found.fact) == ("wrong", "ready of msgq, due of msgq and ended of msgq missing")


def test_an_index_that_this_user_may_not_read_is_no_missing_one():
    class Connection:
        def indexes(self, database):
            if database == "msgq":
                raise errors.Forbidden("not for you")
            return [(dbcon.INDEXES, each) for each in setup.INDEXES[database]]

    assert doctor._indexes(Connection()).stands == "ok"
