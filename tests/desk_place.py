"""OUSs that wait for review, without a pipeline: for tests of the review desk."""

from __future__ import annotations

from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shared import names, reports
from shared.actor import Actor
from shared.messages import PipelineReport
from shared.status import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "2015.1.00657.S"
RUN = "2026-11-20T10:00:00.001"
REASON = "noisy [bold]spw 17[/bold] &#x202e;:smile:"
REPORT = f"""<PipelineAquaReport><ProjectStructure><ProposalCode>{PROGRAM}</ProposalCode>
<ProcessingProcedure>PipelineCalibration</ProcessingProcedure></ProjectStructure>
<QaSummary><ReportDate>2026-11-20 10:00:00</ReportDate><ProcessingTime>7:10:03</ProcessingTime>
<CasaVersion>6.6</CasaVersion><PipelineVersion>2024</PipelineVersion><FinalScore>0.40</FinalScore></QaSummary>
<QaPerStage><Stage Number="5" Name="hifa_bandpass"><RepresentativeScore Score="0.40" Reason="{REASON}">
<Metric Name="Snr" Value="3"/><DataSelection/></RepresentativeScore></Stage></QaPerStage>
<QaPerTopic><Dataset Score="1.0"/><Flagging Score="0.95"/><Calibration Score="0.40"/>
<Imaging Score="0.95"/></QaPerTopic>
</PipelineAquaReport>"""


@contextmanager
def operator(system) -> Iterator[Actor]:
    """Give an actor of the test's own, which listens to nothing."""
    me = Actor("operator", system.settings)
    with me.bus:
        yield me
    me.connection.close()


def make_ready_for_review(system, *ouss: str, run: str = RUN) -> None:
    """Bring OUSs to ReadyForReview through a running xtss, each with a report."""
    store = reports.Reports(system.connection.database(reports.DATABASE))
    products = names.products_dir(PROGRAM, run)
    with operator(system) as me:
        for ous in ouss:
            me.state.create(ous, PROGRAM, recipe="PipelineCalibration", executive="EU")
            me.state.set(ous, Change(state="Processing"), expected=("ReadyForProcessing",))
            encoded = b64encode(REPORT.encode()).decode()
            store.keep(PipelineReport(ousUID=ous, source="EU", report=encoded, timestamp=run, productsDir=products))
            me.state.set(ous, Change(state="ReadyForReview", run=run), expected=("Processing",), note=f"run {products}")
