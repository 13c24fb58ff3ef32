"""What is news, and that one thing always gives the same."""

from __future__ import annotations

from shared import news

UID = "uid://X1/X1/Xb0"


def entity(*changes):
    history = [{"at": at, "by": "ada", "state": state, "note": note} for at, state, note in changes]
    return {"_id": "uid___X1_X1_Xb0", "entityId": UID, "progID": "2015.1.00657.S", "history": history}


def test_problems_and_deliveries_are_news_also_when_the_ous_has_gone_on():
    doc = entity(
        ("2026-01-01", "Processing", ""),
        ("2026-01-02", "ProcessingProblem", "exited with code 3"),
        ("2026-01-03", "ReadyForProcessing", ""),
        ("2026-01-04", "Delivered", ""),
    )
    found = list(news.of_entity(doc, "2026"))
    assert [(each.event, each.subject, each.by) for each in found] == [
        ("ProcessingProblem", UID, "ada"),
        ("Delivered", UID, "ada"),
    ]
    assert found[0].text == f"{UID} is ProcessingProblem: exited with code 3"
    assert len({each.key for each in found}) == 2
    assert list(news.of_entity(doc, "2026")) == found
    assert [each.event for each in news.of_entity(doc, "2026-01-03")] == ["Delivered"]


def test_what_is_no_status_entity_has_no_news():
    assert list(news.of_entity({"_id": "x"}, "")) == []
    assert list(news.of_entity({"_id": "x", "history": [1, {"state": "Lost"}]}, "")) == []


def test_dead_messages_are_news_but_not_those_that_carry_news():
    doc = {"_id": "ingest.JAO:1:a", "state": "dead", "doneAt": "2026-01-01", "errors": [{"what": "no disk"}]}
    found = news.of_dead_letter(doc | {"body": {"ousUID": UID}})
    assert found.text == f"message ingest.JAO:1:a about {UID} is dead: no disk"
    assert found.key != news.of_dead_letter(doc | {"doneAt": "2026-01-02"}).key
    assert "nobody said why" in news.of_dead_letter({"_id": "a:1:b", "state": "dead", "errors": [7], "body": 1}).text
    assert news.of_dead_letter(doc | {"_id": f"{news.SELECTOR}:1:a"}) is None
    assert news.of_dead_letter(doc | {"state": "ready"}) is None


def test_an_actor_that_is_lost_twice_is_news_twice():
    doc = {"_id": "xtss@h:1", "at": "2026-01-01T00:00:00.000000", "executive": ""}
    assert "xtss@h:1 was lost" in news.of_lost_actor(doc).text
    assert news.of_lost_actor(doc).key != news.of_lost_actor(doc | {"at": "2026-01-02"}).key


def test_a_long_note_is_cut():
    (found,) = news.of_entity(entity(("2026-01-01", "ProcessingProblem", "x" * 5000)), "")
    assert len(found.text) == 1000
