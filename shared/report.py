"""Reading a pipeline report, the XML of shape ``PipelineAquaReport``, whoever wrote it.

:func:`parse` takes any document of that shape into frozen structures, passes over elements that it does not know, and
refuses everything else with BadInput that says what is missing or wrong and where. A value may stand in an attribute,
as the pipeline writes it, or in a child element of that name. Pure.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_ELEMENTS: Final = 200_000
MAX_DEPTH: Final = 100
"""Real reports have some ten thousand elements, six deep; more than these is an attack or an accident."""

ROOT: Final = "PipelineAquaReport"
TOPICS: Final = ("Dataset", "Flagging", "Calibration", "Imaging")
NOTHING: Final = "N/A"
_UNSCORED: Final = {"Undefined", "None"}
_UNSCORED_RANK: Final = 2.0
_DURATION: Final = re.compile(r"(?:(\d{1,5}) days?, )?(\d{1,4}):([0-5]\d):([0-5]\d)(?:\.\d+)?", re.ASCII)
_DATE: Final = "%Y-%m-%d %H:%M:%S"


class Band(StrEnum):
    """ALMA's word for a score; never shown by colour alone."""

    STANDARD = "standard"
    BELOW_STANDARD = "below standard"
    WARNING = "warning"
    ERROR = "error"
    UNDEFINED = "undefined"


_BANDS: Final = ((0.9, Band.STANDARD), (0.66, Band.BELOW_STANDARD), (0.33, Band.WARNING))


def band(score: float | None) -> Band:
    """Return the band of a score: above 0.9, above 0.66, above 0.33, or not; UNDEFINED for none."""
    if score is None:
        return Band.UNDEFINED
    return next((word for limit, word in _BANDS if score > limit), Band.ERROR)


class Metric(msgspec.Struct, frozen=True):
    """What a score was given for: a name, a value and its units, all as text."""

    name: str
    value: str
    units: str


class DataSelection(msgspec.Struct, frozen=True, kw_only=True):
    """The data that a score is about; lists are joined by commas, ``N/A`` stands where nothing applies."""

    asdm: str = NOTHING
    session: str = NOTHING
    spw: str = NOTHING
    intent: str = NOTHING
    field: str = NOTHING
    antenna: str = NOTHING


class Score(msgspec.Struct, frozen=True):
    """One score: 0 to 1, None where it is Undefined or None, with its reason (free text), metric and data."""

    score: float | None
    reason: str
    metric: Metric
    selection: DataSelection


class Stage(msgspec.Struct, frozen=True):
    """A stage of the pipeline: its number and name, the score that represents it, and the others."""

    number: int
    name: str
    representative: Score
    subscores: tuple[Score, ...]


class Topic(msgspec.Struct, frozen=True):
    """A topic: its name, its score, and the stages that count for it (the seed's mock has none there)."""

    name: str
    score: float | None
    stages: tuple[Stage, ...]


class Summary(msgspec.Struct, frozen=True):
    """The figures of the whole run; the report's date is UTC, the processing time in seconds."""

    report_date: datetime
    processing_time_s: int
    casa_version: str
    pipeline_version: str
    final_score: float | None


class Report(msgspec.Struct, frozen=True):
    """A pipeline report; ``ous_uid`` is empty where the report does not tell it, as ALMA's own do not."""

    proposal_code: str
    ous_uid: str
    recipe: str
    summary: Summary
    stages: tuple[Stage, ...]
    topics: tuple[Topic, ...]


def lowest(report: Report) -> Stage | None:
    """Return the stage with the lowest representative score, the first of several; None if none has a score."""
    scored = [stage for stage in report.stages if stage.representative.score is not None]
    return min(scored, key=lambda stage: stage.representative.score or 0.0, default=None)


def below_standard(stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages that pull a score down, the worst first; at the end those that have no score."""
    found = [stage for stage in stages if band(stage.representative.score) is not Band.STANDARD]
    return sorted(found, key=lambda stage: _UNSCORED_RANK if (at := stage.representative.score) is None else at)


def of_no_topic(report: Report) -> list[Stage]:
    """Return the stages that count for no topic; all of them where the topics have none, as in the seed's mock."""
    counted = {(stage.number, stage.name) for topic in report.topics for stage in topic.stages}
    return [stage for stage in report.stages if (stage.number, stage.name) not in counted]


def parse(content: bytes) -> Report:
    """Read a pipeline report; BadInput says what is wrong with what is none."""
    root = _tree(content)
    if root.tag != ROOT:
        raise BadInput(f"this is not a pipeline report: its root is {shown(root.tag)} instead of {ROOT}")
    structure = _child(root, "ProjectStructure", "the report")
    return Report(
        proposal_code=_value(structure, "ProposalCode", "ProjectStructure"),
        ous_uid=_optional(structure, "OusStatusEntityId") or "",
        recipe=_value(structure, "ProcessingProcedure", "ProjectStructure"),
        summary=_summary(_child(root, "QaSummary", "the report")),
        stages=_stages(_child(root, "QaPerStage", "the report"), "QaPerStage"),
        topics=_topics(_child(root, "QaPerTopic", "the report")),
    )


class _Builder(TreeBuilder):
    """Builds the tree while it stays within bounds: depth alone can exhaust the stack of whoever walks it."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._elements = 0

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH:
            raise BadInput(f"this is not a pipeline report: its elements are nested more than {MAX_DEPTH} deep")
        if self._elements > MAX_ELEMENTS:
            raise BadInput(f"this is not a pipeline report: it has more than {MAX_ELEMENTS} elements")
        return super().start(tag, attrs)

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)


def _tree(content: bytes) -> Element:
    if len(content) > MAX_BYTES:
        raise BadInput(f"the pipeline report has {len(content)} bytes: more than {MAX_BYTES} are not read")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"the pipeline report is not UTF-8: byte {error.start} is {content[error.start]:#04x}"
        ) from error
    parser = DefusedXMLParser(target=_Builder(), encoding="utf-8", forbid_dtd=True)
    try:
        parser.feed(content)
        root: Element = parser.close()
    except ParseError as error:
        cut = "; it is empty or was cut off" if error.code in {3, 5} else ""
        raise BadInput(f"the pipeline report is not well-formed XML: {error}{cut}") from error
    except DefusedXmlException as error:
        raise BadInput("the pipeline report declares a document type or entities, which no pipeline does") from error
    return root


def _child(parent: Element, tag: str, where: str) -> Element:
    found = parent.find(tag)
    if found is None:
        raise BadInput(f"{where} has no {tag}")
    return found


def _optional(element: Element, name: str) -> str | None:
    """Return a value, from an attribute or else a child element; None where there is neither."""
    text = element.get(name)
    return element.findtext(name) if text is None else text


def _value(element: Element, name: str, where: str) -> str:
    text = _optional(element, name)
    if text is None:
        raise BadInput(f"{where} has no {name}")
    return text.strip()


def _score_value(element: Element, name: str, where: str) -> float | None:
    text = _value(element, name, where)
    if text in _UNSCORED:
        return None
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise BadInput(f"{name} of {where} is {shown(text)}: it must be a number from 0 to 1, Undefined or None")
    return score


def _summary(element: Element) -> Summary:
    where = "QaSummary"
    date = _value(element, "ReportDate", where)
    try:
        report_date = datetime.strptime(date, _DATE).replace(tzinfo=UTC)
    except ValueError as error:
        raise BadInput(f"ReportDate is {shown(date)}: it must be like 2018-07-19 07:10:03") from error
    return Summary(
        report_date=report_date,
        processing_time_s=_duration_s(_value(element, "ProcessingTime", where)),
        casa_version=_value(element, "CasaVersion", where),
        pipeline_version=_value(element, "PipelineVersion", where),
        final_score=_score_value(element, "FinalScore", where),
    )


def _duration_s(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if not found:
        raise BadInput(f"ProcessingTime is {shown(text)}: it must be like 7:10:03 or 2 days, 7:10:03")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _stages(parent: Element, where: str) -> tuple[Stage, ...]:
    return tuple(
        _stage(element, f"stage {place} of {where}") for place, element in enumerate(parent.findall("Stage"), 1)
    )


def _stage(element: Element, where: str) -> Stage:
    number = _value(element, "Number", where)
    if not (number.isascii() and number.isdigit() and len(number) < 10):  # noqa: PLR2004 (fits any integer type)
        raise BadInput(f"Number of {where} is {shown(number)}: it must be a whole number")
    return Stage(
        number=int(number),
        name=_value(element, "Name", where),
        representative=_score(_child(element, "RepresentativeScore", where), f"RepresentativeScore of {where}"),
        subscores=tuple(
            _score(each, f"SubScore {place} of {where}") for place, each in enumerate(element.findall("SubScore"), 1)
        ),
    )


def _score(element: Element, where: str) -> Score:
    metric = _child(element, "Metric", where)
    selection = _child(element, "DataSelection", where)
    return Score(
        score=_score_value(element, "Score", where),
        reason=_value(element, "Reason", where),
        metric=Metric(
            name=_value(metric, "Name", f"Metric of {where}"),
            value=_value(metric, "Value", f"Metric of {where}"),
            units=_optional(metric, "Units") or "",
        ),
        selection=DataSelection(
            **{name: _optional(selection, name.capitalize()) or NOTHING for name in DataSelection.__struct_fields__}
        ),
    )


def _topics(parent: Element) -> tuple[Topic, ...]:
    topics = []
    for name in TOPICS:
        element = _child(parent, name, "QaPerTopic")
        topics.append(Topic(name, _score_value(element, "Score", name), _stages(element, name)))
    return tuple(topics)
