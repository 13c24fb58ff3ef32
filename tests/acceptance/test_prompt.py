"""The reviewer's prompt, at a pseudo-terminal: one that can be drawn on, and a dumb one."""

import itertools
import json
import os
import re
import signal
from contextlib import suppress

import pexpect
import pytest
from desk_place import RUN, make_ready_for_review

from actors.aqua_qa2 import prompt
from drw.machine import heartbeats, processes
from shared import names, reports
from shared.bus import pauses, queue
from shared.messages import VERDICT

ASKED, FLAG = "Please enter", "ancel\\?"
FRESH = itertools.count()


@pytest.fixture(scope="module")
def system(system_of_module):
    system_of_module.start("xtss", "--strict")
    return system_of_module


def fresh(system):
    """Return an OUS that waits for review, which no other test knows."""
    made = f"uid://X1/X1/Xn{next(FRESH)}b"
    make_ready_for_review(system, made)
    return made


@pytest.fixture
def ous(system):
    return fresh(system)


def ending(ous):
    return ous.rpartition("X")[2]


@pytest.fixture
def sit(system):
    """A way to sit down at a terminal; whoever still sits there at the end is thrown out."""
    children = []
    here = {name: value for name, value in system.environ.items() if name not in {"LINES", "COLUMNS"}}

    def sit_down(reviewer, *args, term="xterm", size=(100, 150)):
        child = pexpect.spawn(
            str(system.scripts / "aqua-qa2"),
            ["--reviewer", reviewer, *args],
            # Its size is that of the pseudo-terminal, which does not tell where its cursor is.
            env={**here, "TERM": term, "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8",
            codec_errors="replace",
            timeout=30,
            dimensions=size,
        )
        children.append(child)
        return child

    yield sit_down
    for child in children:
        with suppress(OSError):  # one whose terminal the test has closed
            child.close(force=True)
        child.ptyproc.terminate(force=True)


def take(child, which):
    child.expect(ASKED)
    child.sendline(which)
    child.expect(FLAG)


def ended(child):
    child.expect(pexpect.EOF)
    child.wait()
    assert "Traceback" not in child.before
    return child.exitstatus


def test_fail_asks_for_a_reason_and_a_comment_which_the_history_keeps(system, ous, sit):
    ada = sit("ada")
    take(ada, ending(ous))
    assert system.entity(ous).state == "Reviewing"
    assert system.entity(ous).reviewer.name == "ada"
    assert "Calibration" in ada.before
    assert "[bold]spw 17[/bold] \\u202e:smile:" in ada.before
    assert f"http://localhost:8001/weblogs/weblog-X1-X1-X{ending(ous)}-{RUN}" in ada.before
    ada.sendline("fine")  # is no flag
    ada.expect("please type")
    ada.expect(FLAG)
    ada.sendline("xml")
    ada.expect("</PipelineAquaReport>")
    ada.expect(FLAG)
    ada.sendline("f")
    ada.expect("Reason ")
    ada.sendline("nothing")
    ada.expect("one of dataset, flagging")
    ada.expect("Reason ")
    ada.sendline("4")
    ada.expect("Comment")
    ada.sendline("")
    ada.expect("please write a comment")
    ada.expect("Comment")
    ada.sendline("the beam is too wide")
    ada.expect(f"Fail: {ous} is ReadyForProcessing")
    failed = system.entity(ous)
    assert failed.state == "ReadyForProcessing"
    assert failed.history[-1].note == "Fail: [imaging] the beam is too wide"

    assert system.launch(ous).returncode == 0
    (launched,) = [each for each in system.messages("pipeline.process.EU") if each["body"]["ousUID"] == ous]
    said = {"run": RUN, "flag": "Fail", "reason": "imaging", "comment": "the beam is too wide", "reviewer": "ada"}
    assert launched["body"]["review"].items() >= said.items()

    make_ready_for_review(system, ous, run="2026-11-20T12:00:00.001")
    take(ada, ous)
    assert "Earlier runs" in ada.before
    assert f"{RUN}  " in ada.before
    assert "Fail [imaging] by ada" in ada.before


def test_a_prompt_makes_up_for_no_background_that_stays(system, ous, sit):
    """Else `launch-all.sh` would start none, and after the reviewer has left nobody would store reports."""
    sit("ada").expect(ASKED)

    def prompts():
        return [each for each in heartbeats.living(system.connection) if each.kind == "aqua-qa2"]

    system.wait_until(prompts, database="actors")
    assert heartbeats.by_hand(prompts(), processes.actors(system.settings)) == {}


def test_the_list_is_kept_up_to_date_and_does_not_eat_what_is_typed(system, ous, sit):
    ada = sit("ada")
    ada.expect("ready to be reviewed: ")
    ada.expect(ASKED)
    ada.send(ending(ous)[:-1])
    later = fresh(system)
    ada.expect(later)
    ada.sendline("b")
    ada.expect(FLAG)
    assert system.entity(ous).state == "Reviewing"


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_the_number_of_an_ous_that_has_gone_opens_no_other_that_ends_so(system, ous, sit, term):
    ada = sit("ada", term=term)
    ada.expect(rf"(\d+) +(?:\x1b\[[\d;]*m)*{ous}")
    number = ada.match[1]
    ada.expect(ASKED)
    passed = system.run("aqua-qa2", "--reviewer", "bob", "--ous", ous, "--flag", "P")
    assert passed.returncode == 0, passed.stderr
    tempting = f"{fresh(system)}{number}"
    make_ready_for_review(system, tempting)
    if term == "dumb":
        ada.sendline("")
    ada.expect(tempting)  # the list is one of after the other has gone
    ada.sendline(number)
    ada.expect(f"{number} is no longer in the list: it was {ous}")
    ada.expect(ASKED)
    ada.sendline("0")
    ada.expect("there is no number '0' in the list")
    assert system.entity(tempting).state == "ReadyForReview"
    take(ada, f"b{number}")
    assert system.entity(tempting).reviewer.name == "ada"


def test_a_report_that_is_not_base64_is_said_to_be_unreadable_and_its_run_can_be_failed(system, ous, sit):
    database = system.connection.database(reports.DATABASE)
    database.mutate(names.report_id(ous, RUN), lambda doc: doc | {"encodedReport": "abc"})
    ada = sit("ada", term="dumb")
    take(ada, ous)
    assert "This report cannot be read:" in ada.before
    for more in ("report", "xml"):
        ada.sendline(more)
        ada.expect("is not BASE64")
        ada.expect(FLAG)
    ada.sendline("f")
    ada.expect("Reason")
    ada.sendline("pipeline")
    ada.expect("Comment: ")
    ada.sendline("no report")
    ada.expect(f"Fail: {ous} is ReadyForProcessing")


def test_a_key_that_is_no_text_ends_no_review(system, ous, sit):
    ada = sit("ada", term="dumb")
    take(ada, ous)
    os.write(ada.child_fd, b"\xff\xfe\n")
    ada.expect(FLAG)
    assert system.entity(ous).state == "Reviewing"
    ada.sendline("c")
    system.wait_for_state(ous, "ReadyForReview")


def test_a_narrow_terminal_breaks_between_words(system, ous, sit):
    ada = sit("ada", size=(100, 40), term="dumb")
    ada.expect(r"Please enter the UID of the OUS to\r\nreview \(\? for help\): ")
    ada.sendline("?")
    ada.expect(r"\r\n  3              review what has this\r\n                 number in the list; it\r\n")
    ada.expect("help\\): ")
    ada.sendline(ous)
    ada.expect(r"QA2 flag: \[P\]ass, \[S\]emipass, \[F\]ail,\r\n\[C\]ancel\? ")
    assert f"http://localhost:8001/weblogs/weblog-X1-X1-X{ending(ous)}-{RUN}" in ada.before
    ours = [each for each in ada.before.splitlines() if "://" not in each]
    assert max(map(len, ours)) <= 40, ours
    assert "Calibration ███░░░░░ 0.40 warning" in ours or "Calibration ###----- 0.40 warning" in ours


def test_of_two_reviewers_the_second_is_told_who_has_it_and_may_take_it_over(system, ous, sit):
    ada = sit("ada")
    take(ada, ous)
    bob = sit("bob")
    bob.expect("with ada")
    bob.expect(ASKED)
    bob.sendline(ending(ous))
    bob.expect("is being reviewed by ada, since")
    assert system.entity(ous).reviewer.name == "ada"
    bob.expect(ASKED)
    bob.sendline(f"over {ous}")
    bob.expect(FLAG)
    assert system.entity(ous).reviewer.name == "bob"
    ada.sendline("P")
    ada.expect("Comment")
    ada.sendline("")
    ada.expect("could not be carried out: .*being reviewed by bob")
    assert system.entity(ous).reviewer.name == "bob"


@pytest.mark.parametrize("words", ["1 2", "over 1 2"])
def test_more_than_one_word_opens_nothing(system, ous, sit, words):
    ada = sit("ada", term="dumb")
    ada.expect(ASKED)
    ada.sendline(words)
    ada.expect(f"'{words}' is more than one word: type one number or UID at a time")
    ada.expect(ASKED)
    ada.sendline("q")
    assert ended(ada) == 0
    assert system.entity(ous).state == "ReadyForReview"


@pytest.mark.parametrize("option", ["--take-over", "--ous"])
def test_cancel_gives_the_ous_back(system, ous, sit, option):
    ada = sit("ada", option, ous, term="dumb")
    ada.expect(FLAG)
    ada.sendline("C")
    ada.expect("is ReadyForReview again")
    assert system.entity(ous).state == "ReadyForReview"
    assert system.entity(ous).reviewer is None
    ada.expect(ASKED)
    ada.sendline("q")
    assert ended(ada) == 0


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "closed terminal"])
def test_a_reviewer_who_leaves_gives_the_ous_back_at_once(system, ous, sit, term, how):
    ada = sit("ada", term=term)
    take(ada, ous)
    if how == "Ctrl-C":
        ada.sendintr()
        assert ended(ada) == 0
    elif how == "SIGTERM":
        ada.kill(signal.SIGTERM)
        assert ended(ada) == 0
    else:
        ada.ptyproc.fileobj.close()  # the terminal is gone, as when its window is closed
    left = system.wait_for_state(ous, "ReadyForReview")
    assert (left.history[-1].by, left.history[-1].note) == ("ada", "the reviewer left")


def test_what_a_killed_reviewer_had_is_given_back_after_a_lease(system, ous, sit):
    system.start("aqua-qa2", "--listen")
    ada = sit("ada", term="dumb")
    take(ada, ous)
    ada.kill(signal.SIGKILL)
    left = system.wait_for_state(ous, "ReadyForReview")
    assert left.history[-1].note == "given back: the program of ada died"
    assert left.reviewer is None


def test_pass_goes_on_to_delivery_and_a_page_at_a_time_is_shown(system, ous, sit):
    ada = sit("ada", term="dumb", size=(10, 80))
    ada.expect(ASKED)
    ada.sendline(ending(ous))
    ada.expect("more lines")
    ada.sendline("q")
    ada.expect(FLAG)
    ada.sendline("p")
    ada.expect("Comment \\(optional\\)")
    ada.sendline("")
    ada.expect(f"Pass: {ous} is DeliveryInProgress")
    assert sum(each["body"]["ousUID"] == ous for each in system.messages("ingest.JAO")) == 1


def test_scripts_review_without_a_prompt_and_list_what_waits(system, ous, capsys):
    listed = json.loads(system.run("aqua-qa2", "--list", "--json").stdout)
    (mine,) = [each for each in listed if each["ousUID"] == ous]
    assert (mine["finalScore"], mine["band"], mine["topics"]["Flagging"]) == (0.4, "warning", 0.95)
    plain = system.run("aqua-qa2", "--list").stdout
    assert re.search(f"{ous}  .* 0.40 warning  D 1.00 F 0.95 C 0.40 I 0.95", plain)
    argv = ("--reviewer", "script", "--ous", ous, "--flag")
    failed = system.run("aqua-qa2", *argv, "F", "--reason", "cal", "--comment", "\x1b[2Jbad")
    assert failed.stdout == f"Fail: {ous} is ReadyForProcessing\n", failed.stderr
    assert system.entity(ous).history[-1].note == "Fail: [calibration] \\x1b[2Jbad"
    again = system.run("aqua-qa2", *argv, "P")
    assert (again.returncode, again.stderr) == (1, f"aqua-qa2: {ous} is ReadyForProcessing, not ReadyForReview\n")
    for more, complaint in (
        (("S",), "--flag S needs a --comment"),
        (("F", "--reason", "x", "--comment", "y"), "is not the code of a reason"),
        (("P", "--reason", "imaging"), "--reason goes with --flag F"),
    ):
        with pytest.raises(SystemExit) as ended_with:
            prompt.main([*argv, *more])
        said = capsys.readouterr().err
        assert (ended_with.value.code, complaint in said, said.count("\n")) == (2, True, 1)


def test_a_report_that_has_not_come_yet_is_no_mistake_of_the_script(system, ous):
    stored = system.connection.database(reports.DATABASE)
    doc_id = names.report_id(ous, system.entity(ous).run)
    stored.delete(doc_id)
    done = system.run("aqua-qa2", "--reviewer", "script", "--ous", ous, "--flag", "P")
    assert (done.returncode, "has not come yet: try again in a moment" in done.stderr) == (1, True)
    assert system.entity(ous).state == "ReadyForReview"


def test_a_verdict_that_is_carried_out_later_is_given_all_the_same(system, ous, monkeypatch):
    database, now = system.connection.database(queue.DATABASE), system.connection.clock.now()
    pauses.pause(database, VERDICT, by="bob", reason="being mended", now=now, until=None)
    monkeypatch.setitem(system.environ, "DRW_RPC_DEADLINE_S", "2")
    done = system.run("aqua-qa2", "--reviewer", "ada", "--ous", ous, "--flag", "P")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Pass: the verdict on {ous} is given, and is carried out as soon as")
    assert system.entity(ous).state == "Reviewing"
    pauses.resume(database, VERDICT)
    listening = system.start("aqua-qa2", "--listen")
    assert system.wait_for_state(ous, "DeliveryInProgress").history[-2].by == "ada"
    assert listening.stop() == 0
