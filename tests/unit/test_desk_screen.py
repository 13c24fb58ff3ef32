"""What a reviewer sees: the list, the report, the earlier runs; and what is meant by what is typed."""

from datetime import UTC, datetime

import pytest

from actors.aqua_qa2 import holding, reading
from actors.aqua_qa2.listing import Row, chosen, listed
from actors.aqua_qa2.scores import NO_REPORT, Scores, scores_of
from actors.aqua_qa2.styled import bar, line, plain, wrapped
from shared.errors import BadInput
from shared.review import Review
from shared.status import Reviewer, StatusEntity

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
RUN = "2026-11-20T10:00:00.001"
GOOD = Scores(0.62, (("Dataset", 0.95), ("Flagging", None), ("Calibration", 0.62), ("Imaging", 1.0)))
METRIC = '<Metric Name="M" Value="1" Units="deg"/><DataSelection Spw="17" Intent="N/A"/>'


def entity(number, **more):
    uid = f"uid://X1/X1/Xb{number}"
    values = {"state": "ReadyForReview", "run": RUN, "executive": "EU", "timestamp": "2026-11-20T11:00:00.000000"}
    return StatusEntity(
        id=uid.replace(":", "_").replace("/", "_"),
        entity_id=uid,
        prog_id="2015.1.00657.S",
        recipe="PipelineCalibration",
        **values | more,
    )


def row(number, scores=GOOD, **more):
    return Row(entity=entity(number), since="2026-11-20T09:00:00.000000", scores=scores, **more)


def rows(*some):
    return dict(enumerate(some, 1))


def texts(lines):
    return [plain(each) for each in lines]


def stage(number, name, score, reason, *more):
    inside = "".join(
        f'<{tag} Score="{value}" Reason="{why}">{METRIC}</{tag}>'
        for tag, value, why in [("RepresentativeScore", score, reason), *(("SubScore", *each) for each in more)]
    )
    return f'<Stage Number="{number}" Name="{name}">{inside}</Stage>'


def xml(*stages, of_calibration=()):
    return f"""<PipelineAquaReport><ProjectStructure><ProposalCode>P</ProposalCode>
<ProcessingProcedure>PipelineCalibration</ProcessingProcedure></ProjectStructure>
<QaSummary><ReportDate>2018-07-19 07:10:03</ReportDate><ProcessingTime>2 days, 7:10:03</ProcessingTime>
<CasaVersion>6.6</CasaVersion><PipelineVersion>2024</PipelineVersion><FinalScore>0.40</FinalScore></QaSummary>
<QaPerStage>{"".join(stages)}</QaPerStage><QaPerTopic><Dataset Score="1.0"/><Flagging Score="Undefined"/>
<Calibration Score="0.40">{"".join(of_calibration)}</Calibration><Imaging Score="0.95"/></QaPerTopic>
</PipelineAquaReport>""".encode()


def test_a_wide_terminal_has_one_line_a_row():
    title, _head, first, second = texts(listed(rows(row(0), row(1, reviewer="bob")), NOW, 140))
    assert title == "OUSs ready to be reviewed: 1 (and 1 being reviewed)"
    assert first == (
        f"1  uid://X1/X1/Xb0  2015.1.00657.S  EU  3 h            {RUN}  0.62 warning  D 0.95 F N/A C 0.62 I 1.00"
    )
    assert "with bob" in second


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_one_has_two_and_nothing_is_wider(width):
    lines = texts(listed(rows(row(0), row(1, NO_REPORT)), NOW, width))
    assert len(lines) == 1 + 2 * 3
    assert max(map(len, lines)) <= width
    assert lines[4].split() == [RUN, "0.62", "warning", "D", "0.95", "F", "N/A", "C", "0.62", "I", "1.00"]
    assert lines[6].split() == [RUN, "no", "report", "yet"]


def test_what_does_not_fit_on_the_screen_is_counted():
    many = rows(*(row(number) for number in range(50)))
    lines = texts(listed(many, NOW, 140, most=10))
    assert len(lines) <= 11
    shown = sum("uid://" in each for each in lines)
    assert lines[-1].strip() == f"… and {50 - shown} more: 'list' shows all"
    assert sum("uid://" in each for each in texts(listed(many, NOW, 140, most=51))) == 50


def test_an_ous_whose_times_cannot_be_read_is_listed_all_the_same():
    assert row(0).age_s(NOW) == 10800.0
    assert Row(entity=entity(0), since="yesterday", scores=GOOD).age_s(NOW) == 0.0


def test_nothing_waits():
    assert texts(listed({}, NOW, 80)) == ["OUSs ready to be reviewed: 0"]


def test_who_has_it_is_said():
    assert row(0, reviewer="bob", left=True).held_by() == "left by bob"
    assert row(0, reviewer="bob", mine=True).held_by() == "you"
    assert "\x1b" not in "".join(texts(listed(rows(row(0, reviewer="\x1b[2Jbob")), NOW, 200)))


def test_json_of_a_row():
    found = row(0, reviewer="bob").json(NOW, "http://h/weblogs")
    assert found["weblog"] == f"http://h/weblogs/weblog-X1-X1-Xb0-{RUN}"
    assert (found["ageS"], found["finalScore"], found["band"], found["reviewer"]) == (10800.0, 0.62, "warning", "bob")
    assert found["topics"] == {"Dataset": 0.95, "Flagging": None, "Calibration": 0.62, "Imaging": 1.0}


@pytest.mark.parametrize("width", [30, 40, 60])
def test_a_very_narrow_one_has_rows_broken_between_columns(width):
    lines = texts(listed(rows(row(0), row(1, reviewer="bob")), NOW, width))
    assert max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()).endswith(
        f"2 uid://X1/X1/Xb1 2015.1.00657.S EU 3 h with bob {RUN} 0.62 warning D 0.95 F N/A C 0.62 I 1.00"
    )
    many = rows(*(row(number) for number in range(50)))
    cut = texts(listed(many, NOW, width, most=12))
    assert len(cut) <= 1 + 12
    shown = sum("uid://" in each for each in cut)
    assert cut[-1].strip().startswith(f"… and {50 - shown} more")


LISTED = {1: "uid://X1/X1/Xb0", 2: "uid://X1/X1/Xb1", 7: "uid://A001/X15/X3f7", 9: "uid://X1/X2/Xb0"}
GONE = {3: "uid://X1/X1/Xb2", 8: "uid://X1/X1/Xb3"}


@pytest.mark.parametrize(
    ("typed", "uid"),
    [
        ("1", "uid://X1/X1/Xb0"),
        ("7", "uid://A001/X15/X3f7"),
        ("07", "uid://A001/X15/X3f7"),
        ("X1/Xb0", "uid://X1/X1/Xb0"),
        ("f7", "uid://A001/X15/X3f7"),
        ("Xb1", "uid://X1/X1/Xb1"),
        ("X2/Xb0", "uid://X1/X2/Xb0"),
        (" uid://Z/Z/Z1 ", "uid://Z/Z/Z1"),
    ],
)
def test_numbers_uids_and_unambiguous_endings_choose(typed, uid):
    assert chosen(typed, LISTED, GONE) == uid


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("Xb0", "2 OUSs end in 'Xb0': uid://X1/X1/Xb0, uid://X1/X2/Xb0"),
        ("X9", "'X9' is no number of the list, no UID"),
        ("3", "^3 is no longer in the list: it was uid://X1/X1/Xb2$"),
        ("0", "^there is no number '0' in the list$"),
        ("4", "^there is no number '4' in the list$"),
        ("1" * 5000, "^there is no number '1+… in the list$"),
        ("nothing", "no OUS in the list ends so"),
        ("uid://X1", "is not an OUS UID"),
        ("", "no number"),
    ],
)
def test_what_chooses_nothing_says_why(typed, complaint):
    with pytest.raises(BadInput, match=complaint):
        chosen(typed, LISTED, GONE)


def test_digits_are_never_taken_for_the_ending_of_a_uid():
    left = {2: "uid://X1/X1/Xc1", 3: "uid://X1/X1/Xc2", 4: "uid://X1/X1/X10"}
    with pytest.raises(BadInput, match=r"^1 is no longer in the list: it was uid://X1/X1/Xb0$"):
        chosen("1", left, {1: "uid://X1/X1/Xb0"})
    with pytest.raises(BadInput, match=r"^there is no number '0' in the list$"):
        chosen("0", left, {})
    assert chosen("c1", left, {}) == "uid://X1/X1/Xc1"


def test_bars_are_as_long_as_the_score():
    assert bar(0.5, blocks=True) == ("warning", "█" * 10 + "░" * 10)
    assert bar(1.0, blocks=False) == ("standard", "#" * 20)
    assert bar(None, blocks=False) == ("undefined", "-" * 20)


def test_the_overview_shows_scores_and_what_pulled_them_down_worst_first():
    bad = stage(5, "hifa_bandpass", "0.40", "SNR is low"), stage(7, "hifa_x", "0.7", "a little low")
    lines = texts(reading.overview(xml(*bad, of_calibration=reversed(bad)), 80, blocks=True))
    assert "Calibration ████████░░░░░░░░░░░░ 0.40 warning" in lines
    assert "Flagging    ░░░░░░░░░░░░░░░░░░░░ undefined" in lines
    assert lines.index("      5 hifa_bandpass  0.40 warning") < lines.index("      7 hifa_x  0.70 below standard")
    assert "        SNR is low" in lines
    assert not any("of no topic" in each for each in lines)


def test_stages_of_no_topic_are_shown_too_as_in_the_seeds_mock():
    lines = texts(reading.overview(xml(stage(5, "hifa_bandpass", "0.40", "SNR")), 80, blocks=True))
    assert lines[lines.index("Below standard, of no topic") + 1] == "      5 hifa_bandpass  0.40 warning"


def test_reasons_are_folded_and_cannot_steer_the_terminal():
    reason = "long &#x202e; words " * 20
    lines = reading.overview(xml(stage(5, "n", "0.4", reason)), 60, blocks=True)
    assert max(len(each) for each in texts(lines)) <= 60
    assert all(plain(each).isprintable() for each in lines)
    assert any("\\u202e" in each for each in texts(lines))


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("short", 40, ["short"]),
        ("", 40, [""]),
        ("please write a comment", 15, ["please write a", "comment"]),
        (
            "see http://localhost:8001/weblogs/weblog-X1 now",
            20,
            ["see", "http://localhost:8001/weblogs/weblog-X1", "now"],
        ),
        ("  3         the images, all of them", 26, ["  3         the images,", "            all of them"]),
        ("  a term that is long  and more", 24, ["  a term that is long", "  and more"]),
        ("Comment: ", 40, ["Comment: "]),
    ],
)
def test_lines_are_broken_between_words_and_no_word_is(text, width, lines):
    assert texts(wrapped(line(text), width)) == lines


def test_what_is_broken_keeps_its_styles():
    assert wrapped((("bold", "one two"), ("", " three"), ("dim", "four")), 8) == [
        (("bold", "one two"),),
        (("", ""), ("", "three"), ("dim", "four")),
    ]


def test_a_narrow_terminal_has_shorter_bars_and_whole_uids():
    uid = "uid://A001/X15a2/X3f7-and-so-on-for-longer-than-the-line"
    lines = texts(reading.overview(xml(stage(5, "hifa_bandpass", "0.40", f"see {uid} for more")), 40, blocks=True))
    assert "Calibration ███░░░░░ 0.40 warning" in lines
    assert f"        {uid}" in lines


def test_what_is_no_report_says_what_is_missing():
    lines = texts(reading.overview(b"<PipelineAquaReport/>", 80, blocks=True))
    assert lines == ["This report cannot be read:", "    the report has no ProjectStructure"]
    assert texts(reading.raw(b"<a>\x1b[2J\xff</a>\n")) == ["<a>\\x1b[2J\\xff</a>"]


def test_the_whole_report_has_every_score_with_metric_and_data():
    lines = texts(reading.whole(xml(stage(5, "n", "0.95", "fine", ("0.1", "spw 17 is noisy"))), 80, blocks=True))
    assert lines[4:] == [
        "5 n",
        "    0.95 standard",
        "        fine",
        "        M = 1 deg; spw 17",
        "    0.10 error",
        "        spw 17 is noisy",
        "        M = 1 deg; spw 17",
    ]


def test_earlier_runs_come_with_their_verdicts():
    review = Review(run=RUN, flag="Fail", reason="imaging", comment="too wide", reviewer="ada", at=f"{RUN}000")
    lines = texts(reading.earlier([RUN, "2026-11-20T11:00:00.001"], [review], {RUN: GOOD}, 80))
    assert lines == [
        "Earlier runs",
        f"  {RUN}  0.62 warning",
        "    Fail [imaging] by ada, 2026-11-20 10:00 UTC: too wide",
        "  2026-11-20T11:00:00.001  no report",
    ]
    assert texts(reading.earlier([], [], {}, 80)) == ["No earlier run has a report."]


def test_scores_of_what_is_no_report():
    assert scores_of("id", {"encodedReport": "PGE+"}).problem == "unreadable"
    assert scores_of("id", {"encodedReport": "%"}).problem == "unreadable"


HELD = entity(0, state="Reviewing", reviewer=Reviewer("bob", "aqua-qa2@h:1"))


def sign(at, *, ended=False):
    return {"at": f"2026-11-20T{at}.000000", "every": 1.0, "ended": ended}


@pytest.mark.parametrize(
    ("taken", "heard", "abandoned"),
    [
        (HELD, sign("11:59:59"), False),
        (HELD, sign("11:59:30"), False),  # dead, but for less than a lease
        (HELD, sign("11:58:59"), True),
        (HELD, sign("11:59:59", ended=True), False),
        (HELD, sign("11:58:00", ended=True), True),
        (HELD, {}, True),  # an hour in review, by somebody who does not say when he was there
        (HELD, None, True),
        (entity(0, reviewer=HELD.reviewer, timestamp="2026-11-20T11:55:00.000000"), None, False),
        (entity(0, reviewer=Reviewer("bob")), None, False),
        (entity(0), None, False),
    ],
)
def test_a_review_is_abandoned_a_lease_after_the_last_sign_of_life(taken, heard, abandoned):
    assert holding.is_abandoned(taken, heard, NOW, 60.0) is abandoned
