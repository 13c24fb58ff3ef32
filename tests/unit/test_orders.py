"""Which OUSs an operator means: UIDs, ranges, lines of a file."""

from __future__ import annotations

import pytest

from drw import orders
from drw.orders import Order
from shared.errors import BadInput


@pytest.mark.parametrize(
    ("text", "uids"),
    [
        ("uid://X1/X1/Xb0", ["uid://X1/X1/Xb0"]),
        ("uid://X1/X1/Xb0..Xb2", ["uid://X1/X1/Xb0", "uid://X1/X1/Xb1", "uid://X1/X1/Xb2"]),
        ("uid://X1/X1/X9..b", ["uid://X1/X1/X9", "uid://X1/X1/Xa", "uid://X1/X1/Xb"]),
        ("uid://X1/X1/X0f..X11", ["uid://X1/X1/X0f", "uid://X1/X1/X10", "uid://X1/X1/X11"]),
        ("uid://X1/X1/X5..X5", ["uid://X1/X1/X5"]),
    ],
)
def test_a_word_means_one_or_a_range(text, uids):
    assert orders.uids(text) == uids


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("uid://X1/X1", "is not"),
        ("uid://X1/X1/Xb0..", "is no range"),
        ("uid://X1/X1/Xb0..X1/Xb2", "is no range"),
        ("uid://X1/X1/Xb2..Xb0", "ends before it begins"),
        ("uid://X1/X1/X0..Xfffffff", "more than the 10000"),
    ],
)
def test_what_is_no_uid_and_no_range_is_refused(text, says):
    with pytest.raises(BadInput, match=says):
        orders.uids(text)


def test_a_line_is_a_uid_or_what_launcher_takes():
    lines = [
        "# tonight",
        "",
        "uid://X1/X1/Xb0",
        "2015.1.00657.S uid://X1/X1/Xb1  # the bright one",
        "2015.1.00657.S uid://X1/X1/Xb2..Xb3 PipelineImaging NA",
    ]
    assert list(orders.of_lines(lines, "it")) == [
        Order("uid://X1/X1/Xb0"),
        Order("uid://X1/X1/Xb1", "2015.1.00657.S"),
        Order("uid://X1/X1/Xb2", "2015.1.00657.S", "PipelineImaging", "NA"),
        Order("uid://X1/X1/Xb3", "2015.1.00657.S", "PipelineImaging", "NA"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "2015.1.00657.S",
        "2015.1.00657.S nothing",
        "a uid://X1/X1/Xb1 r EU x",
        "p uid://X1/X1/Xb1 r XX",
        "p_ uid://X1/X1/Xb1",
    ],
)
def test_a_bad_line_is_named_by_its_number(line):
    with pytest.raises(BadInput, match=r"^line 2 of tonight: "):
        list(orders.of_lines(["uid://X1/X1/Xb0", line], "tonight"))


def test_of_two_orders_for_one_ous_the_last_counts_at_the_place_of_the_first():
    one, two = Order("uid://X1/X1/Xb0"), Order("uid://X1/X1/Xb1")
    again = Order("uid://X1/X1/Xb0", recipe="PipelineImaging")
    assert orders.once_each([one, two, again]) == [again, two]
