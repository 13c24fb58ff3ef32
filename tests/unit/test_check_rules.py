"""What contradicts what: one test for each kind, and for what only looks like it."""

from pathlib import Path

import msgspec
import pytest

from drw.letters import Letter
from drw.upkeep import contradictions
from drw.upkeep.contradictions import Finding, find, standing
from drw.upkeep.evidence import Cache, CachedRun, Evidence
from shared import names
from shared.delivery import DeliveryStatus, ProductMetadata
from shared.ngas import ArchivedFile
from shared.status import Reviewer, StatusEntity

OUS, PROGRAM, RUN = "uid://X1/X1/Xb0", "2015.1.00657.S", "2026-11-20T10:00:00.001"
PRODUCTS_DIR, WEBLOG = names.products_dir(PROGRAM, RUN), names.weblog(OUS, RUN)
PRODUCT = f"product-0-X1-X1-Xb0-{RUN}.data"
FOLDER = names.products_path(PROGRAM, RUN, OUS)
FILES = {f"{FOLDER}/{PRODUCT}": 7, f"{FOLDER}/{names.report(OUS, RUN)}": 8, f"{FOLDER}/{WEBLOG}": 9}
SHA = "a" * 64


def entity(state="Delivered", substate="", run=RUN, reviewer=None):
    return StatusEntity(
        id=names.document_id(OUS),
        entity_id=OUS,
        prog_id=PROGRAM,
        recipe="PipelineCalibration",
        state=state,
        substate=substate,
        executive="EU",
        timestamp="2026-11-20T11:00:00.000000",
        run=run,
        reviewer=reviewer,
    )


def letter(selector, state="ready", ous=OUS, **more):
    return Letter(id=f"{selector}:1:a", selector=selector, state=state, ous=ous, **more)


def cached(ous=OUS, files=None, run=RUN, **more):
    name = names.products_dir(PROGRAM, run)
    return CachedRun(
        name=name, prog_id=PROGRAM, run=run, ous=ous, cache=Path("/c"), files=FILES if files is None else files, **more
    )


EXPANDED = WEBLOG.removesuffix(".zip")


def cache(executive="JAO", *runs, weblogs=(WEBLOG,), expanded=(EXPANDED,)):
    return Cache(
        executive=executive,
        path=Path("/", executive.lower()),
        runs={each.name: each for each in runs},
        weblogs=dict.fromkeys(weblogs, 9),
        expanded=frozenset(expanded),
    )


def evidence(state=None, **more):
    """A system in which one OUS is delivered and everything is right, with what is changed in it."""
    values = {
        "entities": {OUS: state or entity()},
        "reports": frozenset({(OUS, RUN)}),
        "metadata": {
            PRODUCT: ProductMetadata(id=PRODUCT, prog_id=PROGRAM, ous_uid=OUS, timestamp=RUN, size=7, sha256=SHA)
        },
        "deliveries": {
            OUS: DeliveryStatus(
                id=names.document_id(OUS),
                prog_id=PROGRAM,
                ous_uid=OUS,
                timestamp=RUN,
                data_products=[PRODUCT],
                complete=True,
            )
        },
        "archive": {PRODUCT: ArchivedFile(PRODUCT, 7, SHA, RUN), WEBLOG: ArchivedFile(WEBLOG, 9, SHA, RUN)},
        "caches": {"JAO": cache("JAO", cached()), "EU": cache("EU", cached())},
    }
    return Evidence(**values | more)


def kinds(known):
    return [each.kind for each in find(known)]


def only(known, kind):
    (found,) = find(known)
    assert found.kind == kind, found
    return found


def test_where_all_is_right_nothing_is_found():
    assert find(evidence()) == []
    assert find(Evidence()) == []


def test_a_status_that_cannot_be_read():
    found = only(Evidence(unreadable={"x": "document x is none"}), contradictions.UNREADABLE)
    assert (found.repair, found.ous) == ("", "")
    assert only(Evidence(unreadable={names.document_id(OUS): "none"}), contradictions.UNREADABLE).ous == OUS
    assert kinds(evidence(entity("Lost"))) == [contradictions.UNREADABLE]


def test_a_dead_message():
    found = only(evidence(letters=[letter("ingest.JAO", "dead", error="no such file")]), contradictions.DEAD)
    assert (found.what, found.ous) == ("no such file", OUS)
    assert "drw dead requeue ingest.JAO:1:a" in found.advice


@pytest.mark.parametrize("name", [WEBLOG, PRODUCTS_DIR, names.weblog(OUS, "2020-01-01T00:00:00.000")])
@pytest.mark.parametrize("caches", [evidence().caches, {}])
def test_whose_a_dead_message_about_a_file_is(name, caches):
    post = letter("cached.JAO", "dead", ous="", name=name)
    assert only(evidence(letters=[post], caches=caches), contradictions.DEAD).ous == OUS


def test_a_message_for_an_ous_that_does_not_exist():
    found = only(Evidence(letters=[letter("ingest.JAO")]), contradictions.NOBODYS_MESSAGE)
    assert "made dead" in found.repair


def test_names_that_are_none_are_found_and_keep_nothing_from_being_found():
    stray = ProductMetadata(id="stray", prog_id=PROGRAM, ous_uid="none", timestamp=RUN, size=7, sha256=SHA)
    without = DeliveryStatus(id="x", prog_id=PROGRAM, ous_uid=OUS, timestamp="", data_products=[], complete=True)
    archived = evidence().archive | {"stray": ArchivedFile("stray", 7, SHA, RUN)}
    known = evidence(
        entity(run=""),
        letters=[letter("ingest.JAO", ous="X1/X1/Xb0")],
        metadata={"stray": stray},
        deliveries={OUS: without},
        archive=archived,
        caches={},
    )
    assert [(each.kind, each.subject) for each in find(known)] == [
        (contradictions.NOBODYS_MESSAGE, "ingest.JAO:1:a"),
        (contradictions.DELIVERY, OUS),
        (contradictions.NOBODYS_RECORD, "metadata of stray"),
    ]


def test_an_ous_that_cannot_be_read_is_no_nobody():
    unreadable = {names.document_id(OUS): "none", "0123456789abcdef": "none"}
    known = evidence(entities={}, unreadable=unreadable, letters=[letter("ingest.JAO")])
    assert set(kinds(known)) == {contradictions.UNREADABLE}


@pytest.mark.parametrize("post", [letter("xtss"), letter("ingest.JAO", "claimed"), letter("cached.JAO", ous="")])
def test_a_message_that_may_be_about_no_ous(post):
    assert find(Evidence(letters=[post])) == []


PROCESSING = entity("Processing", "PipelineCalibration", run="")
NO_RUN = {"reports": frozenset(), "metadata": {}, "deliveries": {}, "archive": {}, "caches": {}}


def test_an_ous_in_processing_that_nobody_processes():
    found = only(evidence(PROCESSING, **NO_RUN), contradictions.NOBODY_PROCESSES)
    assert "ProcessingProblem" in found.repair
    assert found.stamp == PROCESSING.timestamp
    held = [letter("pipeline.process.EU", "claimed")]
    assert find(evidence(PROCESSING, **NO_RUN, letters=held)) == []
    assert kinds(evidence(PROCESSING, **NO_RUN, letters=[letter("pipeline.process.EU", "dead")])) == [
        contradictions.DEAD
    ]


@pytest.mark.parametrize(
    ("holder", "lost", "found"),
    [
        (Reviewer("bob", "h:1"), {"h:1"}, True),
        (Reviewer("bob", "h:1"), set(), False),
        (Reviewer("bob"), set(), False),
        (None, set(), True),
    ],
)
def test_an_ous_in_review_that_nobody_reviews(holder, lost, found):
    delivery = {"metadata": {}, "deliveries": {}, "archive": {}}
    known = evidence(entity("Reviewing", reviewer=holder), lost=frozenset(lost), **delivery)
    assert kinds(known) == [contradictions.NOBODY_REVIEWS] * found
    on_its_way = evidence(
        entity("Reviewing", reviewer=holder), lost=frozenset(lost), **delivery, letters=[letter("verdict.JAO")]
    )
    assert find(on_its_way) == []


@pytest.mark.parametrize("state", [entity("Verified"), entity("DeliveryInProgress", "IngestingProducts")])
def test_an_ous_in_delivery_that_nobody_delivers(state):
    found = only(evidence(state), contradictions.NOBODY_DELIVERS)
    assert RUN in found.repair
    for selector in ("verdict.JAO", "ingest.JAO"):
        assert find(evidence(state, letters=[letter(selector)])) == []


def test_what_is_ingested_waits_for_no_message():
    assert find(evidence(entity("DeliveryInProgress", "ProductsIngested"))) == []


def test_a_run_without_its_report():
    found = only(evidence(reports=frozenset()), contradictions.NO_REPORT)
    assert found.repair == "its report is taken from the cache"
    assert find(evidence(reports=frozenset(), letters=[letter("pipeline.report.JAO")])) == []
    pruned = only(evidence(reports=frozenset(), caches={}), contradictions.NO_REPORT)
    assert (pruned.repair, "drw launch --force" in pruned.advice) == ("", True)


REVIEWED = {"metadata": {}, "deliveries": {}, "archive": {}}


def test_a_run_that_was_not_replicated():
    waiting = entity("ReadyForReview")
    caches = {"JAO": cache("JAO"), "EU": cache("EU", cached())}
    found = only(evidence(waiting, **REVIEWED, caches=caches), contradictions.NOT_REPLICATED)
    assert (found.subject, "from EU" in found.repair) == (PRODUCTS_DIR, True)
    coming = [letter("cached.JAO", ous="", name=PRODUCTS_DIR)]
    assert find(evidence(waiting, **REVIEWED, caches=caches, letters=coming)) == []
    nowhere = only(evidence(waiting, **REVIEWED, caches={"JAO": cache("JAO")}), contradictions.NOT_REPLICATED)
    assert nowhere.repair == ""
    assert find(evidence(waiting, **REVIEWED, caches={"EU": cache("EU", cached())})) == []  # JAO is elsewhere


@pytest.mark.parametrize(
    ("run", "complete", "is_it"), [(RUN, False, "not complete"), ("2026-11-19T10:00:00.001", True, "that of run")]
)
def test_a_delivery_status_that_does_not_say_what_is_delivered(run, complete, is_it):
    kept = DeliveryStatus(
        id="x", prog_id=PROGRAM, ous_uid=OUS, timestamp=run, data_products=[PRODUCT], complete=complete
    )
    assert is_it in only(evidence(deliveries={OUS: kept}), contradictions.DELIVERY).what
    assert (
        find(
            evidence(
                entity("DeliveryInProgress", "IngestingProducts"),
                deliveries={OUS: kept},
                letters=[letter("ingest.JAO", "claimed")],
            )
        )
        == []
    )


def test_a_delivery_status_that_is_missing():
    assert "missing" in only(evidence(deliveries={}), contradictions.DELIVERY).what


def test_a_product_without_metadata():
    found = only(evidence(metadata={}), contradictions.NO_METADATA)
    assert (found.subject, bool(found.repair)) == (PRODUCT, True)
    ingesting = entity("DeliveryInProgress", "IngestingProducts")
    alone = evidence(ingesting, metadata={}, deliveries={}, letters=[letter("ingest.JAO", "dead")])
    assert kinds(alone) == [contradictions.DEAD]
    assert kinds(evidence(entity("ReadyForReview"), metadata={}, deliveries={})) == [contradictions.NO_METADATA]


def test_a_product_in_the_metadata_and_not_in_the_archive():
    weblog = {WEBLOG: ArchivedFile(WEBLOG, 9, SHA, RUN)}
    found = only(evidence(archive=weblog), contradictions.NOT_ARCHIVED)
    assert (found.subject, found.ous, found.repair) == (PRODUCT, OUS, "it is archived from a cache")
    gone = only(evidence(archive=weblog, caches={}), contradictions.NOT_ARCHIVED)
    assert (gone.repair, "launch the OUS anew" in gone.advice) == ("", True)


def test_a_delivered_weblog_that_is_not_in_the_archive():
    product = {PRODUCT: ArchivedFile(PRODUCT, 7, SHA, RUN)}
    assert only(evidence(archive=product), contradictions.NOT_ARCHIVED).subject == WEBLOG


def test_a_product_of_which_metadata_and_archive_differ():
    other = {**evidence().archive, PRODUCT: ArchivedFile(PRODUCT, 7, "b" * 64, RUN)}
    assert only(evidence(archive=other), contradictions.DIFFERS).subject == PRODUCT


def test_a_delivered_ous_with_a_wrong_checksum():
    found = only(evidence(corrupt={PRODUCT: f"{PRODUCT} in the archive has 3 bytes"}), contradictions.CORRUPT)
    assert (found.what, found.ous, bool(found.repair)) == ("in the archive has 3 bytes", OUS, True)
    weblog = only(evidence(corrupt={WEBLOG: "rotten"}, caches={}), contradictions.CORRUPT)
    assert (weblog.ous, weblog.repair) == (OUS, "")


EARLIER = "2020-01-01T00:00:00.000"
EARLIER_FOLDER = names.products_path(PROGRAM, EARLIER, OUS)


@pytest.mark.parametrize(
    "name", [names.weblog(OUS, EARLIER), f"{EARLIER_FOLDER}/p.data", f"product-X1-X1-Xb0-{EARLIER}.data", "plain.data"]
)
def test_whose_a_file_with_a_wrong_checksum_is(name):
    earlier = cached(run=EARLIER, files={f"{EARLIER_FOLDER}/plain.data": 1})
    reports = frozenset({(OUS, RUN), (OUS, EARLIER)})
    known = evidence(corrupt={name: "rotten"}, caches={"JAO": cache("JAO", cached(), earlier)}, reports=reports)
    assert only(known, contradictions.CORRUPT).ous == OUS


def test_a_file_with_a_wrong_checksum_that_is_nobodys():
    assert only(evidence(corrupt={"2015_x/strange": "rotten"}), contradictions.CORRUPT).ous == ""


def test_a_document_of_the_archive_that_does_not_describe_its_file():
    whole = evidence().archive
    bare = {"archive": {WEBLOG: whole[WEBLOG]}, "misdescribed": {PRODUCT: "document p has no size"}}
    found = only(evidence(**bare), contradictions.MISDESCRIBED)
    assert (found.subject, found.ous, found.what) == (PRODUCT, OUS, "document p has no size")
    assert found.repair == "it is archived anew from a cache"
    gone = {"archive": {PRODUCT: whole[PRODUCT]}, "misdescribed": {WEBLOG: "document w has no size"}, "caches": {}}
    found = only(evidence(**gone), contradictions.MISDESCRIBED)
    assert (found.ous, found.repair, "by hand" in found.advice) == (OUS, "", True)


def test_whose_a_product_is_where_several_runs_have_the_same_file_names():
    other = "uid://X1/X1/Xb1"
    run = "2026-11-20T10:00:01.001"
    folders = {OUS: FOLDER, other: names.products_path(PROGRAM, run, other)}
    one, two = (
        cached(ous, {f"{folders[ous]}/{each}": 1 for each in ("p", "a/p")}, run=stamp)
        for ous, stamp in ((OUS, RUN), (other, run))
    )
    paths = {ous: {f"{folder}/{each}": f"{folder}/{each}" for each in ("p", "a/p")} for ous, folder in folders.items()}
    plain = {f"{folders[other]}/a/p": f"{folders[other]}/a/p", "p": f"{folders[other]}/p"}
    mine = ProductMetadata(id="p", prog_id=PROGRAM, ous_uid=other, timestamp=run, size=1, sha256=SHA)
    listing = DeliveryStatus(id="x", prog_id=PROGRAM, ous_uid=other, timestamp=run, data_products=["p"], complete=False)
    delivered = {other: msgspec.structs.replace(entity(run=run), entity_id=other)}
    caches = {"JAO": cache("JAO", one, two)}
    for known in (
        Evidence(metadata={"p": mine}),
        Evidence(deliveries={other: listing}),
        Evidence(entities=delivered, caches=caches),
    ):
        assert known.products(one) == paths[OUS]
        assert known.products(two) == plain
    archived = Evidence(archive={f"{FOLDER}/p": ArchivedFile(f"{FOLDER}/p", 1, SHA, RUN)})
    assert archived.products(one) == paths[OUS]
    assert archived.products(two) == plain


def test_records_of_an_ous_that_does_not_exist():
    found = find(evidence(entities={OUS.replace("Xb0", "Xb1"): entity("ReadyForProcessing", run="")}, caches={}))
    assert [each.kind for each in found] == [contradictions.NOBODYS_RECORD] * 3
    assert not any(each.repair for each in found)


def test_a_directory_that_no_report_knows():
    stranger = cached("uid://X9/X9/X9", {f"{FOLDER}/x.data": 1}, run="2020-01-01T00:00:00.000")
    found = only(evidence(caches={"JAO": cache("JAO", cached(), stranger)}), contradictions.UNKNOWN_DIRECTORY)
    assert (found.subject, found.repair) == (f"/jao/{stranger.name}", "")
    older = cached(run="2020-01-01T00:00:00.000", files={})
    known = {"caches": {"JAO": cache("JAO", cached(), older)}}
    assert kinds(evidence(**known)) == [contradictions.UNKNOWN_DIRECTORY]
    announced = [letter("pipeline.report.JAO", name=older.name)]
    assert find(evidence(**known, letters=announced)) == []
    being_made = evidence(PROCESSING, **REVIEWED, **known, letters=[letter("pipeline.process.EU", "claimed")])
    assert find(being_made) == []


def test_a_directory_with_a_report_that_was_never_stored():
    run = "2020-01-01T00:00:00.000"
    path = f"{names.products_path(PROGRAM, run, OUS)}/{names.report(OUS, run)}"
    forgotten = cached(run=run, files={path: 1})
    found = only(evidence(caches={"JAO": cache("JAO", cached(), forgotten)}), contradictions.UNKNOWN_DIRECTORY)
    assert found.repair == "its report is stored"


def test_a_directory_that_cannot_be_read():
    bad = cached("", {}, problem="/c/x is a symbolic link")
    assert only(evidence(caches={"JAO": cache("JAO", bad)}), contradictions.UNKNOWN_DIRECTORY).what == bad.problem


def test_whose_a_directory_is_that_cannot_be_read():
    bad, whole = cached("", {}, problem="/c/x is a symbolic link", run=EARLIER), cached(run=EARLIER)

    def whose(known):
        return {each.ous for each in find(known) if each.kind == contradictions.UNKNOWN_DIRECTORY}

    assert whose(Evidence(caches={"JAO": cache("JAO", bad)})) == {""}
    assert whose(Evidence(caches={"JAO": cache("JAO", bad), "EU": cache("EU", whole)})) == {OUS}
    reported = evidence(reports=frozenset({(OUS, RUN), (OUS, EARLIER)}), caches={"JAO": cache("JAO", cached(), bad)})
    assert whose(reported) == {OUS}
    assert whose(evidence(entity(run=EARLIER), caches={"JAO": cache("JAO", bad)})) == {OUS}


def test_caches_that_differ():
    other = {**FILES, f"{FOLDER}/{PRODUCT}": 6}
    found = only(
        evidence(caches={"JAO": cache("JAO", cached()), "EU": cache("EU", cached(files=other))}),
        contradictions.CACHES_DIFFER,
    )
    assert "1 file" in found.what
    assert PRODUCT in found.what


def test_a_weblog_that_is_not_expanded():
    caches = {"JAO": cache("JAO", cached(), expanded=())}
    found = only(evidence(caches=caches), contradictions.NOT_EXPANDED)
    assert (found.subject, found.ous) == (f"/jao/{WEBLOG}", OUS)
    assert find(evidence(caches=caches, letters=[letter("cached.JAO", ous="", name=WEBLOG)])) == []
    being_made = evidence(PROCESSING, **REVIEWED, caches=caches, letters=[letter("pipeline.process.EU", "claimed")])
    assert find(being_made) == []


def test_only_what_is_wrong_at_two_looks_stands():
    first = [Finding("a", "x", "w", stamp="1"), Finding("b", "y", "w")]
    second = [Finding("b", "y", "w"), Finding("a", "x", "w", stamp="2"), Finding("c", "z", "w")]
    assert standing(first, second) == [Finding("b", "y", "w")]


def test_every_kind_that_is_repaired_has_its_repair():
    text = Path(contradictions.__file__).with_name("repairs.py").read_text()
    kinds_ = {
        name for name in vars(contradictions) if name.isupper() and isinstance(getattr(contradictions, name), str)
    }
    a_person = {"UNREADABLE", "DEAD", "NOBODYS_RECORD", "CACHES_DIFFER"}
    assert {name for name in kinds_ if f"contradictions.{name}:" in text} == kinds_ - a_person
