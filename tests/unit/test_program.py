"""Programs are run, watched and ended, whatever happens to whoever started them."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared import program
from shared.errors import ProgramError
from shared.program import Ended, read_record

ROOT = Path(__file__).parents[2]
PATIENT_S = 20.0


@pytest.fixture
def start(tmp_path):
    started = []

    def run(*argv, **options):
        options.setdefault("environ", {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"})
        options.setdefault("directory", tmp_path)
        made = program.start(argv, log=tmp_path / "log", record=tmp_path / "record", **options)
        started.append(made)
        return made

    yield run
    for each in started:
        each.cancel(0)
        assert each.wait(PATIENT_S)


def python(code):
    return sys.executable, "-c", code


def said(tmp_path, line, count=1):
    """Wait until the program has written a line; a named pipe would end with its reader."""
    until = time.monotonic() + PATIENT_S
    while (tmp_path / "log").read_text().split("\n").count(line) < count:
        assert time.monotonic() < until
        time.sleep(0.005)


def gone(pid):
    until = time.monotonic() + PATIENT_S
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.005)
    return False


def test_runs_in_its_directory_with_its_environment_and_log(start, tmp_path):
    code = "import os, sys; print(os.getcwd(), sorted(os.environ), sys.stdin.read(), flush=True); sys.stderr.write('e')"
    ended = start(*python(code), environ={"LC_ALL": "C.UTF-8"}).wait(PATIENT_S)
    assert (tmp_path / "log").read_text() == f"{tmp_path} ['LC_ALL'] \ne"
    assert ended.succeeded
    assert ended.sentence() == f"exited with code 0 after {ended.duration_s:.1f} s"
    assert ended.started_at <= ended.ended_at <= datetime.now(UTC)
    assert ended.user_s + ended.system_s > 0
    assert ended.max_rss_bytes > 1_000_000
    assert read_record(tmp_path / "record") == ended


def test_the_log_is_appended_to(start, tmp_path):
    for _ in range(2):
        start("echo", "one").wait(PATIENT_S)
    assert (tmp_path / "log").read_text() == "one\none\n"


def test_arguments_are_never_seen_by_a_shell(start, tmp_path):
    start("printf", "%s\n", "$(id)", "a b", "; ls", "ü\udc80").wait(PATIENT_S)
    assert (tmp_path / "log").read_bytes() == "$(id)\na b\n; ls\nü".encode() + b"\x80\n"


def test_tells_exit_code_and_signal(start):
    ended = start(*python("raise SystemExit(3)")).wait(PATIENT_S)
    assert (ended.code, ended.signal, ended.succeeded) == (3, None, False)
    assert ended.sentence().startswith("exited with code 3 after ")
    ended = start(*python("import os; os.kill(os.getpid(), 11)")).wait(PATIENT_S)
    assert (ended.code, ended.signal, ended.succeeded) == (None, 11, False)
    assert ended.sentence().startswith("was killed by signal SIGSEGV after ")


def test_wait_returns_none_while_it_runs(start):
    running = start("sleep", "60")
    assert running.wait(0.01) is None
    assert os.getpgid(running.pid) == os.getsid(running.pid) == running.pid != os.getpgid(0)


def test_cancel_lets_it_stop_by_itself(start, tmp_path):
    # Not one long sleep: a signal that comes just before it begins is not heard before it ends.
    code = (
        "import signal, time\nsignal.signal(15, lambda *_: exit(7)); print('up', flush=True)\nwhile 1: time.sleep(0.1)"
    )
    running = start(*python(code))
    said(tmp_path, "up")
    running.cancel(PATIENT_S)
    ended = running.wait(PATIENT_S)
    assert (ended.code, ended.cancelled) == (7, True)
    assert ended.sentence().startswith("was cancelled after ")
    running.cancel()


STUBBORN = """
import os, signal, sys, time
signal.signal(15, signal.SIG_IGN)
if os.fork() == 0 and os.fork() == 0 and sys.argv[1:]:
    os.setsid()
print(os.getpid(), flush=True)
print('up', flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("more", [(), ("in a session of its own",)])
def test_what_ignores_it_is_killed_with_all_its_processes(start, tmp_path, more):
    running = start(sys.executable, "-c", STUBBORN, *more)
    said(tmp_path, "up", 3)
    running.cancel(0.05)
    ended = running.wait(PATIENT_S)
    assert (ended.signal, ended.cancelled) == (signal.SIGKILL, True)
    pids = {int(line) for line in (tmp_path / "log").read_text().split() if line.isdigit()}
    assert len(pids) == 3
    assert all(gone(pid) for pid in pids)


def test_a_later_cancel_with_less_grace_counts(start, tmp_path):
    running = start(sys.executable, "-c", STUBBORN)
    said(tmp_path, "up", 3)
    running.cancel(3600)
    assert running.wait(0.05) is None
    running.cancel(0)
    assert running.wait(PATIENT_S).signal == signal.SIGKILL


def test_a_stopped_program_can_be_cancelled(start):
    running = start("sleep", "60")
    os.kill(running.pid, signal.SIGSTOP)
    running.cancel(PATIENT_S)
    assert running.wait(PATIENT_S).signal == signal.SIGTERM


def test_what_is_left_when_the_leader_ends_is_killed(start, tmp_path):
    code = "import os, time\npid = os.fork()\nif pid == 0:\n time.sleep(60)\nprint(pid)"
    ended = start(*python(code)).wait(PATIENT_S)
    assert ended.succeeded
    assert gone(int((tmp_path / "log").read_text()))


def test_the_time_limit_ends_it(start):
    ended = start("sleep", "60", time_limit_s=0.05).wait(PATIENT_S)
    assert (ended.timed_out, ended.signal) == (True, signal.SIGTERM)
    assert ended.sentence() == "ran past its time limit of 0.05 s and was ended"


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ((), "the command is empty"),
        (
            ("no-such-program-anywhere",),
            "'no-such-program-anywhere' cannot be started: there is no such program on the",
        ),
        (("./plain",), "is not executable"),
        (("./odd",), "the interpreter that its first line names"),
        (("./text",), "neither a binary nor"),
        (("echo", "a\0b"), "NUL"),
        (("x" * 5000,), "cannot be started: File name too long"),
    ],
)
def test_what_cannot_be_started_is_a_clear_error(start, tmp_path, monkeypatch, argv, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").touch()
    (tmp_path / "odd").write_text("#!/no/such/interpreter\n")
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "odd").chmod(0o755)
    (tmp_path / "text").chmod(0o755)
    with pytest.raises(ProgramError, match=complaint):
        start(*argv)
    assert read_record(tmp_path / "record") is None


def test_a_missing_directory_or_log_is_a_clear_error(start, tmp_path):
    with pytest.raises(ProgramError, match=r"its directory .*none does not exist"):
        start("echo", directory=tmp_path / "none")
    (tmp_path / "log").mkdir()
    with pytest.raises(ProgramError, match=r"with the log .*: Is a directory"):
        start("echo")


DRIVER = """
import os, sys; from pathlib import Path; from shared import program
where = Path(sys.argv[1])
running = program.start(sys.argv[3:], directory=where, environ=dict(os.environ), log=where / "log",
    record=where / "record", grace_s=float(sys.argv[2]))
print(running.pid, flush=True)
running.wait()
input()
"""


@pytest.fixture
def driver(tmp_path):
    (tmp_path / "log").touch()

    def begin(grace_s, *argv):
        command = [sys.executable, "-c", DRIVER, tmp_path, str(grace_s), *argv]
        made = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        begun.append(made)
        return made, int(made.stdout.readline())

    begun = []
    yield begin
    for each in begun:
        each.kill()
        each.communicate()


def test_a_program_ends_with_its_killed_driver(driver, tmp_path):
    made, pid = driver(0.05, sys.executable, "-c", STUBBORN)
    said(tmp_path, "up", 3)
    made.kill()
    ended = read_record(tmp_path / "record", wait_s=PATIENT_S)
    assert (ended.orphaned, ended.signal) == (True, signal.SIGKILL)
    assert ended.sentence().endswith("because the process that had started it was gone")
    assert gone(pid)
    assert not program.is_kept(tmp_path / "record")


def test_a_program_outlasts_its_stopped_driver(driver, tmp_path):
    code = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(.01)"
    made, _ = driver(0, *python(code))
    made.send_signal(signal.SIGSTOP)
    assert program.is_kept(tmp_path / "record")
    assert read_record(tmp_path / "record", wait_s=0.1) is None
    (tmp_path / "go").touch()
    ended = read_record(tmp_path / "record", wait_s=PATIENT_S)
    assert ended.succeeded


def test_a_finished_run_is_known_after_its_driver_was_killed(driver, tmp_path):
    made, _ = driver(0, "true")
    made.kill()
    ended = read_record(tmp_path / "record", wait_s=PATIENT_S)
    assert ended.code == 0 or ended.orphaned


def test_a_program_ends_with_its_killed_keeper(start, tmp_path):
    running = start("sleep", "60")
    running._keeper.kill()
    ended = running.wait(PATIENT_S)
    assert (ended.code, ended.signal, ended.succeeded) == (None, None, False)
    assert "was lost after" in ended.sentence()
    assert gone(running.pid)
    assert read_record(tmp_path / "record") is None


@pytest.mark.parametrize("record", ["none/record", "."])
def test_a_place_where_no_record_can_be_is_a_clear_error(tmp_path, record):
    with pytest.raises(ProgramError, match="'true' c"):
        program.start(["true"], directory=tmp_path, environ={}, log=tmp_path / "log", record=tmp_path / record)


def test_the_record_is_on_disk_before_the_end_is_told(start, tmp_path):
    start("true").wait(PATIENT_S)
    content = json.loads((tmp_path / "record").read_text())
    assert content["code"] == 0
    assert not list(tmp_path.glob("*.tmp"))


def test_the_end_is_known_even_when_the_record_cannot_be_written(start, tmp_path):
    running = start(*python("import pathlib, os; os.mkdir('record'); pathlib.Path('record/x').touch()"))
    assert running.wait(PATIENT_S).succeeded
    assert "cannot be written" in (tmp_path / "log").read_text()


def test_a_broken_record_is_a_clear_error(tmp_path):
    (tmp_path / "record").write_text("{}")
    with pytest.raises(ProgramError, match="cannot be read"):
        read_record(tmp_path / "record")


def test_an_unknown_signal_is_told_by_number():
    now = datetime.now(UTC)
    assert "signal 99" in Ended(signal=99, started_at=now, ended_at=now, duration_s=1).sentence()


def test_no_file_or_process_is_left_open(start):
    start("true").wait(PATIENT_S)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        start("true").wait(PATIENT_S)
        with pytest.raises(ProgramError):
            start("no-such-program-anywhere")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
