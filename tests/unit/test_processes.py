"""The table of processes, and what starts, keeps and ends them: with small stand-ins for the actors."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from waiting import until

from drw.machine import background, deaths, ending, pids, processes, tmux
from drw.machine.keeper import wait_s
from drw.machine.processes import Process
from drw.machine.running import Home, Wanted, status
from shared.errors import BadInput, ProgramError
from shared.settings import read_settings

GRACE_S = 1.0
SERVES = "echo INFO ready: here; exec sleep 600"
STUBBORN = "trap '' TERM; echo INFO ready: here; while :; do sleep 0.05; done"


# The table


@pytest.fixture
def settings(tmp_path):
    return read_settings(
        {"DRW_HOME": str(tmp_path), "DRW_EU_CACHE": "/c/eu", "DRW_JAO_CACHE": "/c/jao", "DRW_JAO_PORT": "8101"}
    )


def command(process):
    return " ".join([Path(process.argv[0]).name, *process.argv[1 : process.argv.index("--log-file")]])


def test_the_actors_are_started_as_one_would_by_hand(settings):
    assert {process.name: command(process) for process in processes.actors(settings)} == {
        "xtss": "xtss --strict",
        "replicated-cache-EU": "replicated-cache -e EU -lc /c/eu -p 8000",
        "replicated-cache-JAO": "replicated-cache -e JAO -lc /c/jao -euc /c/eu -p 8101",
        "pipeline-driver-EU": "pipeline-driver EU /c/eu",
        "aqua-qa2": "aqua-qa2 --listen",
        "product-ingestor": "product-ingestor /c/jao",
        "data-tracker": "data-tracker",
        "dashboard": "dashboard --port 5000",
    }


def test_a_notifier_is_started_where_there_is_somebody_to_tell(tmp_path):
    told = read_settings({"DRW_HOME": str(tmp_path), "DRW_WEBHOOK_URL": "https://example.org/hook?token=1"})
    assert [command(each) for each in processes.actors(told) if each.name == "notifier"] == ["notifier"]


def test_at_a_terminal_the_reviewer_is_asked(settings):
    assert "aqua-qa2" in map(command, processes.actors(settings, prompt=True))


def test_each_actor_has_a_log_file_of_its_own(settings):
    made = processes.actors(settings, log_format="json")
    assert len({process.log for process in made}) == len(made)
    for process in made:
        assert process.argv[-4:] == ("--log-file", str(process.log), "--log-format", "json")


def test_couchlet_serves_where_couchdb_was_looked_for(tmp_path):
    settings = read_settings({"DRW_HOME": str(tmp_path), "DRW_COUCHDB_URL": "http://localhost:5999"})
    argv = processes.couchlet(settings).argv
    assert argv[1:] == ("--host", "127.0.0.1", "--port", "5999", "--data", str(tmp_path / "couchlet"))


@pytest.mark.parametrize("url", ["http://db.example.org:5984", "https://127.0.0.1:6984", "http://127.0.0.1:5984/db"])
def test_couchlet_cannot_stand_in_for_a_couchdb_elsewhere(url):
    with pytest.raises(BadInput, match="no CouchDB answers at DRW_COUCHDB_URL"):
        processes.couchlet(read_settings({"DRW_COUCHDB_URL": url}))


@pytest.mark.parametrize("line", ["t xtss INFO ready: xtss", '{"text": "ready: xtss"}'])
def test_what_says_that_an_actor_serves(line, tmp_path):
    log = tmp_path / "xtss.log"
    log.write_text("it is already read\n")
    row = deaths_row(log)
    assert not deaths.says_ready(row)
    log.write_text(line)
    assert deaths.says_ready(row)


def deaths_row(log):
    from drw.machine.running import Row  # noqa: PLC0415 (only here)

    return Row(process=Process(name="xtss", argv=("xtss",), log=log))


# Which process a pid means


def test_a_process_lives_until_it_has_ended():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    born = pids.birth(child.pid)
    assert pids.is_alive(child.pid, born)
    child.stdin.close()
    until(lambda: not pids.is_alive(child.pid, born))  # though not yet collected
    child.wait()
    assert pids.birth(child.pid) == ""


def test_another_process_of_the_same_pid_is_left_alone():
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        pids.terminate(child.pid, "another birth")
        pids.kill_group(child.pid, "another birth")
        assert child.poll() is None
        pids.kill_group(child.pid, pids.birth(child.pid))


# In the background


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "the home"
    yield path
    ending.stop(path)


def process(home, name, script=SERVES, **more):
    log = home / "log" / f"{name}.log"
    return Process(name=name, argv=("sh", "-c", script), log=log, writes_log=False, **more)


def start(home, *wanted, **more):
    environ = {"PATH": os.environ["PATH"], **more.pop("environ", {})}
    return background.start(wanted, environ=environ, home=home, logs=home / "log", grace_s=GRACE_S, **more)


def rows(home):
    return {row.process.name: row for row in status(home).rows}


def test_what_is_started_serves_when_start_returns(home):
    started = start(home, process(home, "one"), process(home, "two"))
    assert started.started == ("one", "two")
    assert all(row.phase == "ready" and row.is_alive() for row in started.rows)
    assert (home / "running.json").stat().st_mode & 0o777 == 0o600


def test_a_second_start_starts_only_what_is_missing(home):
    start(home, process(home, "one"))
    before = rows(home)["one"].pid
    second = start(home, process(home, "one"), process(home, "two"))
    assert (second.started, second.already) == (("two",), ("one",))
    assert rows(home)["one"].pid == before


def test_two_starts_at_once_start_everything_once(home):
    starts = [threading.Thread(target=start, args=(home, process(home, "one"))) for _ in range(3)]
    for each in starts:
        each.start()
    for each in starts:
        each.join()
    assert (home / "log" / "one.log").read_text().count("ready") == 1


def test_what_dies_at_its_start_is_named_with_its_last_lines(home):
    with pytest.raises(ProgramError) as error:
        start(home, process(home, "one"), process(home, "two", "echo port 8000 is in use >&2; exit 2"))
    assert str(error.value).startswith("two exited with status 2 at its start")
    assert "port 8000 is in use" in str(error.value)
    assert "one" not in str(error.value)
    assert rows(home)["one"].phase == "ready"
    assert rows(home)["two"].phase == "failed"


def test_what_failed_is_started_by_the_next_start_with_the_new_arguments_and_environment(home):
    with pytest.raises(ProgramError):
        start(home, process(home, "one", "exit 2"))
    start(home, process(home, "one", 'echo "$WORD ready"; exec sleep 600'), environ={"WORD": "now"})
    assert "now ready" in (home / "log" / "one.log").read_text()


def test_what_cannot_be_started_says_why(home):
    lost = Process(name="lost", argv=(str(home / "nowhere"),), log=home / "log" / "lost.log")
    with pytest.raises(ProgramError, match="lost cannot be started: No such file or directory"):
        start(home, lost)


def test_what_cannot_be_started_for_the_moment_is_started_again(home):
    home.mkdir()
    shell = home / "shell"
    shutil.copy("/bin/sh", shell)
    busy = Process(name="busy", argv=(str(shell), "-c", SERVES), log=home / "log" / "busy.log", writes_log=False)
    with shell.open("ab"), pytest.raises(ProgramError, match="busy cannot be started: Text file busy"):
        start(home, busy)
    until(lambda: rows(home)["busy"].phase == "ready")


def test_an_output_that_cannot_be_turned_over_is_told_once_and_nothing_ends_of_it(home):
    hasty = "from drw.machine import supervisor; supervisor._HOUSEKEEPING_S = 0.02; supervisor.main()"
    one, said = process(home, "one"), home / "log" / "supervisor.log"
    in_the_way = one.log.with_name("one.log.1")
    in_the_way.mkdir(parents=True)
    Home(home).write(Wanted(processes=[one], environ=dict(os.environ), grace_s=GRACE_S))
    subprocess.run([sys.executable, "-c", hasty, str(home), str(home / "log")], check=True)
    until(lambda: "one" in rows(home) and rows(home)["one"].phase == "ready")
    os.truncate(one.log, 10_000_001)
    until(lambda: "one.log grows on, because it cannot be kept as ….1: Is a directory" in said.read_text())
    in_the_way.rmdir()
    until(lambda: in_the_way.is_file() and one.log.stat().st_size == 0)
    assert said.read_text().count("grows on") == 1
    assert rows(home)["one"].is_alive()


def test_what_says_nothing_in_time_is_named(home):
    with pytest.raises(ProgramError, match=r"did not say that it is ready within 0.3 s.*\n    loading"):
        start(home, process(home, "one", "echo loading; exec sleep 600"), limit_s=0.3)


def test_a_traceback_outside_the_log_is_shown(home):
    silent = Process(name="silent", argv=("sh", "-c", "echo oops >&2; exit 2"), log=home / "log" / "silent.log")
    with pytest.raises(ProgramError, match="oops"):
        start(home, silent)


def test_what_dies_is_started_again(home):
    start(home, process(home, "one"))
    first = rows(home)["one"]
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: rows(home)["one"].restarts == 1 and rows(home)["one"].phase == "ready")
    assert rows(home)["one"].pid != first.pid
    assert "one was killed by SIGKILL; it is started again in 1 s" in (home / "log" / "supervisor.log").read_text()


def test_the_wait_before_a_start_grows_to_a_minute():
    assert [wait_s(deaths) for deaths in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]


def test_stop_ends_everything_the_lower_layer_last(home):
    ends = "trap 'echo {} >> ended; exit' TERM; echo INFO ready: here; while :; do sleep 0.05; done"
    start(home, process(home, "db", ends.format("db"), layer=0), process(home, "actor", ends.format("actor")))
    assert ending.stop(home) == ("db", "actor")
    assert (home / "ended").read_text().split() == ["actor", "db"]
    assert status(home).rows == []
    assert ending.stop(home) == ()


def test_when_stop_returns_the_supervisor_is_gone_too(home, tmp_path, monkeypatch):
    slow = tmp_path / "slow to end"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text("import atexit, time\natexit.register(time.sleep, 1)\n")
    monkeypatch.setenv("PYTHONPATH", str(slow))
    start(home, process(home, "one"))
    arguments = Path(f"/proc/{status(home).supervisor}/cmdline")
    assert b"drw.machine.supervisor" in arguments.read_bytes()
    ending.stop(home)
    assert not (arguments.exists() and arguments.read_bytes())  # one that ended has none


def test_what_does_not_end_when_asked_is_killed_with_its_group(home):
    start(home, process(home, "one", f"sleep 601 & echo $! > child; {STUBBORN}"))
    child = int((home / "child").read_text())
    assert pids.birth(child)
    ending.stop(home)
    until(lambda: not pids.birth(child))


def test_what_a_killed_supervisor_left_is_shown_and_taken_over(home):
    start(home, process(home, "one"))
    before = rows(home)["one"].pid
    os.kill(status(home).supervisor, signal.SIGKILL)
    until(lambda: not Home(home).is_supervised())
    assert rows(home)["one"].phase == "ready"
    assert start(home, process(home, "one")).already == ("one",)
    assert rows(home)["one"].pid == before
    os.kill(before, signal.SIGKILL)
    until(lambda: rows(home)["one"].restarts == 1)


def test_stop_ends_what_a_killed_supervisor_left(home):
    start(home, process(home, "one"), process(home, "two", STUBBORN))
    left = rows(home)
    os.kill(status(home).supervisor, signal.SIGKILL)
    assert ending.stop(home) == ("one", "two")
    assert not any(row.is_alive() for row in left.values())


def test_a_supervisor_that_no_file_names_is_told_of(home, monkeypatch):
    start(home, process(home, "one"))
    left = status(home)
    (home / "running.json").unlink()
    monkeypatch.setattr(ending, "KILL_S", 0.1)
    with pytest.raises(ProgramError, match=r"holds .*supervisor\.lock by hand"):
        ending.stop(home)
    os.kill(left.supervisor, signal.SIGTERM)
    until(lambda: not Home(home).is_supervised())
    assert not left.row("one").is_alive()


def test_what_is_started_again_keeps_its_place(home):
    with pytest.raises(ProgramError):
        start(home, process(home, "one", "exit 2"), process(home, "two"), process(home, "three"))
    start(home, process(home, "two"), process(home, "one"))
    assert list(rows(home)) == ["one", "two", "three"]


def test_what_ended_while_nobody_looked_is_gone(home):
    start(home, process(home, "one"))
    os.kill(status(home).supervisor, signal.SIGKILL)
    os.kill(rows(home)["one"].pid, signal.SIGKILL)
    until(lambda: rows(home)["one"].phase == "gone")


def test_sigterm_to_the_supervisor_ends_everything(home):
    start(home, process(home, "one"))
    row = rows(home)["one"]
    os.kill(status(home).supervisor, signal.SIGTERM)
    until(lambda: not Home(home).is_supervised())
    assert not row.is_alive()


def test_a_damaged_file_is_named(home):
    home.mkdir()
    (home / "running.json").write_text("{")
    with pytest.raises(ProgramError, match=r"running\.json is damaged"):
        status(home)
    (home / "running.json").unlink()


# Under tmux


@pytest.fixture
def tmux_server(monkeypatch):
    """A tmux server of the test's own; its socket's path has to be short."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    folder = Path("/tmp") / f"drw-tmux-{os.getpid()}"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("TMUX_TMPDIR", str(folder))
    monkeypatch.delenv("TMUX", raising=False)
    yield
    subprocess.run(["tmux", "kill-server"], capture_output=True, check=False)
    shutil.rmtree(folder)


def start_windows(home, *wanted):
    environ = {"PATH": os.environ["PATH"], "WORD": "by file"}
    return tmux.start(wanted, environ=environ, home=home, logs=home / "log", grace_s=GRACE_S)


def windows():
    asked = ["tmux", "list-windows", "-t", "drw", "-F", "#{window_name}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()


def test_under_tmux_each_has_a_window_and_its_log(home, tmux_server):
    started = start_windows(home, process(home, "one", f"echo $WORD; {SERVES}"), process(home, "two"))
    assert started.started == ("one", "two")
    assert windows() == ["one", "two"]
    assert "by file" in (home / "log" / "one.log").read_text()
    assert start_windows(home, process(home, "one")).already == ("one", "two")
    with pytest.raises(ProgramError, match="one, two already run under tmux"):
        start(home, process(home, "three"))
    assert ending.stop(home) == ("one", "two")
    assert windows() == []


def test_under_tmux_a_session_is_begun_while_the_server_of_the_last_one_ends(home, tmux_server, tmp_path, monkeypatch):
    """The program that stands before tmux says what tmux itself says then."""
    stand_in = tmp_path / "bin" / "tmux"
    stand_in.parent.mkdir()
    asked, real = tmp_path / "asked", shutil.which("tmux")
    stand_in.write_text(
        f"""#!/bin/sh
if [ "$1" = new-session ] && [ ! -e {asked} ]; then
    touch {asked}
    echo "server exited unexpectedly" >&2
    exit 1
fi
exec {real} "$@"
"""
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    assert start_windows(home, process(home, "one")).started == ("one",)
    assert asked.exists()


def test_under_tmux_a_dead_window_shows_why_and_is_replaced(home, tmux_server):
    with pytest.raises(ProgramError, match="oops"):
        start_windows(home, process(home, "one", "echo oops; exit 2"))
    assert windows() == ["one"]
    start_windows(home, process(home, "one"))
    assert windows() == ["one"]


def test_under_tmux_what_dies_is_started_again_in_its_window(home, tmux_server):
    start_windows(home, process(home, "one"), process(home, "two"))
    first = rows(home)["one"]
    os.kill(first.child, signal.SIGKILL)
    until(lambda: rows(home)["one"].restarts == 1 and rows(home)["one"].phase == "ready")
    after = rows(home)["one"]
    assert (after.pid, after.window) == (first.pid, first.window)
    assert after.child != first.child
    assert list(rows(home)) == ["one", "two"]
    said = "one was killed by SIGKILL; it is started again in 1 s"
    assert said in (home / "log" / "supervisor.log").read_text()
    until(lambda: said in " ".join(screen("one").split()))
    ending.stop(home)
    assert not pids.birth(after.child)


def test_under_tmux_nobody_writes_across_a_prompt(home, tmux_server):
    start_windows(home, process(home, "one", "printf '? '; " + SERVES, prompts=True), process(home, "two"))
    until(lambda: "two is ready" in screen("two"))
    assert "one is ready" in (home / "log" / "supervisor.log").read_text()
    assert screen("one").split() == ["?", "INFO", "ready:", "here"]


def test_under_tmux_what_is_ended_with_ctrl_c_stays_so(home, tmux_server):
    start_windows(home, process(home, "one"))
    subprocess.run(["tmux", "send-keys", "-t", "drw:one", "C-c"], check=True)
    until(lambda: rows(home)["one"].phase == "failed")
    assert rows(home)["one"].ending == "was ended with Ctrl-C"
    assert start_windows(home, process(home, "one")).started == ("one",)


def test_under_tmux_what_a_killed_keeper_left_is_ended(home, tmux_server):
    start_windows(home, process(home, "one", f"trap '' HUP; {STUBBORN}"))
    row = rows(home)["one"]
    os.kill(row.pid, signal.SIGKILL)
    until(lambda: not pids.birth(row.pid))
    assert rows(home)["one"].is_alive()
    assert ending.stop(home) == ("one",)
    assert not pids.birth(row.child)


def screen(name):
    asked = ["tmux", "capture-pane", "-p", "-S", "-100", "-t", f"drw:{name}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def test_stop_leaves_the_windows_of_others_alone(home, tmux_server):
    subprocess.run(["tmux", "new-session", "-d", "-s", "drw", "-n", "mine", "sleep", "600"], check=True)
    start_windows(home, process(home, "one"))
    ending.stop(home)
    assert windows() == ["mine"]
