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
from shared.clock import stamp

if TYPE_CHECKING:
    from shared.dbcon import DbConnection

DOCS = Path(__file__).resolve().parent.parent / "docs"
OUSS = 160
STAGES = ("hifa_importdata", "hifa_flagdata", "hifa_tsysflag", "hifa_bandpass", "hifa_gfluxscale", "hif_makeimages")
SHOTS = {
    "dashboard": ("/", 1280, 900, "light"),
    "dashboard-dark": ("/", 1280, 900, "dark"),
    "dashboard-narrow": ("/", 400, 800, "light"),
    "dashboard-ous": ("/ous/{ous}", 1280, 1500, "light"),
    "dashboard-runs": ("/ous/{ous}/runs?a={a}&b={b}", 1280, 900, "light"),
    "dashboard-flow": ("/flow", 1280, 1000, "dark"),
    "dashboard-actors": ("/actors", 1280, 600, "light"),
    "dashboard-tables": ("/tables", 1280, 900, "light"),
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
    return {"ous": one["_id"], "a": runs[0], "b": runs[1]}


def main() -> None:
    """Take them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    with measured.system() as (connection, environ):
        named = fill(connection)
        with measured.dashboard(environ) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=measured.CHROMIUM, args=["--no-sandbox"])
            for name, (path, width, height, scheme) in SHOTS.items():
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(url.rstrip("/") + path.format(**named))
                page.wait_for_selector("#freshness[data-state=live]")
                page.screenshot(path=folder / f"{name}.png")
                page.close()
            browser.close()


if __name__ == "__main__":
    main()
