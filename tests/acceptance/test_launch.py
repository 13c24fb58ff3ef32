"""``launch-all.sh`` with the real actors, in the background."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from drw import ending
from drw.running import status

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


def free_ports(count):
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Launcher:
    """launch-all.sh in a home of its own, on ports of its own."""

    def __init__(self, home):
        self.home = home
        self.couchdb, self.eu, self.jao, self.dashboard = free_ports(4)
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
        return subprocess.run(
            [sys.executable, "-P", "-m", "drw.launch", *arguments],
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
    assert second.stdout.count("runs already") == len(pids)
    assert launch.alive() == pids

    os.kill(pids["xtss"], signal.SIGKILL)
    third = launch("--background")
    assert third.returncode == 0, third.stderr
    assert launch.alive().keys() == pids.keys()
    assert launch.alive()["xtss"] != pids["xtss"]
    shown = launch("--status")
    assert shown.returncode == 0
    assert re.search(r"xtss +runs +\d+ .* 1 ", shown.stdout)

    stopped = launch("--stop")
    assert stopped.returncode == 0
    assert set(re.findall(r"[\w-]+", stopped.stdout)) >= ACTORS
    assert launch.alive() == {}
    assert launch("--status").returncode == 1
    assert launch("--stop").stdout == "nothing that was started here runs\n"


def test_a_port_in_use_is_named_and_the_next_start_brings_up_what_is_missing(launch):
    with socket.create_server(("127.0.0.1", int(launch.jao))):
        first = launch("--background")
    assert first.returncode == 1
    assert "replicated-cache-JAO exited with status" in first.stderr
    assert launch.jao in first.stderr
    assert "Traceback" not in first.stderr
    assert launch("--background").returncode == 0
    assert set(launch.alive()) == ACTORS | {"couchlet"}


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
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise AssertionError(port)


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
