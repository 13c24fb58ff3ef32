"""Tables for terminals, and how signs of life are read for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from rich.console import Console

from drw import columns
from drw.columns import Line
from drw.demo.check import HEADS
from drw.machine import heartbeats

LINES = [
    Line(("uid://X1/X1/Xb0", "Delivered", "1", "5", "yes", "yes")),
    Line(("uid://X1/X1/Xba", "ProcessingProblem", "0", "0", "no", "NO"), "no complete delivery status of this run"),
]


@pytest.mark.parametrize("width", [80, 40, 30, None])
def test_no_cell_of_a_table_is_ever_broken(width):
    printed = [text for text, _ in columns.laid_out(HEADS, LINES, width)]
    assert all(any(cell in text for text in printed) for line in LINES for cell in line.cells)
    if width:
        assert max(map(len, printed)) <= width


def test_what_others_wrote_moves_no_cursor(capsys):
    evil = "\x1b[2Jgone\u202e"
    columns.print_table(Console(width=80), ["a", "b"], [Line((evil, "x"), note=evil)])
    columns.say(Console(width=80), f"first\n{evil}")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert printed.count(r"\x1b[2Jgone\u202e") == 3
    assert "first\n" in printed


def test_at_80_columns_each_has_one_line():
    assert len(list(columns.laid_out(HEADS, LINES[:1], 80))) == 2


def test_numbers_and_names_in_sentences():
    assert (columns.counted(1, "file"), columns.counted(2, "file")) == ("1 file", "2 files")
    assert columns.counted(0, "entry", "entries") == "0 entries"
    assert (columns.listed(["a"]), columns.listed(["a", "b", "c"])) == ("a", "a, b and c")


@pytest.mark.parametrize(
    ("doc", "stands"),
    [
        ({"at": "2026-11-20T10:00:00.000000", "every": 10.0}, "alive"),
        ({"at": "2026-11-20T09:59:29.000000", "every": 10.0}, "dead"),
        ({"at": "2026-11-20T10:00:00.000000", "every": 10.0, "ended": True}, "ended"),
        ({"at": "soon", "every": 10.0}, "dead"),
        ({}, "dead"),
    ],
)
def test_who_has_not_given_a_sign_for_three_times_its_interval_is_dead(doc, stands):
    assert heartbeats.standing(doc, datetime(2026, 11, 20, 10, tzinfo=UTC)) == stands
