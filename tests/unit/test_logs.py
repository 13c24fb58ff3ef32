"""Log files are rotated: a process that talks for years fills no disk."""

import logging

import pytest

from shared import logs
from shared.errors import DatabaseAway, DeadlineExceeded, Forbidden, NotNow, OutcomeUnknown, Refused


@pytest.fixture
def restored():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for each in set(root.handlers) - set(handlers):
        each.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_name_of_anybodys_moves_no_cursor(tmp_path, restored):
    logs.set_up("xtss", level="INFO", form="text", file=tmp_path / "xtss.log")
    name = "a\x1b[2Jb\x9bc\u202ed\ne"

    def fail():
        raise ValueError(name)

    try:
        fail()
    except ValueError:
        logging.getLogger("drw").exception("%s", name)
    first, *traceback = (tmp_path / "xtss.log").read_text().splitlines()
    assert first.endswith(r"xtss ERROR a\x1b[2Jb\x9bc\u202ed\ne")
    assert r"ValueError: a\x1b[2Jb\x9bc\u202ed" in traceback


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_of_so_many_bytes_gets_a_successor_and_six_are_kept_in_all(tmp_path, monkeypatch, restored, form):
    monkeypatch.setattr(logs, "_FILE_BYTES", 1000)
    logs.set_up("xtss", level="INFO", form=form, file=tmp_path / "xtss.log")
    for number in range(200):
        logging.getLogger("drw").info("line %d", number)
    found = sorted(tmp_path.iterdir())
    assert [path.name for path in found] == ["xtss.log", *(f"xtss.log.{n}" for n in range(1, 6))]
    assert all(path.stat().st_size <= 1000 for path in found)
    assert "line 199" in (tmp_path / "xtss.log").read_text()


@pytest.fixture
def said(monkeypatch, caplog):
    """Return what is said of some troubles: errors, and after how many seconds of good days another one."""
    now = [1000.0]
    monkeypatch.setattr(logs, "elapsed_s", lambda: now[0])
    trouble = logs.Trouble(logging.getLogger("test"), "nobody is told")

    def meet(*troubles):
        for each in troubles:
            if isinstance(each, Exception):
                trouble.met(each)
            else:
                trouble.over()
                now[0] += each
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    return meet


def test_what_fails_again_and_again_is_said_once_for_each_reason_and_an_outage_not_at_all(said):
    met = [Refused("no index"), Refused("no index"), DatabaseAway("away"), Refused("no index"), Forbidden("no")]
    assert said(*met, *met) == ["nobody is told: no index", "nobody is told: no"]


def test_that_nobody_answers_is_said_once_whichever_request_it_was(said):
    met = [DeadlineExceeded(f"xtss did not answer message {number}") for number in range(3)]
    assert said(*met, OutcomeUnknown("a write")) == ["nobody is told: xtss did not answer message 0"]


def test_what_comes_again_after_good_days_is_said_again_whatever_was_met_before_it(said):
    assert said(NotNow("too few"), 86400, DatabaseAway("away"), NotNow("too few")) == ["nobody is told: too few"] * 2


def test_what_fails_and_goes_well_by_turns_is_said_once(said):
    assert said(NotNow("too few"), 1.0, NotNow("too few"), 1.0, NotNow("too few")) == ["nobody is told: too few"]
