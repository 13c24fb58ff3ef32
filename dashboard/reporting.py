"""Pipeline reports as pages: the scores of topics and stages, worst first, of one run or of two side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dashboard.drawing import duration
from shared import names, report, reports
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboard.context import Site
    from shared.report import Report, Score, Stage

SUBSCORES: Final = 100
"""As many subscores of a stage are shown, the worst; how many there are is said."""
_UNSCORED: Final = 2.0


@dataclass(frozen=True)
class Mark:
    """A score as it is shown: the number, ALMA's word for it, how long its bar is (percent), what it is for and why."""

    name: str
    text: str
    band: str
    length: int
    reason: str = ""
    metric: str = ""
    data: str = ""


@dataclass(frozen=True)
class StageMarks:
    """A stage: its representative score, the worst subscores, and how many of them there are."""

    mark: Mark
    subscores: list[Mark]
    count: int


@dataclass(frozen=True)
class Reading:
    """A run's report, or ``problem``: why it cannot be read."""

    run: str
    problem: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    final: Mark | None = None
    topics: tuple[Mark, ...] = ()
    stages: tuple[StageMarks, ...] = ()


def of_runs(site: Site, doc_id: str, runs: Sequence[str]) -> list[Reading]:
    """Return the reports of some runs of an OUS, in the order asked for; those that do not exist are left out."""
    try:
        uid = names.uid_of_document(doc_id)
        found = site.connection.database(reports.DATABASE).fetch([names.report_id(uid, run) for run in runs])
    except BadInput:
        return []
    return [read(run, doc) for run, doc in zip(runs, found, strict=True) if doc]


def read(run: str, doc: dict[str, Any]) -> Reading:
    """Return a stored report as it is shown; one that cannot be read says why."""
    try:
        content = reports.StoredReport(
            id=run,
            ous_uid="",
            source="",
            timestamp=run,
            products_dir="",
            encoded_report=str(doc.get("encodedReport", "")),
        ).xml()
        return shown(run, report.parse(content))
    except BadInput as error:
        return Reading(run, problem=str(error))


def shown(run: str, parsed: Report) -> Reading:
    """Return a report as it is shown, stages and subscores worst first."""
    summary = parsed.summary
    facts = (
        ("recipe", parsed.recipe),
        ("reported (UTC)", f"{summary.report_date:%Y-%m-%d %H:%M:%S}"),
        ("processing time", duration(summary.processing_time_s)),
        ("CASA", summary.casa_version),
        ("pipeline", summary.pipeline_version),
    )
    stages = sorted(parsed.stages, key=lambda stage: _rank(stage.representative.score))
    return Reading(
        run,
        facts=facts,
        final=_mark("final score", summary.final_score),
        topics=tuple(_mark(topic.name, topic.score) for topic in parsed.topics),
        stages=tuple(_stage(stage) for stage in stages),
    )


def _stage(stage: Stage) -> StageMarks:
    worst = sorted(stage.subscores, key=lambda each: _rank(each.score))
    return StageMarks(
        _of_score(f"{stage.number} {stage.name}", stage.representative),
        [_of_score("", each) for each in worst[:SUBSCORES]],
        len(worst),
    )


def _of_score(name: str, score: Score) -> Mark:
    metric = score.metric
    data = ", ".join(
        f"{field} {value}"
        for field in score.selection.__struct_fields__
        if (value := getattr(score.selection, field)) != report.NOTHING
    )
    return _mark(name, score.score, score.reason, f"{metric.name} = {metric.value} {metric.units}".strip(), data)


def _mark(name: str, score: float | None, reason: str = "", metric: str = "", data: str = "") -> Mark:
    text = "none" if score is None else f"{score:.2f}"
    return Mark(name, text, report.band(score).value, round((score or 0) * 100), reason, metric, data)


def _rank(score: float | None) -> float:
    return _UNSCORED if score is None else score
