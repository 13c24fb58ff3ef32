"""``drw check``, ``drw rebuild`` and ``drw prune`` of one delivered OUS, of which something got lost or goes wrong."""

import shutil
import zipfile

import msgspec
import pytest

from drw.upkeep.prune import Pruner
from shared import delivery, manifest, names, ngas, reports, status
from shared.cache import CacheDirectory
from shared.errors import DatabaseAway

OUS, PROGRAM, RUN = "uid://X1/X1/Xb0", "2015.1.00657.S", "2026-11-20T10:00:00.001"
DOCUMENT = names.document_id(OUS)
FOLDER = names.products_path(PROGRAM, RUN, OUS)
PRODUCTS = [f"product-{number}-X1-X1-Xb0-{RUN}.data" for number in range(5)]
RECORDS = (delivery.METADATA_DATABASE, delivery.STATUS_DATABASE)


def archive_of(system):
    return ngas.Archive(system.connection.database(ngas.DATABASE), system.connection.clock)


@pytest.fixture
def place(system):
    """An OUS that is delivered: five products in both caches, in the archive and in the records."""
    archive = archive_of(system)
    records = delivery.Records(system.connection)
    for cache in (system.eu, system.jao):
        CacheDirectory.open(cache)
        (cache / FOLDER).mkdir(parents=True)
        for name in PRODUCTS:
            (cache / FOLDER / name).write_text(name)
    for name in PRODUCTS:
        path = system.jao / FOLDER / name
        entry = manifest.entry(path, name)
        archive.put(path, name, size=entry.size, sha256=entry.sha256)
        of_run = {"prog_id": PROGRAM, "ous_uid": OUS, "timestamp": RUN}
        records.keep_metadata(delivery.ProductMetadata(id=name, size=entry.size, sha256=entry.sha256, **of_run))
    records.keep_status(delivery.DeliveryStatus(id=DOCUMENT, **of_run, data_products=PRODUCTS, complete=True))
    entity = {"entityId": OUS, "progID": PROGRAM, "recipe": names.DEFAULT_RECIPE, "executive": "EU", "run": RUN}
    entity |= {"_id": DOCUMENT, "schema": 1, "state": "Delivered", "timestamp": "2026-11-20T11:00:00.000000"}
    system.connection.database(status.DATABASE).put(entity)
    return system


def remove(system, name, doc_id):
    system.connection.database(name).delete(doc_id)


def all_of(system):
    return {name: {doc["_id"]: doc for doc in system.connection.database(name).every()} for name in RECORDS}


def kept(system):
    found = delivery.Records(system.connection).status(DOCUMENT)
    return found.complete, found.data_products


def prune(*caches):
    for cache in caches:
        shutil.rmtree(cache / names.products_dir(PROGRAM, RUN))


def lose_a_file(system):
    (system.jao / FOLDER / PRODUCTS[2]).unlink()


def add_a_note(system):
    (system.jao / FOLDER / "notes.txt").write_text("look at this")


def spoil_a_file(system):
    (system.jao / FOLDER / PRODUCTS[2]).write_text("spoiled")


def lose_all_but_the_folder(system):
    prune(system.jao, system.eu)
    (system.jao / names.products_dir(PROGRAM, RUN)).mkdir()


@pytest.mark.parametrize("happens", [lose_a_file, add_a_note, spoil_a_file, lose_all_but_the_folder])
def test_what_happens_to_a_cache_leaves_right_records_alone(place, drw, happens):
    before = all_of(place)
    happens(place)
    done = drw("rebuild", status=happens is spoil_a_file)
    assert done["made"] == []
    assert all_of(place) == before


@pytest.mark.parametrize("happens", [lose_a_file, lose_all_but_the_folder])
def test_records_are_whole_again_though_a_cache_is_not(place, drw, happens):
    happens(place)
    for name in RECORDS:
        for doc_id in all_of(place)[name]:
            remove(place, name, doc_id)
    assert len(drw("rebuild")["made"]) == len(PRODUCTS) + 1
    assert kept(place) == (True, PRODUCTS)
    assert drw("rebuild")["made"] == []


def test_a_run_is_read_from_the_cache_that_has_it(place, drw):
    prune(place.jao)
    (place.jao / names.products_dir(PROGRAM, RUN)).mkdir()
    remove(place, delivery.METADATA_DATABASE, PRODUCTS[0])
    (place.eu / FOLDER / PRODUCTS[0]).write_text("spoiled")
    (problem,) = drw("rebuild", status=1)["problems"]  # and not made from the archive alone
    assert f"product {PRODUCTS[0]} is not alike in cache and archive" in problem


def test_a_run_is_not_whole_while_the_archive_lacks_what_its_metadata_name(place, drw):
    prune(place.jao, place.eu)
    remove(place, ngas.DATABASE, PRODUCTS[4])
    remove(place, delivery.STATUS_DATABASE, DOCUMENT)
    assert [each["what"] for each in drw("rebuild", OUS)["made"]] == ["delivery status"]
    assert kept(place) == (False, PRODUCTS)
    remove(place, delivery.METADATA_DATABASE, PRODUCTS[4])
    assert drw("rebuild", OUS)["made"] == []  # what got lost is not forgotten
    assert kept(place) == (False, PRODUCTS)
    assert drw("why", OUS, status=1)["place"] == "delivered, and incomplete"


def test_a_status_that_says_too_little_is_made_whole(place, drw):
    database = place.connection.database(delivery.STATUS_DATABASE)
    database.put({**database.get(DOCUMENT), "dataProducts": PRODUCTS[:4]})
    (made,) = drw("rebuild")["made"]
    assert made["why"] == f"it was that of run {RUN} with 4 products"
    assert kept(place) == (True, PRODUCTS)


def test_how_much_is_to_be_delivered_is_not_guessed_while_it_is_being_ingested(place, drw):
    entities = place.connection.database(status.DATABASE)
    entities.put({**entities.get(DOCUMENT), "state": "DeliveryInProgress", "substate": "IngestingProducts"})
    prune(place.jao, place.eu)  # as on a machine without them
    remove(place, delivery.STATUS_DATABASE, DOCUMENT)
    for name in PRODUCTS[3:]:
        remove(place, delivery.METADATA_DATABASE, name)
    assert drw("rebuild")["made"] == []


def test_why_tells_a_missing_delivery_status_from_one_that_is_not_complete(place, drw):
    database = place.connection.database(delivery.STATUS_DATABASE)
    database.put({**database.get(DOCUMENT), "complete": False})
    assert drw("why", OUS, status=1)["waits_for"] == "it was delivered, but its delivery status is not complete"
    remove(place, delivery.STATUS_DATABASE, DOCUMENT)
    missing = drw("why", OUS, status=1)
    assert missing["waits_for"] == "it was delivered, but its delivery status is missing"
    assert missing["do"] == f"'drw check {OUS}' compares records, caches and archive"


def contradictions_of(drw, *argv, status=1):
    found = drw("check", OUS, *argv, status=status)["contradictions"]
    return {(each["finding"]["kind"], each["finding"]["subject"]): each["repaired"] for each in found}


def test_what_is_wrong_with_an_earlier_run_of_one_ous_is_found_and_mended(place, drw):
    weblog = names.weblog(OUS, "2020-01-01T00:00:00.000")
    for name in (weblog, names.weblog(OUS, RUN)):
        with zipfile.ZipFile(place.jao / name, "w") as packed:
            packed.writestr(f"{name.removesuffix('.zip')}/index.html", "hello")
        entry = manifest.entry(place.jao / name, name)
        archive_of(place).put(place.jao / name, name, size=entry.size, sha256=entry.sha256)
    weblogs = {("weblog not expanded", str(place.jao / name)): True for name in (weblog, names.weblog(OUS, RUN))}
    place.rot(weblog)
    unreadable = place.eu / names.products_dir(PROGRAM, RUN) / "link"
    unreadable.symlink_to("elsewhere")
    directory = ("unknown directory", str(unreadable.parent))
    assert directory in contradictions_of(drw)
    unreadable.unlink()
    wrong = {**weblogs, ("wrong checksum", weblog): True, ("no report", OUS): False}
    assert contradictions_of(drw) == dict.fromkeys(wrong, False)
    assert contradictions_of(drw, "--repair") == wrong
    assert contradictions_of(drw) == {("no report", OUS): False}
    audited = [doc["subject"] for doc in place.connection.database("audit").every()]
    assert audited == [OUS] * 3


def test_only_what_was_mended_is_said_to_be(place, drw):
    prune(place.jao, place.eu)
    for name in (ngas.DATABASE, delivery.METADATA_DATABASE):
        remove(place, name, PRODUCTS[1])
    remove(place, delivery.METADATA_DATABASE, PRODUCTS[2])
    found = contradictions_of(drw, "--repair")
    assert {subject: mended for (kind, subject), mended in found.items() if kind == "no metadata"} == {
        PRODUCTS[1]: False,
        PRODUCTS[2]: True,
    }
    assert contradictions_of(drw)[("delivery status", OUS)] is False
    assert contradictions_of(drw, "--repair")[("delivery status", OUS)] is False


def test_what_a_repair_sent_and_a_person_discarded_is_sent_again(place, drw):
    entities, post = place.connection.database(status.DATABASE), place.connection.database("msgq")
    entities.put({**entities.get(DOCUMENT), "state": "DeliveryInProgress", "substate": "IngestingProducts"})

    def ingesting():
        return [doc["_id"] for doc in post.every(start="ingest.") if doc["state"] == "ready"]

    place.start("xtss")
    assert contradictions_of(drw, "--repair")[("delivered by nobody", OUS)] is True
    (sent,) = ingesting()
    assert ("delivered by nobody", OUS) not in contradictions_of(drw)
    post.put({**post.get(sent), "state": "dead", "doneAt": "2026-11-20T12:00:00.000000Z"})
    drw("dead", "discard", sent, "--reason", "for a test", status=0)
    assert contradictions_of(drw, "--repair")[("delivered by nobody", OUS)] is True
    (again,) = ingesting()
    assert again != sent


def test_what_is_pruned_is_told_though_the_database_goes_away(place, drw, monkeypatch):
    gone = place.settings.runs_dir() / f"{names.products_dir(PROGRAM, RUN)}.run"
    gone.mkdir(parents=True)
    (gone / "ended.json").write_text("{}")

    def fail(*_):
        raise DatabaseAway("for a test")

    monkeypatch.setattr(Pruner, "_messages", fail)
    done = drw("prune", "--older-than", "0s", status=3)
    assert str(gone) in {each["where"] for each in done["pruned"]}
    assert not gone.exists()


def pruned(drw, *argv, status=0):
    done = drw("prune", "--older-than", "0s", *argv, status=status)
    return {each["where"]: each["kept"] for each in done["pruned"]}, done["problems"]


def audited(system):
    return [doc["subject"] for doc in system.connection.database("audit").every() if doc["what"] == "prune"]


def test_what_could_not_be_pruned_is_not_said_to_be_gone(place, drw):
    place.connection.database(reports.DATABASE).put({"_id": names.report_id(OUS, RUN)})
    at_eu, at_jao = (cache / names.products_dir(PROGRAM, RUN) for cache in (place.eu, place.jao))
    (place.eu / ".drw-cache" / "incoming").rmdir()
    in_the_way = place.jao / ".drw-cache" / "incoming"
    in_the_way.rmdir()
    in_the_way.write_text("")
    work = place.settings.runs_dir() / f"{names.products_dir(PROGRAM, RUN)}.run"
    blocker = work.with_name(f"{work.name}.pruned")
    work.mkdir(parents=True)
    (work / "ended.json").write_text("{}")
    blocker.write_text("")
    dry, _ = pruned(drw, "--dry-run")
    assert dry.keys() == {str(at_eu), str(at_jao), str(work), str(blocker)}

    gone, problems = pruned(drw, status=1)
    assert gone == {str(at_eu): ""}
    assert problems == [
        f"{at_jao} could not be removed: File exists, at {in_the_way}",
        f"{blocker} could not be removed: Not a directory",
        f"{work} could not be removed: Not a directory",
    ]
    assert audited(place) == [str(at_eu)]
    assert not at_eu.exists()
    assert at_jao.is_dir()
    in_the_way.unlink()
    blocker.unlink()
    assert pruned(drw) == ({str(at_jao): "", str(work): ""}, [])
    assert not at_jao.exists()
    assert not work.exists()


def test_runs_that_were_superseded_are_pruned_when_that_is_said(place, drw):
    rejected = "2026-11-19T10:00:00.001"
    folder = place.jao / names.products_path(PROGRAM, rejected, OUS)
    folder.mkdir(parents=True)
    (folder / "image.data").write_text("rejected")
    place.connection.database(reports.DATABASE).put({"_id": names.report_id(OUS, rejected)})
    weblog = place.jao / names.weblog(OUS, rejected)
    weblog.write_text("weblog")
    run = str(place.jao / names.products_dir(PROGRAM, rejected))
    assert pruned(drw)[0][run] == "image.data is not in the archive"
    assert f"{weblog.name} is not in the archive" in pruned(drw, "--superseded")[0][run]
    entry = manifest.entry(weblog, weblog.name)
    archive_of(place).put(weblog, weblog.name, size=entry.size, sha256=entry.sha256)
    assert pruned(drw, "--superseded", "--dry-run")[0][run] == ""
    assert folder.is_dir()
    assert pruned(drw, "--superseded")[0][run] == ""
    assert not folder.exists()
    assert not weblog.exists()
    said = [doc["why"] for doc in place.connection.database("audit").every() if doc["subject"] == run]
    assert said == ["superseded run, 8 bytes"]


@pytest.mark.parametrize("odd", [{"timestamp": 7}, {"timestamp": "yesterday"}, {"dataProducts": 7}, {"complete": "so"}])
def test_a_delivery_status_that_is_none_gives_way_to_one(place, odd):
    database, records = place.connection.database(delivery.STATUS_DATABASE), delivery.Records(place.connection)
    less = msgspec.structs.replace(records.status(DOCUMENT), data_products=PRODUCTS[:1], complete=False)
    records.keep_status(less)
    assert kept(place) == (True, PRODUCTS)
    database.put({**database.get(DOCUMENT), **odd})
    records.keep_status(less)
    assert kept(place) == (False, PRODUCTS[:1])
