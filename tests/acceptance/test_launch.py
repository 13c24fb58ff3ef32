"""``launch-all.sh`` with the real actors, in the background."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from ports import free_port
from waiting import until

from drw.machine import ending, heartbeats, starting
from drw.machine.running import Home, status
from shared.settings import read_credentials, read_settings

ACTORS = {
    "xtss",
    "replicated-cache-EU",
    "replicated-cache-JAO",
    "pipeline-driver-EU",
    "aqua-qa2",
    "product-ingestor",
    "data-tracker",
    "dashboard",
}


class Launcher:
    """launch-all.sh in a home of its own, on ports of its own."""

    def __init__(self, home):
        self.home = home
        self.couchdb, self.eu, self.jao, self.dashboard = (str(free_port()) for _ in range(4))
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith(("DRW_", "COUCHDB_"))} | {
            "DRW_HOME": str(home),
            "DRW_COUCHDB_URL": f"http://127.0.0.1:{self.couchdb}",
            "DRW_EU_PORT": self.eu,
            "DRW_JAO_PORT": self.jao,
            "DRW_DASHBOARD_PORT": self.dashboard,
            "DRW_GRACE_S": "3",
            "DRW_POLL_MAX_S": "3",
        }

    def __call__(self, *arguments, **environ):
        return self.run("drw.machine.launch", *arguments, **environ)

    def run(self, module, *arguments, **environ):
        return subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def alive(self):
        return {row.process.name: row.pid for row in status(self.home).alive()}


@pytest.fixture
def launch(tmp_path):
    launcher = Launcher(tmp_path / "home")
    yield launcher
    ending.stop(launcher.home)


def test_everything_is_started_shown_mended_and_ended(launch):
    first = launch("--background")
    assert first.returncode == 0, first.stderr
    assert f"no CouchDB answers at http://127.0.0.1:{launch.couchdb}: couchlet is started there" in first.stdout
    pids = launch.alive()
    assert set(pids) == ACTORS | {"couchlet"}
    for port in (launch.eu, launch.jao, launch.dashboard):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert page.status == 200
    logs = {path.stem for path in (launch.home / "log").glob("*.log")}
    assert logs == ACTORS | {"couchlet", "supervisor"}

    second = launch("--background")
    assert second.returncode == 0
    assert "all of it ran already" in second.stdout
    assert launch.alive() == pids

    os.kill(pids["xtss"], signal.SIGKILL)
    third = launch("--background")
    assert third.returncode == 0, third.stderr
    assert launch.alive().keys() == pids.keys()
    assert launch.alive()["xtss"] != pids["xtss"]
    shown = launch("--status")
    assert shown.returncode == 0
    assert re.search(r"^xtss +runs +\d+ +[\d:]+ +1$", shown.stdout, re.MULTILINE)
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:4]] == ["supervisor", "couchlet", "xtss"]
    assert max(map(len, shown.stdout.splitlines()[:-1])) <= 80

    stopped = launch("--stop")
    assert stopped.returncode == 0
    assert set(re.findall(r"[\w-]+", stopped.stdout)) >= ACTORS
    assert launch.alive() == {}
    assert launch("--status").returncode == 1
    assert launch("--stop").stdout == "nothing that was started here runs\n"


def test_a_port_in_use_is_named_with_its_setting_before_anything_is_started(launch):
    with socket.create_server(("127.0.0.1", int(launch.jao))):
        first = launch("--background", DRW_EU_PORT=launch.dashboard)
    assert first.returncode == 2
    assert (
        f"port {launch.jao}, for replicated-cache-JAO, is in use: end what uses it, or set DRW_JAO_PORT" in first.stderr
    )
    assert "given to both replicated-cache-EU and dashboard: set DRW_DASHBOARD_PORT" in first.stderr
    assert len(first.stderr.splitlines()) == 1
    assert launch.alive() == {}


def test_a_dead_supervisor_is_shown_and_the_next_start_brings_it_back(launch):
    launch("--background")
    os.kill(status(launch.home).supervisor, signal.SIGKILL)
    until(lambda: not Home(launch.home).is_supervised())
    shown = launch("--status")
    assert shown.returncode == 1
    assert re.search(r"^supervisor +dead ", shown.stdout, re.MULTILINE)
    assert "nothing is started again while it is dead: ./launch-all.sh brings it back" in shown.stdout
    before = launch.alive()
    assert launch("--background").returncode == 0
    assert launch.alive() == before
    assert launch("--status").returncode == 0


def test_what_runs_by_hand_gets_no_second_copy_and_is_not_cleared_under(launch, system):
    user, password = read_credentials(system.home / "credentials")
    database = {"DRW_COUCHDB_URL": system.couchlet.url, "COUCHDB_USER": user, "COUCHDB_PASSWORD": password}
    by_hand = system.start("xtss")
    system.wait_until(lambda: heartbeats.living(system.connection), database="actors")
    done = launch("--background", **database)
    assert done.returncode == 0, done.stderr
    assert f"xtss already runs by hand (pid {by_hand.process.pid} on " in done.stdout
    assert set(launch.alive()) == ACTORS - {"xtss"}
    assert launch("--status", **database).returncode == 0
    refused = launch.run("drw.clear", "--yes", "--force", **database)
    assert refused.returncode == 1
    assert "dashboard run here: end them first with ./launch-all.sh --stop" in refused.stderr
    launch("--stop", **database)
    refused = launch.run("drw.clear", "--yes", **database)
    assert refused.returncode == 1
    assert f"xtss (pid {by_hand.process.pid} on " in refused.stderr
    assert launch.run("drw.clear", "--yes", "--force", **database).returncode == 0
    by_hand.stop()
    assert launch.run("drw.clear", "--yes", **database).returncode == 0


def test_where_all_runs_by_hand_there_is_nothing_left_to_start(launch, system):
    user, password = read_credentials(system.home / "credentials")
    system.start_all()
    system.start("dashboard", "--port", "0")
    system.wait_until(lambda: len(heartbeats.living(system.connection)) == len(ACTORS), database="actors")
    done = launch("--background", DRW_COUCHDB_URL=system.couchlet.url, COUCHDB_USER=user, COUCHDB_PASSWORD=password)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" already runs by hand ") == len(ACTORS)
    assert done.stdout.endswith("there is nothing left to start\n")
    assert not launch.alive()


def test_the_address_of_weblogs_follows_the_port(launch):
    assert starting.environment(read_settings(launch.environ), launch.environ)["DRW_WEBLOG_URL"] == (
        f"http://localhost:{launch.jao}/weblogs"
    )
    given = launch.environ | {"DRW_WEBLOG_URL": "http://logs.example.org/w"}
    assert starting.environment(read_settings(given), given)["DRW_WEBLOG_URL"] == "http://logs.example.org/w"


@pytest.mark.parametrize("jao", ["eu-cache", "eu-cache/jao"])
def test_caches_that_are_one_or_in_each_other_are_refused(launch, jao):
    done = launch("--background", DRW_JAO_CACHE=str(launch.home / jao))
    assert done.returncode == 1
    assert "name two folders in DRW_EU_CACHE and DRW_JAO_CACHE" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_another_server_in_couchdbs_place_is_refused(launch):
    server = subprocess.Popen(
        [sys.executable, "-m", "http.server", launch.couchdb, "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(int(launch.couchdb))
        done = launch("--background")
    finally:
        server.kill()
        server.wait()
    assert done.returncode == 1
    assert "is no CouchDB" in done.stderr


def wait_for_port(port):
    def answers():
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True

    until(answers)


@pytest.mark.parametrize(
    ("environ", "arguments", "said"),
    [
        ({"DRW_COUCHDB_URL": "http://127.0.0.1:1/db"}, (), "no CouchDB answers at DRW_COUCHDB_URL"),
        ({"DRW_EU_PORT": "many"}, (), "DRW_EU_PORT is 'many'"),
        ({}, ("--stop", "--tmux"), "not allowed with"),
        ({"PATH": "/nowhere"}, ("--tmux",), "tmux is not installed"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(launch, environ, arguments, said):
    done = launch(*arguments, **environ)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
