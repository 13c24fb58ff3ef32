"""``launch-all.sh --demo``, whole: the ten OUSs, left running or ended, and what it refuses."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from ports import free_port

from drw import setup
from drw.demo import place
from drw.machine import ending, processes, starting
from drw.machine.running import status
from shared import status as entities
from shared.dbcon import DbConnection
from shared.settings import read_settings

pytestmark = pytest.mark.xdist_group("demo")


class Demo:
    """The demo in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith(("DRW_", "COUCHDB_"))} | {
            "DRW_HOME": str(home),
            "DRW_PACE": "0",
            "DRW_GRACE_S": "3",
            "COLUMNS": "80",
        }

    def __call__(self, *arguments: str, module: str = "drw.demo", **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", module, *arguments],
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def strays(self) -> list[str]:
        """Return the command lines of the processes that have this home among their arguments."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.home) in command:
                found.append(command)
        return found


@pytest.fixture
def demo(tmp_path):
    made = Demo(tmp_path / "home")
    yield made
    ending.stop(made.home / "demo")


def assert_all_ok(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    table = [line.split() for line in lines if re.match(r"uid://X1/X1/Xb[0-8a]  ", line)]
    assert len(table) == 10
    assert [row[1] for row in table] == ["Delivered"] * 10
    assert [row[3:] for row in table] == [["5", "yes", "yes"]] * 10
    assert re.search(r"^eu-cache = jao-cache: \d+ files, \d+ bytes: OK$", done.stdout, re.MULTILINE)
    assert re.search(r"^message bus: \d+ messages, 0 open, 0 dead: OK$", done.stdout, re.MULTILINE)
    assert "one run was failed by the reviewer and launched again" in done.stdout
    assert "\x1b" not in done.stdout


def test_with_exit_it_ends_everything_and_then_without_it_is_left_running_until_it_is_stopped(demo):
    ended = demo("--exit")
    assert_all_ok(ended)
    assert "everything was ended (--exit)" in ended.stdout
    assert demo.strays() == []

    database, eu, jao, taken = (free_port() for _ in range(4))
    url = f"http://127.0.0.1:{database}"
    ports = {"DRW_EU_PORT": str(eu), "DRW_JAO_PORT": str(jao), "DRW_DASHBOARD_PORT": str(taken)}
    with socket.create_server(("127.0.0.1", taken)):
        done = demo(DRW_COUCHDB_URL=url, **ports)
    assert_all_ok(done)
    assert f"starting couchlet at {url}, its data and all else in {demo.home / 'demo'}" in done.stdout
    assert f"port {taken} is taken: the dashboard is at " in done.stdout
    rows = status(demo.home / "demo").rows
    assert len(rows) == 9
    shown = demo("--status")
    assert shown.returncode == 0
    assert all(row.process.name in shown.stdout for row in rows)
    address = next(row.process.address for row in rows if row.process.name == "dashboard")
    with urllib.request.urlopen(address, timeout=10) as page:
        assert b"/ous/uid___X1_X1_Xb0" in page.read()
    looked = subprocess.run(look_further(done.stdout), shell=True, capture_output=True, text=True, check=False)
    assert looked.returncode == 0, looked.stdout + looked.stderr

    for module, arguments in (("drw.machine.launch", ("--background",)), ("drw.clear", ("--yes",))):
        refused = demo(*arguments, module=module, DRW_COUCHDB_URL=url)
        assert refused.returncode == 1
        assert "the demo is running there: ./launch-all.sh --demo --stop ends it" in refused.stderr
    assert "the demo is running: ./launch-all.sh --demo --stop" in demo("--status", module="drw.machine.launch").stdout

    stopped = demo("--stop")
    assert stopped.returncode == 0
    assert stopped.stdout.count(",") == 8
    assert demo.strays() == []
    assert demo("--stop").stdout == "no demo runs\n"
    assert demo("--status").returncode == 1


def test_of_half_a_demo_it_says_what_is_missing(demo):
    here = place.find(demo.environ)
    starting.starter(here.settings, here.environ)([processes.couchlet(here.settings)])
    shown = demo("--status")
    assert shown.returncode == 1
    assert "\nnot started: xtss, replicated-cache-EU, " in shown.stdout


def look_further(said: str) -> str:
    return next(line for line in said.splitlines() if line.startswith("Look further:")).partition(":")[2].strip()


def test_it_tells_nobody_of_its_ouss_and_logs_in_as_nobody_elses_user(demo, tmp_path):
    credentials = tmp_path / "operator"
    credentials.touch(mode=0o600)
    credentials.write_text("COUCHDB_USER=drw-operator\nCOUCHDB_PASSWORD=pw\n")
    here = place.find(demo.environ | {"DRW_WEBHOOK_URL": "http://hooks.example/x", "DRW_CREDENTIALS": str(credentials)})
    assert (here.own_database, here.settings.webhook_url) == (True, "")
    assert here.settings.user != "drw-operator"


@pytest.mark.parametrize("doc_id", ["uid___A003_X1_X1b", "uid___X1_X1_Xb0"])
def test_it_refuses_a_couchdb_that_holds_ouss_which_it_did_not_make(demo, couchlet, doc_id):
    environ = {**demo.environ, "DRW_HOME": str(couchlet.home), "DRW_COUCHDB_URL": couchlet.url}
    settings = read_settings(environ)
    setup.ensure(settings)
    connection = DbConnection(settings)
    database = connection.database(entities.DATABASE)
    database.put({"_id": doc_id, "schema": 1})
    given = {"DRW_COUCHDB_URL": couchlet.url, "COUCHDB_USER": settings.user, "COUCHDB_PASSWORD": settings.password}
    done = demo("--exit", **given)
    assert done.returncode == 1
    assert f"holds OUSs that are not the demo's (1, such as {doc_id})" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert database.get(doc_id)
    connection.close()
    assert status(demo.home / "demo").rows == []


def test_what_it_made_in_a_couchdb_it_may_make_anew(demo, couchlet):
    settings = read_settings({**demo.environ, "DRW_HOME": str(couchlet.home), "DRW_COUCHDB_URL": couchlet.url})
    given = {"DRW_COUCHDB_URL": couchlet.url, "COUCHDB_USER": settings.user, "COUCHDB_PASSWORD": settings.password}
    assert_all_ok(demo("--exit", **given))
    assert not place.find(demo.environ | given).own_database
