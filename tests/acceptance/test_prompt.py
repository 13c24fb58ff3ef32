"""The reviewer's prompt, at a pseudo-terminal."""

import re

import pexpect
import pytest

OUS = "uid://X1/X1/Xb2"


@pytest.fixture
def at_the_prompt(system):
    system.start_all()
    assert system.launch(OUS).returncode == 0
    system.wait_for_state(OUS, "ReadyForReview")
    child = pexpect.spawn(
        str(system.scripts / "aqua-qa2"),
        ["--reviewer", "ada"],
        env={**system.environ, "TERM": "dumb", "COLUMNS": "200"},
        encoding="utf-8",
        timeout=30,
        dimensions=(50, 200),
    )
    child.expect("Please enter")
    assert OUS in child.before
    child.sendline(OUS)
    child.expect("</PipelineAquaReport>")
    child.expect(re.escape("Weblog: http://localhost:8001/weblogs/weblog-X1-X1-Xb2-"))
    child.expect("ancel")
    yield child
    child.close(force=True)


def test_fail_makes_the_ous_ready_for_processing(system, at_the_prompt):
    assert system.entity(OUS).state == "Reviewing"
    assert system.entity(OUS).reviewer.name == "ada"
    at_the_prompt.sendline("F")
    at_the_prompt.expect("Comment")
    at_the_prompt.sendline("too noisy")
    at_the_prompt.expect(f"Fail: {OUS} is ReadyForProcessing")
    failed = system.entity(OUS)
    assert failed.state == "ReadyForProcessing"
    assert failed.history[-1].note == "Fail: too noisy"
    assert system.messages("ingest.JAO") == []
    assert system.launch(OUS).returncode == 0
    system.wait_for_state(OUS, "ReadyForReview")


def test_cancel_gives_the_ous_back(system, at_the_prompt):
    at_the_prompt.sendline("C")
    at_the_prompt.expect("is ReadyForReview again")
    assert system.entity(OUS).state == "ReadyForReview"
    assert system.entity(OUS).reviewer is None
    at_the_prompt.expect("Please enter")
    at_the_prompt.sendline("q")
    at_the_prompt.expect(pexpect.EOF)
    at_the_prompt.wait()
    assert at_the_prompt.exitstatus == 0


def test_a_reviewer_who_leaves_by_ctrl_c_gives_the_ous_back(system, at_the_prompt):
    at_the_prompt.sendintr()
    at_the_prompt.expect(pexpect.EOF)
    at_the_prompt.wait()
    assert system.entity(OUS).state == "ReadyForReview"
    assert "Traceback" not in at_the_prompt.before


def test_pass_goes_on_to_delivered(system, at_the_prompt):
    at_the_prompt.sendline("x")
    at_the_prompt.expect("ancel")
    at_the_prompt.sendline("P")
    at_the_prompt.expect("Comment")
    at_the_prompt.sendline("")
    at_the_prompt.expect(f"Pass: {OUS} is")
    system.wait_for_state(OUS, "Delivered")
