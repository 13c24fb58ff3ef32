"""What is no text in UTF-8, on a command line, in the environment, in a file or at a prompt: one sentence each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

SCRIPTS = Path(sys.executable).parent
CAFE = b"caf\xe9"


def run(*words, stdin=b"", **environ):
    done = subprocess.run(
        [SCRIPTS / words[0], *words[1:]],
        env={**os.environ, "PYTHONUTF8": "1", **environ},
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "words",
    [
        ["drw", "pause", "ingest.JAO", "--reason", CAFE],
        ["drw", "drain", "xtss", "--reason", CAFE],
        ["drw", "send", "foo", "{}", "--reason", CAFE],
        ["drw", "send", "foo", "{}", "--key", CAFE],
        ["drw", "call", "foo", "{}", "--reason", CAFE],
        ["drw", CAFE],
        ["launcher", CAFE],
    ],
)
def test_an_argument_that_is_no_text_is_refused_before_anything_is_done(words):
    status, out, err = run(*words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert r"'caf\udce9' is no text in UTF-8: " in err


def test_a_setting_that_is_no_text_is_refused(tmp_path):
    for variable in ("COUCHDB_USER", "COUCHDB_PASSWORD", "DRW_COUCHDB_URL", "DRW_PEOPLE_FILE"):
        couchdb = {"COUCHDB_USER": "ada", "COUCHDB_PASSWORD": "secret1"}
        status, out, err = run("drw", "status", **{"DRW_HOME": str(tmp_path), **couchdb, variable: CAFE})
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"drw: {variable} is no text in UTF-8")


def test_couchlet_refuses_credentials_that_are_no_text(tmp_path):
    status, _, err = run("couchlet", DRW_HOME=str(tmp_path), COUCHDB_USER="ada", COUCHDB_PASSWORD=CAFE)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith("couchlet: COUCHDB_PASSWORD is no text in UTF-8")
    (tmp_path / "credentials").write_bytes(b"COUCHDB_USER=admin\nCOUCHDB_PASSWORD=" + CAFE + b"\n")
    status, _, err = run("couchlet", DRW_HOME=str(tmp_path), COUCHDB_USER="", COUCHDB_PASSWORD="")
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"couchlet: {tmp_path / 'credentials'} is no text in UTF-8")


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_a_password_that_is_no_text_is_refused(tmp_path, utf8):
    status, _, err = run(
        "drw", "people", "add", "eve", stdin=CAFE * 3 + b"\n", DRW_HOME=str(tmp_path), LC_ALL="C", PYTHONUTF8=utf8
    )
    assert (status, err.count("\n")) == (2, 1)
    assert "the password is no text in UTF-8" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (b"caf\xe9caf\xe9\n", "the password is no text in UTF-8"),
        (b"\x04", "no password was typed: nothing was changed"),
    ],
)
def test_at_a_terminal_too(tmp_path, typed, said):
    terminal = pexpect.spawn(
        str(SCRIPTS / "drw"),
        ["people", "add", "eve"],
        env={**os.environ, "DRW_HOME": str(tmp_path), "PYTHONUTF8": "1"},
        timeout=30,
    )
    terminal.expect("password of eve: ")
    terminal.send(typed)
    text = terminal.read().decode()
    terminal.close()
    assert (terminal.exitstatus, said in text, "Traceback" in text) == (2, True, False), text
