"""The command: its line when ready, its refusals, its credentials, and a quick end."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from couchdb_server import Server, start_couchlet


def run(*arguments, environment=None, timeout_s=20):
    """Run a couchlet that is expected to end by itself."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COUCHDB_")}
    return subprocess.run(
        [sys.executable, "-m", "couchlet", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**variables, **(environment or {})},
        check=False,
    )


def test_help_names_every_option():
    answer = run("--help")
    assert answer.returncode == 0
    for option in ("--host", "--port", "--data", "--log-level", "--max-request-bytes", "COUCHDB_USER", "DRW_HOME"):
        assert option in answer.stdout


def test_a_second_couchlet_on_the_same_data_is_refused(tmp_path):
    server = start_couchlet(tmp_path)
    try:
        answer = run("--port", "0", "--data", str(tmp_path), environment={"DRW_HOME": str(tmp_path / "home")})
    finally:
        server.stop()
    assert answer.returncode == 2
    assert re.fullmatch(r"couchlet: data directory .* is in use by another couchlet; .*--data\n", answer.stderr)


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run("--port", str(port), "--data", str(tmp_path), environment={"DRW_HOME": str(tmp_path / "home")})
    assert answer.returncode == 2
    assert f"port {port}" in answer.stderr
    assert "--port" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_addresses_than_loopback_need_credentials(tmp_path, host):
    answer = run("--host", host, "--port", "0", "--data", str(tmp_path), environment={"DRW_HOME": str(tmp_path)})
    assert answer.returncode == 2
    assert "COUCHDB_USER and COUCHDB_PASSWORD" in answer.stderr


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--port", "x"], ["--nonsense"], ["--log-level", "loud"]])
def test_bad_arguments_are_refused(arguments):
    answer = run(*arguments)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_one_variable_without_the_other_is_refused(tmp_path):
    answer = run("--port", "0", "--data", str(tmp_path), environment={"COUCHDB_USER": "admin"})
    assert answer.returncode == 2
    assert "COUCHDB_PASSWORD is not set" in answer.stderr


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    home = {"DRW_HOME": str(tmp_path / "home")}
    answer = run("--port", "0", "--data", str(tmp_path / "file" / "below"), environment=home)
    assert answer.returncode == 2
    assert "--data" in answer.stderr


def test_a_damaged_catalogue_is_refused(tmp_path):
    (tmp_path / "catalogue.sqlite").write_bytes(b"no database at all" * 100)
    home = {"DRW_HOME": str(tmp_path / "home")}
    answer = run("--port", "0", "--data", str(tmp_path), environment=home)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_credentials_are_made_once_by_two_that_start_at_once(tmp_path):
    home = tmp_path / "home"
    environment = {"COUCHDB_USER": "", "COUCHDB_PASSWORD": "", "DRW_HOME": str(home)}
    servers: list[Server] = []

    def start(number: int) -> None:
        servers.append(start_couchlet(tmp_path / f"data{number}", environment=environment))

    threads = [threading.Thread(target=start, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        path = home / "credentials"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [entry.name for entry in home.iterdir()] == ["credentials"]
        lines = dict(line.split("=", 1) for line in path.read_text().splitlines())
        assert set(lines) == {"COUCHDB_USER", "COUCHDB_PASSWORD"}
        auth = (lines["COUCHDB_USER"], lines["COUCHDB_PASSWORD"])
        assert [server.ask("GET", "/_all_dbs", auth=auth).status for server in servers] == [200, 200]
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_open_feeds_do_not_delay_the_end(tmp_path, number):
    server = start_couchlet(tmp_path)
    server.ask("PUT", "/watched")
    connections = []
    for feed in ("longpoll", "continuous", "eventsource"):
        connection = server.connect()
        headers = {"Authorization": server.authorization}
        connection.request("GET", f"/watched/_changes?feed={feed}&heartbeat=60000&since=now", headers=headers)
        connections.append((connection, connection.getresponse()))
    assert server.process is not None
    began = time.monotonic()
    server.process.send_signal(number)
    assert server.process.wait(10) == 0
    assert time.monotonic() - began < 3
    for connection, response in connections:
        response.read()
        connection.close()
    server.stop()
    again = start_couchlet(tmp_path)
    assert again.ask("GET", "/watched").status == 200
    again.stop()


def test_leftovers_of_an_unfinished_creation_are_removed(tmp_path):
    (tmp_path / "0123456789abcdef01234567.couchlet").write_bytes(b"")
    (tmp_path / "0123456789abcdef01234567.couchlet-wal").write_bytes(b"")
    server = start_couchlet(tmp_path)
    server.stop()
    assert not list(tmp_path.glob("0123456789*"))


def test_a_file_of_a_newer_format_is_left_alone(tmp_path):
    server = start_couchlet(tmp_path)
    server.ask("PUT", "/newer")
    server.stop()
    for path in tmp_path.glob("*.couchlet"):
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    server = start_couchlet(tmp_path)
    try:
        answer = server.ask("GET", "/newer")
        assert answer.status == 500
        assert "use a newer couchlet" in answer.json()["reason"]
    finally:
        server.stop()


def test_many_databases_do_not_need_many_descriptors(tmp_path):
    server = start_couchlet(tmp_path)
    try:
        for number in range(100):
            assert server.ask("PUT", f"/many{number}").status == 201
            assert server.ask("PUT", f"/many{number}/doc", {"n": number}).status == 201
        assert server.process is not None
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < 600
        for number in range(100):
            assert server.ask("GET", f"/many{number}/doc").json()["n"] == number
    finally:
        server.stop()


def started(command, tmp_path, environment, **streams):
    """Start a couchlet whose output may go nowhere, and wait until it listens, which its log tells."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COUCHDB_")}
    return subprocess.Popen(
        ["bash", "-c", f'exec "{sys.executable}" -m couchlet --port 0 {command}'],
        cwd=tmp_path,
        env={**variables, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        text=True,
        **streams,
    )


@pytest.mark.parametrize(("output", "says"), [(">/dev/full", "cannot be written: No space"), (">&-", "administrator")])
def test_an_output_that_cannot_be_written_ends_no_server(tmp_path, output, says):
    process = started(output, tmp_path, {"DRW_HOME": str(tmp_path)}, stderr=subprocess.PIPE)
    for line in process.stderr:
        if says in line:
            break
    process.terminate()
    rest = process.communicate(timeout=20)[1]
    assert (process.returncode, rest) == (0, "")


def test_a_home_that_begins_with_a_tilde_is_one_directory(tmp_path):
    environment = {"HOME": str(tmp_path), "DRW_HOME": "~/there"}
    process = started("", tmp_path, environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert f"data {tmp_path / 'there' / 'couchlet'}\n" in process.stdout.readline()
    process.terminate()
    process.communicate(timeout=20)
    assert [each.name for each in tmp_path.iterdir()] == ["there"]
    assert {each.name for each in (tmp_path / "there").iterdir()} == {"credentials", "couchlet"}


def test_homes_of_users_who_do_not_exist_are_refused(tmp_path):
    for arguments, home in ((["--data", "~nobody-at-all/x"], str(tmp_path)), ([], "~nobody-at-all/x")):
        answer = run("--port", "0", *arguments, environment={"DRW_HOME": home})
        assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
        assert "~nobody-at-all/x" in answer.stderr
