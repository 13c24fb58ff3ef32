"""The operator's reading commands, as plain processes and at a terminal."""

from __future__ import annotations

import json
import re
import subprocess

import pexpect
import pytest

from shared.bus import queue

OUS = "uid://X1/X1/Xb0"


def answer(system, *args, status=0):
    done = system.run("drw", *args, "--json")
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def refused(system, *args, status=2):
    done = system.run("drw", *args)
    assert done.returncode == status, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def launched(system):
    """A system with xtss alone, and one OUS that waits for a driver."""
    system.start("xtss")
    assert system.launch(OUS).returncode == 0
    return system


def test_status_counts_what_is_there(launched):
    found = answer(launched, "status")
    assert found["states"]["ReadyForProcessing"] == 1
    (waiting,) = [each for each in found["selectors"] if each["selector"] == "pipeline.process.EU"]
    assert waiting["counts"]["ready"] == 1
    assert waiting["listening"] == []
    assert [each["kind"] for each in found["actors"]] == ["xtss"]
    assert {each["name"] for each in found["databases"]} >= {"msgq", "status-entities", "ngas"}
    plain = launched.run("drw", "status").stdout
    for word in ("ReadyForProcessing", "pipeline.process.EU", "nobody", "xtss@", "DRW_HOME"):
        assert word in plain


def test_ous_lists_filters_and_pages(launched):
    for number in range(1, 4):
        assert launched.launch(f"uid://X1/X1/Xb{number}", "PipelineCalibration", "NA").returncode == 0
    assert answer(launched, "ous")["total"] == 4
    assert answer(launched, "ous", "--executive", "NA")["total"] == 3
    assert answer(launched, "ous", "--state", "Delivered")["total"] == 0
    assert answer(launched, "ous", "--program", "2019.1.00001.S")["total"] == 0
    assert answer(launched, "ous", "--older-than", "1h")["total"] == 0
    second = answer(launched, "ous", "--per-page", "3", "--page", "2")
    assert (second["total"], [each["entityId"] for each in second["ous"]]) == (4, ["uid://X1/X1/Xb3"])
    assert "1 of 4 OUSs, page 2 of 2" in launched.run("drw", "ous", "--per-page", "3", "--page", "2").stdout


def test_documents_made_by_hand_are_said_and_left_out(launched):
    tail = launched.start("drw", "tail", "--states", ready="following")
    doc = launched.connection.database("status-entities").get("uid___X1_X1_Xb0")
    del doc["_rev"]
    whole = {"_id": "0123456789abcdef0123456789abcdef", "entityId": "uid://X1/X1/Xb9"}
    hand_made = {
        "none": {"progID": None},
        "odd": {"reviewer": "ada", "history": {"note": "x"}},
        "late": {"timestamp": 7, "history": 7},
    }
    for name, fields in hand_made.items():
        launched.connection.database("status-entities").put({**doc, "_id": name, "entityId": name, **fields})
    launched.connection.database("status-entities").put({**doc, **whole})
    for number, run in enumerate(("yesterday", [1], "2018-07-19T07:10:03.781")):
        launched.connection.database("pipeline-reports").put({"_id": f"{number}", "ousUID": OUS, "timestamp": run})
    listed = launched.run("drw", "ous")
    assert "2 of 2 OUSs" in listed.stdout
    assert all(f"document {name} of status-entities is no status entity" in listed.stderr for name in hand_made)
    assert [run["timestamp"] for run in answer(launched, "ous", OUS)["runs"]] == ["2018-07-19T07:10:03.781"]
    assert launched.run("drw", "ous", OUS).returncode == 0
    assert "did you mean uid://X1/X1/Xb0?" in refused(launched, "why", "uid://X1/X1/Xbo")
    assert answer(launched, "rerun", "--state", "ReadyForProcessing", "--dry-run")["ous"][0]["ous"] == OUS
    tail.wait_for("uid://X1/X1/Xb9 ReadyForProcessing")  # which came last


def test_one_ous_with_all_that_is_kept_of_it(system):
    system.start_all()
    assert system.launch(OUS).returncode == 0
    system.wait_for_state(OUS, "ReadyForReview")
    system.review(OUS)
    system.wait_for_state(OUS, "Delivered")
    found = answer(system, "ous", OUS)
    assert found["history"][-1]["state"] == "Delivered"
    assert [run["timestamp"] for run in found["runs"]] == [found["run"]]
    assert len(found["products"]) == 5
    selectors = [each["selector"] for each in found["messages"]]
    once = ["cached.EU", "ingest.JAO", "pipeline.process.EU", "pipeline.report.JAO", "verdict.JAO"]
    assert sorted(selectors) == sorted([*once, "cached.JAO", "cached.JAO"])  # products and weblog
    plain = system.run("drw", "ous", OUS).stdout
    assert "  ProductsIngested" in plain
    assert "Pass: tested" in plain


def test_queue_and_messages(launched):
    (row,) = answer(launched, "queue", "pipeline.process.EU")["selectors"]
    assert row["counts"] == {"ready": 1, "delayed": 0, "claimed": 0, "dead": 0}
    (message,) = answer(launched, "messages", "--ous", OUS)["messages"]
    assert message["selector"] == "pipeline.process.EU"
    whole = json.loads(launched.run("drw", "messages", message["id"][:30]).stdout)
    assert whole["body"]["ousUID"] == OUS
    assert answer(launched, "messages", "--state", "dead")["total"] == 0
    assert answer(launched, "messages", "--state", "consumed", "--selector", "xtss")["total"] > 0
    assert "1 of 1 message" in launched.run("drw", "messages").stdout
    assert "did you mean pipeline.process.EU" in refused(launched, "queue", "pipeline.proces.EU")
    assert "no message begins with" in refused(launched, "messages", "nothing:1:2")


def test_actors_alive_and_dead(launched):
    (xtss,) = answer(launched, "actors")
    assert (xtss["kind"], xtss["stands"]) == ("xtss", "alive")
    launched.running[0].process.kill()
    database = launched.connection.database("actors")
    database.mutate(xtss["id"], lambda doc: {**doc, "at": "2026-01-01T00:00:00.000000"})
    plain = launched.run("drw", "actors").stdout
    assert "dead" in plain
    assert "0 actors alive, 1 dead" in plain


def test_logs_of_an_actor(launched):
    logs = launched.settings.logs_dir()
    logs.mkdir()
    many = [f"{n} {'x' * n}." for n in range(1000)]
    (logs / "long.log").write_text("\n".join(many))
    assert answer(launched, "logs", "long", "-n", "900")["lines"] == many[-900:]
    assert answer(launched, "logs", "long", "-n", "3000")["lines"] == many
    (logs / "xtss.log").write_text("one\ntwo\nthr\x1bee\n")
    assert launched.run("drw", "logs", "xtss", "-n", "1").stdout == "thr\\x1bee\n"
    (logs / "xtss.log").write_text("one\ntwo\nthree\n")
    assert launched.run("drw", "logs", "xtss", "-n", "2").stdout == "two\nthree\n"
    assert answer(launched, "logs", "xtss@host:12")["lines"] == ["one", "two", "three"]
    assert "did you mean xtss?" in refused(launched, "logs", "xtts")
    following = launched.start("drw", "logs", "xtss", "-f", ready="three")
    with (logs / "xtss.log").open("a") as log:
        log.write("four\n")
    following.wait_for("four")
    assert following.stop(2) == 130


def test_tail_tells_what_comes_and_survives_an_outage(system, couchlet):
    system.start("xtss")
    tail = system.start("drw", "tail", ready="following")
    assert system.launch(OUS).returncode == 0
    tail.wait_for(r"pipeline\.process\.EU:\S+ ready about uid://X1/X1/Xb0")
    tail.wait_for(r"uid://X1/X1/Xb0 ReadyForProcessing")
    couchlet.kill()
    tail.wait_for(r"^drw: ")
    couchlet.start()
    tail.wait_for("is back", timeout=60)
    assert system.launch("uid://X1/X1/Xb1").returncode == 0
    tail.wait_for(r"uid://X1/X1/Xb1 ReadyForProcessing")
    assert not any(line.startswith("Traceback") for line in tail.lines)
    assert tail.stop(2) == 130


def test_tail_as_json_for_one_ous(launched):
    tail = launched.start("drw", "tail", "--json", "--count", "1", "--ous", "uid://X1/X1/Xb5", ready="following")
    for number in (4, 5):
        assert launched.launch(f"uid://X1/X1/Xb{number}").returncode == 0
    event = json.loads(tail.wait_for(r"^\{"))
    assert event["ous"] == "uid://X1/X1/Xb5"
    assert tail.process.wait(20) == 0


def test_doctor_finds_all_well_and_says_what_is_not(system, couchlet):
    good = answer(system, "doctor")
    assert {each["subject"] for each in good} >= {"CouchDB", "rights", "databases", "indexes", "clock", "rsync"}
    assert not [each for each in good if each["stands"] == "wrong"]
    stranger = subprocess.run(
        [str(system.scripts / "drw"), "doctor"],
        env={**system.environ, "COUCHDB_USER": "drw", "COUCHDB_PASSWORD": "mistyped"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (stranger.returncode, stranger.stderr) == (1, "")
    assert re.search(r"^wrong +CouchDB: .* refuses the user", stranger.stdout, re.MULTILINE)
    assert re.search(r"^ok +disk of ", stranger.stdout, re.MULTILINE)
    system.connection.drop_database(queue.DATABASE)
    done = system.run("drw", "doctor")
    assert done.returncode == 1
    assert "databases: msgq missing: 'drw setup' makes them" in done.stdout
    couchlet.stop()
    done = system.run("drw", "doctor")
    assert done.returncode == 3
    assert "none answers at" in done.stdout


def test_without_a_database_every_command_says_so(system, couchlet):
    couchlet.stop()
    for command in (["status"], ["ous"], ["why", OUS], ["queue"], ["messages"], ["actors"], ["tail"]):
        assert "no CouchDB answers at DRW_COUCHDB_URL" in refused(system, *command, status=3)


def test_every_command_helps_with_an_example_and_its_exit_status(system):
    listed = system.run("drw", "-h").stdout
    for command in ("status", "ous", "why", "queue", "messages", "tail", "actors", "logs", "doctor", "completion"):
        assert f"    {command}" in listed
        said = system.run("drw", command, "-h").stdout
        assert "example:  " in said
        assert "exit status:" in said


def test_completion_is_a_script_that_the_shells_take(system):
    bash = system.run("drw", "completion", "bash")
    assert subprocess.run(["bash", "-n"], input=bash.stdout, text=True, check=False).returncode == 0
    ask = f'{bash.stdout}\nCOMP_WORDS=(drw wh) COMP_CWORD=1\n_shtab_drw\necho "${{COMPREPLY[@]}}"\n'
    asked = subprocess.run(["bash", "-c", ask], text=True, capture_output=True, check=True)
    assert asked.stdout.split() == ["why"]
    assert "#compdef drw" in system.run("drw", "completion", "zsh").stdout


def test_status_keeps_watching_at_a_terminal(launched, couchlet):
    drw = str(launched.scripts / "drw")
    terminal = pexpect.spawn(
        drw, ["status", "--watch", "0.3"], env=launched.environ, dimensions=(60, 100), encoding="utf-8", timeout=30
    )
    terminal.expect("ReadyForProcessing +1")
    assert launched.launch("uid://X1/X1/Xb1").returncode == 0
    terminal.expect("ReadyForProcessing +2")
    couchlet.kill()
    terminal.expect("does not answer")
    couchlet.start()
    assert launched.launch("uid://X1/X1/Xb2").returncode == 0
    terminal.expect("ReadyForProcessing +3")
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(launched, columns):
    for command in (["queue"], ["ous"], ["actors"], ["messages"], ["doctor"]):
        terminal = pexpect.spawn(
            str(launched.scripts / "drw"),
            command,
            env=launched.environ | {"TERM": "xterm"},
            dimensions=(60, columns),
            encoding="utf-8",
            timeout=30,
        )
        text = terminal.read()
        terminal.close()
        assert terminal.exitstatus == 0, text
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        lines = plain.replace("\r", "").splitlines()
        assert lines, command
        assert max(len(line) for line in lines if "/" not in line) <= columns, text
