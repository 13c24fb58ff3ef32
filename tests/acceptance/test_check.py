"""``drw check``, ``drw rebuild`` and ``drw prune`` on a real place: what is broken is found, told, and mended."""

import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from shared import delivery, names, ngas, reports, status
from shared.bus import Bus

FIRST, SECOND, THIRD, FOURTH = (f"uid://X1/X1/Xb{number}" for number in range(4))
LONG_AGO = "2020-01-01T00:00:00.000000"
RECORDS = (delivery.METADATA_DATABASE, delivery.STATUS_DATABASE, reports.DATABASE)


def found(drw, *argv, status=1):
    return {
        (each["finding"]["kind"], each["finding"]["subject"]): each["repaired"]
        for each in drw("check", *argv, status=status)["contradictions"]
    }


def all_of(system, name):
    """Return a database's documents without what says how often they were written."""
    docs = system.connection.database(name).every()
    return {doc["_id"]: {key: value for key, value in doc.items() if key != "_rev"} for doc in docs}


def remove(system, name, doc_id):
    database = system.connection.database(name)
    database.put({"_id": doc_id, "_rev": database.get(doc_id)["_rev"], "_deleted": True})


def deliver(system, drw):
    """Take two OUSs to Delivered, and look all the while: what is on its way contradicts nothing."""
    system.start_all()
    for ous in (FIRST, SECOND, FOURTH):
        assert system.launch(ous).returncode == 0
    for state in ("ReadyForReview", "Delivered"):
        while not {system.entity(ous).state for ous in (FIRST, SECOND)} <= {state}:
            assert found(drw, "--quick", status=0) == {}
        if state == "ReadyForReview":
            system.review(FIRST)
            system.review(SECOND, "S")
    system.wait_for_state(FOURTH, "ReadyForReview")
    system.wait_until(lambda: found(drw, "--quick", status=0) == {}, database="msgq")
    assert found(drw, status=0) == {}


def test_a_place_is_checked_mended_rebuilt_and_pruned(system, drw):
    deliver(system, drw)
    whole = {name: all_of(system, name) for name in RECORDS}
    first, second = system.entity(FIRST), system.entity(SECOND)
    products = sorted(whole[delivery.STATUS_DATABASE][first.id]["dataProducts"])
    mend(system, drw, first, second, products)
    assert {name: all_of(system, name) for name in RECORDS} == whole
    rebuild(system, drw, whole)
    prune(system, drw, first, second, products)
    assert found(drw, status=0) == {}
    remove(system, delivery.STATUS_DATABASE, second.id)
    assert [each["what"] for each in drw("rebuild")["made"]] == ["delivery status"]  # from the archive alone
    assert {name: all_of(system, name) for name in RECORDS} == whole


def mend(system, drw, first, second, products):
    """Break everything that a disk, a hand or a bug can, and have it found and mended."""
    (aqua,) = [each for each in system.running if each.argv[0].endswith("aqua-qa2")]
    aqua.stop()  # it would give back the abandoned review itself
    remove(system, delivery.METADATA_DATABASE, products[0])
    remove(system, ngas.DATABASE, products[1])
    system.rot(products[2])
    remove(system, ngas.DATABASE, names.weblog(FIRST, first.run))
    remove(system, reports.DATABASE, names.report_id(SECOND, second.run))
    differing = system.connection.database(delivery.METADATA_DATABASE)
    differing.put({**differing.get(products[3]), "sha256": "0" * 64})
    shutil.rmtree(system.jao / "weblogs" / names.weblog(FIRST, first.run).removesuffix(".zip"))
    stuck = {"_id": names.document_id(THIRD), "entityId": THIRD, "state": "Processing", "substate": first.recipe}
    entities = system.connection.database(status.DATABASE)
    entities.put({**all_of(system, status.DATABASE)[first.id], **stuck, "run": ""})
    entities.put(entities.get(second.id) | {"state": "DeliveryInProgress", "substate": "IngestingProducts"})
    waiting = system.entity(FOURTH)
    run = names.products_dir(waiting.prog_id, waiting.run)
    shutil.rmtree(system.jao / run)
    left = {
        "state": "Reviewing",
        "reviewer": {"name": "bob", "session": "aqua-qa2@gone:1"},
        "timestamp": LONG_AGO,
    }
    entities.put(entities.get(waiting.id) | left)
    unknown = system.jao / "2015.1.00657.S_2020_01_01T00_00_00.000"
    unknown.mkdir()
    nobodys = Bus(system.connection, system.settings, me="test").send("ingest.NA", {"ousUID": "uid://X9/X9/X9"})

    broken = {
        ("message of no OUS", nobodys): True,
        ("processed by nobody", THIRD): True,
        ("no report", SECOND): True,
        ("delivered by nobody", SECOND): True,
        ("reviewed by nobody", FOURTH): True,
        ("not replicated", run): True,
        ("differs from the archive", products[3]): True,
        ("weblog not expanded", str(system.jao / names.weblog(FIRST, first.run))): True,
        ("no metadata", products[0]): True,
        ("not in the archive", products[1]): True,
        ("wrong checksum", products[2]): True,
        ("not in the archive", names.weblog(FIRST, first.run)): True,
        ("unknown directory", str(unknown)): False,
    }
    assert found(drw) == dict.fromkeys(broken, False)
    assert found(drw, "--repair", status=1) == broken
    unknown.rmdir()
    remove(system, "msgq", nobodys)
    system.wait_for_state(SECOND, "Delivered")
    system.wait_until((system.jao / run).is_dir, database="msgq")
    assert found(drw, "--repair", status=0) == {}
    assert system.entity(THIRD).state == "ProcessingProblem"
    assert system.entity(FOURTH).state == "ReadyForReview"
    audited = [doc for doc in system.connection.database("audit").every() if doc["what"] == "repair"]
    assert len(audited) == sum(broken.values())


def rebuild(system, drw, whole):
    """Lose all records, and have them made anew."""
    for name in RECORDS:
        for doc_id in whole[name]:
            remove(system, name, doc_id)
    would = drw("rebuild", "--dry-run")
    assert all_of(system, delivery.METADATA_DATABASE) == {}
    assert drw("rebuild")["made"] == would["made"]
    assert {name: all_of(system, name) for name in RECORDS} == whole
    assert drw("rebuild")["made"] == []


@contextmanager
def unfinished_work(system):
    """Leave in the drivers' directory what a loss of power leaves, and what is at work; give what goes and stays."""
    lost, kept = (system.settings.runs_dir() / f"2015.1.00657.S_2020_01_0{day}T00_00_00.000.run" for day in (1, 2))
    old, fresh = (system.settings.runs_dir() / "by-message" / f"{name}.1.tmp" for name in ("old", "fresh"))
    for path in (lost / "products.data", kept / "ended.json.keeper", old, fresh):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    with (kept / "ended.json.keeper").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield [lost, old], [kept, fresh]
    shutil.rmtree(kept)


def prune(system, drw, first, second, products):
    """Remove what is old; a run of which one file, or one bit, is not in the archive stays whole."""
    strange = system.eu / names.products_path(first.prog_id, second.run, SECOND) / "strange.data"
    strange.write_bytes(b"nobody archived me")
    flipped = system.jao / names.products_path(first.prog_id, first.run, FIRST) / products[3]
    content = flipped.read_bytes()
    flipped.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    one, other = (names.products_dir(first.prog_id, entity.run) for entity in (first, second))
    weblog = system.eu / names.weblog(FIRST, first.run)
    weblog = weblog.rename(weblog.with_suffix(".aside"))
    weblog.with_suffix(".zip").mkdir()  # what cannot be read leaves the others alone
    unread = {each["where"]: each["kept"] for each in drw("prune", "--dry-run", "--older-than", "0s")["pruned"]}
    assert "is not a plain file" in unread[str(system.eu / one)]
    assert not unread[str(system.jao / other)]
    assert all((cache / run).is_dir() for cache in (system.eu, system.jao) for run in (one, other))
    weblog.with_suffix(".zip").rmdir()
    weblog.rename(weblog.with_suffix(".zip"))
    with unfinished_work(system) as (goes, stays):
        dry = drw("prune", "--dry-run", "--older-than", "0s")
        assert all(path.exists() for path in (*goes, *stays))
        assert drw("prune", "--older-than", "0s")["pruned"] == dry["pruned"]
        assert [path for path in (*goes, *stays) if path.exists()] == stays
    assert str(goes[0]) in {each["where"] for each in dry["pruned"] if each["what"] == "work directory"}
    gone = {each["where"] for each in dry["pruned"] if each["what"] == "run" and not each["kept"]}
    assert gone == {str(system.eu / one), str(system.jao / other)}
    kept = {each["where"]: each["kept"] for each in dry["pruned"] if each["kept"]}
    assert "strange.data is not in the archive" in kept[str(system.eu / other)]
    assert products[3] in kept[str(system.jao / one)]
    assert not any(Path(where).exists() for where in gone)
    assert not (system.jao / names.weblog(SECOND, second.run)).exists()
    assert (system.eu / other).is_dir()
    assert not list((system.jao / ".drw-cache" / "incoming").iterdir())
    assert not list((system.home / "work").glob("*.run"))
    shutil.rmtree(system.eu / other)
    flipped.write_bytes(content)
