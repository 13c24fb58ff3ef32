"""A pipeline report and the history of an OUS, as lines for a reviewer. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actors.aqua_qa2.styled import BAR_WIDTH, bar, folded, line, said, score
from shared import report
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from actors.aqua_qa2.scores import Scores
    from actors.aqua_qa2.styled import Line
    from shared.report import Report, Score, Stage
    from shared.review import Review

_TOPIC_WIDTH: Final = 12
_SCORE_WIDTH: Final = len(" 0.75 below standard")
_INDENT: Final = 4
_STAGE_INDENT: Final = 4
_REASON_INDENT: Final = 8


def overview(xml: bytes, width: int, *, blocks: bool) -> list[Line]:
    """Return what a reviewer has to know of a report: scores with bars, and the stages that pulled them down.

    What is no pipeline report says what is wrong with it.
    """
    try:
        parsed = report.parse(xml)
    except BadInput as error:
        return unreadable(error, width)
    lines = [*_facts(parsed), line(), _scored("Final score", parsed.summary.final_score, width, blocks=blocks)]
    for topic in parsed.topics:
        lines.append(_scored(topic.name, topic.score, width, blocks=blocks))
        for stage in report.below_standard(topic.stages):
            lines += _stage(stage, width)
    others = report.below_standard(report.of_no_topic(parsed))
    if others:
        lines += [line(), line(("bold", "Below standard, of no topic"))]
        for stage in others:
            lines += _stage(stage, width)
    return lines


def unreadable(error: BadInput, width: int) -> list[Line]:
    """Return what is wrong with a report that is none."""
    return [
        line(("wrong", "This report cannot be read:")),
        *folded(str(error), width, indent=_INDENT, style="wrong"),
    ]


def whole(xml: bytes, width: int, *, blocks: bool) -> list[Line]:
    """Return every stage of a report with all of its scores, reasons, metrics and data."""
    try:
        parsed = report.parse(xml)
    except BadInput:
        return overview(xml, width, blocks=blocks)
    lines = _facts(parsed)
    for stage in parsed.stages:
        lines += [line(), line(("bold", f"{stage.number} "), said(stage.name, "bold"))]
        for each in (stage.representative, *stage.subscores):
            lines += _in_full(each, width)
    return lines


def raw(xml: bytes) -> list[Line]:
    """Return a report's XML as it is, line by line, what is no plain character spelled out."""
    text = xml.decode("utf-8", "backslashreplace")
    return [line(said(each)) for each in text.removesuffix("\n").split("\n")]


def earlier(runs: Sequence[str], reviews: Sequence[Review], scores: Mapping[str, Scores], width: int) -> list[Line]:
    """Return the earlier runs of an OUS, oldest first: each with its final score and what its reviewers said."""
    if not runs:
        return [line(("dim", "No earlier run has a report."))]
    lines = [line(("bold", "Earlier runs"))]
    for run in runs:
        known = scores.get(run)
        what = score(known.final) if known and not known.problem else ("dim", known.problem if known else "no report")
        lines.append(line("  ", run, "  ", what))
        for each in (each for each in reviews if each.run == run):
            why = f" [{each.reason}]" if each.reason else ""
            said_ = f"{each.flag}{why} by {each.reviewer}, {each.at[:16].replace('T', ' ')} UTC"
            lines += folded(f"{said_}: {each.comment}" if each.comment else said_, width, indent=_INDENT)
    return lines


def _facts(parsed: Report) -> list[Line]:
    summary = parsed.summary
    facts = {
        "Recipe": parsed.recipe,
        "Reported": f"{summary.report_date:%Y-%m-%d %H:%M:%S} UTC, after {duration(summary.processing_time_s)}",
        "Made with": f"CASA {summary.casa_version}, pipeline {summary.pipeline_version}",
    }
    return [line(f"{name:{_TOPIC_WIDTH}}", said(text)) for name, text in facts.items()]


def duration(seconds: int) -> str:
    """Return a span of time as people say it: ``2 d 3 h``, ``14 min``."""
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def _scored(name: str, value: float | None, width: int, *, blocks: bool) -> Line:
    """Return a score with a bar, which is shorter where there is too little room."""
    room = max(width - _TOPIC_WIDTH - _SCORE_WIDTH, 0)
    drawn = bar(value, blocks=blocks, width=min(room, BAR_WIDTH))
    return line(("bold", f"{name:{_TOPIC_WIDTH}}"), drawn, " ", score(value))


def _stage(stage: Stage, width: int) -> list[Line]:
    """Return a stage that pulled a score down: which one, its score, and why."""
    worst = stage.representative
    head = line(" " * _STAGE_INDENT, f"{stage.number:>3} ", said(stage.name), "  ", score(worst.score))
    return [head, *folded(worst.reason, width, indent=_REASON_INDENT, style="dim")]


def _in_full(each: Score, width: int) -> list[Line]:
    metric = each.metric
    measured = f"{metric.name} = {metric.value} {metric.units if metric.units != report.NOTHING else ''}".strip()
    data = ", ".join(
        f"{field} {value}"
        for field in each.selection.__struct_fields__
        if (value := getattr(each.selection, field)) != report.NOTHING
    )
    return [
        line(" " * _STAGE_INDENT, score(each.score)),
        *folded(each.reason, width, indent=_REASON_INDENT),
        *folded("; ".join(filter(None, [measured, data])), width, indent=_REASON_INDENT, style="dim"),
    ]
