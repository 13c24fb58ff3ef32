"""Deliveries that meet taken names, files that cannot be read and documents that were made by hand: none is in the way
of another, and each says what is wrong with it.
"""

import hashlib
import os
import re
import shutil
import sys
import urllib.request

import pytest
import troubles
from proxy import Proxy

from shared import delivery, manifest, names, ngas
from shared.bus import Bus
from shared.errors import NameTaken, SourceAway
from shared.messages import INGEST, IngestRequest
from shared.state import StateClient
from shared.status import Change

FIRST, SECOND, THIRD = (f"uid://X1/X1/Xb{number}" for number in range(3))
PROGRAM = "2015.1.00657.S"
RECORDS = (delivery.METADATA_DATABASE, delivery.STATUS_DATABASE)
TO_VERIFIED = ("Processing", "ReadyForReview", "Reviewing", "Verified", "DeliveryInProgress")
REDUCE = """\
import os, subprocess, sys
from pathlib import Path
program, ous, run = sys.argv[1], sys.argv[2], os.environ["DRW_RUN_TIMESTAMP"]
subprocess.run(["pipeline", "--failure-rate", "0", program, ous, "EU"], check=True)
(products,) = Path().glob("*/SOUS/GOUS/*/products")
for each in products.glob("*.data"):
    each.unlink()
files = {"image.data": "all black", "spectrum.data": run, "a/x": f"a of {run}", "b/x": f"b of {run}", "_log": ous}
for name, content in files.items():
    (products / name).parent.mkdir(exist_ok=True)
    (products / name).write_text(content)
"""
SAME, OWN = {"image.data", "spectrum.data"}, {"a/x", "b/x", "_log"}


def archive_of(system):
    return ngas.Archive(system.connection.database(ngas.DATABASE), system.connection.clock)


def all_of(system, name):
    """Return a database's documents without what says how often they were written."""
    docs = system.connection.database(name).every()
    return {doc["_id"]: {key: value for key, value in doc.items() if key != "_rev"} for doc in docs}


def remove_all(system, *databases):
    for name in databases:
        database = system.connection.database(name)
        database.bulk([{"_id": doc["_id"], "_rev": doc["_rev"], "_deleted": True} for doc in database.every()])


def verified(system, ous, run):
    """Take an OUS to DeliveryInProgress by hand, so that it waits for the ingestor."""
    with Bus(system.connection, system.settings, me="test") as bus:
        state = StateClient(bus, deadline_s=20)
        state.create(ous, PROGRAM, recipe=names.DEFAULT_RECIPE, executive="EU")
        for each in TO_VERIFIED:
            state.set(ous, Change(state=each, run=run if each == "ReadyForReview" else None))


def cached(system, ous, run, files):
    """Put products and weblog of a run at JAO, the weblog into the archive too."""
    folder = system.jao / names.products_path(PROGRAM, run, ous)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    weblog = system.jao / names.weblog(ous, run)
    weblog.write_bytes(b"weblog")
    (entry,) = manifest.manifest_of(weblog)
    archive_of(system).put(weblog, weblog.name, size=entry.size, sha256=entry.sha256)
    return folder


def ask_to_ingest(system, ous, run):
    request = IngestRequest(ousUID=ous, timestamp=run, productsDir=names.products_dir(PROGRAM, run))
    with Bus(system.connection, system.settings, me="test") as bus:
        return bus.send(INGEST, request.body())


def ingested(system, run_of):
    """Have runs ingested by a product-ingestor that then ends, so that only the data-tracker is left to do its work."""
    system.start("xtss", "--strict")
    ingestor = system.start("product-ingestor", system.jao)
    for ous, run in run_of.items():
        cached(system, ous, run, {f"product-{ous[-1]}.data": run.encode()})
        verified(system, ous, run)
        system.wait_for_message(ask_to_ingest(system, ous, run), "consumed")
    assert ingestor.stop() == 0


RUN_OF = {ous: f"2026-11-20T10:00:0{number}.001" for number, ous in enumerate((FIRST, SECOND, THIRD))}


def deliver(system, ous):
    assert system.launch(ous).returncode == 0
    system.wait_for_state(ous, "ReadyForReview")
    system.review(ous)
    return system.wait_for_state(ous, "Delivered").run


def listed(system, ous):
    return set(delivery.Records(system.connection).status(names.document_id(ous)).data_products)


def under_paths(ous, run, products):
    return {f"{names.products_path(PROGRAM, run, ous)}/{each}" for each in products}


def test_runs_with_the_same_file_names_are_all_delivered_recorded_rebuilt_and_pruned(system, drw):
    program = system.home / "reduce.py"
    program.write_text(REDUCE)
    system.environ["PATH"] = f"{system.scripts}{os.pathsep}{os.environ['PATH']}"
    system.start_all(driver=("--command", f"{sys.executable} {program} {{progID}} {{ousUID}}"))
    first, second = deliver(system, FIRST), deliver(system, SECOND)
    assert listed(system, FIRST) == SAME | under_paths(FIRST, first, OWN)
    assert listed(system, SECOND) == under_paths(SECOND, second, SAME | OWN)
    again = deliver(system, FIRST)
    assert listed(system, FIRST) == under_paths(FIRST, again, SAME | OWN)

    # Every file is there, as its run has it, and belongs to that run.
    metadata = all_of(system, delivery.METADATA_DATABASE)
    assert len(metadata) == 3 * len(SAME | OWN)
    assert {metadata[each]["timestamp"] for each in SAME} == {first}
    for ous, run in ((FIRST, first), (SECOND, second), (FIRST, again)):
        mine = {name: doc for name, doc in metadata.items() if (doc["ousUID"], doc["timestamp"]) == (ous, run)}
        folder = names.products_path(PROGRAM, run, ous)
        assert {name.removeprefix(f"{folder}/") for name in mine} == SAME | OWN
        for name in mine:
            path = system.jao / (name if "/" in name else f"{folder}/{name}")
            assert b"".join(archive_of(system).get(name)) == path.read_bytes()
    assert drw("check")["contradictions"] == []
    assert drw("check", SECOND)["contradictions"] == []

    dashboard = system.start("dashboard", "--port", "0")
    url = re.search(r"http://127\.0\.0\.1:\d+", dashboard.wait_for(" ready")).group()
    with urllib.request.urlopen(f"{url}/ous/{names.document_id(FIRST)}", timeout=20) as answer:
        page = answer.read().decode()
    assert page.count("there, same sha256") == len(SAME | OWN)
    assert page.count("there, same size") == 2 * len(SAME | OWN)

    whole = {name: all_of(system, name) for name in RECORDS}
    assert drw("rebuild")["made"] == []
    remove_all(system, delivery.METADATA_DATABASE)
    assert len(drw("rebuild")["made"]) == len(metadata)
    assert {name: all_of(system, name) for name in RECORDS} == whole
    pruned = drw("prune", "--older-than", "0s")["pruned"]
    assert {each["where"]: each["kept"] for each in pruned if each["what"] == "run"} == {
        str(cache / names.products_dir(PROGRAM, run)): ""
        for cache in (system.eu, system.jao)
        for run in (first, second, again)
    }
    assert drw("check")["contradictions"] == []
    remove_all(system, delivery.STATUS_DATABASE)
    drw("rebuild")
    assert {name: all_of(system, name) for name in RECORDS} == whole


def test_a_failed_run_is_not_taken_for_the_delivered_one_with_the_same_file_names(system, drw):
    system.start("xtss", "--strict")
    system.start("product-ingestor", system.jao)
    system.start("data-tracker")
    failed, run = RUN_OF[FIRST], RUN_OF[SECOND]
    cached(system, FIRST, failed, {"image.data": b"same", "spectrum.data": b"other"})
    cached(system, FIRST, run, {"image.data": b"same", "spectrum.data": b"final"})
    verified(system, FIRST, run)
    ask_to_ingest(system, FIRST, run)
    system.wait_for_state(FIRST, "Delivered")
    whole = {name: all_of(system, name) for name in RECORDS}
    assert {doc["timestamp"] for doc in whole[delivery.METADATA_DATABASE].values()} == {run}
    assert set(whole[delivery.METADATA_DATABASE]) == SAME
    remove_all(system, *RECORDS)
    drw("rebuild")
    assert {name: all_of(system, name) for name in RECORDS} == whole
    kept = {each["where"]: each["kept"] for each in drw("prune", "--older-than", "0s", "--dry-run")["pruned"]}
    assert kept[str(system.jao / names.products_dir(PROGRAM, failed))]


def test_a_file_of_the_archive_that_cannot_be_read_keeps_only_its_own_ous_from_delivery(system):
    ingested(system, RUN_OF)
    with Proxy(system.couchlet.url) as proxy:
        broken = proxy.rule(troubles.asks("/product-0.data/product-0.data", "GET"), troubles.halve_answer)
        system.environ["DRW_COUCHDB_URL"] = proxy.url
        tracker = system.start("data-tracker")
        for ous in (SECOND, THIRD):
            system.wait_for_state(ous, "Delivered")
        broken.wait()
        assert system.entity(FIRST).state == "DeliveryInProgress"
        said = tracker.wait_for("not delivered yet")
        assert FIRST in said
        assert "product-0.data" in said
        broken.lift()
        system.wait_for_state(FIRST, "Delivered")
        assert tracker.stop() == 0
    assert "Traceback" not in tracker.text


def test_a_document_of_the_archive_that_was_made_by_hand_is_named_and_mended(system, drw):
    ingested(system, RUN_OF)
    database = system.connection.database(ngas.DATABASE)
    for name in ("product-0.data", names.weblog(SECOND, RUN_OF[SECOND])):
        doc = database.get(name)
        database.put({key: value for key, value in doc.items() if key != "size"})
    tracker = system.start("data-tracker")
    system.wait_for_state(THIRD, "Delivered")
    for ous, name in ((FIRST, "product-0.data"), (SECOND, "weblog-X1-X1-Xb1")):
        said = tracker.wait_for(f"not delivered yet: document {name}")
        assert re.search(r"does not describe its file: .*size", said)
        assert ous in said
        assert "does not describe its file" in drw("why", ous, status=1)["waits_for"]

    found = {
        (each["finding"]["kind"], each["finding"]["subject"], each["finding"]["ous"])
        for each in drw("check", status=1)["contradictions"]
    }
    assert {each for each in found if each[0] == "not described"} == {
        ("not described", "product-0.data", FIRST),
        ("not described", names.weblog(SECOND, RUN_OF[SECOND]), SECOND),
    }
    assert not [each for each in found if each[0] == "not in the archive"]
    drw("check", "--repair", status=1)  # what else is missing of these runs, made by hand, stays missing
    for ous in (FIRST, SECOND):
        system.wait_for_state(ous, "Delivered")
    assert tracker.process.poll() is None
    assert "Traceback" not in tracker.text


def test_a_damaged_file_of_the_archive_is_told_by_why_until_it_is_mended(system, drw):
    ingested(system, {FIRST: RUN_OF[FIRST]})
    database = system.connection.database(ngas.DATABASE)
    described = database.get("product-0.data")
    database.attach(
        "product-0.data", "product-0.data", described["_rev"], [b"e" * described["size"]], described["size"]
    )
    damaged = database.get("product-0.data")
    database.put({**described, "_rev": damaged["_rev"], "_attachments": damaged["_attachments"]})
    tracker = system.start("data-tracker")
    tracker.wait_for("not delivered yet: product-0.data in the archive has")
    told = drw("why", FIRST, status=1)
    assert (told["place"], told["moved_by"]) == ("archive damaged", "a person")
    assert "product-0.data in the archive has" in told["waits_for"]
    drw("check", "--repair", FIRST, status=1)  # what else is missing of this run, made by hand, stays missing
    system.wait_for_state(FIRST, "Delivered")
    assert drw("why", FIRST)["place"] == "delivered"
    assert not [doc["_id"] for doc in system.messages("control")]


def test_nothing_is_read_back_while_anything_is_missing(system):
    ingested(system, {FIRST: RUN_OF[FIRST]})
    database = system.connection.database(ngas.DATABASE)
    weblog = names.weblog(FIRST, RUN_OF[FIRST])
    archived = database.get(weblog)
    database.put({key: value for key, value in archived.items() if key != "sha256"})
    with Proxy(system.couchlet.url) as proxy:
        reading = proxy.rule(troubles.asks("/product-0.data/product-0.data", "GET"), troubles.delay(0))
        system.environ["DRW_COUCHDB_URL"] = proxy.url
        tracker = system.start("data-tracker")
        tracker.wait_for(f"not delivered yet: weblog {weblog} is not in the archive")
        assert reading.struck == 0
        database.put({**archived, "_rev": database.get(weblog)["_rev"]})
        system.wait_for_state(FIRST, "Delivered")
        assert reading.struck == 1
        assert tracker.stop() == 0


def test_a_product_that_cannot_be_read_for_a_while_is_waited_for(system):
    """The cache goes between the look at it and the archiving: as when it is unmounted."""
    system.start("xtss", "--strict")
    run = RUN_OF[FIRST]
    folder = cached(system, FIRST, run, {"a.data": b"a", "b.data": b"b"})
    verified(system, FIRST, run)
    aside = system.home / "aside"
    with Proxy(system.couchlet.url) as proxy:

        def unmount(exchange):
            if folder.exists():
                shutil.move(folder, aside)
            exchange.relay()

        proxy.rule(troubles.asks("/b.data", "GET"), unmount, times=1)
        system.environ["DRW_COUCHDB_URL"] = proxy.url
        system.start("product-ingestor", system.jao)
        message = ask_to_ingest(system, FIRST, run)
        waiting = system.wait_for_message(message, "delayed", "dead")
        assert waiting["state"] == "delayed", waiting
        assert waiting.get("attempts", 0) == 0
        assert "cannot be read" in waiting["waits"] or "is not there" in waiting["waits"]
        shutil.move(aside, folder)
        system.wait_for_message(message, "consumed")
    assert listed(system, FIRST) == {"a.data", "b.data"}


def test_what_cannot_be_read_is_away_and_what_differs_is_refused(system):
    path = system.home / "a.data"
    facts = {"size": 1, "sha256": hashlib.sha256(b"a").hexdigest()}
    archive = archive_of(system)
    with pytest.raises(SourceAway, match=r"a\.data cannot be read to be archived: No such file"):
        archive.put(path, "a.data", **facts)
    path.mkdir()  # reading it fails with EISDIR, as a bad disk does with EIO
    with pytest.raises(SourceAway, match=r"a\.data cannot be read to be archived: Is a directory"):
        archive.put(path, "a.data", **facts)
    assert archive.describe("a.data") is None
    path.rmdir()
    path.write_bytes(b"a")
    assert archive.put(path, "a.data", **facts).size == 1
    with pytest.raises(NameTaken, match=r"the archive has another file under the name a\.data: 1 bytes"):
        archive.put(path, "a.data", size=1, sha256="0" * 64)


def test_who_is_overtaken_between_looking_and_storing_puts_nothing_over_it(system, tmp_path, monkeypatch):
    quick, late = archive_of(system), archive_of(system)
    contents = {name: tmp_path / name for name in ("quick", "late")}
    for name, path in contents.items():
        path.write_text(name)
    facts = {name: manifest.entry(path, name) for name, path in contents.items()}

    def put(archive, name):
        entry = facts[name]
        return archive.put(contents[name], "a.data", size=entry.size, sha256=entry.sha256)

    describe = late.describe

    def overtaken(name):
        monkeypatch.setattr(late, "describe", describe)
        assert describe(name) is None
        put(quick, "quick")

    monkeypatch.setattr(late, "describe", overtaken)
    with pytest.raises(NameTaken):
        put(late, "late")
    assert b"".join(quick.get("a.data")) == b"quick"
