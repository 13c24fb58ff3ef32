"""What all tests share: a couchlet of one's own, and the commands of this checkout."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import standing
from nursery import Forked, Nursery
from ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(sys.executable).parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell has what runs in its background ignore Ctrl-C, and so would every process that the tests start and end.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a file that there is not, of which pytest says nothing when several processes run the tests."""
    if hasattr(config, "workerinput"):
        return
    for each in config.args:
        if not (config.invocation_params.dir / each.partition("::")[0]).exists():
            raise pytest.UsageError(f"file or directory not found: {each}")


class Couchlet:
    """A couchlet in a process of its own, that can be killed and started again on the same data."""

    runs_javascript = False
    is_ours = True
    """Whether it may be ended and started again."""

    def __init__(self, home: Path, nursery: Nursery | None = None) -> None:
        """Take a folder for its data, its log and its credentials, and where it may be forked instead of started."""
        self.home = home
        self.port = free_port()
        self.process: subprocess.Popen[str] | Forked | None = None
        self._nursery = nursery

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Begin to start."""
        if self._nursery:
            self.process = self._nursery.couchlet(self.home, self.port)
            return
        argv = [str(SCRIPTS / "couchlet"), "--port", str(self.port), "--data", str(self.home / "couchlet")]
        with (self.home / "couchlet.log").open("a") as log:
            self.process = subprocess.Popen(
                argv, env={**os.environ, "DRW_HOME": str(self.home)}, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def wait(self) -> None:
        """Wait until it listens."""
        line = self.process.stdout.readline()
        expected = f"couchlet listening on {self.url} "
        assert line.startswith(expected), (line, (self.home / "couchlet.log").read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.kill()


class Spare:
    """A couchlet that starts while the test before the one that gets it is running."""

    def __init__(self, make_folder) -> None:
        self._make_folder = make_folder
        self._nursery = Nursery()
        self._next = self._launched()

    def take(self) -> Couchlet:
        taken, self._next = self._next, self._launched()
        taken.wait()
        return taken

    def end(self) -> None:
        self._next.kill()
        self._nursery.end()

    def _launched(self) -> Couchlet:
        made = Couchlet(self._make_folder("couchlet"), self._nursery)
        made.launch()
        return made


@contextlib.contextmanager
def served(home: Path) -> Iterator[Couchlet | standing.Standing]:
    """Give a couchlet with its data in a folder, or the server that stands."""
    if standing.ADDRESS:
        with standing.lent(home) as server:
            yield server
        return
    server = Couchlet(home)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def spare_couchlet(tmp_path_factory):
    spare = Spare(tmp_path_factory.mktemp)
    yield spare
    spare.end()


@pytest.fixture
def couchlet(tmp_path, request):
    """A fresh couchlet, empty, or the server that stands; the credentials are in the test's folder."""
    if standing.ADDRESS:
        with standing.lent(tmp_path) as server:
            yield server
        return
    server = request.getfixturevalue("spare_couchlet").take()
    shutil.copy(server.home / "credentials", tmp_path)
    yield server
    if not server.process.stdout.closed:
        server.kill()


@pytest.fixture(scope="module")
def couchlet_of_module(tmp_path_factory):
    """A couchlet that the tests of a module share, or the server that stands."""
    with served(tmp_path_factory.mktemp("couchlet")) as server:
        yield server
