"""``clear-all.sh``: what it makes, what it asks, what it refuses, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drw import setup
from drw.machine.running import status
from shared.clock import stamp
from shared.dbcon import DbConnection
from shared.settings import read_settings

CHECKOUT = Path(__file__).resolve().parents[2]
FOREIGN = "somebody-elses"


class Clear:
    """clear-all.sh with a couchlet, a home and caches of its own."""

    def __init__(self, folder, url):
        self.home = folder
        self.eu, self.jao = folder / "eu", folder / "jao"
        self.environ = {key: value for key, value in os.environ.items() if not key.startswith(("DRW_", "COUCHDB_"))} | {
            "DRW_HOME": str(folder),
            "DRW_COUCHDB_URL": url,
            "DRW_EU_CACHE": str(self.eu),
            "DRW_JAO_CACHE": str(self.jao),
        }

    def begin(self):
        """Start it, to be answered later."""
        return subprocess.Popen(
            [sys.executable, "-u", "-P", "-m", "drw.clear"],
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            text=True,
        )

    def __call__(self, *arguments, answer="", cwd="/", **environ):
        return subprocess.run(
            [sys.executable, "-P", "-m", "drw.clear", *arguments],
            env=self.environ | environ,
            input=answer,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def clear(tmp_path, couchlet):
    return Clear(tmp_path, couchlet.url)


@pytest.fixture
def connection(clear):
    made = DbConnection(read_settings(clear.environ))
    yield made
    made.close()


def test_the_first_time_it_makes_everything_without_a_question(clear, connection):
    done = clear()
    assert done.returncode == 0, done.stderr
    assert "nothing there yet" in done.stdout
    assert set(setup.DATABASES) <= set(connection.database_names())
    assert clear.eu.is_dir()
    assert clear.jao.is_dir()


def fill(clear, connection):
    clear()
    connection.create_database(FOREIGN)
    for name in (FOREIGN, "status-entities"):
        connection.database(name).put({"_id": "uid___X1_X1_Xb0", "schema": 1})
    (clear.eu / "2015.1.00657.S_2018_07_19T07_10_03.781").mkdir()


def left(clear, connection):
    docs = [connection.database(name).get("uid___X1_X1_Xb0") for name in (FOREIGN, "status-entities")]
    return [bool(doc) for doc in docs], len([path for path in clear.eu.iterdir() if path.name.startswith("2015")])


@pytest.mark.parametrize("answer", ["no\n", "", "YES\n", "y\n"])
def test_it_shows_what_it_will_destroy_and_only_yes_goes_on(clear, connection, answer):
    fill(clear, connection)
    done = clear(answer=answer)
    assert done.returncode == 1
    assert "database status-entities: 1 document\n" in done.stdout
    assert f"cache {clear.eu}: " in done.stdout
    assert done.stdout.endswith("nothing was changed\n")
    assert left(clear, connection) == ([True, True], 1)


@pytest.mark.parametrize(("arguments", "answer"), [(("--yes",), ""), ((), "yes\n")])
def test_it_empties_what_is_ours_and_touches_no_other_database(clear, connection, arguments, answer):
    fill(clear, connection)
    done = clear(*arguments, answer=answer)
    assert done.returncode == 0, done.stderr
    assert left(clear, connection) == ([True, False], 0)


def test_who_began_to_run_while_it_asked_is_not_robbed(clear, connection):
    fill(clear, connection)
    asking = clear.begin()
    for line in asking.stdout:
        if line.startswith("  will be emptied"):
            break
    sign = {"_id": "xtss@elsewhere:1", "schema": 1, "kind": "xtss", "host": "elsewhere", "pid": 1, "every": 60}
    connection.database("actors").put({**sign, "at": stamp(connection.clock.now())})
    said, complaint = asking.communicate("yes\n", timeout=60)
    assert asking.returncode == 1, said
    assert "these actors are at work" in complaint
    assert left(clear, connection) == ([True, True], 1)


def test_it_refuses_dangerous_and_foreign_folders_and_changes_nothing(clear, connection, tmp_path):
    fill(clear, connection)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").touch()
    for path in (
        "/",
        os.environ.get("HOME", "/root"),
        str(CHECKOUT),
        str(CHECKOUT.parent),
        str(foreign),
        str(clear.eu),
    ):
        done = clear("--yes", DRW_JAO_CACHE=path)
        assert done.returncode == 1, path
        assert len(done.stderr.splitlines()) == 1
        assert "cache" in done.stderr
    assert (foreign / "thesis.txt").exists()
    assert left(clear, connection) == ([True, True], 1)


def test_relative_caches_are_those_of_the_folder_it_is_called_in(clear, tmp_path):
    done = clear("--yes", cwd=tmp_path, DRW_EU_CACHE="here", DRW_JAO_CACHE="there")
    assert done.returncode == 0, done.stderr
    assert f"cache {tmp_path}/here\n" in done.stdout
    assert (tmp_path / "there" / "weblogs").is_dir()


def test_without_a_couchdb_couchlet_stands_in_for_the_moment(clear, couchlet):
    couchlet.stop()
    done = clear("--yes")
    assert done.returncode == 0, done.stderr
    assert f"no CouchDB answers at {couchlet.url}: couchlet stands in for it there for the moment" in done.stdout
    assert "couchlet was ended again" in done.stdout
    assert status(clear.home).rows == []
    again = type(couchlet)(clear.home)
    again.start()
    connection = DbConnection(read_settings(clear.environ | {"DRW_COUCHDB_URL": again.url}))
    assert set(setup.DATABASES) <= set(connection.database_names())
    connection.close()
    again.stop()


def test_a_couchdb_elsewhere_that_does_not_answer_is_named(clear):
    done = clear("--yes", DRW_COUCHDB_URL="http://192.0.2.1:5984/x")
    assert done.returncode == 2
    assert "no CouchDB answers at DRW_COUCHDB_URL, http://192.0.2.1:5984/x" in done.stderr
