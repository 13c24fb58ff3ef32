"""What may be removed, and what stays."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from drw.letters import Letter
from drw.upkeep import retention
from drw.upkeep.evidence import Cache, CachedRun, Evidence
from shared import names
from shared.delivery import DeliveryStatus, ProductMetadata
from shared.ngas import ArchivedFile
from shared.status import StatusEntity

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
DAY_S = 86400.0
OUS, PROGRAM, RUN = "uid://X1/X1/Xb0", "2015.1.00657.S", "2026-11-01T10:00:00.001"
FOLDER = names.products_path(PROGRAM, RUN, OUS)
PRODUCT, WEBLOG, REPORT = "p.data", names.weblog(OUS, RUN), names.report(OUS, RUN)


def run(**more):
    files = {f"{FOLDER}/{PRODUCT}": 7, f"{FOLDER}/{WEBLOG}": 9, f"{FOLDER}/{REPORT}": 8}
    values = {"name": names.products_dir(PROGRAM, RUN), "prog_id": PROGRAM, "run": RUN, "ous": OUS, "files": files}
    return CachedRun(cache=Path("/c"), **values | more)


def known(cached=None, *, state="Delivered", changed="2026-11-02T10:00:00.000000", of_run=RUN, **more):
    entity = StatusEntity(
        id="x",
        entity_id=OUS,
        prog_id=PROGRAM,
        recipe="R",
        state=state,
        executive="EU",
        timestamp=changed,
        run=of_run,
    )
    cached = cached or run()
    values = {
        "entities": {OUS: entity},
        "reports": frozenset({(OUS, RUN)}),
        "archive": {name: ArchivedFile(name, size, "a", RUN) for name, size in ((PRODUCT, 7), (WEBLOG, 9))},
        "caches": {"JAO": Cache(executive="JAO", path=Path("/c"), runs={cached.name: cached})},
    }
    return Evidence(**values | more)


def record():
    return ProductMetadata(id="lost.data", prog_id=PROGRAM, ous_uid=OUS, timestamp=RUN, size=1, sha256="a")


def listing():
    return DeliveryStatus(id="x", prog_id=PROGRAM, ous_uid=OUS, timestamp=RUN, data_products=[], complete=True)


def kept(evidence, retention_s=DAY_S):
    return [each.kept for each in retention.old_runs(evidence, NOW, retention_s)]


def test_a_delivered_run_past_its_retention_may_go():
    assert kept(known()) == [""]
    assert retention.unconfirmed(run(), known()) == ""


def test_what_is_young_is_not_even_looked_at():
    assert kept(known(), 30 * DAY_S) == []
    assert kept(known(changed="2026-11-20T10:00:00.000000")) == []  # delivered two hours ago
    assert kept(known(changed="yesterday")) == []  # nobody knows when


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (known(state="ReadyForReview"), "its OUS is ReadyForReview"),
        (known(state="DeliveryInProgress"), "its OUS is DeliveryInProgress"),
        (known(state="Processing", of_run=""), "its OUS is Processing"),
        (known(entities={}), "no OUS is known"),
        (known(reports=frozenset()), "its report is not stored"),
        (known(run(problem="a link")), "a link"),
        (
            known(letters=[Letter(id="a", selector="cached.JAO", state="dead", name=run().name)]),
            "a message is about it",
        ),
        (known(letters=[Letter(id="a", selector="cached.JAO", state="ready", name=WEBLOG)]), "a message is about it"),
        (known(letters=[Letter(id="a", selector="ingest.JAO", state="ready", ous=OUS, run=RUN)]), "a message is"),
    ],
)
def test_what_is_still_needed_stays(evidence, why):
    (found,) = kept(evidence)
    assert found.startswith(why)


def test_an_earlier_run_that_was_delivered_may_go_while_a_later_one_is_reviewed():
    assert kept(known(state="ReadyForReview", of_run="2026-11-20T10:00:00.001")) == [""]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({f"{FOLDER}/other.data": 1}, "other.data is not in the archive"),
        ({f"{FOLDER}/{PRODUCT}": 6}, "p.data has another size in the archive"),
        ({f"{run().name}/elsewhere/{PRODUCT}": 7}, "p.data is not in the archive"),
    ],
)
def test_what_the_archive_does_not_have_keeps_the_whole_run(files, why):
    assert retention.unconfirmed(run(files={**run().files, **files}), known()) == why


@pytest.mark.parametrize(
    ("name", "expected"),
    [(f"{run().name}.run", run().name), (run().name, ""), ("by-message", ""), ("x.run", ""), ("", "")],
)
def test_which_directories_are_of_work(name, expected):
    assert retention.run_of_work(name) == expected


LATER = "2026-11-10T10:00:00.001"
UNARCHIVED = {"archive": {WEBLOG: ArchivedFile(WEBLOG, 9, "a", RUN)}}


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (known(of_run=LATER, **UNARCHIVED), True),
        (known(state="ReadyForReview", of_run=LATER, **UNARCHIVED), True),
        (known(state="ReadyForProcessing", of_run="", **UNARCHIVED), False),  # it may still be the last
        (known(state="ReadyForReview", **UNARCHIVED), False),
        (known(of_run="2026-10-01T10:00:00.001", **UNARCHIVED), False),
        (known(entities={}, **UNARCHIVED), False),
        (known(of_run=LATER), False),  # a product is archived
        (known(of_run=LATER, metadata={"lost.data": record()}, **UNARCHIVED), False),  # or was
        (known(of_run=LATER, deliveries={OUS: listing()}, **UNARCHIVED), False),
    ],
)
def test_which_runs_are_superseded(evidence, expected):
    assert retention.is_superseded(run(), evidence) is expected


def test_weblog_and_report_of_a_superseded_run_are_not_given_up():
    assert without_products_of(run()) == [WEBLOG, REPORT]
    stray = f"{run().name}/elsewhere"
    assert without_products_of(run(files={**run().files, stray: 1})) == [WEBLOG, REPORT, "elsewhere"]


def without_products_of(cached):
    return [path.rpartition("/")[2] for path in retention.without_products(cached).files]
