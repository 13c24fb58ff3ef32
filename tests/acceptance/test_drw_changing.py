"""The operator's changing commands, as plain processes against one running system that these tests share."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from proxy import Proxy
from troubles import asks, fail

from actors.notifier import Webhook
from drw import cli, launches
from shared import audit, cancels, names
from shared.bus import drains, envelope, queue

pytestmark = pytest.mark.xdist_group("drw_changing")  # which keeps them together, and so to one running place

PROGRAM = "2015.1.00657.S"
PIPELINE = Path(__file__).resolve().parents[2] / "actors" / "pipeline.py"
NUMBERS = itertools.count(1)


def some(count=1):
    """Return UIDs that no other test has."""
    return [f"uid://X1/X7/Xb{next(NUMBERS):x}" for _ in range(count)]


@pytest.fixture(scope="module")
def place(system_of_module):
    """xtss and a driver at EU, whose pipeline waits while there is a file ``hold`` with the OUS's name."""
    system = system_of_module
    program = system.home / "reduce.sh"
    program.write_text(
        "#!/bin/sh\n"
        f'held="{system.home}/hold-$(echo "$2" | tr /: __)"\n'
        'if [ -e "$held" ]; then sleep 600 & echo $! > "$held"; trap "" TERM; wait; wait; fi\n'
        f'exec {sys.executable} -I {PIPELINE} "$@" --failure-rate 0\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    system.start("xtss", "--strict")
    system.start("pipeline-driver", "EU", system.eu, "--command", f"{program} {{progID}} {{ousUID}} {{executive}}")
    return system


def hold(place, ous):
    """Have the OUS's pipeline wait, and return the file in which it then writes the process that it waits for."""
    held = place.home / f"hold-{names.document_id(ous)}"
    held.touch()
    return held


def answer(place, *args, status=0, stdin=""):
    done = run(place, *args, "--json", stdin=stdin)
    assert done.returncode == status, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def process(place, *args, stdin=""):
    """Run the command as a process of its own, as a person does."""
    argv = [str(place.scripts / "drw"), *args]
    return subprocess.run(argv, env=place.environ, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def run(place, *args, stdin=""):
    """Run the command within this process, which spares a start; each command has a test that is a process too."""
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        for name in place.environ.keys() - os.environ.keys():
            patched.setenv(name, place.environ[name])
        patched.setattr(sys, "stdin", given)
        try:
            status = cli.main(args)
        except SystemExit as ended:
            status = ended.code
    return subprocess.CompletedProcess(args, status, out.getvalue(), err.getvalue())


def refused(place, *args, status=2):
    done = run(place, *args)
    assert done.returncode == status, done
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def audited(place, subject):
    docs = place.connection.database(audit.DATABASE).every()
    return [(doc["what"], doc["who"], doc["why"]) for doc in docs if doc["subject"] == subject]


def is_gone(pid):
    """Tell whether a process is no more, or only waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_cancelling_ends_the_whole_run_and_leaves_a_problem_that_says_who_and_why(place):
    (ous,) = some()
    held = hold(place, ous)
    assert place.launch(ous).returncode == 0
    place.wait_until(held.read_text, database="actors")
    assert "'drw cancel" in run(place, "why", ous).stdout
    in_haste = refused(place, "cancel", ous, "--reason", "wrong recipe", "--wait", "0s", status=1)
    assert re.search(r"is kept, and pipeline-driver.EU@\S+ has not ended the run yet", in_haste)
    place.wait_for_state(ous, "ProcessingProblem")
    assert is_gone(int(held.read_text()))
    entry = place.entity(ous).history[-1]
    assert (entry.note, entry.by) == ("cancelled: wrong recipe", audit.who())
    assert audited(place, ous)[-1] == ("cancel", audit.who(), "wrong recipe")
    again = process(place, "cancel", ous, "--reason", "wrong recipe")
    assert (again.returncode, again.stdout) == (0, f"nothing of {ous} runs: it is ProcessingProblem\n")
    held.unlink()
    assert place.launch(ous).returncode == 0
    passed_on = place.wait_for_state(ous, "ReadyForReview").run
    assert [each["body"]["timestamp"] for each in place.messages("pipeline.report.JAO")] == [passed_on]


def test_cancelling_what_has_not_begun_takes_the_launch_back(place):
    (ous,) = some()
    assert place.launch(ous, "PipelineCalibration", "NA").returncode == 0
    (first,) = answer(place, "messages", "--ous", ous)["messages"]
    assert answer(place, "cancel", ous, "--reason", "not yet")["messages"] == [first["id"]]
    assert place.entity(ous).state == "ReadyForProcessing"
    assert place.wait_for_message(first["id"], "consumed")
    assert place.launch(ous, "PipelineCalibration", "NA").returncode == 0
    assert "still waits" in place.launch(ous, "PipelineCalibration", "NA").stdout
    (second,) = answer(place, "messages", "--ous", ous)["messages"]
    assert second["id"] != first["id"]
    assert second["id"] in [each["id"] for each in answer(place, "ous", ous)["messages"]]


def test_cancelling_a_run_whose_driver_was_killed(place):
    (ous,) = some()
    held = hold(place, ous)
    program = place.home / "reduce.sh"
    driver = place.start(
        "pipeline-driver", "EA", place.eu, "--command", f"{program} {{progID}} {{ousUID}} {{executive}}"
    )
    assert place.launch(ous, "PipelineCalibration", "EA").returncode == 0
    place.wait_until(held.read_text, database="actors")
    driver.stop(signal.SIGKILL)
    assert answer(place, "cancel", ous, "--reason", "its machine is gone")["state"] == "ProcessingProblem"
    assert place.entity(ous).history[-1].note == "cancelled: its machine is gone"
    (message,) = [each for each in answer(place, "ous", ous)["messages"] if "process" in each["selector"]]
    assert message["state"] == "consumed"


def test_a_launch_whose_message_was_discarded_can_be_launched_again(place):
    (ous,) = some()
    assert place.launch(ous, "PipelineCalibration", "NA").returncode == 0
    (first,) = answer(place, "messages", "--ous", ous)["messages"]
    database = place.connection.database(queue.DATABASE)
    failure = {"at": first["sent"], "by": "nobody", "what": "no such recipe"}
    database.mutate(first["id"], lambda doc: {**doc, "state": "dead", "errors": [failure], "doneAt": failure["at"]})
    assert "is dead: see 'drw dead list'" in answer(place, "launch", ous, status=1)["ous"][0]["said"]
    assert run(place, "dead", "discard", first["id"], "--reason", "launched anew").returncode == 0
    (again,) = answer(place, "launch", ous)["ous"]
    assert (again["outcome"], again["message"] != first["id"]) == ("launched", True)
    assert answer(place, "launch", ous)["ous"][0]["outcome"] == "waits already"
    database.mutate(again["message"], lambda doc: {**doc, "state": "consumed", "doneAt": doc["creationTimestamp"]})
    assert {each["id"] for each in answer(place, "ous", ous)["messages"]} == {first["id"], again["message"]}


def test_a_cancellation_whose_command_died_is_completed_by_the_next_driver(place):
    (ous,) = some()
    assert place.launch(ous, "PipelineCalibration", "NA").returncode == 0
    (message,) = answer(place, "messages", "--ous", ous)["messages"]
    taken_back = {"by": "ada", "reason": "not yet", "now": place.connection.clock.now()}
    cancels.cancel(place.connection.database(queue.DATABASE), ous, [message["id"]], **taken_back)
    waiting = run(place, "why", ous)
    assert "was cancelled by ada, saying 'not yet', and nobody who lives has its run to end" in waiting.stdout
    driver = place.start("pipeline-driver", "NA", place.eu)
    place.wait_for_message(message["id"], "consumed")
    assert driver.stop() == 0
    assert [each.state for each in place.entity(ous).history] == ["ReadyForProcessing"]


def test_what_cannot_be_cancelled_says_why(place):
    (ous,) = some()
    assert "did you mean" in refused(place, "cancel", ous, "--reason", "x")
    assert place.launch(ous).returncode == 0
    place.wait_for_state(ous, "ReadyForReview")
    place.wait_until(lambda: not open_of(place, ous), database="msgq")
    assert "is ReadyForReview, which 'drw cancel' does not end" in refused(
        place, "cancel", ous, "--reason", "x", status=1
    )
    held = next(iter(some_held(place)))
    assert "needs a reason" in refused(place, "cancel", held, "--reason", " ")
    assert "cancel" not in {what for what, _, _ in audited(place, held)}


def open_of(place, ous):
    """Return the launches of an OUS that are not over yet."""
    sent = place.messages("pipeline.process.EU")
    return [doc for doc in sent if doc["body"]["ousUID"] == ous and doc["state"] in envelope.OPEN_STATES]


def some_held(place):
    """Yield an OUS that waits for a driver that there is not."""
    (ous,) = some()
    assert place.launch(ous, "PipelineCalibration", "NA").returncode == 0
    yield ous


def test_many_ouss_are_launched_from_a_range_a_file_and_standard_input(place):
    first, second, third = some(3)
    lines = f"# tonight\n{PROGRAM} {first} PipelineCalibration NA\n\n{second}\n"
    planned = answer(place, "launch", "--dry-run", "--program", PROGRAM, "--from", "-", stdin=lines)["ous"]
    assert [each["outcome"] for each in planned] == ["would be launched"] * 2
    assert place.entity(first) is None
    (place.home / "tonight").write_text(lines)
    options = ("--program", PROGRAM, "--executive", "NA", "--reason", "first light")
    done = answer(place, "launch", *options, f"{third}..{third[-2:]}", "--from", str(place.home / "tonight"))["ous"]
    assert [(each["ous"], each["outcome"]) for each in done] == [(each, "launched") for each in (third, first, second)]
    waiting = {doc["body"]["ousUID"] for doc in place.messages("pipeline.process.NA") if doc["state"] == "ready"}
    assert waiting >= {first, second, third}
    assert audited(place, third) == [("launch", audit.who(), "first light")]
    again = process(place, "launch", "--from", "-", "--executive", "NA", stdin=f"{first}\n{second}\n")
    assert (again.returncode, "2 OUSs: 2 waits already" in again.stdout) == (0, True)
    assert "no pipeline-driver lives at NA" in again.stdout


def test_many_ouss_are_launched_in_the_order_given(place):
    wanted = some(30)[::-1]
    assert process(place, "launch", "--program", PROGRAM, "--executive", "NA", *wanted).returncode == 0
    sent = {doc["body"]["ousUID"]: doc["creationTimestamp"] for doc in place.messages("pipeline.process.NA")}
    assert sorted(wanted, key=sent.get) == wanted


def test_none_is_left_out_when_the_last_are_begun_late(place, monkeypatch):
    one_after_another = ThreadPoolExecutor(1)  # as on a machine that is busy, where threads begin when they can
    monkeypatch.setattr(launches, "ThreadPoolExecutor", lambda _: one_after_another)
    wanted = some(12)
    done = answer(place, "launch", "--program", PROGRAM, "--executive", "NA", *wanted)["ous"]
    assert [(each["ous"], each["outcome"]) for each in done] == [(ous, "launched") for ous in wanted]


def test_launching_many_goes_on_past_what_is_refused_and_says_so(place):
    reviewed, fresh = some(2)
    assert place.launch(reviewed).returncode == 0
    place.wait_for_state(reviewed, "ReadyForReview")
    done = answer(place, "launch", reviewed, fresh, "--program", PROGRAM, "--executive", "NA", status=1)["ous"]
    assert [each["outcome"] for each in done] == ["refused", "launched"]
    assert "review it with aqua-qa2" in done[0]["said"]
    assert "is new: --program" in answer(place, "launch", *some(), status=1)["ous"][0]["said"]
    assert "line 1 of standard input" in run(place, "launch", "--from", "-", stdin="what").stderr


def test_rerun_takes_those_in_a_state_and_keeps_their_earlier_runs(place):
    failed = some(2)
    for ous in failed:
        hold(place, ous)
        assert place.launch(ous).returncode == 0
        place.wait_for_state(ous, "Processing")
        assert run(place, "cancel", ous, "--reason", "to be run again").returncode == 0
        hold(place, ous).unlink()
    planned = answer(place, "rerun", "--dry-run")["ous"]
    assert set(failed) <= {each["ous"] for each in planned}
    assert place.entity(failed[0]).state == "ProcessingProblem"
    assert answer(place, "rerun", "--older-than", "2h")["ous"] == []
    assert "1 OUS: 1 would be launched" in process(place, "rerun", "--limit", "1", "--dry-run").stdout
    done = answer(place, "rerun", "--program", PROGRAM, "--executive", "EU", "--reason", "mended")["ous"]
    assert set(failed) <= {each["ous"] for each in done if each["outcome"] == "launched"}
    for ous in failed:
        entity = place.wait_for_state(ous, "ReadyForReview")
        (launched,) = [each for each in entity.history if each.note == "launched: mended"]
        assert launched.by == audit.who()
        assert [each.state for each in entity.history].count("Processing") == 2


def test_sending_by_hand(place):
    done = answer(place, "send", "mine.own", '{"n": 1}', "--priority", "2", "--delay", "2h", "--key", "one")
    doc = place.connection.database(queue.DATABASE).get(done["message"])
    assert (doc["body"], doc["priority"], doc["state"]) == ({"n": 1}, 2, "delayed")
    again = process(place, "send", "mine.own", "-", "--key", "one", "--delay", "3h", stdin='{"n": 1}')
    assert again.stdout == f"{done['message']} was sent before, and is delayed\n"
    assert [what for what, *_ in audited(place, done["message"])] == ["send"]
    assert "with another body" in refused(place, "send", "mine.own", '{"n": 2}', "--key", "one", status=1)
    assert "is no JSON object" in refused(place, "send", "mine.own", "[1]")
    assert "is not a selector" in refused(place, "send", "Mine", "{}")


def test_calling_by_hand(place):
    (ous,) = some()
    asked = json.dumps({"operation": "get", "ousUID": ous})
    assert process(place, "call", "xtss", asked).stdout == "null\n"
    request = json.dumps({"operation": "set-state", "ousUID": ous, "value": "Delivered"})
    assert answer(place, "call", "xtss", request, status=1)["error"]["kind"] == "BadMessage"
    assert "xtss answered with BadMessage: there is no OUS" in refused(place, "call", "xtss", request, status=1)
    assert audited(place, "xtss")[-1] == ("call", audit.who(), request.replace(" ", ""))
    late = run(place, "call", "nobody.there", "{}", "--deadline", "0.5s")
    assert late.returncode == 1
    hint, failed = late.stderr.splitlines()
    assert "nobody listens to nobody.there now" in hint
    assert "did not answer" in failed
    assert "it was not begun and is withdrawn" in failed


def test_the_audit_is_shown(place):
    assert run(place, "pause", "nothing.here", "--reason", "to be seen").returncode == 0
    assert run(place, "resume", "nothing.here").returncode == 0
    resumed, paused = answer(place, "audit", "--about", "nothing.here")
    assert (resumed["what"], paused["what"], paused["why"]) == ("resume", "pause", "to be seen")
    assert "to be seen" in run(place, "audit", "--limit", "3").stdout


class Hook(ThreadingHTTPServer):
    """A web address that is told what happens, and knows by the Idempotency-Key what it was told already.

    The first calls it answers with what it was given: an error's status, or 0 for an answer that gets lost.
    """

    daemon_threads = True

    def __init__(self, *answers):
        self.answers = list(answers)
        self.told = {}
        self.more = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Post)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/told?token=hush"

    def wait_for(self, event, subject):
        """Return the news of an event once they were taken."""

        def found():
            told = self.told.values()
            return next((each for each in told if (each["event"], each["subject"]) == (event, subject)), None)

        with self.more:
            assert self.more.wait_for(found, 30), self.told
            return found()


class _Post(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.more:
            status = self.server.answers.pop(0) if self.server.answers else 204
            if status < 300:
                self.server.told.setdefault(self.headers["Idempotency-Key"], body)
                self.server.more.notify_all()
        if status:
            self.send_response(status)
            self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hook():
    made = Hook(503, 0, 404, 0)
    yield made
    made.shutdown()
    made.server_close()


class _Endless(BaseHTTPRequestHandler):
    """Takes what it is told, and never comes to the end of its answer."""

    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):
            while not self.server.over.wait(0.1):
                self.wfile.write(b".")

    def log_message(self, *_):
        pass


def test_a_web_address_whose_answer_has_no_end_holds_nobody_up():
    news = SimpleNamespace(message=SimpleNamespace(id="news:1"), body={"text": "it is dead"})
    with ThreadingHTTPServer(("127.0.0.1", 0), _Endless) as server:
        server.daemon_threads, server.over = True, threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told = Webhook(f"http://127.0.0.1:{server.server_port}/").handle(news)
        server.over.set()
        server.shutdown()
    assert told is None


def test_people_elsewhere_are_told_once_also_when_their_address_fails_at_first(place, hook):
    told, untold = some(2)
    place.environ["DRW_WEBHOOK_URL"] = hook.url
    notifier = place.start("notifier")
    held = hold(place, told)
    assert place.launch(told).returncode == 0
    place.wait_until(held.read_text, database="actors")
    assert run(place, "cancel", told, "--reason", "to be told").returncode == 0
    problem = hook.wait_for("ProcessingProblem", told)
    assert problem["text"] == f"{told} is ProcessingProblem: cancelled: to be told"
    assert (problem["by"], problem["program"]) == (audit.who(), PROGRAM)

    lost = place.start("pipeline-driver", "JAO", place.jao)
    actor = f"pipeline-driver.JAO@{socket.gethostname()}:{lost.process.pid}"
    actors = place.connection.database("actors")
    place.wait_until(lambda: actors.get(actor), database="actors")
    lost.stop(signal.SIGKILL)
    bad = answer(place, "send", "pipeline.process.EU", '{"ousUID": "nonsense"}')["message"]
    assert "is dead" in hook.wait_for("DeadLetter", bad)["text"]
    hook.wait_for("ActorLost", actor)

    assert notifier.stop() == 0
    hold(place, untold)
    assert place.launch(untold).returncode == 0
    place.wait_for_state(untold, "Processing")
    assert run(place, "cancel", untold, "--reason", "while nobody told").returncode == 0
    again, second = place.start("notifier"), place.start("notifier")
    hook.wait_for("ProcessingProblem", untold)
    assert (again.stop(), second.stop()) == (0, 0)
    told_of = [(each["event"], each["subject"]) for each in hook.told.values()]
    assert len(told_of) == len(set(told_of))
    assert "hush" not in notifier.text


def test_those_that_are_drained_go_on_whoever_beside_them_is_not(place):
    drivers = [place.start("pipeline-driver", "JAO", place.jao) for _ in range(3)]
    first, second, third = (f"pipeline-driver.JAO@{socket.gethostname()}:{each.process.pid}" for each in drivers)
    place.wait_until(
        lambda: all(map(place.connection.database("actors").get, (first, second, third))), database="actors"
    )
    assert sorted(answer(place, "drain", first, third, "--reason", "new disk")["actors"]) == sorted([first, third])
    assert sorted(answer(place, "drain", "pipeline-driver.JAO", "--end")["actors"]) == sorted([first, third])
    assert drains.current(place.connection.database(queue.DATABASE)) == {}
    assert "is not drained" in refused(place, "drain", "pipeline-driver.JAO", "--end")
    assert [each.stop() for each in drivers] == [0, 0, 0]


def test_what_is_sent_is_no_failure_because_it_cannot_be_seen_who_listens(place, couchlet_of_module, monkeypatch):
    """Told that it failed, people send it again."""
    with Proxy(couchlet_of_module.url) as proxy:
        proxy.rule(asks("/actors/_all_docs"), fail(503))
        monkeypatch.setitem(place.environ, "DRW_COUCHDB_URL", proxy.url)
        done = process(place, "send", "ingest.JAO", '{"n": 1}', "--delay", "2h")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ingest.JAO:")


def test_a_drained_actor_finishes_what_it_has_and_takes_nothing_new(place):
    busy, waiting = some(2)
    held = hold(place, busy)
    assert place.launch(busy).returncode == 0
    place.wait_until(held.read_text, database="actors")
    assert "drw actors" in refused(place, "drain", "nobody", "--reason", "x")
    assert "needs a reason" in refused(place, "drain", "pipeline-driver.EU")
    (driver,) = answer(place, "drain", "pipeline-driver.EU", "--reason", "new disk")["actors"]
    assert place.launch(waiting).returncode == 0
    actors = place.connection.database("actors")
    place.wait_until(lambda: actors.get(driver)["doing"], database="actors")
    (shown,) = [each for each in answer(place, "actors") if each["id"] == driver]
    assert (shown["listens"], shown["doing"]) == (["pipeline.process.EU"], f"runs {busy}")
    assert shown["drained"]["in_hand"] == 1
    assert "1 message left: new disk" in process(place, "drain").stdout
    assert f"{driver} is to take nothing new" in run(place, "why", waiting).stdout
    assert run(place, "cancel", busy, "--reason", "enough").returncode == 0
    assert "has nothing left" in run(place, "drain", driver, "--reason", "new disk", "--wait", "30s").stdout
    assert place.entity(waiting).state == "ReadyForProcessing"
    assert process(place, "drain", driver, "--end").stdout == f"{driver} takes work again\n"
    place.wait_for_state(waiting, "ReadyForReview")
    assert [what for what, *_ in audited(place, driver)] == ["drain", "drain", "end of drain"]
    assert "is not drained" in refused(place, "drain", driver, "--end")
    ending = place.start("pipeline-driver", "JAO", place.jao)
    place.wait_until(
        lambda: actors.get(f"pipeline-driver.JAO@{socket.gethostname()}:{ending.process.pid}"), database="actors"
    )
    assert run(place, "drain", "pipeline-driver.JAO", "--reason", "for good").returncode == 0
    assert len(answer(place, "drain")) == 1
    assert ending.stop() == 0
    assert drains.current(place.connection.database(queue.DATABASE)) == {}


def test_a_database_that_goes_away_during_a_launch_is_no_refusal(place, couchlet_of_module, monkeypatch):
    ouss = some(20)
    with Proxy(couchlet_of_module.url) as proxy:
        proxy.rule(lambda request: "/status-entities/uid" in request.path, fail(503))
        monkeypatch.setitem(place.environ, "DRW_COUCHDB_URL", proxy.url)
        done = answer(place, "launch", "--program", PROGRAM, *ouss, status=3)["ous"]
    assert {each["outcome"] for each in done} == {"not answered", "not tried"}


@pytest.mark.parametrize("command", ["launcher", "drw launch"])
def test_a_launch_is_no_failure_because_it_cannot_be_seen_whether_a_driver_lives(
    place, couchlet_of_module, monkeypatch, command
):
    """Told that it failed, people launch again, and by then it may be delivered."""
    (ous,) = some()
    with Proxy(couchlet_of_module.url) as proxy:
        proxy.rule(asks("/actors/_all_docs"), fail(503))
        monkeypatch.setitem(place.environ, "DRW_COUCHDB_URL", proxy.url)
        if command == "launcher":
            done = place.run("launcher", PROGRAM, ous)
        else:
            done = process(place, "launch", "--program", PROGRAM, ous)
    assert done.returncode == 0, done.stderr
    assert "is launched" in done.stdout or "1 launched" in done.stdout
    assert "it is not known whether a pipeline-driver lives at EU" in done.stdout.replace("\n", " ")
    assert place.entity(ous).history[0].note == "launched"


def test_without_xtss_nothing_more_is_tried_than_what_it_takes_to_see_that(place):
    """The last test, because it ends xtss."""
    ouss = some(20)
    assert place.running[0].stop() == 0
    place.environ["DRW_RPC_DEADLINE_S"] = "1"
    done = answer(place, "launch", "--program", PROGRAM, *ouss, status=1)["ous"]
    assert done[0]["outcome"] == "not answered"
    assert "xtss did not answer" in done[0]["said"]
    assert (done[-1]["outcome"], done[-1]["said"]) == ("not tried", "because one before it was not answered")
    assert not [ous for ous in ouss if place.entity(ous)]
