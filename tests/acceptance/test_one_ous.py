"""One OUS through the whole chain, by the commands that a person would type."""

import re
import urllib.request

from drw.demo.check import Checker

PROGRAM = "2015.1.00657.S"
OUS = "uid://X1/X1/Xb0"


def fetch(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read().decode()


def addresses(system):
    lines = "\n".join(each.text for each in system.running)
    return dict(re.findall(r"cached\.(\w+), cache \S+ at (http://\S+/)", lines))


def test_an_ous_is_processed_reviewed_and_delivered(system):
    system.start_all()
    assert system.run("launcher", PROGRAM, OUS, "PipelineCalibration", "EU").returncode == 0
    ready = system.wait_for_state(OUS, "ReadyForReview")
    system.review(OUS)
    delivered = system.wait_for_state(OUS, "Delivered")

    states = [each.state for each in delivered.history]
    assert [state for at, state in enumerate(states) if at == 0 or states[at - 1] != state] == [
        "ReadyForProcessing",
        "Processing",
        "ReadyForReview",
        "Reviewing",
        "Verified",
        "DeliveryInProgress",
        "Delivered",
    ]
    substates = dict.fromkeys(each.substate for each in delivered.history)
    assert list(substates)[2:] == [
        "IngestionTriggered",
        "AnalyzingProducts",
        "IngestingProducts",
        "ProductsIngested",
    ]
    assert any("ada" in each.by and each.note == "Pass: tested" for each in delivered.history)

    checker = Checker(system.connection)
    assert checker.ous(OUS, runs=1).wrong == []
    assert checker.caches_alike(system.eu, system.jao).wrong == []
    system.wait_until(lambda: not checker.no_open_message().wrong, database="msgq")
    assert len(list(system.connection.database("ngas").every())) == 6
    assert len(list(system.connection.database("products-metadata").every())) == 5

    served = addresses(system)
    for site in ("EU", "JAO"):
        assert f"{PROGRAM}_{ready.run.replace('-', '_').replace(':', '_')}" in fetch(served[site])
        page = fetch(f"{served[site]}weblogs/weblog-X1-X1-Xb0-{ready.run}/")
        assert "X1/X1/Xb0" in page

    for actor in system.running:
        assert actor.stop() == 0, actor.text
        assert "Traceback" not in actor.text, actor.text
