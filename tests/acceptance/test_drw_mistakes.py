"""What an operator mistypes: one sentence and status 2, or a hint where it may be meant; never a traceback."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from drw import cli
from drw.machine import database, tmux
from shared.bus import Bus

OUS = "uid://X1/X1/Xb0"
UNKNOWN = "uid://X1/X1/Xb7"


@pytest.fixture(scope="module")
def place(system_of_module):
    """A system with xtss, and one OUS that waits for a driver."""
    system_of_module.start("xtss")
    assert system_of_module.launch(OUS).returncode == 0
    return system_of_module


@pytest.fixture
def drw(place, monkeypatch, capsys):
    """Run drw in this process, which saves a start; return its exit status, what it prints, and what it complains."""
    for name, value in place.environ.items():
        monkeypatch.setenv(name, value)

    def run(*argv):
        capsys.readouterr()
        gc.disable()  # what other tests left must not be tidied up in the depth of one that is about depth
        try:
            status = cli.main(argv)
        except SystemExit as ended:
            status = ended.code
        finally:
            gc.enable()
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def nested(depth):
    return '{"x":' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["send", "cached.JAO", nested(5000)], "nested too deep"),
        (["send", "cached.JAO", nested(990)], "nested too deep|cannot be sent|^$"),
        (["call", "xtss", nested(5000)], "nested too deep"),
        (["send", "cached.JAO", "[1]"], "is no JSON object"),
        (["send", "cached.JAO", '{"n":' + "1" * 6000 + "}"], "is no JSON object|cannot be sent"),
        (["send", "cached.JAO", "{}", "--key", ""], "is no key"),
        (["send", "cached.JAO", "{}", "--delay", "999999999d"], "too long a span"),
        (["call", "xtss", "{}", "--key", ""], "is no key"),
        (["check", UNKNOWN], f"there is no OUS '{UNKNOWN}': did you mean {OUS}"),
        (["rebuild", UNKNOWN], f"there is no OUS '{UNKNOWN}': did you mean {OUS}"),
        (["messages", "_all_docs"], "not how the id of a message begins"),
        (["messages", "_design/ready"], "not how the id of a message begins"),
        (["messages", ""], "not how the id of a message begins"),
        (["messages", "control:"], "no message begins with"),
        (["messages", "pipeline.process.EU:", "--state", "dead"], "leave one of them away"),
        (["messages", "--limit", "-5"], "no whole number from 1 on"),
        (["messages", "--limit", "0"], "no whole number from 1 on"),
        (["logs", "xtss", "-n", "-5"], "no whole number from 0 on"),
        (["tail", "--count", "0"], "no whole number from 1 on"),
        (["tail", "--count", "-1"], "no whole number from 1 on"),
        (["audit", "--limit", "9" * 5000], "no whole number from 1 on"),
        (["janitor", "--every", "-1"], "no number of seconds above 0"),
        (["janitor", "--every", "0"], "no number of seconds above 0"),
        (["status", "--watch", "abc"], "'abc' is no number of seconds above 0"),
        (["status", "--watch", "inf"], "no number of seconds above 0"),
        (["status", "--watch", "1e12"], "no number of seconds above 0, of 3153600000 at most"),
        (["janitor", "--every", "1e12"], "no number of seconds above 0, of 3153600000 at most"),
        (["status", "--watch", "--json"], "--watch is for people, --json for programs"),
        (["logs", "xtss", "-f", "--json"], "--follow is for people, --json for programs"),
        (["call", "foo", "{}", "--deadline", "0s"], "'0s' is no time at all"),
        (["send", "foo", "{}", "--expires", "0s"], "'0s' is no time at all"),
        (["drain", "xtss", "--wait", "0s"], "'0s' is no time at all"),
        (["ous", OUS, "--state", "Delivered", "--page", "2"], "--state and --page choose among all OUSs"),
        (["rerun", "--limit", "3"], "which OUSs? say --state"),
        (["launch", "--from", "/"], "'/' cannot be read: Is a directory"),
        (["launch", "--from", "/no/such/file"], "cannot be read: No such file"),
        (["launch", "--from", "/bin/sh"], "/bin/sh is no text"),
        (["resume", "ingest.JAP"], "ingest.JAP is not paused: 'drw pause' shows what is"),
        (["pause", "ingest.JAO", "--reason", "x", "--until", "99999999d"], "too long a span"),
        (["pause", "ingest.JAO", "--reason", "x", "--until", "0001-01-01T00:00+14:00"], "is no time"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(drw, argv, says):
    status, out, err = drw(*argv)
    assert "Traceback" not in err
    if "^$" in says and status == 0:
        return  # as deep as it may be
    assert (status, out) == (2, ""), (out, err)
    assert err.count("\n") == 1, err
    assert any(each in err for each in says.split("|")), err
    assert "_seconds" not in err


def test_a_span_of_nothing_is_a_span(drw):
    assert drw("rerun", "--older-than", "0s") == (0, "0 OUSs\n", "")


@pytest.mark.parametrize("columns", ["0", "1", "2"])
def test_a_terminal_may_be_as_narrow_as_it_likes(place, columns):
    for command in (["status"], ["ous"], ["queue"], ["send", "-h"]):
        done = subprocess.run(
            [place.scripts / "drw", *command],
            env={**place.environ, "COLUMNS": columns},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_what_is_asked_of_xtss_may_be_any_json(drw):
    status, _, err = drw("call", "xtss", json.dumps({"operation": {"a": 1}, "ousUID": None}))
    assert status == 1
    assert "xtss answered with Bad" in err
    assert err.count("\n") == 1


def test_check_counts_what_it_was_asked_about(drw, place):
    assert place.launch("uid://X1/X1/Xb1").returncode == 0
    _, out, _ = drw("check", OUS, "--quick")
    assert "nothing contradicts anything: 1 OUS, 1 message open or dead, 0 reports, 0 archived files, " in out
    assert "and no cache, because neither DRW_EU_CACHE, " in out
    assert f"nor DRW_JAO_CACHE, {place.jao}, names one on this machine" in out
    assert "2 OUSs, 2 messages open" in drw("check", "--quick")[1]
    assert json.loads(drw("check", OUS, "--json")[1])["looked_at"]["ous"] == 1


def test_pausing_what_nobody_listens_to_is_done_with_a_hint(drw):
    for selector, meant in (("ingest.JAP", "ingest.JAO"), ("pipelin.process.*", "pipeline.process.*")):
        status, out, err = drw("pause", selector, "--reason", "a new site", "--until", "1.5h")
        assert (status, err) == (0, f"drw: nobody listens to {selector} now: did you mean {meant}?\n")
        assert out.startswith(f"{selector} is paused until ")
    assert "is not paused: did you mean ingest.JAP?" in drw("resume", "ingest.JAO")[2]
    assert drw("resume", "ingest.JAP")[0] == 0
    assert drw("resume", "pipelin.process.*")[0] == 0
    for selector in ("cached.*", "ingest.JAO"):
        status, _, err = drw("pause", selector, "--reason", "x", "--until", "30min")
        assert (status, err) == (0, "")
        assert drw("resume", selector)[0] == 0


def test_names_that_are_mistyped_get_those_that_are_close(drw, place):
    status, out, err = drw("messages", "--selector", "ingest.JAP")
    assert (status, out) == (0, "0 of 0 messages\n")
    assert err == "drw: nobody listens to ingest.JAP now: did you mean ingest.JAO?\n"
    assert drw("messages", "--selector", "zzz")[2] == "drw: nobody listens to zzz now\n"
    assert drw("messages", "--ous", UNKNOWN)[2].startswith(f"drw: there is no OUS '{UNKNOWN}': did you mean uid:")
    assert drw("messages", "--ous", OUS)[2] == ""
    assert drw("messages", "--selector", "verdict.JAO")[2] == ""
    tail = place.start("drw", "tail", "--selector", "verdikt.JAO", "--ous", UNKNOWN, ready="following")
    assert "did you mean verdict.JAO" in tail.text
    assert f"there is no OUS '{UNKNOWN}'" in tail.text
    assert tail.stop(2) == 130


def test_who_sends_to_a_selector_that_is_mistyped_hears_of_those_that_are_close(drw):
    for command in (["send", "ingest.JAP", "{}"], ["call", "xtsx", "{}", "--deadline", "0.1s"]):
        assert "did you mean" in drw(*command, "--reason", "x")[2]


def test_a_message_is_printed_by_how_its_id_begins(drw, place):
    message = Bus(place.connection, place.settings, me="test").send("work.EU", {"n": 1})
    assert json.loads(drw("messages", message)[1])["body"] == {"n": 1}
    assert json.loads(drw("messages", "work.E")[1])["body"] == {"n": 1}


def test_a_closed_output_is_said(place):
    for closing_, says in ((">&-", "what there is to say cannot be written"), (">&- 2>&-", "")):
        done = subprocess.run(
            ["sh", "-c", f'"$0" status {closing_}', str(place.scripts / "drw")],
            env=place.environ,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        assert says in done.stderr


class _Stranger(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Keep silent."""


def test_a_database_that_says_nothing_is_away_and_is_nobodys_to_stop(drw, monkeypatch):
    monkeypatch.setattr(database, "_PROBE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("DRW_COUCHDB_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        status, _, err = drw("status")
        assert (status, "is it busy, or stopped?" in err, "no CouchDB" in err) == (3, True, False)
        assert drw("doctor")[0] == 3


def test_what_is_no_couchdb_has_one_status_everywhere(drw, monkeypatch):
    server = HTTPServer(("127.0.0.1", 0), _Stranger)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("DRW_COUCHDB_URL", f"http://127.0.0.1:{server.server_port}")
    status, _, err = drw("status")
    assert (status, "is no CouchDB" in err) == (1, True)
    status, out, _ = drw("doctor")
    assert (status, "is no CouchDB" in " ".join(out.split())) == (1, True)
    server.shutdown()
    server.server_close()


def test_how_to_look_at_the_windows_works_within_tmux_too(monkeypatch):
    monkeypatch.delenv("TMUX", raising=False)
    assert tmux.how_to_look() == "tmux attach -t drw"
    monkeypatch.setitem(os.environ, "TMUX", "/tmp/tmux-0/default,1,0")
    assert tmux.how_to_look() == "tmux switch-client -t drw"
