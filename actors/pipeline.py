"""The mock ALMA pipeline: ``pipeline [-h] progID ousUID exec``.

It waits a random interval, fails one time in ten, and otherwise leaves a products directory in the current folder:
five data products, a pipeline report and a weblog, named as the seed names them. It needs nothing but the standard
library and nothing of drw's, because a real pipeline would not either; ``python3 actors/pipeline.py`` does.

Exit status: 0 success, 1 the products could not be written, 2 bad arguments or environment, 3 a processing problem.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
NOT_WRITTEN: Final = 1
PROCESSING_PROBLEM: Final = 3
PRODUCTS: Final = 5
WAIT_S: Final = (1.0, 5.0)
"""The wait at the seed's pace: at least and at most."""

TOPICS: Final = ("Dataset", "Flagging", "Calibration", "Imaging")
BANDS: Final = ((0.9, "standard"), (0.66, "below standard"), (0.33, "warning"))
"""ALMA's words for scores above a limit; below the last one it is an error."""


@dataclass(frozen=True)
class Task:
    """One step of a recipe: its name, the topic it counts for, what it measures and what it says about it."""

    name: str
    topic: str
    metric: str
    units: str
    finding: str


CALIBRATION_TASKS: Final = (
    Task("hifa_importdata", "Dataset", "IsScienceGoal", "", "{n} execution blocks imported, all intents present"),
    Task(
        "hifa_flagdata", "Flagging", "%DataFlagged", "%", "{v:.1f}% of the data newly flagged (online, QA0 & template)"
    ),
    Task("h_tsyscal", "Calibration", "TsysMedian", "K", "median system temperature {v:.1f} K"),
    Task("hifa_wvrgcalflag", "Calibration", "PhaseRmsRatio", "", "phase RMS improved by a factor of {v:.2f} with WVR"),
    Task("hifa_bandpass", "Calibration", "AmplitudeSnr", "", "bandpass SNR {v:.0f}; spw {n} noisier than the others"),
    Task("hifa_gfluxscale", "Calibration", "FluxScale", "Jy", "derived flux {v:.3f} Jy agrees with the catalogue"),
    Task("hifa_timegaincal", "Calibration", "PhaseRms", "deg", "phase RMS {v:.1f}° on the longest baselines"),
    Task("hif_applycal", "Calibration", "%NewlyFlagged", "%", "{v:.1f}% flagged on application of the calibration"),
    Task("hif_makeimages", "Imaging", "RmsOverTheoretical", "", "RMS is {v:.2f} * the theoretical sensitivity"),
    Task("hifa_exportdata", "Dataset", "Exported", "", "{n} calibration tables exported"),
)

SINGLE_DISH_TASKS: Final = (
    Task("hsd_importdata", "Dataset", "ExecutionBlocks", "", "{n} execution blocks imported"),
    Task("hsd_flagdata", "Flagging", "%DataFlagged", "%", "{v:.1f}% of the data newly flagged"),
    Task("h_tsyscal", "Calibration", "TsysMedian", "K", "median system temperature {v:.1f} K"),
    Task("hsd_tsysflag", "Flagging", "%TsysFlagged", "%", "{v:.2f}% of the Tsys solutions flagged"),
    Task("hsd_skycal", "Calibration", "OnOffDifference", "K", "elevation difference ON & OFF {v:.2f} K"),
    Task("hsd_k2jycal", "Calibration", "K2JyFactor", "Jy/K", "Kelvin to Jansky factor {v:.2f} Jy/K"),
    Task("hsd_applycal", "Calibration", "%NewlyFlagged", "%", "{v:.1f}% flagged on application of the calibration"),
    Task("hsd_baseline", "Calibration", "LinesFound", "", "{n} line candidates found and masked"),
    Task("hsd_imaging", "Imaging", "MapRms", "K", "map RMS {v:.3f} K"),
    Task("hsd_exportdata", "Dataset", "Exported", "", "{n} products exported"),
)


@dataclass(frozen=True)
class Run:
    """What one execution is about. ``timestamp`` is UTC to the millisecond; ``pace`` scales the waiting."""

    prog_id: str
    ous_uid: str
    executive: str
    recipe: str
    timestamp: str
    pace: float
    failure_rate: float

    @property
    def directory(self) -> str:
        """The name of the products directory, ``2015.1.00657.S_2018_07_19T07_10_03.781``."""
        return f"{self.prog_id}_{self.timestamp.replace('-', '_').replace(':', '_')}"

    @property
    def stem(self) -> str:
        """What the names of all files of this run share, ``X1-X1-Xa1-2018-07-19T07:10:03.781``."""
        return f"{self.ous_uid.removeprefix('uid://').replace('/', '-')}-{self.timestamp}"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The steps of the recipe, in order."""
        return SINGLE_DISH_TASKS if self.recipe == "PipelineSingleDish" else CALIBRATION_TASKS


@dataclass(frozen=True)
class Finding:
    """A score (None where nothing can be told) with its reason, and the value that it was given for."""

    score: float | None
    reason: str
    value: str
    spw: str
    intent: str

    @property
    def shown(self) -> str:
        """The score as the report writes it."""
        return "Undefined" if self.score is None else f"{self.score:.3f}"

    @property
    def rank(self) -> float:
        """What findings are sorted by: the score, those without one last."""
        return 2.0 if self.score is None else self.score


@dataclass(frozen=True)
class Stage:
    """A task that has run: its number in the report and its findings, the lowest first, which represents it."""

    number: int
    task: Task
    findings: tuple[Finding, ...]


def _finding(task: Task, chance: random.Random) -> Finding:
    """Make one finding: four in five are good, and one in thirty cannot be scored."""
    score: float | None = round(chance.uniform(0.91, 1.0) if chance.randrange(5) else chance.uniform(0.2, 0.9), 3)
    value = chance.uniform(0.05, 60.0)
    reason = task.finding.format(v=value, n=chance.randint(1, 8))
    if not chance.randrange(30):
        score, reason = None, f"{task.metric} could not be measured: too few unflagged solutions"
    spw = ",".join(str(number) for number in sorted(chance.sample(range(17, 32, 2), chance.randint(1, 4))))
    return Finding(
        score, reason, f"{value:.4g}", spw, chance.choice(("BANDPASS", "PHASE", "TARGET", "AMPLITUDE,CHECK"))
    )


def run_stages(run: Run, chance: random.Random) -> list[Stage]:
    """Return what the recipe finds this time."""
    stages = []
    for number, task in enumerate(run.tasks, 1):
        found = [_finding(task, chance) for _ in range(chance.randint(1, 5))]
        stages.append(Stage(number, task, tuple(sorted(found, key=lambda finding: finding.rank))))
    return stages


def belonging(topic: str, stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages that count for a topic."""
    return [stage for stage in stages if stage.task.topic == topic]


def lowest(stages: Sequence[Stage]) -> str:
    """Return the lowest representative score as the report writes it."""
    return min((stage.findings[0] for stage in stages), key=lambda finding: finding.rank).shown


def _score_element(parent: ET.Element, tag: str, finding: Finding, task: Task, run: Run) -> None:
    score = ET.SubElement(parent, tag, Score=finding.shown, Reason=finding.reason)
    ET.SubElement(score, "Metric", Name=task.metric, Value=finding.value, Units=task.units or "N/A")
    asdm = f"uid___{run.ous_uid.removeprefix('uid://').replace('/', '_')}_eb.ms"
    ET.SubElement(score, "DataSelection", Asdm=asdm, Session="session_1", Spw=finding.spw, Intent=finding.intent)


def _stage_element(parent: ET.Element, stage: Stage, run: Run) -> None:
    element = ET.SubElement(parent, "Stage", Number=str(stage.number), Name=stage.task.name)
    for finding in stage.findings:
        representative = finding is stage.findings[0]
        _score_element(element, "RepresentativeScore" if representative else "SubScore", finding, stage.task, run)


def summary(run: Run, stages: Sequence[Stage], chance: random.Random) -> dict[str, str]:
    """Return the figures of the whole run, by the names of the report's ``QaSummary``."""
    return {
        "ReportDate": run.timestamp.replace("T", " ").partition(".")[0],
        "ProcessingTime": str(timedelta(seconds=chance.randint(600, 200_000))),
        "CasaVersion": "6.6.1-17",
        "PipelineVersion": "2024.1.0.8",
        "FinalScore": lowest(stages),
    }


def report_xml(run: Run, stages: Sequence[Stage], figures: dict[str, str]) -> bytes:
    """Return the pipeline report, of the shape that the real pipeline's has."""
    about = {
        "ProposalCode": run.prog_id,
        "OusStatusEntityId": run.ous_uid,
        "ProcessingRequestEntityId": f"request-{run.stem}",
        "ProcessingProcedure": run.recipe,
    }
    root = ET.Element("PipelineAquaReport")
    for section, values in (("ProjectStructure", about), ("QaSummary", figures)):
        element = ET.SubElement(root, section)
        for name, text in values.items():
            ET.SubElement(element, name).text = text
    per_stage = ET.SubElement(root, "QaPerStage")
    for stage in stages:
        _stage_element(per_stage, stage, run)
    per_topic = ET.SubElement(root, "QaPerTopic")
    for topic in TOPICS:
        element = ET.SubElement(per_topic, topic, Score=lowest(belonging(topic, stages)))
        for stage in belonging(topic, stages):
            _stage_element(element, stage, run)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def band(score: float | None) -> str:
    """Return ALMA's word for a score."""
    if score is None:
        return "undefined"
    return next((word for limit, word in BANDS if score > limit), "error")


_STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% } caption { text-align: left; font-weight: 600; padding: .5rem 0 }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ccc; vertical-align: top }
.standard { background: #d9f2d9 } .below-standard { background: #d9e8f7 } .warning { background: #fff3c4 }
.error { background: #f9d6d5 } .undefined { background: #eee }
"""


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _finding_row(stage: Stage, finding: Finding) -> str:
    word = band(finding.score)
    cells = (finding.reason, f"{stage.task.metric} = {finding.value} {stage.task.units}".strip(), finding.spw)
    row = _row((str(stage.number), stage.task.name, finding.shown, word, *cells))
    return row.replace("<tr>", f'<tr class="{word.replace(" ", "-")}">', 1)


def weblog_page(run: Run, stages: Sequence[Stage], figures: dict[str, str]) -> str:
    """Return the weblog's only page: the report's figures, readable, without scripts or anything from elsewhere."""
    about = {"Program": run.prog_id, "OUS": run.ous_uid, "Executive": run.executive, "Recipe": run.recipe}
    topics = "".join(_row((topic, lowest(belonging(topic, stages)))) for topic in TOPICS)
    rows = "\n".join(_finding_row(stage, finding) for stage in stages for finding in stage.findings)
    title = f"Weblog of {html.escape(run.ous_uid)}"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>
<body><h1>{title}</h1>
<table><caption>Pipeline run of {html.escape(run.timestamp)} UTC</caption>
{"".join(_row(pair) for pair in (about | figures).items())}</table>
<table><caption>Topics, with the lowest score of their stages</caption>{topics}</table>
<table><caption>Stages, each with its representative score first</caption>
<tr><th>Stage</th><th>Task</th><th>Score</th><th>Band</th><th>Reason</th><th>Metric</th><th>Spw</th></tr>
{rows}</table></body></html>
"""


def write_products(run: Run, stages: Sequence[Stage], chance: random.Random, where: Path) -> Path:
    """Write the products directory of ``run`` below ``where`` and return it.

    It is written under a temporary name beside, and renamed, so that there never is half a one.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{run.directory}.", dir=where))
    try:
        member = run.ous_uid.replace(":", "_").replace("/", "_")
        products = temporary / run.directory / "SOUS" / "GOUS" / member / "products"
        products.mkdir(parents=True)
        figures = summary(run, stages, chance)
        for number in range(PRODUCTS):
            content = chance.randbytes(chance.randint(8_000, 16_000))
            (products / f"product-{number}-{run.stem}.data").write_bytes(content)
        (products / f"pl-report-{run.stem}.xml").write_bytes(report_xml(run, stages, figures))
        with zipfile.ZipFile(products / f"weblog-{run.stem}.zip", "x", zipfile.ZIP_DEFLATED) as weblog:
            weblog.writestr("index.html", weblog_page(run, stages, figures))
        return (temporary / run.directory).rename(where / run.directory)
    finally:
        shutil.rmtree(temporary)


def _matching(pattern: str, what: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text):
            return text
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not {what}")

    return check


def _number(largest: float, what: str) -> Callable[[str], float]:
    def check(text: str) -> float:
        with contextlib.suppress(ValueError):
            if 0 <= float(text) <= largest:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not {what}")

    return check


def _timestamp(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a moment") from error
    return _matching(r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}", "a UTC time to the millisecond, like 2018-07-19T07:10:03.781")(
        text
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong; the usage is for those who ask for it."""
        self.exit(2, f"{self.prog}: {message} ({self.prog} -h tells more)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pipeline",
        description="Mock of the ALMA pipeline: leaves a products directory in the current folder.",
        epilog="Example: pipeline 2015.1.00657.S uid://X1/X1/Xb2 EU. Exit status 3 is a processing problem. "
        "Environment: DRW_RUN_TIMESTAMP, DRW_RECIPE, DRW_PACE (1 waits up to 5 s, 0 not at all), DRW_SEED.",
    )
    program_id = _matching(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}", "a program id, like 2015.1.00657.S")
    parser.add_argument("progID", type=program_id, help="program id of the project, like 2015.1.00657.S")
    uid = _matching(r"uid:/(/[A-Za-z0-9]{1,64}){3}", "an OUS UID, like uid://A003/X1/X1b")
    parser.add_argument("ousUID", type=uid, help="UID of the OUS to process, like uid://X1/X1/Xb2")
    parser.add_argument("exec", choices=("EA", "EU", "JAO", "NA"), help="the executive where the pipeline runs")
    rate = _number(1.0, "a rate from 0 to 1")
    parser.add_argument("--failure-rate", type=rate, default=0.1, help="how often it fails, 0 to 1 (0.1)")
    parser.add_argument("--seed", help="makes a run of this OUS and timestamp repeatable (DRW_SEED, else random)")
    return parser


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Run:
    """Return the run that arguments and environment describe; exit with status 2 where a variable is malformed."""

    def variable(name: str, check: Callable[[str], T], default: str) -> T:
        try:
            return check(os.environ.get(name) or default)
        except argparse.ArgumentTypeError as error:
            parser.error(f"environment variable {name}: {error}")

    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return Run(
        prog_id=arguments.progID,
        ous_uid=arguments.ousUID,
        executive=arguments.exec,
        recipe=variable("DRW_RECIPE", _matching(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", "a recipe"), "PipelineCalibration"),
        timestamp=variable("DRW_RUN_TIMESTAMP", _timestamp, now),
        pace=variable("DRW_PACE", _number(3600.0, "a pace: 1 is the seed's, 0 does not wait"), "1"),
        failure_rate=arguments.failure_rate,
    )


def process(run: Run, chance: random.Random, where: Path) -> int:
    """Run the recipe, telling of its stages as they come, and return the exit status."""
    pause_s = run.pace * chance.uniform(*WAIT_S) / len(run.tasks)
    failing = chance.choice(run.tasks) if chance.random() < run.failure_rate else None
    for number, task in enumerate(run.tasks, 1):
        print(f"stage {number} of {len(run.tasks)}: {task.name}", flush=True)
        time.sleep(pause_s)
        if task is failing:
            print(f"pipeline: processing problem in stage {number}, {task.name}: no solutions", file=sys.stderr)
            return PROCESSING_PROBLEM
    print(f"wrote {write_products(run, run_stages(run, chance), chance, where).name}", flush=True)
    return 0


def _end(number: int, _frame: object) -> None:
    """Leave through the clean-up of temporary files when asked to end, with the status that a shell would show."""
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline once and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    run = _run(parser, arguments)
    seed = arguments.seed or os.environ.get("DRW_SEED") or random.SystemRandom().getrandbits(64)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    where = Path.cwd()
    try:
        if os.path.lexists(run.directory):
            raise FileExistsError(0, f"{run.directory} is there already, start it in another folder")
        print(f"{run.recipe} of {run.ous_uid} at {run.executive}, run {run.timestamp}", flush=True)
        return process(run, random.Random(f"{seed} {run.ous_uid} {run.timestamp}"), where)  # noqa: S311 (a mock)
    except OSError as error:
        print(f"pipeline: the products cannot be written to {where}: {error.strerror}", file=sys.stderr)
        return NOT_WRITTEN


if __name__ == "__main__":
    sys.exit(main())
