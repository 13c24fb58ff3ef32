"""Bad input: one clear line, the right exit status, no traceback, nothing lost, and the actor lives on."""

import os
import signal
import socket
import stat
import sys
from dataclasses import replace

import msgspec
import pytest

from shared import names, status
from shared.bus import Bus, ExecutorClient
from shared.errors import OutcomeUnknown, RemoteError, StateRefused
from shared.state import StateClient
from shared.status import Change

OUS = "uid://X1/X1/Xb3"
PROGRAM = "2015.1.00657.S"
RUN = "2018-07-19T07:10:03.781"
PRODUCTS_DIR = f"{PROGRAM}_2018_07_19T07_10_03.781"


def test_bad_arguments_are_one_line_and_status_2(system):
    for command, says in [
        (["launcher", PROGRAM, "uid://X1/X1"], "is not an OUS UID"),
        (["launcher", "2015_1", OUS], "is not a program id"),
        (["launcher", PROGRAM, OUS, "PipelineCalibration", "XX"], "it is one of EA, EU, JAO, NA"),
        (["launcher", PROGRAM, OUS, "../recipe"], "is not a recipe"),
        (["launcher", PROGRAM], "ousUID"),
        (["pipeline-driver", "XX", "/tmp"], "is not an executive"),
        (["pipeline-driver", "-mr", "EU", "/tmp"], "write it as -mr 2"),
        (["pipeline-driver", "EU", "/no/such/cache"], "/no/such/cache does not exist"),
        (["pipeline-driver", "--command", "x {what}", "EU", "/tmp"], "{what}"),
        (["pipeline-driver", "EU", ""], "is a variable not set"),
        (["product-ingestor", str(system.home)], "is no cache yet, and holds what does not belong into one"),
        (["replicated-cache", "-e", "EU"], "-lc"),
        (["replicated-cache", "-e", "EU", "-lc", "/no/such/cache"], "/no/such/cache does not exist"),
        (["replicated-cache", "-e", "JAO", "-lc", "/tmp", "-euc=-oProxyCommand=x"], "-euc"),
        (["product-ingestor", "/no/such/cache"], "/no/such/cache does not exist"),
        (["aqua-qa2", "--flag", "P"], "--flag goes with --ous: which OUS?"),
        (["aqua-qa2", "--ous", OUS, "--list"], "--ous goes with none of --take-over, --listen and --list"),
        (["dashboard", "--port", "many"], "--port"),
        (["xtss", "--no-such-option"], "--no-such-option"),
        (["drw", "dead", "requeue", "--some"], "--some"),
        (["pipeline", PROGRAM, "uid://X1/X1", "EU"], "uid://X1/X1"),
    ]:
        done = system.run(*command)
        assert done.returncode == 2, done
        assert done.stderr.count("\n") == 1, done.stderr
        assert says in done.stderr


def test_a_cache_that_cannot_be_written_is_named(system):
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    system.eu.chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = system.run("pipeline-driver", "EU", system.eu)
    system.eu.chmod(stat.S_IRWXU)
    assert done.returncode == 2
    assert "is not writable" in done.stderr


def test_a_port_in_use_is_named_with_the_way_out(system):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cache = system.run("replicated-cache", "-e", "EU", "-lc", system.eu, "-p", port)
        dashboard = system.run("dashboard", "--port", port)
    for done, option in ((cache, "-p"), (dashboard, "--port")):
        assert done.returncode == 2
        assert str(port) in done.stderr
        assert option in done.stderr
        assert "Traceback" not in done.stderr


def test_a_wrong_password_ends_an_actor_at_once(system):
    system.environ |= {"COUCHDB_USER": "admin", "COUCHDB_PASSWORD": "wrong"}
    done = system.run("xtss", timeout=15)
    assert done.returncode == 1
    assert "refuses the user or the password" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "wrong\n" not in done.stderr


def test_a_missing_database_ends_an_actor_with_the_remedy(system):
    system.connection.drop_database("status-entities")
    done = system.run("xtss", timeout=15)
    assert done.returncode == 1
    assert "status-entities does not exist" in done.stderr
    assert "'drw setup' makes it" in done.stderr


def test_what_a_person_waits_for_says_by_its_status_that_the_database_is_away(system, couchlet):
    couchlet.stop()
    system.environ |= {"DRW_RPC_DEADLINE_S": "0.5"}
    for command in (["launcher", PROGRAM, OUS], ["aqua-qa2", "--list"]):
        done = system.run(*command)
        assert done.returncode == 3
        assert "does not answer" in done.stderr.splitlines()[-1]


def test_a_database_that_is_away_is_waited_for_and_said_once(system, couchlet):
    couchlet.stop()
    xtss = system.start("xtss", ready="does not answer")
    launcher = system.start("launcher", PROGRAM, OUS, ready="does not answer")
    couchlet.start()
    xtss.wait_for(" is back after")
    xtss.wait_for(" ready")
    launcher.wait_for("is launched")
    couchlet.kill()
    xtss.wait_for("does not answer", times=2)
    couchlet.start()
    xtss.wait_for("is back after", times=2)
    assert system.launch("uid://X1/X1/Xc0").returncode == 0
    assert sum("does not answer" in line for line in xtss.lines) == sum("is back after" in line for line in xtss.lines)
    assert "Traceback" not in xtss.text
    assert xtss.stop() == 0


MALFORMED = {
    "cached.EU": [
        ({}, "fileType"),
        ({"fileType": "tape", "cachedAt": "EU", "name": "x"}, "fileType"),
        ({"fileType": "weblog", "cachedAt": "XX", "name": "x"}, "is not an executive"),
        ({"fileType": "weblog", "cachedAt": "EU", "name": "../../etc/passwd"}, "is not the name of a weblog"),
        ({"fileType": "weblog", "cachedAt": "EU", "name": "-rf"}, "is not the name of a weblog"),
        ({"fileType": "productsdir", "cachedAt": "EU", "name": f"../{PRODUCTS_DIR}"}, "products directory"),
        ({"fileType": "productsdir", "cachedAt": "EU", "name": 7}, "name"),
        (
            {
                "fileType": "productsdir",
                "cachedAt": "EU",
                "name": PRODUCTS_DIR,
                "files": [{"path": "../x", "size": 1, "sha256": "0" * 64}],
            },
            "is not a file name",
        ),
    ],
    "ingest.JAO": [
        ({"ousUID": "uid://X1/X1", "timestamp": RUN, "productsDir": PRODUCTS_DIR}, "is not an OUS UID"),
        ({"ousUID": OUS, "timestamp": "now", "productsDir": PRODUCTS_DIR}, "is not a run timestamp"),
        ({"ousUID": OUS, "timestamp": RUN.replace("10:03", "10:04"), "productsDir": PRODUCTS_DIR}, "is not that of"),
    ],
    "pipeline.report.JAO": [
        (
            {"ousUID": OUS, "source": "EU", "report": "!", "timestamp": RUN, "productsDir": PRODUCTS_DIR},
            "report is not BASE64",
        ),
        ({"ousUID": OUS, "source": "EU", "timestamp": RUN, "productsDir": PRODUCTS_DIR}, "report"),
    ],
}


def test_malformed_messages_are_dead_with_the_field_named_and_the_actors_live_on(system):
    system.start("xtss", "--strict")
    actors = [
        system.start("replicated-cache", "-e", "EU", "-lc", system.eu, "-p", "0"),
        system.start("product-ingestor", system.jao),
        system.start("aqua-qa2", "--listen"),
    ]
    with Bus(system.connection, system.settings, me="test") as bus:
        for selector, bodies in MALFORMED.items():
            for body, says in bodies:
                message_id = bus.send(selector, body)
                dead = system.wait_for_message(message_id, "dead")
                assert says in dead["errors"][-1]["what"]
                assert dead["attempts"] == 1
        # What is no object at all was not sent by our bus; it is parked all the same.
        system.connection.database("msgq").put(
            {
                "_id": "cached.EU:1:odd",
                "selector": "cached.EU",
                "state": "ready",
                "priority": 5,
                "creationTimestamp": "2026-01-01T00:00:00.000000",
                "body": [1, 2, 3],
            }
        )
        assert "not a message" in system.wait_for_message("cached.EU:1:odd", "dead")["errors"][-1]["what"]
    for each in actors:
        assert each.process.poll() is None, each.text
        assert "Traceback" not in each.text


def test_xtss_answers_bad_requests_with_an_error_and_lives_on(system):
    xtss = system.start("xtss", "--strict")
    with Bus(system.connection, system.settings, me="test") as bus:
        client = ExecutorClient(bus, "xtss", deadline_s=10)
        for request, kind, says in [
            ({}, "BadMessage", "operation"),
            ({"operation": "dance", "ousUID": OUS}, "BadMessage", "'dance' is not an operation of xtss"),
            ({"operation": "set-state", "ousUID": OUS, "value": "Processing"}, "BadMessage", "there is no OUS"),
            ({"operation": "set-state", "ousUID": "X", "value": "Processing"}, "BadMessage", "is not an OUS UID"),
            ({"operation": "create", "ousUID": OUS, "value": {"progID": "a_b"}}, "BadInput", "is not a program id"),
            ({"operation": "create", "ousUID": OUS, "value": 7}, "BadInput", "is not a program id"),
        ]:
            with pytest.raises(RemoteError, match=says) as caught:
                client.call(request)
            assert caught.value.kind == kind
        assert system.launch(OUS).returncode == 0
        for value, says in [("Lost", "is not a state"), (7, "must be a text"), (None, "must be a text")]:
            with pytest.raises(RemoteError, match=says):
                client.call({"operation": "set-state", "ousUID": OUS, "value": value})
        with pytest.raises(StateRefused, match="it goes to Processing") as refused:
            client.call({"operation": "set-state", "ousUID": OUS, "value": "Delivered"})
        assert refused.value.found == "ReadyForProcessing"
        assert client.call({"operation": "set-exec", "ousUID": OUS, "value": "NA"})["executive"] == "NA"
    assert "Traceback" not in xtss.text
    assert xtss.stop() == 0


def test_a_note_of_a_megabyte_is_cut_and_keeps_no_ous_from_going_on(system):
    system.start("xtss", "--strict")
    assert system.launch(OUS).returncode == 0
    with Bus(system.connection, system.settings, me="test") as bus:
        state = StateClient(bus, deadline_s=10)
        state.set(OUS, Change(state="Processing"), note="x" * 1_100_000, by="y" * 5000)
        told = state.set(OUS, Change(state="ProcessingProblem")).history[1]
        with pytest.raises(RemoteError, match="an OUS keeps 4000 at most"):
            ExecutorClient(bus, "xtss", deadline_s=10).call(
                {"operation": "set-substate", "ousUID": OUS, "value": "z" * 4001}
            )
    assert told.note == "x" * 3999 + "…"
    assert told.by == "y" * 3999 + "…"


def test_an_ous_with_a_history_too_large_for_an_answer_goes_on(system):
    system.start("xtss", "--strict")
    assert system.launch(OUS).returncode == 0
    entities = system.connection.database(status.DATABASE)
    entity = system.entity(OUS)
    longer = [entity.history[0]] * 10_000
    entities.put(msgspec.to_builtins(msgspec.structs.replace(entity, history=longer)))
    once = {"note": "one more", "message_id": "xtss:1:1"}
    with Bus(system.connection, system.settings, me="test") as bus:
        state = StateClient(bus, deadline_s=10)
        assert state.get(OUS).history == longer
        processing = state.set(OUS, Change(state="Processing"), **once)
        assert (len(processing.history), processing.history[-1].note) == (10_001, "one more")
        assert len(state.set(OUS, Change(state="ProcessingProblem")).history) == 10_002
        assert state.set(OUS, Change(state="Processing"), **once) == processing
        entities.remove([(names.document_id(OUS), system.entity(OUS).rev)])
        with pytest.raises(OutcomeUnknown, match="cannot be read as xtss has it"):
            state.set(OUS, Change(state="Processing"), **once)


PROGRAMS = {
    "exits 1": ("import sys; sys.exit(1)", "exited with code 1"),
    "dies of a signal": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "makes nothing": ("pass", "made no folder"),
    "writes no report": ("REPORT = None", "is missing or bad"),
    "writes a truncated report": ("REPORT = '<PipelineAquaReport><ProjectStructure>'", "is missing or bad"),
}
MAKE_PRODUCTS = """
import os, sys, pathlib, zipfile
REPORT = None
{special}
program, ous = sys.argv[1:]
run = os.environ["DRW_RUN_TIMESTAMP"]
stem = ous.removeprefix("uid://").replace("/", "-") + "-" + run
folder = pathlib.Path(program + "_" + run.replace("-", "_").replace(":", "_"), "SOUS/GOUS",
                      ous.replace(":", "_").replace("/", "_"), "products")
folder.mkdir(parents=True)
with zipfile.ZipFile(folder / f"weblog-{{stem}}.zip", "w") as weblog:
    weblog.writestr("index.html", "ok")
if REPORT is not None:
    (folder / f"pl-report-{{stem}}.xml").write_text(REPORT)
"""


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_pipeline_that_fails_ends_in_a_problem_with_its_reason_and_its_log(system, tmp_path, kind):
    special, says = PROGRAMS[kind]
    program = tmp_path / "reduce.py"
    program.write_text(MAKE_PRODUCTS.format(special=special) if "report" in kind else f"print('trying')\n{special}")
    system.start("xtss", "--strict")
    driver = system.start(
        "pipeline-driver",
        "--attempts",
        "2",
        "--command",
        f"{sys.executable} {program} {{progID}} {{ousUID}}",
        "EU",
        system.eu,
    )
    assert system.launch(OUS).returncode == 0
    problem = system.wait_for_state(OUS, "ProcessingProblem")
    assert says in problem.history[-1].note
    assert len(list(system.settings.runs_dir().glob("*.run/program.log"))) == 2
    (message,) = system.messages("pipeline.process.EU")
    system.wait_for_message(message["_id"], "consumed")
    assert driver.process.poll() is None
    assert "Traceback" not in driver.text
    assert system.launch(OUS).returncode == 0


def test_the_mocks_processing_error_is_a_problem_at_once(system):
    system.start("xtss", "--strict")
    system.start("pipeline-driver", "--failure-rate", "1", "EU", system.eu)
    assert system.launch(OUS).returncode == 0
    problem = system.wait_for_state(OUS, "ProcessingProblem")
    assert "exited with code 3" in problem.history[-1].note
    assert len(list(system.settings.runs_dir().glob("*.run"))) == 1


def test_products_that_vanish_before_they_are_replicated_are_waited_for(system):
    cache = system.start("replicated-cache", "-e", "JAO", "-lc", system.jao, "-euc", system.eu, "-p", "0")
    body = {"fileType": "productsdir", "cachedAt": "EU", "name": PRODUCTS_DIR}
    with Bus(system.connection, system.settings, me="test") as bus:
        message_id = bus.send("cached.JAO", body)
    waiting = system.wait_for_message(message_id, "delayed")
    assert PRODUCTS_DIR in waiting["waits"]
    assert waiting.get("attempts", 0) == 0
    folder = system.eu / PRODUCTS_DIR / "SOUS"
    folder.mkdir(parents=True)
    (folder / "late.data").write_text("here at last")
    system.wait_for_message(message_id, "consumed")
    assert (system.jao / PRODUCTS_DIR / "SOUS" / "late.data").read_text() == "here at last"
    assert "Traceback" not in cache.text


def test_other_content_under_a_name_that_exists_is_never_merged(system):
    system.start("replicated-cache", "-e", "JAO", "-lc", system.jao, "-euc", system.eu, "-p", "0")
    for cache, text in ((system.eu, "new"), (system.jao, "old")):
        (cache / PRODUCTS_DIR).mkdir()
        (cache / PRODUCTS_DIR / "one.data").write_text(text)
    with Bus(system.connection, system.settings, me="test") as bus:
        message_id = bus.send("cached.JAO", {"fileType": "productsdir", "cachedAt": "EU", "name": PRODUCTS_DIR})
    dead = system.wait_for_message(message_id, "dead")
    assert "another content" in dead["errors"][-1]["what"]
    assert (system.jao / PRODUCTS_DIR / "one.data").read_text() == "old"


def test_a_cache_that_the_replicator_was_not_told_of_is_named_with_the_option(system):
    system.start("replicated-cache", "-e", "JAO", "-lc", system.jao, "-p", "0")
    with Bus(system.connection, replace(system.settings, attempts=1), me="test") as bus:
        message_id = bus.send("cached.JAO", {"fileType": "productsdir", "cachedAt": "NA", "name": PRODUCTS_DIR})
    failed = system.wait_for_message(message_id, "delayed")
    assert "-nac" in failed["errors"][-1]["what"]


def test_a_second_ctrl_c_ends_at_once(system):
    driver_work = "import time; time.sleep(600)"
    system.start("xtss", "--strict")
    driver = system.start("pipeline-driver", "--command", f"{sys.executable} -c '{driver_work}'", "EU", system.eu)
    assert system.launch(OUS).returncode == 0
    driver.wait_for(" began, process ")
    driver.process.send_signal(signal.SIGINT)
    driver.wait_for("stopping")
    assert driver.stop(signal.SIGINT, timeout=2.0) == 130
