"""The reviewer's prompt, at a pseudo-terminal: one that can be drawn on, and a dumb one."""

import json
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from desk_place import RUN, make_ready_for_review

ONE, TWO = "uid://X1/X1/Xb1", "uid://X1/X1/Xb2"
ASKED, FLAG = "Please enter", "ancel\\?"


@pytest.fixture
def desk(system):
    """Two OUSs that wait for review, and a way to sit down at a terminal."""
    system.start("xtss", "--strict")
    make_ready_for_review(system, ONE, TWO)
    children = []
    here = {name: value for name, value in system.environ.items() if name not in {"LINES", "COLUMNS"}}

    def sit(reviewer, *args, term="xterm", size=(45, 120)):
        child = pexpect.spawn(
            str(system.scripts / "aqua-qa2"),
            ["--reviewer", reviewer, *args],
            # Its size is that of the pseudo-terminal, which does not tell where its cursor is.
            env={**here, "TERM": term, "PROMPT_TOOLKIT_NO_CPR": "1"},
            encoding="utf-8",
            timeout=30,
            dimensions=size,
        )
        children.append(child)
        return child

    yield sit
    for child in children:
        with suppress(OSError):  # one whose terminal the test has closed
            child.close(force=True)
        child.ptyproc.terminate(force=True)


def take(child, which=ONE):
    child.expect(ASKED)
    child.sendline(which)
    child.expect(FLAG)


def ended(child):
    child.expect(pexpect.EOF)
    child.wait()
    assert "Traceback" not in child.before
    return child.exitstatus


def test_fail_asks_for_a_reason_and_a_comment_which_the_history_keeps(system, desk):
    ada = desk("ada")
    take(ada, "Xb1")
    assert system.entity(ONE).state == "Reviewing"
    assert system.entity(ONE).reviewer.name == "ada"
    assert "Calibration" in ada.before
    assert "[bold]spw 17[/bold] \\u202e:smile:" in ada.before
    assert f"http://localhost:8001/weblogs/weblog-X1-X1-Xb1-{RUN}" in ada.before
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
    ada.expect(f"Fail: {ONE} is ReadyForProcessing")
    failed = system.entity(ONE)
    assert failed.state == "ReadyForProcessing"
    assert failed.history[-1].note == "Fail: [imaging] the beam is too wide"
    assert system.messages("ingest.JAO") == []

    make_ready_for_review(system, ONE, run="2026-11-20T12:00:00.001")
    take(ada, ONE)
    assert "Earlier runs" in ada.before
    assert f"{RUN}  " in ada.before
    assert "Fail [imaging] by ada" in ada.before


def test_the_list_is_kept_up_to_date_and_does_not_eat_what_is_typed(system, desk):
    ada = desk("ada")
    ada.expect("ready to be reviewed: 2")
    ada.expect(ASKED)
    ada.send("Xb")
    make_ready_for_review(system, "uid://X1/X1/Xc3")
    ada.expect("ready to be reviewed: .*3|Xc3")
    ada.sendline("2")
    ada.expect(FLAG)
    assert system.entity(TWO).state == "Reviewing"


def test_of_two_reviewers_the_second_is_told_who_has_it_and_may_take_it_over(system, desk):
    ada, bob = desk("ada"), desk("bob")
    take(ada)
    bob.expect("with ada")
    bob.expect(ASKED)
    bob.sendline("Xb1")
    bob.expect("is being reviewed by ada, since")
    assert system.entity(ONE).reviewer.name == "ada"
    bob.expect(ASKED)
    bob.sendline("over Xb1")
    bob.expect(FLAG)
    assert system.entity(ONE).reviewer.name == "bob"
    ada.sendline("P")
    ada.expect("Comment")
    ada.sendline("")
    ada.expect("could not be carried out: .*being reviewed by bob")
    assert system.entity(ONE).reviewer.name == "bob"


def test_cancel_gives_the_ous_back(system, desk):
    ada = desk("ada", term="dumb")
    take(ada)
    ada.sendline("C")
    ada.expect("is ReadyForReview again")
    assert system.entity(ONE).state == "ReadyForReview"
    assert system.entity(ONE).reviewer is None
    ada.expect(ASKED)
    ada.sendline("q")
    assert ended(ada) == 0


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "closed terminal"])
def test_a_reviewer_who_leaves_gives_the_ous_back_at_once(system, desk, term, how):
    ada = desk("ada", term=term)
    take(ada)
    if how == "Ctrl-C":
        ada.sendintr()
        assert ended(ada) == 0
    elif how == "SIGTERM":
        ada.kill(signal.SIGTERM)
        assert ended(ada) == 0
    else:
        ada.ptyproc.fileobj.close()  # the terminal is gone, as when its window is closed
    left = system.wait_for_state(ONE, "ReadyForReview")
    assert (left.history[-1].by, left.history[-1].note) == ("ada", "the reviewer left")


def test_what_a_killed_reviewer_had_is_given_back_after_a_lease(system, desk):
    system.start("aqua-qa2", "--listen")
    ada = desk("ada", term="dumb")
    take(ada)
    ada.kill(signal.SIGKILL)
    left = system.wait_for_state(ONE, "ReadyForReview")
    assert left.history[-1].note == "given back: the program of ada died"
    assert left.reviewer is None


def test_pass_goes_on_to_delivery_and_a_page_at_a_time_is_shown(system, desk):
    ada = desk("ada", term="dumb", size=(10, 80))
    ada.expect(ASKED)
    ada.sendline("1")
    ada.expect("more lines")
    ada.sendline("q")
    ada.expect(FLAG)
    ada.sendline("p")
    ada.expect("Comment \\(optional\\)")
    ada.sendline("")
    ada.expect(f"Pass: {ONE} is DeliveryInProgress")
    assert len(system.messages("ingest.JAO")) == 1


def test_scripts_review_without_a_prompt_and_list_what_waits(system, desk):
    del desk
    listed = json.loads(system.run("aqua-qa2", "--list", "--json").stdout)
    assert [each["ousUID"] for each in listed] == [ONE, TWO]
    assert (listed[0]["finalScore"], listed[0]["band"], listed[0]["topics"]["Flagging"]) == (0.4, "warning", 0.95)
    argv = ("--reviewer", "script", "--ous", ONE, "--flag")
    failed = system.run("aqua-qa2", *argv, "F", "--reason", "cal", "--comment", "\x1b[2Jbad")
    assert failed.stdout == f"Fail: {ONE} is ReadyForProcessing\n", failed.stderr
    assert system.entity(ONE).history[-1].note == "Fail: [calibration] \\x1b[2Jbad"
    again = system.run("aqua-qa2", *argv, "P")
    assert (again.returncode, again.stderr) == (
        1,
        f"aqua-qa2: {ONE} is ReadyForProcessing, not ReadyForReview\n",
    )
    plain = system.run("aqua-qa2", "--list").stdout
    assert re.search(f"1  {TWO}  .* 0.40 warning  D 1.00 F 0.95 C 0.40 I 0.95", plain)
    for more, complaint in (
        (("S",), "--flag S needs a --comment"),
        (("F", "--reason", "x", "--comment", "y"), "is not the code of a reason"),
        (("P", "--reason", "imaging"), "--reason goes with --flag F"),
    ):
        refused = system.run("aqua-qa2", *argv, *more)
        assert refused.returncode == 2
        assert complaint in refused.stderr
        assert refused.stderr.count("\n") == 1
