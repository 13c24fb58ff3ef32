"""What dies is started again, and what has died inside ends loudly, so that it can be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from waiting import until

from drw.machine import background, ending, keeper, tmux
from drw.machine.processes import Process
from drw.machine.running import status

WAYS = {"background": background.start, "tmux": tmux.start}
SERVES = "import sys, time; print('x ready', file=open(sys.argv[1], 'a'), flush=True); time.sleep(600)"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TMUX_TMPDIR", str(tmp_path))  # a tmux server of one's own
    monkeypatch.delenv("TMUX", raising=False)
    home = tmp_path / "home"
    yield home
    ending.stop(home)
    subprocess.run(["tmux", "kill-server"], capture_output=True, check=False) if shutil.which("tmux") else None


@pytest.mark.parametrize("way", WAYS)
def test_what_dies_is_started_again_a_little_later_each_time_and_that_is_said(home, way):
    if way == "tmux" and not tmux.is_there():
        pytest.skip("tmux is not installed")
    log = home / "log" / "server.log"
    server = Process(name="server", argv=(sys.executable, "-c", SERVES, str(log)), log=log, ready="ready")
    WAYS[way]([server], environ=dict(os.environ), home=home, logs=log.parent)

    def ready(restarts):
        row = status(home).row("server")
        return row if row.phase == "ready" and row.restarts == restarts else None

    for restarts in range(2):
        os.kill(until(lambda restarts=restarts: ready(restarts)).shown_pid(), signal.SIGKILL)
    until(lambda: ready(2))
    said = (log.parent / "supervisor.log").read_text()
    assert said.index("SIGKILL; it is started again in 1 s") < said.index("SIGKILL; it is started again in 2 s")
    assert list(ending.stop(home)) == ["server"]
    assert status(home).alive() == []


def test_the_wait_before_a_start_is_doubled_up_to_a_minute():
    assert [keeper.wait_s(deaths) for deaths in (1, 2, 3, 6, 7, 100)] == [1, 2, 4, 32, 60, 60]


# What dies inside an actor

PARTS = {
    "taker": "shared.bus.taker:Taker.run",
    "leases": "shared.bus.leases:LeaseKeeper._run",
    "settler": "shared.bus.settler:Settler._run",
    "feed": "shared.bus.wake:Feed._run",
    "listener": "shared.bus.listener:Listener._run",
    "heartbeat": "shared.actor:Actor._beat",
    "web server": "actors.replicated_cache.web:_Server.run",
    "tracker": "actors.data_tracker:Tracker.run",
}
ACTORS = {"web server": ("replicated-cache", "-e", "EU", "-lc", "{eu}", "-p", "0"), "tracker": ("data-tracker",)}
DYING = """
import importlib, sys
from importlib.metadata import entry_points

where, name, *sys.argv[1:] = sys.argv[1:]
module, _, path = where.partition(":")
owner, _, method = path.partition(".")

def die(*_):
    raise RuntimeError("so the test wants it")

setattr(getattr(importlib.import_module(module), owner), method, die)
(script,) = entry_points(group="console_scripts", name=name)
sys.exit(script.load()())
"""


@pytest.mark.parametrize("part", PARTS)
def test_an_actor_of_which_a_part_has_died_ends_loudly(system, tmp_path, part):
    program = tmp_path / "dying.py"
    program.write_text(DYING)
    name, *argv = ACTORS.get(part, ("xtss",))
    done = subprocess.run(
        [sys.executable, str(program), PARTS[part], name, *(each.format(eu=system.eu) for each in argv)],
        env=system.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert f"CRITICAL {part}" in done.stderr
    assert " has died: this actor ends" in done.stderr
    assert "so the test wants it" in done.stderr
