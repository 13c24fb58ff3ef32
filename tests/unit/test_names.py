"""Names round-trip, and what could not have been made by us is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import names
from shared.errors import BadInput

PART = st.from_regex(r"[A-Za-z0-9]{1,12}", fullmatch=True)
UIDS = st.builds("uid://{}/{}/{}".format, PART, PART, PART)
PROGRAMS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9.-]{0,20}", fullmatch=True)
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(UIDS)
def test_uid_and_document_id_round_trip(uid):
    assert names.uid_of_document(names.document_id(uid)) == uid


def test_document_id_of_the_seed():
    assert names.document_id("uid://A003/X1/X1b") == "uid___A003_X1_X1b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uid://X1/X1",
        "uid://X1/X1/Xb0/",
        "uid://X1/X1/X_0",
        "uid://X1/../X1",
        "UID://X1/X1/X1",
        "uid://X1/X1/X1\n",
        "uid://X1/X1/X\u0661",
        "uid://X1/X1/" + "X" * 65,
        None,
        7,
    ],
)
def test_what_is_no_uid_is_refused_and_named(text):
    with pytest.raises(BadInput, match="is not an OUS UID"):
        names.uid(text)


@given(PROGRAMS, MOMENTS)
def test_products_directory_round_trips(program, moment):
    run = names.iso(moment)
    assert names.split_products_dir(names.products_dir(program, run)) == (program, run)


def test_names_of_the_seed():
    run = "2018-07-19T07:10:03.781"
    assert names.products_dir("2015.1.00657.S", run) == "2015.1.00657.S_2018_07_19T07_10_03.781"
    assert names.weblog("uid://X1/X1/Xa1", run) == "weblog-X1-X1-Xa1-2018-07-19T07:10:03.781.zip"
    assert names.report("uid://X1/X1/Xa1", run) == "pl-report-X1-X1-Xa1-2018-07-19T07:10:03.781.xml"
    assert names.report_id("uid://X1/X1/Xa1", run) == f"{run}.uid___X1_X1_Xa1"
    assert (
        names.products_path("2015.1.00657.S", run, "uid://X1/X1/Xc1")
        == "2015.1.00657.S_2018_07_19T07_10_03.781/SOUS/GOUS/uid___X1_X1_Xc1/products"
    )


@pytest.mark.parametrize("program", ["", "2015_1", ".hidden", "-rf", "a/b", "a" * 65, "a b", None])
def test_what_is_no_program_id_is_refused(program):
    with pytest.raises(BadInput, match="is not a program id"):
        names.program_id(program)


@pytest.mark.parametrize(
    "name",
    ["", "..", "a_2018_07_19T07_10_03", "../a_2018_07_19T07_10_03.781", "a_2018_13_19T07_10_03.781", "a_b", None],
)
def test_what_is_no_products_directory_is_refused(name):
    with pytest.raises(BadInput):
        names.split_products_dir(name)


@given(MOMENTS, st.sampled_from(names.EXECUTIVES), st.sampled_from(names.EXECUTIVES))
def test_no_two_executives_choose_the_same_time(moment, one, other):
    mine, theirs = names.run_timestamp(moment, one), names.run_timestamp(moment, other)
    assert (mine == theirs) == (one == other)
    assert (
        timedelta()
        <= names.moment(mine) - moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        <= timedelta(milliseconds=3)
    )


@pytest.mark.parametrize("executive", ["eu", "", "XX", None, "EU "])
def test_what_is_no_executive_is_refused(executive):
    with pytest.raises(BadInput, match="EA, EU, JAO, NA"):
        names.executive(executive)


@given(st.text(max_size=300))
def test_a_file_name_never_leaves_its_folder(text):
    try:
        name = names.file_name(text)
    except BadInput:
        return
    assert "/" not in name
    assert name not in {".", ".."}
    assert not name.startswith(("-", "."))
    assert "\x00" not in name
    assert len(name.encode()) <= 255


@pytest.mark.parametrize("text", ["../x", "a/../b", "/etc/passwd", "a//b", "-rf", "a/-rf", "a\nb", "", "a/", "\x00"])
def test_relative_paths_that_could_leave_are_refused(text):
    with pytest.raises(BadInput):
        names.relative_path(text)


def test_an_error_shows_a_long_or_strange_value_short_and_escaped():
    with pytest.raises(BadInput) as caught:
        names.uid("uid://\x1b[31m" + "x" * 5000)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("product", "wanted"),
    [
        ("image.data", ("image.data", "F/image.data")),
        ("a/x", ("F/a/x",)),
        ("_design", ("F/_design",)),
        ("weblog-X9-X9-X9-2018-07-19T07:10:03.781.zip", ("F/weblog-X9-X9-X9-2018-07-19T07:10:03.781.zip",)),
    ],
)
def test_the_names_that_a_product_can_be_archived_under(product, wanted):
    assert names.product_names("F", product) == wanted
