"""Standard output that is closed, full, cut off or of few characters, and text of others on it."""

from __future__ import annotations

import json
import subprocess

import pytest

from shared import names, status

OUS = "uid://X1/X1/Xb0"
GOTCHA = "\x1b[2J\x1b[31m\u202egotcha"
CANNOT = "what there is to say cannot be written: "


@pytest.fixture(scope="module")
def place(system_of_module):
    """A system with xtss, and one OUS that waits for a driver."""
    system_of_module.start("xtss")
    assert system_of_module.launch(OUS).returncode == 0
    return system_of_module


def shell(place, command, **environ):
    """Run a line of bash; return its exit status (of the first of a pipe), what it prints, and what it complains."""
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        env={**place.environ, "PATH": f"{place.scripts}:{place.environ['PATH']}", "PYTHONUNBUFFERED": "", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    out, err = done.stdout.decode("latin-1"), done.stderr.decode("latin-1")
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err
    return done.returncode, out, err


def test_what_a_locale_has_no_characters_for_is_spelled_out(place):
    place.connection.database(status.DATABASE).mutate(
        names.document_id(OUS), lambda doc: doc | {"history": [doc["history"][0] | {"note": "\u2713 \u2026"}]}
    )
    for command in ("drw send -h", f"drw ous {OUS}"):
        code, out, err = shell(place, command, PYTHONIOENCODING="latin-1")
        assert (code, r"\u2026" in out, err) == (0, True, "")
    code, _, err = shell(place, f"launcher '{'x' * 99}' {OUS}", PYTHONIOENCODING="latin-1")
    assert (code, r"\u2026" in err) == (2, True)


def test_the_text_of_others_steers_no_terminal(place):
    reason = "--reason $'" + GOTCHA.replace("\x1b", r"\e") + "'"
    for command in (f"drw pause ingest.JAO {reason}", "drw pause"):
        code, out, err = shell(place, command, PYTHONUTF8="1")
        assert (code, r"\x1b[2J\x1b[31m\u202egotcha" in out, "\x1b" in out, err) == (0, True, False, "")
    assert shell(place, "drw resume ingest.JAO")[0] == 0
    code, _, err = shell(place, "drw unsubscribe work.done $'\\e[31mx'")
    assert (code, "\x1b" in err) == (2, False)


@pytest.mark.parametrize("more", ["", " --json"])
def test_what_waits_for_review_cannot_be_written(place, more):
    for output, says in ((">&-", f"aqua-qa2: {CANNOT}"), (">/dev/full", f"aqua-qa2: {CANNOT}"), ("| true", "")):
        code, out, err = shell(place, f"aqua-qa2 --list{more} {output}")
        if says or code:  # what is short may be written before its reader ends
            assert (code, out) == (1, "")
        assert err.startswith(says)
        assert err.count("\n") == bool(says)


def test_help_cannot_be_written(place):
    for output, says in ((">&-", CANNOT), (">/dev/full", CANNOT)):
        for command in ("drw", "launcher"):
            code, out, err = shell(place, f"{command} -h {output}")
            assert (code, out, err.count("\n")) == (1, "", 1)
            assert err.startswith(f"{command}: {says}")


def test_who_launches_into_a_full_disk_hears_that_it_was_launched(place):
    for number, output in enumerate((">/dev/full", ">&-"), 1):
        uid = f"uid://X1/X1/Xb{number}"
        code, out, err = shell(place, f"launcher 2015.1.00657.S {uid} {output}")
        assert (code, out) == (1, "")
        assert err.startswith(f"{uid} is launched")
        assert f"launcher: {CANNOT}" in err
        assert place.entity(uid)


def test_who_sends_into_a_full_disk_hears_which_message_was_sent(place):
    code, out, err = shell(place, "drw send work.done '{}' >/dev/full")
    assert (code, out) == (1, "")
    sent, complaint = err.splitlines()
    assert place.connection.database("msgq").get(sent)["selector"] == "work.done"
    assert complaint.startswith(f"drw: {CANNOT}")


def test_a_password_is_not_read_from_a_closed_input(place):
    code, out, err = shell(place, "drw people add eve <&-")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert json.loads(shell(place, "drw people list --json <&-")[1]) == []
