"""Pipeline reports: what the mock writes is read, what is of another shape is refused by name."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import report
from shared.errors import BadInput
from shared.report import Band, Score, band, lowest, parse

PIPELINE = Path(__file__).parents[2] / "actors" / "pipeline.py"


def score(tag="RepresentativeScore", value="0.95", reason="good"):
    return (
        f"<{tag} Score={quoteattr(value)} Reason={quoteattr(reason)}>"
        '<Metric Name="PhaseRms" Value="12.5" Units="deg"/>'
        '<DataSelection Asdm="uid___A1" Session="N/A" Spw="17,19" Intent="PHASE" Field="J1" Extra="x"/>'
        f"</{tag}>"
    )


def stage(number="1", name="hifa_importdata", inside=None):
    return f'<Stage Number="{number}" Name="{name}">{score() if inside is None else inside}</Stage>'


STRUCTURE = """<ProjectStructure><ProposalCode>2015.1.00657.S</ProposalCode>
<ProcessingRequestEntityId>r</ProcessingRequestEntityId><ProcessingProcedure>PipelineCalibration</ProcessingProcedure>
</ProjectStructure>"""
SUMMARY = """<QaSummary><ReportDate>2018-07-19 07:10:03</ReportDate><ProcessingTime>2 days, 7:10:03</ProcessingTime>
<CasaVersion>6.6.1</CasaVersion><PipelineVersion>2024.1</PipelineVersion><FinalScore>Undefined</FinalScore></QaSummary>"""
TOPICS = """<QaPerTopic><Dataset Score="0.5"/><Flagging Score="None"/><Calibration Score="1"/>
<Imaging Score="0.0"><ImageSensitivity><Sensitivity beam="N/A"/></ImageSensitivity></Imaging></QaPerTopic>"""


def document(structure=STRUCTURE, summary=SUMMARY, stages=None, topics=TOPICS, root="PipelineAquaReport"):
    inside = stage() if stages is None else stages
    return f"<{root}><Later/>{structure}{summary}<QaPerStage>{inside}</QaPerStage>{topics}</{root}>".encode()


def test_reads_all_of_a_report():
    more = score() + score("SubScore", "Undefined", "too few") + score("SubScore", "0", "ü < & > \u201c") + "<New/>"
    found = parse(document(stages=stage() + stage("22", "hifa_x", more)))
    assert (found.proposal_code, found.ous_uid, found.recipe) == ("2015.1.00657.S", "", "PipelineCalibration")
    assert found.summary.report_date == datetime(2018, 7, 19, 7, 10, 3, tzinfo=UTC)
    assert found.summary.processing_time_s == 2 * 86400 + 7 * 3600 + 603
    assert (found.summary.casa_version, found.summary.final_score) == ("6.6.1", None)
    assert [(each.number, each.name) for each in found.stages] == [(1, "hifa_importdata"), (22, "hifa_x")]
    assert found.stages[1].representative.metric == report.Metric("PhaseRms", "12.5", "deg")
    assert found.stages[1].representative.selection == report.DataSelection(
        asdm="uid___A1", session="N/A", spw="17,19", intent="PHASE", field="J1", antenna="N/A"
    )
    assert [(each.score, each.reason) for each in found.stages[1].subscores] == [(None, "too few"), (0, "ü < & > “")]
    assert [(each.name, each.score) for each in found.topics] == [
        ("Dataset", 0.5),
        ("Flagging", None),
        ("Calibration", 1),
        ("Imaging", 0),
    ]


def test_reads_what_the_mock_pipeline_writes(tmp_path):
    arguments = ["2015.1.00657.S", "uid://X1/X1/Xc1", "EU", "--failure-rate", "0"]
    environ = {"DRW_PACE": "0", "DRW_RECIPE": "PipelineSingleDish", "PATH": os.environ["PATH"]}
    subprocess.run([sys.executable, str(PIPELINE), *arguments], cwd=tmp_path, env=environ, check=True)
    found = parse(next(tmp_path.rglob("*.xml")).read_bytes())
    assert (found.proposal_code, found.ous_uid) == ("2015.1.00657.S", "uid://X1/X1/Xc1")
    assert found.recipe == "PipelineSingleDish"
    assert len(found.stages) >= 10
    assert found.summary.final_score == lowest(found).representative.score
    assert all(stage in found.stages for topic in found.topics for stage in topic.stages)
    assert sum(len(topic.stages) for topic in found.topics) == len(found.stages)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not well-formed XML"),
        (b"hello", "not well-formed XML"),
        (document()[:-200], "not well-formed XML: .*cut off"),
        (document() + b"x", "not well-formed XML"),
        (document().decode().replace("good", "gööd").encode("latin-1"), "not UTF-8: byte [0-9]+ is 0xf6"),
        (document().decode().encode("utf-16"), "not UTF-8"),
        (document(root="Other"), "its root is 'Other' instead of PipelineAquaReport"),
        (document(structure=""), "the report has no ProjectStructure"),
        (document(summary=""), "the report has no QaSummary"),
        (document(topics=""), "the report has no QaPerTopic"),
        (document().replace(b"QaPerStage", b"Other"), "the report has no QaPerStage"),
        (document(structure="<ProjectStructure/>"), "ProjectStructure has no ProposalCode"),
        (document(summary=SUMMARY.replace("CasaVersion", "X")), "QaSummary has no CasaVersion"),
        (document(summary=SUMMARY.replace("07-19", "13-19")), "ReportDate is '2018-13-19 07:10:03'"),
        (document(summary=SUMMARY.replace("days, 7:10:03", "days, soon")), "ProcessingTime is '2 days, soon'"),
        (document(topics=TOPICS.replace("Flagging", "X")), "QaPerTopic has no Flagging"),
        (document(topics=TOPICS.replace("0.5", "1.5")), "Score of Dataset is '1.5'"),
        (document(stages=stage() + stage("x")), "Number of stage 2 of QaPerStage is 'x'"),
        (document(stages=stage(inside="")), "stage 1 of QaPerStage has no RepresentativeScore"),
        (document(stages=stage(inside=score(value="nan"))), "Score of RepresentativeScore of stage 1 of .* 'nan'"),
        (document(stages=stage(inside=score() + "<SubScore/>")), "SubScore 1 of stage 1 of QaPerStage has no Metric"),
        (document().replace(b' Value="12.5"', b""), "Metric of RepresentativeScore of stage 1 .* has no Value"),
    ],
)
def test_what_is_of_another_shape_is_refused_by_name(content, complaint):
    with pytest.raises(BadInput, match=complaint):
        parse(content)


ENTITIES = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "declared",
    [
        f'<!DOCTYPE x [<!ENTITY a0 "ha">{ENTITIES}]>',
        '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
        "<!DOCTYPE x>",
    ],
)
def test_entities_and_external_references_are_refused(declared):
    with pytest.raises(BadInput, match="declares a document type or entities"):
        parse(declared.encode() + document())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<a>" * 1_000_000 + b"</a>" * 1_000_000, "nested more than 100 deep"),
        (b"<PipelineAquaReport>" + b"<a/>" * 200_001 + b"</PipelineAquaReport>", "more than 200000 elements"),
        (b"<" * (report.MAX_BYTES + 1), "more than 67108864 are not read"),
    ],
)
def test_what_is_too_much_is_refused(content, complaint):
    with pytest.raises(BadInput, match=complaint):
        parse(content)


def test_scores_may_be_long_lists():
    found = parse(document(stages=stage(inside=score() + score("SubScore", reason="x" * 1000) * 3000)))
    assert len(found.stages[0].subscores) == 3000
    assert isinstance(found.stages[0].subscores[0], Score)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (1.0, Band.STANDARD),
        (0.9, Band.BELOW_STANDARD),
        (0.66, Band.WARNING),
        (0.33, Band.ERROR),
        (0.0, Band.ERROR),
        (None, Band.UNDEFINED),
    ],
)
def test_bands_begin_above_their_limits(value, word):
    assert band(value) is word


def test_the_lowest_stage_is_the_first_of_the_lowest():
    stages = "".join(stage(str(n), inside=score(value=v)) for n, v in enumerate(("0.5", "Undefined", "0", "0"), 1))
    assert lowest(parse(document(stages=stages))).number == 3
    assert lowest(parse(document(stages=stage(inside=score(value="None"))))) is None
    assert lowest(parse(document(stages=""))) is None


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff")),
    st.floats(0, 1),
)
def test_any_reason_and_score_is_read_back(reason, value):
    found = parse(document(stages=stage(inside=score(value=repr(value), reason=reason))))
    assert found.stages[0].representative.reason == reason.strip()
    assert found.stages[0].representative.score == value


@given(st.data())
def test_any_damage_is_bad_input_or_harmless(data):
    content = bytearray(document())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    complaint = ""
    try:
        parse(bytes(content))
    except BadInput as error:
        complaint = str(error)
    assert "\n" not in complaint
