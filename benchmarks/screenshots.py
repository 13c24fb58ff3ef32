"""Takes the pictures of the dashboard that the documents show: ``python benchmarks/screenshots.py [DIRECTORY]``.

It fills a couchlet of its own, starts a dashboard, and writes ``dashboard.png`` and its sisters into ``docs/``.
"""

from __future__ import annotations

import base64
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

import dashboard as measured
from shared import names, reports, status
from shared.actor import ACTORS_DATABASE
from shared.bus import pauses, queue
from shared.clock import stamp
from shared.people import People

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from shared.dbcon import DbConnection, Doc

DOCS = Path(__file__).resolve().parent.parent / "docs"
OUSS = 160
PASSWORD = "made up for the pictures"
STAGES = ("hifa_importdata", "hifa_flagdata", "hifa_tsysflag", "hifa_bandpass", "hifa_gfluxscale", "hif_makeimages")
SHOTS = {
    "dashboard": ("/", 1280, 900, "light"),
    "dashboard-dark": ("/", 1280, 900, "dark"),
    "dashboard-narrow": ("/", 400, 800, "light"),
    "dashboard-ous": ("/ous/{ous}", 1280, 1500, "light"),
    "dashboard-runs": ("/ous/{ous}/runs?a={a}&b={b}", 1280, 900, "light"),
    "dashboard-messages": ("/messages", 1280, 760, "light"),
    "dashboard-dead": ("/dead", 1280, 620, "dark"),
    "dashboard-flow": ("/flow", 1280, 1000, "dark"),
}


def report(scores: tuple[float, ...]) -> str:
    """Return a pipeline report in BASE64, with these scores of its stages."""

    def score(value: float, tag: str) -> str:
        return (
            f'<{tag} Score="{value}" Reason="{100 - value * 100:.0f} % of the data are flagged">'
            '<Metric Name="flagged" Value="0.1" Units="%"/><DataSelection Spw="17" Antenna="DA41"/>'
            f"</{tag}>"
        )

    stages = "".join(
        f'<Stage Number="{number}" Name="{name}">'
        f"{score(value, 'RepresentativeScore')}{score(value, 'SubScore')}</Stage>"
        for number, (name, value) in enumerate(zip(STAGES, scores, strict=True), 1)
    )
    topics = "".join(
        f'<{topic} Score="{value}"/>'
        for topic, value in zip(("Dataset", "Flagging", "Calibration", "Imaging"), scores, strict=False)
    )
    return base64.b64encode(
        f'<PipelineAquaReport><ProjectStructure ProposalCode="2015.1.00657.S" '
        f'ProcessingRequestEntityId="uid://A/B/C" ProcessingProcedure="PipelineCalibration"/>'
        f'<QaSummary ReportDate="2026-11-20 10:00:00" ProcessingTime="7:10:03" CasaVersion="6.6.1" '
        f'PipelineVersion="2025.1" FinalScore="{min(scores)}"/><QaPerStage>{stages}</QaPerStage>'
        f"<QaPerTopic>{topics}</QaPerTopic></PipelineAquaReport>".encode()
    ).decode()


def fill(connection: DbConnection) -> dict[str, str]:
    """Store what there is to see; return what the addresses name."""
    now = datetime.now(UTC)
    made = [measured.ous(each, min(each % 23, 6), now - timedelta(minutes=80 + each * 13)) for each in range(OUSS)]
    connection.database(status.DATABASE).bulk(made)
    one = made[3 * 23 + 3]
    runs = [names.iso(now - timedelta(hours=hours)) for hours in (9, 1)]
    for run, scores in zip(runs, ((0.95, 0.3, 0.71, 0.92, 0.5, 1.0), (0.95, 0.88, 0.93, 0.92, 0.97, 1.0)), strict=True):
        connection.database(reports.DATABASE).put(
            {
                "_id": names.report_id(one["entityId"], run),
                "schema": 1,
                "ousUID": one["entityId"],
                "source": "EU",
                "timestamp": run,
                "productsDir": names.products_dir(one["progID"], run),
                "encodedReport": report(scores),
            }
        )
    for kind in ("xtss", "pipeline-driver", "replicated-cache", "aqua-qa2", "product-ingestor", "data-tracker"):
        connection.database(ACTORS_DATABASE).put(
            {
                "_id": f"{kind}@arc:1",
                "kind": kind,
                "executive": "EU",
                "host": "arc",
                "pid": 100,
                "since": stamp(now - timedelta(hours=30)),
                "at": stamp(now - timedelta(minutes=5 if kind == "aqua-qa2" else 0)),
                "every": 10.0,
                "doing": "pipeline.process.EU" if kind == "pipeline-driver" else "",
                "ended": False,
            }
        )
    database = connection.database(queue.DATABASE)
    database.bulk(messages(now))
    pauses.pause(
        database, "cached.*", by="grace", reason="the disk at JAO is full", now=now, until=now + timedelta(hours=2)
    )
    return {"ous": one["_id"], "a": runs[0], "b": runs[1]}


def messages(now: datetime) -> list[Doc]:
    """Return messages in all states, five of them dead."""
    sent = {
        "pipeline.process.EU": ("ready",) * 7 + ("claimed",) * 2,
        "pipeline.process.NA": ("ready",) * 3 + ("claimed",),
        "cached.JAO": ("delayed",) * 4,
        "ingest.JAO": ("claimed",) * 2 + ("dead",) * 4,
        "cached.EU": ("dead",),
    }
    return [
        message(selector, state, number, now - timedelta(minutes=7 * number + 2))
        for selector, states in sent.items()
        for number, state in enumerate(states)
    ]


def message(selector: str, state: str, number: int, at: datetime) -> Doc:
    """Return a message as it is stored."""
    failure = {
        "at": stamp(at),
        "by": "product-ingestor@arc:1",
        "what": f"product-{number}-2026-11-20T22:40:07.834.data differs from what the archive has under this name: "
        "look at both, and discard the message if the archive is right",
    }
    more: Doc = {
        "delayed": {"due": stamp(at + timedelta(hours=1)), "waits": "the products are not in the EU cache yet"},
        "claimed": {"due": stamp(at + timedelta(hours=1)), "claim": {"by": "pipeline-driver.EU@arc:1"}},
        "dead": {"doneAt": stamp(at), "errors": [failure]},
    }.get(state, {})
    return {
        "_id": f"{selector}:{int(at.timestamp() * 1000)}:{number:012x}",
        "schema": 1,
        "selector": selector,
        "state": state,
        "priority": 5,
        "creationTimestamp": stamp(at),
        "sender": "launcher@arc:1",
        "body": {"ousUID": f"uid://A000/X1/X{number:x}"},
        "digest": "",
        "attempts": 8 if state == "dead" else 0,
        **more,
    }


def log_in(page: Page, url: str) -> None:
    """Log in, for what only then is shown."""
    page.goto(f"{url}login")
    page.fill("#name", "ada")
    page.fill("#password", PASSWORD)
    page.click("main button")


def main() -> None:
    """Take them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    with measured.system() as (connection, environ):
        named = fill(connection)
        with measured.dashboard(environ) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=measured.CHROMIUM, args=["--no-sandbox"])
            People(Path(environ["DRW_HOME"]) / "people").add("ada", PASSWORD)
            for name, (path, width, height, scheme) in SHOTS.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                if path in {"/messages", "/dead"}:
                    log_in(page, url)
                page.goto(url.rstrip("/") + path.format(**named))
                page.wait_for_selector("#freshness[data-state=live]")
                page.screenshot(path=folder / f"{name}.png")
                page.close()
            browser.close()


if __name__ == "__main__":
    main()
