"""``drw why`` asked of a real system, with an OUS in each of the main places where one can stand."""

from __future__ import annotations

import json
import signal
import stat
from datetime import timedelta

import pytest

from shared import names, ngas
from shared.bus import pauses, queue

OUS = "uid://X1/X1/Xb0"
PROGRAM = "2015.1.00657.S"


@pytest.fixture
def why(system):
    """Ask, and return the exit status and the answer; place and sentence are checked against each other."""

    def ask(ous=OUS):
        done = system.run("drw", "why", ous, "--json")
        assert done.returncode in {0, 1}, done.stderr
        answer = json.loads(done.stdout)
        assert done.returncode == (answer["moved_by"] == "a person")
        assert answer["sentence"].startswith(f"{ous} is ")
        return answer

    return ask


def test_an_ous_that_nobody_knows_is_told_from_those_close_to_it(system):
    system.start("xtss")
    assert system.launch(OUS).returncode == 0
    done = system.run("drw", "why", "uid://X1/X1/Xb9")
    assert done.returncode == 2
    assert done.stderr == "drw: there is no OUS 'uid://X1/X1/Xb9': did you mean uid://X1/X1/Xb0?\n"


def test_from_the_launch_to_the_review(system, why):
    xtss = system.start("xtss", "--strict")
    assert system.launch(OUS).returncode == 0
    assert why()["place"] == "no pipeline-driver alive"
    assert "start one: pipeline-driver EU" in why()["do"]

    database = system.connection.database(queue.DATABASE)
    now = system.connection.clock.now()
    pauses.pause(database, "pipeline.*", by="ada", reason="disk full", now=now, until=now + timedelta(hours=1))
    driver = system.start("pipeline-driver", "EU", system.eu, "--failure-rate", "0")
    paused = why()
    assert paused["place"] == "paused"
    assert "ada paused pipeline.*" in paused["waits_for"]
    pauses.resume(database, "pipeline.*")

    system.wait_for_state(OUS, "ReadyForReview")
    assert why()["place"] == "no aqua-qa2 alive"  # for the report
    system.start("aqua-qa2", "--listen")
    system.wait_until(lambda: why()["place"] == "no replicated-cache alive", database="pipeline-reports")
    assert driver.stop() == 0
    assert xtss.stop() == 0


def test_a_driver_at_work_and_one_that_was_killed(system, why, tmp_path):
    go_on = tmp_path / "go-on"
    slow = tmp_path / "slow.sh"
    slow.write_text(f"#!/bin/sh\nwhile [ ! -e {go_on} ]; do sleep 0.1; done\nexit 3\n")
    slow.chmod(slow.stat().st_mode | stat.S_IXUSR)
    system.start("xtss")
    driver = system.start("pipeline-driver", "EU", system.eu, "--command", str(slow))
    assert system.launch(OUS).returncode == 0
    system.wait_for_state(OUS, "Processing")
    at_work = why()
    assert (at_work["place"], at_work["moved_by"]) == ("at work", "by itself")
    assert "pipeline-driver.EU@" in at_work["waits_for"]
    driver.stop(signal.SIGKILL)
    lost = system.wait_until(lambda: why() if why()["place"] != "at work" else None, database="actors")
    assert lost["place"] in {"worker lost", "no pipeline-driver alive"}
    go_on.touch()
    system.start("pipeline-driver", "EU", system.eu, "--command", str(slow))
    system.wait_for_state(OUS, "ProcessingProblem")
    problem = why()
    assert problem["place"] == "ProcessingProblem"
    assert "code 3" in problem["waits_for"]


def test_from_the_review_to_the_archive(system, why):
    system.start_all()
    assert system.launch(OUS).returncode == 0
    system.wait_for_state(OUS, "ReadyForReview")
    system.wait_until(lambda: why()["place"] == "waits for a reviewer", database=queue.DATABASE)

    products = system.jao / names.products_dir(PROGRAM, system.entity(OUS).run)
    products.rename(system.home / "aside")
    assert why()["place"] == "missing product"
    (system.home / "aside").rename(products)

    reviewer = system.connection.database("actors")
    session = "aqua-qa2@elsewhere:1"
    now = system.connection.clock.now()
    sign = {"_id": session, "schema": 1, "kind": "aqua-qa2", "host": "elsewhere", "pid": 1, "every": 3600.0}
    sign |= {"at": now.isoformat()[:26], "since": now.isoformat()[:26], "ended": False}
    rev = reviewer.put(sign)
    entities = system.connection.database("status-entities")
    entities.mutate(
        names.document_id(OUS),
        lambda doc: {**doc, "state": "Reviewing", "reviewer": {"name": "bob", "session": session}},
    )
    held = why()
    assert held["place"] == "reviewed"
    assert "bob has been reviewing it" in held["waits_for"]
    reviewer.put({**sign, "_rev": rev, "ended": True})
    assert why()["place"] in {"review left", "waits for a reviewer"}  # it is given back a lease after the last sign

    system.review(OUS)
    system.wait_for_state(OUS, "Delivered")
    delivered = why()
    assert (delivered["place"], delivered["moved_by"]) == ("delivered", "nothing")
    assert "with 5 products" in delivered["waits_for"]
    weblog = names.weblog(OUS, system.entity(OUS).run)
    archive = system.connection.database(ngas.DATABASE)
    doc = archive.get(weblog)
    archive.put({"_id": weblog, "_rev": doc["_rev"], "_deleted": True})
    assert why()["place"] == "delivered, and incomplete"


def test_a_dead_letter_is_named_with_its_remedy(system, why):
    broken = system.home / "broken.sh"
    system.start("xtss")
    assert system.launch(OUS).returncode == 0
    database = system.connection.database(queue.DATABASE)
    (message,) = system.messages("pipeline.process.EU")
    failure = {"at": message["creationTimestamp"], "by": "nobody", "what": f"no {broken.name}"}
    database.put({**message, "state": "dead", "attempts": 3, "errors": [failure], "doneAt": failure["at"]})
    dead = why()
    assert dead["place"] == "dead letter"
    assert f"drw dead requeue {message['_id']}" in dead["do"]
    assert system.run("drw", "dead", "requeue", message["_id"]).returncode == 0
    assert why()["place"] == "no pipeline-driver alive"


def test_ingestion_waits_for_its_ingestor(system, why):
    system.start("xtss")
    system.start("pipeline-driver", "EU", system.eu, "--failure-rate", "0")
    system.start("replicated-cache", "-e", "JAO", "-lc", system.jao, "-euc", system.eu, "-p", "0")
    system.start("aqua-qa2", "--listen")
    assert system.launch(OUS).returncode == 0
    system.wait_for_state(OUS, "ReadyForReview")
    system.wait_until(lambda: why()["place"] == "waits for a reviewer", database=queue.DATABASE)
    system.review(OUS)
    system.wait_for_state(OUS, "DeliveryInProgress")
    waiting = why()
    assert waiting["place"] == "no product-ingestor alive"
    ingestor = system.start("product-ingestor", system.jao)
    system.wait_until(lambda: why()["place"] == "no data-tracker alive")
    assert ingestor.stop() == 0
