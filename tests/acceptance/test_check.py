"""``drw check``, ``drw rebuild`` and ``drw prune`` on a real place: what is broken is found, told, and mended."""

import json
import shutil

from shared import delivery, names, ngas, reports, status
from shared.bus import Bus

FIRST, SECOND, THIRD = (f"uid://X1/X1/Xb{number}" for number in range(3))
RECORDS = (delivery.METADATA_DATABASE, delivery.STATUS_DATABASE, reports.DATABASE)


def run(system, *argv, status=0):
    done = system.run("drw", *argv, "--json")
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def found(system, *argv, status=1):
    return {
        (each["finding"]["kind"], each["finding"]["subject"]): each["repaired"]
        for each in run(system, "check", *argv, status=status)["contradictions"]
    }


def all_of(system, name):
    """Return a database's documents without what says how often they were written."""
    docs = system.connection.database(name).every()
    return {doc["_id"]: {key: value for key, value in doc.items() if key != "_rev"} for doc in docs}


def remove(system, name, doc_id):
    database = system.connection.database(name)
    database.put({"_id": doc_id, "_rev": database.get(doc_id)["_rev"], "_deleted": True})


def rot(system, name):
    """Put another content under a description that stays as it was."""
    database = system.connection.database(ngas.DATABASE)
    before = database.get(name)
    database.attach(name, name, before["_rev"], [b"rotten"], 6)
    described = {key: before[key] for key in ("schema", "size", "sha256", "writeTimestamp")}
    database.put({**database.get(name), **described})


def test_a_place_is_checked_mended_rebuilt_and_pruned(system):
    system.start_all()
    for ous in (FIRST, SECOND):
        assert system.launch(ous).returncode == 0
    looks = 0
    while system.entity(SECOND).state != "ReadyForReview" or not looks:
        assert found(system, "--quick", status=0) == {}  # what is on its way contradicts nothing
        looks += 1
    for ous in (FIRST, SECOND):
        system.wait_for_state(ous, "ReadyForReview")
        system.review(ous)
    for ous in (FIRST, SECOND):
        system.wait_for_state(ous, "Delivered")
    assert found(system, status=0) == {}

    # Everything that a disk, a hand or a bug can do.
    whole = {name: all_of(system, name) for name in RECORDS}
    first, second = system.entity(FIRST), system.entity(SECOND)
    products = sorted(whole[delivery.STATUS_DATABASE][first.id]["dataProducts"])
    remove(system, delivery.METADATA_DATABASE, products[0])
    remove(system, ngas.DATABASE, products[1])
    rot(system, products[2])
    remove(system, ngas.DATABASE, names.weblog(FIRST, first.run))
    remove(system, delivery.STATUS_DATABASE, second.id)
    remove(system, reports.DATABASE, names.report_id(SECOND, second.run))
    entities = system.connection.database(status.DATABASE)
    stuck = {"_id": names.document_id(THIRD), "entityId": THIRD, "state": "Processing", "substate": first.recipe}
    entities.put({**all_of(system, status.DATABASE)[first.id], **stuck, "run": ""})
    unknown = system.jao / "2015.1.00657.S_2020_01_01T00_00_00.000"
    unknown.mkdir()
    bus = Bus(system.connection, system.settings, me="test")
    nobodys = bus.send("ingest.NA", {"ousUID": "uid://X9/X9/X9"})

    broken = {
        ("message of no OUS", nobodys): True,
        ("processed by nobody", THIRD): True,
        ("no report", SECOND): True,
        ("delivery status", SECOND): True,
        ("no metadata", products[0]): True,
        ("not in the archive", products[1]): True,
        ("wrong checksum", products[2]): True,
        ("not in the archive", names.weblog(FIRST, first.run)): True,
        ("unknown directory", str(unknown)): False,
    }
    assert found(system) == dict.fromkeys(broken, False)
    assert found(system, "--repair") == broken
    unknown.rmdir()
    assert found(system) == {("dead message", nobodys): False}
    assert system.run("drw", "dead", "discard", nobodys, "--reason", "a test").returncode == 0
    assert found(system, "--repair", status=0) == {}
    assert {name: all_of(system, name) for name in RECORDS} == whole
    assert system.entity(THIRD).state == "ProcessingProblem"
    audited = [doc for doc in system.connection.database("audit").every() if doc["what"] == "repair"]
    assert len(audited) == sum(broken.values())

    # All records are lost, then half of the places that they are made from.
    for name in RECORDS:
        for doc_id in whole[name]:
            remove(system, name, doc_id)
    would = run(system, "rebuild", "--dry-run")
    assert all_of(system, delivery.METADATA_DATABASE) == {}
    assert run(system, "rebuild")["made"] == would["made"]
    assert {name: all_of(system, name) for name in RECORDS} == whole
    assert run(system, "rebuild")["made"] == []

    # Nothing leaves a cache that the archive does not have.
    strange = system.eu / names.products_path(first.prog_id, second.run, SECOND) / "strange.data"
    strange.write_bytes(b"nobody archived me")
    flipped = system.jao / names.products_path(first.prog_id, first.run, FIRST) / products[3]
    content = flipped.read_bytes()
    flipped.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    run_of = {ous: names.products_dir(first.prog_id, entity.run) for ous, entity in ((FIRST, first), (SECOND, second))}
    dry = run(system, "prune", "--dry-run", "--older-than", "0s")
    gone = {each["where"] for each in dry["pruned"] if each["what"] == "run" and not each["kept"]}
    assert gone == {str(system.eu / run_of[FIRST]), str(system.jao / run_of[SECOND])}
    assert all((cache / run_of[ous]).is_dir() for cache in (system.eu, system.jao) for ous in run_of)
    kept = {each["where"]: each["kept"] for each in dry["pruned"] if each["kept"]}
    assert "strange.data is not in the archive" in kept[str(system.eu / run_of[SECOND])]
    assert products[3] in kept[str(system.jao / run_of[FIRST])]
    assert run(system, "prune", "--older-than", "0s")["pruned"] == dry["pruned"]
    assert not any((system.home / where).exists() for where in gone)
    assert not (system.jao / names.weblog(SECOND, second.run)).exists()
    assert (system.eu / run_of[SECOND]).is_dir()
    assert not list((system.jao / ".drw-cache" / "incoming").iterdir())
    shutil.rmtree(system.eu / run_of[SECOND])
    flipped.write_bytes(content)
    assert found(system, status=0) == {}
    remove(system, delivery.STATUS_DATABASE, second.id)
    assert [each["what"] for each in run(system, "rebuild")["made"]] == ["delivery status"]  # from the archive alone
    assert {name: all_of(system, name) for name in RECORDS} == whole
