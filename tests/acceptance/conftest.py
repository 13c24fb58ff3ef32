"""A whole system of real processes, with small times, for acceptance tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from drw import cli, setup
from shared import names, ngas, status
from shared.bus import queue
from shared.dbcon import DbConnection
from shared.settings import read_settings

SCRIPTS = Path(sys.executable).parent
TIMES = {
    "DRW_PACE": "0",
    "DRW_LEASE_S": "6",
    "DRW_HEARTBEAT_S": "1",
    "DRW_GRACE_S": "3",
    "DRW_RETRY_S": "0.2",
    "DRW_RETRY_MAX_S": "1",
    "DRW_POLL_S": "0.3",
    "DRW_POLL_MAX_S": "3",
    "DRW_RPC_DEADLINE_S": "15",
    "DRW_CLOCK_SPARE_S": "0.5",
}
PROGRAM = "2015.1.00657.S"


class Running:
    """A started actor: its process and what it has said so far."""

    def __init__(self, argv: list[str], environ: dict[str, str]) -> None:
        self.argv = argv
        self.lines: list[str] = []
        self._more = threading.Condition()
        self.process = subprocess.Popen(
            argv, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line.rstrip("\n"))
                self._more.notify_all()
        with self._more:
            self.lines.append("(end of output)")
            self._more.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, timeout: float = 30.0, *, times: int = 1) -> str:
        """Wait until a line matches, or as many as ``times``, and return the last of them."""

        def found():
            return [line for line in self.lines if re.search(pattern, line)][times - 1 : times]

        with self._more:
            lines = self._more.wait_for(found, timeout)
        assert lines, f"{self.argv[0]} never said {pattern!r} {times} times:\n{self.text}"
        return lines[0]

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20.0) -> int:
        """End it and return its exit status; one that does not end says where all of its threads are."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"{self.argv[0]} did not end:\n{self.text}") from None
        finally:
            self._reader.join(timeout)
            self.process.stdout.close()
        return self.process.returncode


class System:
    """Databases, caches and actors of one test."""

    def __init__(self, home: Path, couchlet) -> None:
        self.couchlet = couchlet
        self.scripts = SCRIPTS
        self.home = home
        self.eu, self.jao = home / "eu-cache", home / "jao-cache"
        for path in (self.eu, self.jao):
            path.mkdir()
        self.environ = {
            **os.environ,
            **TIMES,
            "DRW_HOME": str(home),
            "DRW_COUCHDB_URL": couchlet.url,
            "DRW_EU_CACHE": str(self.eu),
            "DRW_JAO_CACHE": str(self.jao),
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        self.settings = read_settings(self.environ)
        setup.ensure(self.settings)
        self.connection = DbConnection(self.settings)
        self.running: list[Running] = []

    def start(self, name: str, *args: object, ready: str = " ready") -> Running:
        running = Running([str(SCRIPTS / name), *map(str, args)], self.environ)
        self.running.append(running)
        if ready:
            running.wait_for(ready)
        return running

    def start_all(self, *, driver: tuple[str, ...] = ("--failure-rate", "0")) -> None:
        """Start the actors as the requirement's section *Processes* does, on free ports."""
        commands = [
            ("xtss", "--strict"),
            ("pipeline-driver", "EU", self.eu, *driver),
            ("replicated-cache", "-e", "EU", "-lc", self.eu, "-p", "0"),
            ("replicated-cache", "-e", "JAO", "-lc", self.jao, "-euc", self.eu, "-p", "0"),
            ("aqua-qa2", "--listen"),
            ("product-ingestor", self.jao),
            ("data-tracker",),
        ]
        started = [self.start(*command, ready="") for command in commands]
        for each in started:
            each.wait_for(" ready")

    def run(self, name: str, *args: object, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPTS / name), *map(str, args)],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def launch(self, ous: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run("launcher", PROGRAM, ous, *more)

    def review(self, ous: str, flag: str = "P") -> None:
        done = self.run("aqua-qa2", "--reviewer", "ada", "--ous", ous, "--flag", flag, "--comment", "tested")
        assert done.returncode == 0, done.stderr

    def entity(self, ous: str):
        doc = self.connection.database(status.DATABASE).get(names.document_id(ous))
        return status.read(doc) if doc else None

    def messages(self, selector: str = "") -> list[dict]:
        database = self.connection.database(queue.DATABASE)
        return [doc for doc in database.every() if doc["_id"].startswith(f"{selector}:" if selector else "")]

    def rot(self, name: str) -> None:
        """Put another content under the description of a file of the archive, which stays as it was."""
        database = self.connection.database(ngas.DATABASE)
        before = database.get(name)
        database.attach(name, name, before["_rev"], [b"rotten"], 6)
        described = {key: before[key] for key in ("schema", "size", "sha256", "writeTimestamp")}
        database.put({**database.get(name), **described})

    def wait_until(self, condition, *, database: str = status.DATABASE, timeout: float = 60.0):
        """Return what ``condition`` returns once that is true; it is asked again after every change of a database."""
        feed_of = self.connection.database(database)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            since = feed_of.last_seq()
            if result := condition():
                return result
            for _ in feed_of.feed(since, heartbeat_s=1.0):
                if result := condition():
                    return result
                if time.monotonic() > deadline:
                    break
        raise AssertionError("it never came to that:\n" + "\n\n".join(each.text[-3000:] for each in self.running))

    def wait_for_state(self, ous: str, *states: str, timeout: float = 60.0):
        def reached():
            entity = self.entity(ous)
            return entity if entity and entity.state in states else None

        return self.wait_until(reached, timeout=timeout)

    def wait_for_message(self, message_id: str, *states: str) -> dict:
        """Wait until a message is in one of these states, and return it."""

        def reached():
            doc = self.connection.database(queue.DATABASE).get(message_id)
            return doc if doc and doc["state"] in states else None

        return self.wait_until(reached, database=queue.DATABASE)

    def stop(self) -> None:
        for each in self.running:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGTERM)
        stuck = []
        for each in self.running:
            try:
                each.stop()
            except AssertionError as error:
                stuck.append(str(error))
        self.connection.close()
        assert not stuck, "\n".join(stuck)


@pytest.fixture
def system(tmp_path, couchlet):
    """A system with its databases, and no actor yet."""
    made = System(tmp_path, couchlet)
    yield made
    made.stop()


@pytest.fixture
def drw(system, monkeypatch, capsys):
    """Run drw in this process, which saves a start, and return what it prints as JSON."""
    for name, value in system.environ.items():
        monkeypatch.setenv(name, value)

    def run(*argv, status=0):
        capsys.readouterr()
        done = cli.main([*argv, "--json"])
        printed = capsys.readouterr()
        assert (done, bool(printed.out)) == (status, True), printed
        return json.loads(printed.out)

    return run


@pytest.fixture(scope="module")
def system_of_module(couchlet_of_module):
    """A system that the tests of a module share, with its databases, and no actor yet."""
    made = System(couchlet_of_module.home, couchlet_of_module)
    yield made
    made.stop()
