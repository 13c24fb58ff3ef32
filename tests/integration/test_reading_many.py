"""What operators read is told whole however much there is, or with a word that it is not."""

import json

import pytest

from actors.xtss import StateSystem
from drw import cli, letters, ous, overview
from shared import names, status
from shared.bus import Executor, queue
from shared.messages import XTSS
from shared.state import StateClient

OUS = "uid://X1/X1/Xb0"


@pytest.fixture
def drw(place, monkeypatch, capsys):
    """Run drw in this process; return what it prints and what it complains."""
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)

    def run(*argv, status=0):
        capsys.readouterr()
        assert cli.main(argv) == status
        return capsys.readouterr()

    return run


def test_a_message_is_found_behind_thousands_of_others(place, drw):
    waiting = {"schema": 1, "selector": "before.others", "state": "delayed", "due": "2999-01-01T00:00:00.000Z"}
    others = [{"_id": f"before.others:1:{n}", "creationTimestamp": "2026", **waiting} for n in range(letters.MOST)]
    place.connection.database(queue.DATABASE).bulk(others)
    sent = place.bus().send("work.EU", {"ousUID": OUS}, delay_s=1000)
    found = json.loads(drw("messages", "--ous", OUS, "--json").out)
    assert (found["total"], [each["id"] for each in found["messages"]]) == (1, [sent])
    assert json.loads(drw("messages", "--limit", "1", "--json").out)["total"] == letters.MOST + 1


def test_cancelling_takes_back_what_is_behind_thousands_of_others(place, drw):
    """Its id is not made from the history, as that of a forced launch is not."""
    bus, entities = place.bus("xtss"), place.connection.database(status.DATABASE)
    Executor(bus, XTSS, StateSystem(entities, place.connection.clock, strict=True).execute)
    ready = {"schema": 1, "selector": "pipeline.process.EA", "state": "ready", "priority": 1}
    others = [{"_id": f"pipeline.process.EA:1:{n}", "creationTimestamp": "2026", **ready} for n in range(letters.MOST)]
    place.connection.database(queue.DATABASE).bulk(others)
    with bus:
        asking = place.bus("asking")
        StateClient(asking, deadline_s=20).create(OUS, "2015.1.00657.S", recipe="PipelineCalibration", executive="EA")
        sent = place.bus().send("pipeline.process.EA", {"ousUID": OUS})
        assert "its pipeline run waits for pipeline-driver at EA" in drw("why", OUS, status=1).out
        done = json.loads(drw("cancel", OUS, "--reason", "sent by mistake", "--json").out)
    assert done["messages"] == [sent]
    assert place.database.get(sent)["state"] == "consumed"


def test_thousands_at_one_selector_hide_none_of_another(place, drw):
    ready = {"schema": 1, "selector": "before.others", "state": "ready", "priority": 5, "creationTimestamp": "2026"}
    place.connection.database(queue.DATABASE).bulk(
        [{"_id": f"before.others:1:{n}", **ready} for n in range(letters.MOST)]
    )
    bus = place.bus()
    bus.subscribe("work.done", "page", lambda _: None)
    place.bus("old").subscribe("work.done", "old-page", lambda _: None)
    bus.send("work.EU", {"n": 1})
    sent = bus.send("work.done", {"n": 1})
    with bus:
        place.wait_for_state(sent, "consumed")
    (row,) = [each for each in json.loads(drw("groups", "--json").out) if each["service"] == "old-page"]
    assert (row["waiting"], row["whole"]) == (1, True)
    found = json.loads(drw("queue", "work.EU", "--json").out)
    assert ([each["counts"]["ready"] for each in found["selectors"]], found["whole"]) == ([1], True)
    found = json.loads(drw("queue", "before.others", "before.others", "--json").out)
    assert ([each["counts"]["ready"] for each in found["selectors"]], found["whole"]) == ([letters.MOST], False)
    assert not json.loads(drw("queue", "--json").out)["whole"]
    assert "nothing waits there and nobody listens" in drw("queue", "work.NA", status=2).err


def test_the_messages_of_an_ous_are_not_those_of_one_whose_name_is_longer(place, drw):
    bus = place.bus()
    weblogs = [names.weblog(each, "2018-07-19T07:10:03.781") for each in (OUS, f"{OUS}1")]
    sent = [bus.send("cached.JAO", {"fileType": "weblog", "cachedAt": "EU", "name": each}) for each in weblogs]
    found = json.loads(drw("messages", "--ous", OUS, "--json").out)
    assert [each["id"] for each in found["messages"]] == sent[:1]


def test_a_list_of_ouss_that_is_not_all_says_so(place, drw, monkeypatch):
    entities = place.connection.database(status.DATABASE)
    for number in range(3):
        uid = f"uid://X1/X1/Xb{number}"
        doc = {"_id": names.document_id(uid), "schema": 1, "entityId": uid, "progID": "2015.1.00657.S"}
        doc |= {"state": "ProcessingProblem", "substate": "", "executive": "EU", "recipe": "PipelineCalibration"}
        entities.put({**doc, "timestamp": f"2026-01-0{number + 1}T00:00:00.000000", "history": []})
    assert json.loads(drw("ous", "--json").out)["whole"]
    assert "there may be more" not in drw("ous").out
    monkeypatch.setattr(ous, "MOST", 2)
    found = json.loads(drw("ous", "--json").out)
    assert (found["total"], found["whole"]) == (2, False)
    assert drw("ous").out.endswith("2 of 2 OUSs\nonly 2 OUSs of a state are looked at: there may be more\n")
    assert json.loads(drw("status", "--json").out)["all_ous"]
    monkeypatch.setattr(overview, "MOST", 2)
    assert not json.loads(drw("status", "--json").out)["all_ous"]
    said = drw("rerun", "--all", "--dry-run")
    assert said.err == "drw: only 2 OUSs of a state are looked at: there may be more\n"
    assert "2 OUSs: 2 would be launched" in said.out
