"""A pipeline driver whose disks, caches and partners fail it: no OUS is processed twice in effect, or stuck."""

from __future__ import annotations

import resource
import shutil
import signal
import stat
import sys
from contextlib import contextmanager

import msgspec
import pytest
from proxy import Proxy
from troubles import fail, writes
from waiting import until

from actors import pipeline
from actors.pipeline_driver.runs import Runs
from drw import clear
from shared import names
from shared.bus import Message

OUS = "uid://X1/X1/Xb5"
PROCESS, REPORTS = "pipeline.process.EU", "pipeline.report.JAO"
RECORDS = {"program.log", "ended.json", "ended.json.keeper", "passed-on"}
REDUCE = """
import os, resource, subprocess, sys, time
from pathlib import Path

state = Path({state!r})
cache, run = Path({cache!r}), Path.cwd()
products_dir = run.name.removesuffix(".run")
{before}
subprocess.run([sys.executable, "-I", {pipeline!r}, *sys.argv[1:], "--failure-rate", "0"], check=True)
{after}
"""


@pytest.fixture
def proxy(couchlet):
    """A proxy before the database; to be asked for before the system, whose actors end before it does."""
    with Proxy(couchlet.url) as made:
        yield made


@pytest.fixture
def xtss(system):
    return system.start("xtss", "--strict")


def start_driver(system, *options, before="", after=""):
    """Start a driver whose program is the mock pipeline, with a few lines of trouble around it."""
    program = system.home / "reduce.py"
    program.write_text(
        REDUCE.format(
            state=str(system.home / "state"),
            cache=str(system.eu),
            pipeline=pipeline.__file__,
            before=before,
            after=after,
        )
    )
    command = f"{sys.executable} {program} {{progID}} {{ousUID}} {{executive}}"
    return system.start("pipeline-driver", *options, "--command", command, "EU", system.eu)


def left_of_runs(system):
    """Return the names of what is left in the directories of all runs."""
    return {path.name for path in system.settings.runs_dir().glob("*.run/*")}


def launch(system, ous=OUS):
    """Launch an OUS and return the id of its message to the driver."""
    assert system.launch(ous).returncode == 0
    return next(doc["_id"] for doc in system.messages(PROCESS) if doc["body"]["ousUID"] == ous)


def runs(system):
    return sorted(path.name for path in system.settings.runs_dir().glob("*.run"))


def states(system, ous=OUS):
    return [entry.state for entry in system.entity(ous).history]


@contextmanager
def through(proxy, system):
    """Have actors that are started in the block reach the database through a proxy."""
    direct, system.environ["DRW_COUCHDB_URL"] = system.environ["DRW_COUCHDB_URL"], proxy.url
    yield
    system.environ["DRW_COUCHDB_URL"] = direct


# Passed on, but not settled


def test_a_disk_error_after_the_run_was_passed_on_begins_no_second_run(system, xtss):
    # Nothing can be made behind such a link: so the run cannot be noted as passed on.
    driver = start_driver(system, after="os.symlink('/no/such/folder/x', 'passed-on')")
    settled = system.wait_for_message(launch(system), "consumed", "dead")
    assert (settled["state"], settled["attempts"]) == ("consumed", 1)
    assert states(system) == ["ReadyForProcessing", "Processing", "ReadyForReview"]
    assert len(runs(system)) == 1
    assert [doc["body"]["timestamp"] for doc in system.messages(REPORTS)] == [system.entity(OUS).run]
    assert "cannot be noted" in driver.text
    assert "Traceback" not in driver.text


def test_a_driver_on_another_host_that_takes_over_what_was_passed_on_begins_no_second_run(proxy, system, xtss):
    settling = proxy.rule(writes("done"), fail(503))
    with through(proxy, system):
        first = system.start("pipeline-driver", "--failure-rate", "0", "EU", system.eu)
    message_id = launch(system)
    system.wait_for_state(OUS, "ReadyForReview")
    settling.wait()
    first.stop(signal.SIGKILL)
    system.environ["DRW_WORK_DIR"] = str(system.home / "work-of-another-host")
    second = system.start("pipeline-driver", "--failure-rate", "0", "EU", system.eu)
    assert system.wait_for_message(message_id, "consumed", "dead")["state"] == "consumed"
    assert not list((system.home / "work-of-another-host").rglob("*.run"))
    assert [doc["body"]["timestamp"] for doc in system.messages(REPORTS)] == [system.entity(OUS).run]
    assert states(system) == ["ReadyForProcessing", "Processing", "ReadyForReview"]
    assert "is ReadyForReview, not Processing" in second.text


# What it makes


def test_a_run_with_more_files_than_a_message_can_list_is_passed_on_all_the_same(system, xtss):
    """Each of these has a path of some 1,500 characters, so that five thousand make 7 MB."""
    start_driver(
        system,
        after="""
deep = Path(products_dir).joinpath(*["d" * 250] * 5)
deep.mkdir(parents=True)
for number in range(5000):
    (deep / f"{number:0200}").write_text("x")
""",
    )
    jao = system.start("replicated-cache", "-e", "JAO", "-lc", system.jao, "-euc", system.eu, "-p", "0")
    settled = system.wait_for_message(launch(system), "consumed", "dead")
    assert (settled["state"], settled["attempts"]) == ("consumed", 1), settled.get("errors")
    assert system.entity(OUS).state == "ReadyForReview"
    told = next(doc for doc in system.messages("cached.JAO") if doc["body"]["fileType"] == "productsdir")
    assert "files" not in told["body"]
    assert system.wait_for_message(told["_id"], "consumed", "dead")["state"] == "consumed", jao.text
    name = told["body"]["name"]
    here, there = ({str(p.relative_to(c)) for p in (c / name).rglob("*")} for c in (system.eu, system.jao))
    assert here == there
    assert len(there) > 5000


def test_a_weblog_that_no_replicator_expands_is_a_problem_and_goes_nowhere(system, xtss):
    pack = """
import zipfile
(weblog,) = run.rglob("weblog-*.zip")
with zipfile.ZipFile(weblog, "a") as opened:
    opened.writestr("../../evil", "x")
"""
    start_driver(system, "--attempts", "1", after=pack)
    message_id = launch(system)
    assert system.wait_for_message(message_id, "consumed", "dead")["state"] == "consumed"
    assert states(system)[-1] == "ProcessingProblem"
    assert "'../../evil' may not be expanded" in system.entity(OUS).history[-1].note
    assert not system.messages("cached.JAO")


# Notes that outlive the database


def end_all(system):
    """End whatever runs, as one does before the databases are made anew or restored."""
    for each in system.running:
        each.stop()
    system.running.clear()


@pytest.mark.parametrize(
    ("before", "first"),
    [("", "ReadyForReview"), ("if not state.exists(): state.touch(); sys.exit(3)", "ProcessingProblem")],
)
def test_a_launch_after_all_was_cleared_is_no_launch_from_before(system, xtss, before, first):
    start_driver(system, before=before)
    message_id = launch(system)
    system.wait_for_message(message_id, "consumed")
    assert states(system) == ["ReadyForProcessing", "Processing", first]
    end_all(system)
    clear.clear(system.connection, [system.eu, system.jao])
    system.start("xtss", "--strict")
    start_driver(system, before=before)
    assert launch(system) == message_id
    assert system.wait_for_message(message_id, "consumed", "dead")["state"] == "consumed"
    assert states(system) == ["ReadyForProcessing", "Processing", "ReadyForReview"]
    assert len(runs(system)) == 2
    assert [doc["body"]["timestamp"] for doc in system.messages(REPORTS)] == [system.entity(OUS).run]


def test_a_database_restored_from_before_the_run_has_it_done_again(system, xtss):
    data, backup = system.couchlet.home / "couchlet", system.home / "backup"
    message_id = launch(system)
    end_all(system)
    system.couchlet.stop()
    shutil.copytree(data, backup)
    system.couchlet.start()
    system.start("xtss", "--strict")
    start_driver(system)
    system.wait_for_message(message_id, "consumed")
    lost = system.entity(OUS).run
    end_all(system)
    system.couchlet.stop()
    shutil.rmtree(data)
    backup.rename(data)
    system.couchlet.start()
    system.start("xtss", "--strict")
    driver = start_driver(system)
    assert system.wait_for_message(message_id, "consumed", "dead")["state"] == "consumed"
    assert states(system) == ["ReadyForProcessing", "Processing", "ReadyForReview"]
    assert [doc["body"]["timestamp"] for doc in system.messages(REPORTS)] == [system.entity(OUS).run]
    assert system.entity(OUS).run > lost
    assert "which the database has lost" in driver.text


# A full work disk


def limit_files(driver, most):
    """Let a driver, and what it starts, write no more than this into any file: to it the disk is full."""
    _, hard = resource.prlimit(driver.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(driver.process.pid, resource.RLIMIT_FSIZE, (most, hard))


def wait_for_snooze(system, message_id, says):
    """Wait until a message waits for something, and return it; one that is tried again, or settled, fails."""

    def waits():
        doc = system.connection.database("msgq").get(message_id)
        assert not doc.get("errors"), doc["errors"]
        assert doc["state"] not in {"consumed", "dead"}
        return doc if says in doc.get("waits", "") else None

    return system.wait_until(waits, database="msgq")


def test_a_full_work_disk_is_waited_for_and_spends_no_attempt(system, xtss):
    driver = start_driver(system)
    limit_files(driver, 0)
    message_id = launch(system)
    waiting = wait_for_snooze(system, message_id, "the disk is full")
    assert str(system.settings.runs_dir()) in waiting["waits"]
    assert waiting.get("attempts", 0) == 0
    assert driver.wait_for("the disk is full")
    limit_files(driver, resource.RLIM_INFINITY)
    settled = system.wait_for_message(message_id, "consumed", "dead")
    assert (settled["state"], settled["attempts"], settled.get("errors", [])) == ("consumed", 1, [])
    assert states(system) == ["ReadyForProcessing", "Processing", "ReadyForReview"]
    assert len(runs(system)) == 1


def test_a_run_that_fails_on_a_full_disk_is_begun_anew_when_there_is_room(system, xtss):
    driver = start_driver(
        system,
        "--attempts",
        "1",
        before="""
if not state.exists():
    state.touch()
    Path("scratch").write_text("what fills the disk")
    keeper = Path("/proc/self/status").read_text().partition("PPid:")[2].split()[0]
    driver = Path(f"/proc/{keeper}/status").read_text().partition("PPid:")[2].split()[0]
    resource.prlimit(int(driver), resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    sys.exit("No space left on device")
""",
    )
    message_id = launch(system)
    wait_for_snooze(system, message_id, "the disk is full")
    assert states(system)[-1] == "Processing"
    assert left_of_runs(system) <= RECORDS
    limit_files(driver, resource.RLIM_INFINITY)
    settled = system.wait_for_message(message_id, "consumed", "dead")
    assert (settled["state"], settled["attempts"], settled.get("errors", [])) == ("consumed", 1, [])
    assert system.entity(OUS).state == "ReadyForReview"
    assert len(runs(system)) == 2


def test_a_driver_that_is_stopped_in_the_middle_of_runs_uses_up_none_of_them(system, xtss):
    system.environ["DRW_GRACE_S"] = "0.2"
    begun = system.home / "state"
    trouble = """
runs = len(state.read_text()) if state.exists() else 0
state.write_text("." * (runs + 1))
if runs < 2:
    time.sleep(600)
if runs == 2:
    sys.exit("no such calibrator")
"""
    message_id = launch(system)
    for number in (1, 2):
        driver = start_driver(system, "--attempts", "2", before=trouble)
        until(lambda number=number: begun.exists() and len(begun.read_text()) == number)
        assert driver.stop() == 0
    start_driver(system, "--attempts", "2", before=trouble)
    settled = system.wait_for_message(message_id, "consumed", "dead")
    assert (settled["state"], settled["attempts"], len(settled["errors"])) == ("consumed", 4, 1)
    assert system.entity(OUS).state == "ReadyForReview"


def test_a_work_directory_that_cannot_be_used_is_a_problem_that_names_it(system, xtss):
    system.settings.runs_dir().write_text("a file, where the folder has to be")
    system.start("pipeline-driver", "--attempts", "2", "EU", system.eu)
    message_id = launch(system)
    problem = system.wait_for_state(OUS, "ProcessingProblem").history[-1]
    assert f"in {system.settings.runs_dir()} failed" in problem.note
    assert system.wait_for_message(message_id, "consumed")["attempts"] == 2


def test_a_note_of_a_run_that_cannot_be_read_is_none(system, xtss):
    message_id = launch(system)
    work = system.settings.runs_dir()
    message = system.connection.database("msgq").get(message_id)
    note = Runs(work, None, "EU", None)._note(msgspec.convert(message, Message))
    note.parent.mkdir(parents=True)
    note.touch()  # as a machine that lost its power may leave it
    driver = start_driver(system)
    settled = system.wait_for_message(message_id, "consumed", "dead")
    assert (settled["state"], settled["attempts"]) == ("consumed", 1)
    assert str(note) in driver.text
    assert "Traceback" not in driver.text


# Its partners


@pytest.mark.parametrize("lost", ["claim", "done"])
def test_a_problem_that_is_told_in_other_words_the_second_time_is_told(proxy, system, lost):
    """xtss does not answer the last attempt; on the next, what cannot be started is not startable otherwise."""
    system.environ["DRW_RPC_DEADLINE_S"] = "3"
    program = system.home / "reduce"
    of_messages = writes(lost)
    silent = proxy.rule(
        lambda request: of_messages(request) and b'"ProcessingProblem"' in request.body,
        fail(503),
    )
    with through(proxy, system):
        system.start("xtss", "--strict")
    system.start("pipeline-driver", "--attempts", "1", "--command", str(program), "EU", system.eu)
    message_id = launch(system)
    silent.wait()
    program.touch()
    program.chmod(stat.S_IRUSR)
    wait_for_snooze(system, message_id, "did not answer")
    silent.lift()
    assert system.wait_for_message(message_id, "consumed", "dead")["state"] == "consumed"
    assert states(system) == ["ReadyForProcessing", "Processing", "ProcessingProblem"]
    told = {"claim": "it is not executable", "done": "there is no such program"}[lost]
    assert told in system.entity(OUS).history[-1].note


# Its cache


def test_a_run_whose_name_the_cache_has_with_another_content_is_a_problem_in_the_end(system, xtss):
    taken = "(cache / products_dir).mkdir(); (cache / products_dir / 'other').touch()"
    start_driver(system, "--attempts", "2", after=taken)
    message_id = launch(system)
    problem = system.wait_for_state(OUS, "ProcessingProblem", timeout=30).history[-1]
    assert "with another content" in problem.note
    assert len(runs(system)) == 2
    assert system.wait_for_message(message_id, "consumed")["attempts"] == 2
    assert not system.messages(REPORTS)


def test_a_run_that_the_cache_does_not_take_now_is_kept_and_passed_on_later(system, xtss):
    incoming, aside = system.eu / ".drw-cache" / "incoming", system.eu / ".drw-cache" / "aside"
    unmount = "Path('scratch').touch(); (cache / '.drw-cache/incoming').rename(cache / '.drw-cache/aside')"
    start_driver(system, "--attempts", "1", after=unmount)
    message_id = launch(system)
    assert str(incoming) in wait_for_snooze(system, message_id, "failed: No such file")["waits"]
    aside.rename(incoming)
    settled = system.wait_for_message(message_id, "consumed", "dead")
    assert (settled["state"], settled["attempts"]) == ("consumed", 1)
    assert left_of_runs(system) == RECORDS, "the cache has the products"
    (run,) = runs(system)
    assert names.products_dir("2015.1.00657.S", system.entity(OUS).run) == run.removesuffix(".run")
