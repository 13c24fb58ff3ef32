"""Each actor with a user of its own: what it needs it may do, the rest it may not, and no password is ever said."""

from __future__ import annotations

import json
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from proxy import Proxy

from drw import rights, setup, users
from shared.dbcon import DbConnection
from shared.errors import BadInput, DatabaseError, Forbidden, WrongPassword
from shared.settings import read_credentials, read_settings

OUS = "uid://X1/X1/Xe1"
ACTORS = {
    "xtss": ("--strict",),
    "pipeline-driver": ("--failure-rate", "0", "EU", "{eu}"),
    "replicated-cache": ("-e", "JAO", "-lc", "{jao}", "-euc", "{eu}", "-p", "0"),
    "aqua-qa2": ("--listen",),
    "product-ingestor": ("{jao}",),
    "data-tracker": (),
    "dashboard": ("--port", "0"),
}


pytestmark = pytest.mark.xdist_group("rights")


@pytest.fixture(scope="module")
def secured(system_of_module):
    """A system whose actors have users of their own; to make them takes a second of hashing."""
    done = system_of_module.run("drw", "setup", "--users")
    assert done.returncode == 0, done.stderr
    assert ("runs no JavaScript" in done.stdout) != system_of_module.couchlet.runs_javascript
    return system_of_module


@pytest.fixture(scope="module")
def line(secured):
    """The line between the database and those who become somebody, which can break."""
    with Proxy(secured.couchlet.url) as proxy:
        yield proxy


def become(system, line, kind):
    """Have what is started next log in as an actor of this kind, by its file."""
    system.environ["DRW_COUCHDB_URL"] = line.url
    system.environ["DRW_CREDENTIALS"] = str(system.settings.users_dir / kind)


def become_by_address(system, line, kind):
    """Have what is started next log in by user and password in the address of the database."""
    user, password = read_credentials(system.settings.users_dir / kind)
    del system.environ["DRW_CREDENTIALS"]
    system.environ["DRW_COUCHDB_URL"] = line.url.replace("//", f"//{user}:{password}@")


def connection_of(system, kind):
    user, password = read_credentials(system.settings.users_dir / kind)
    return DbConnection(replace(system.settings, user=user, password=password))


def test_a_whole_run_without_an_administrator_says_no_password_anywhere(secured, line):
    system = secured
    for kind, argv in ACTORS.items():
        (become_by_address if kind == "data-tracker" else become)(system, line, kind)
        words = (each.format(eu=system.eu, jao=system.jao) for each in argv)
        system.start(kind, *words, "--log-level", "DEBUG", ready="")
    for running in system.running:
        running.wait_for(" ready")
    become_by_address(system, line, "launcher")
    assert system.launch(OUS).returncode == 0
    system.wait_for_state(OUS, "ReadyForReview")
    (report,) = system.messages("pipeline.report.JAO")
    system.wait_for_message(report["_id"], "consumed")
    line.refuse()  # what is said of an outage counts too
    system.running[0].wait_for("does not answer")
    line.open()
    become(system, line, "aqua-qa2")
    system.review(OUS)
    system.wait_for_state(OUS, "Delivered")
    become(system, line, "operator")
    for command in (["drw", "status"], ["drw", "actors"], ["drw", "why", OUS]):
        done = system.run(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    secrets = [read_credentials(path)[1] for path in system.settings.users_dir.iterdir()] + [system.settings.password]
    assert len(set(secrets)) == len(rights.DATABASES_OF) + 1
    for where, text in said(system):
        assert not [each for each in secrets if each in text], where
    for running in system.running:
        running.stop()
    assert not [running.argv[0] for running in system.running if "Forbidden" in running.text or " 403" in running.text]


def said(system):
    """Yield all that was written by anybody: logs, argument lists, documents, files of runs."""
    for running in system.running:
        yield running.argv[0], running.text
        yield "arguments", Path(f"/proc/{running.process.pid}/cmdline").read_text()
    for name in setup.DATABASES:
        yield name, json.dumps(list(system.connection.database(name).every()))
    for path in system.home.rglob("*"):
        if path.is_file() and path.parent.name not in {"users", "couchlet"} and path.name != "credentials":
            yield str(path), path.read_text(errors="replace")


ADMINISTRATION = [
    ("PUT", "/{}/_design/x", b"{}"),
    ("POST", "/{}/_index", b'{"index":{"fields":["a"]}}'),
    ("PUT", "/{}/_revs_limit", b"1"),
    ("PUT", "/{}/_security", b"{}"),
    ("POST", "/{}/_compact", b"{}"),
    ("POST", "/{}/_purge", b'{"x":["1-x"]}'),
    ("DELETE", "/{}", None),
]
OTHERS = [("GET", "/{}", None), ("GET", "/{}/_all_docs", None), ("PUT", "/{}/x", b"{}")]
SERVER = [("PUT", "/new", None), ("GET", "/_all_dbs", None), ("GET", "/_users/_all_docs", None)]


def refused(connection, method, path, content):
    """Tell whether the server does not let this user do something; CouchDB says so of some things with status 500."""
    with pytest.raises(DatabaseError) as caught:
        connection.call(method, path, content=content)
    said = str(caught.value)
    in_passing = ("unauthorized", "forbidden", "no_majority", "You are not a db or server admin")
    return isinstance(caught.value, Forbidden | WrongPassword) or any(each in said for each in in_passing)


def test_no_user_may_do_what_its_actor_need_not_and_each_has_a_file_of_its_own(secured):
    system = secured
    folder = system.settings.users_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
        rights.DATABASES_OF, 0o600
    )
    for kind, needed in rights.DATABASES_OF.items():
        connection = connection_of(system, kind)
        for name in needed:
            if kind in rights.WRITERS_OF.get(name, (kind,)) or not system.couchlet.runs_javascript:
                assert connection.database(name).put({"_id": f"test-{kind}"}), (kind, name)
            else:
                with pytest.raises(Forbidden, match=r"^.*only drw-.* may write here, and drw-"):
                    connection.database(name).put({"_id": f"test-{kind}"})
            assert all(refused(connection, method, path.format(name), body) for method, path, body in ADMINISTRATION)
        for name in set(setup.DATABASES) - needed:
            assert all(refused(connection, method, path.format(name), body) for method, path, body in OTHERS), name
        assert all(refused(connection, *each) for each in SERVER)
        connection.close()


def test_users_are_made_once_and_get_new_passwords_when_asked_for(secured, monkeypatch):
    monkeypatch.setattr(rights, "DATABASES_OF", {"xtss": rights.DATABASES_OF["xtss"]})
    system, folder = secured, secured.settings.users_dir
    before, old = (folder / "xtss").read_text(), connection_of(system, "xtss")
    assert users.make(system.connection, folder) == []
    old.check_credentials()
    assert users.make(system.connection, folder, anew=True) == ["xtss"]
    assert (folder / "xtss").read_text() != before
    wait_until_let_in(old, False)
    (folder / "xtss").write_text(before)  # as where the database is not the one that the files were made for
    assert users.make(system.connection, folder) == []
    wait_until_let_in(old, True)
    old.close()


def wait_until_let_in(connection, wanted):
    """Wait until a password is known, or no more: CouchDB remembers who somebody is until its feed of users tells."""
    deadline = time.monotonic() + 10
    while is_let_in(connection) != wanted:
        assert time.monotonic() < deadline, f"the password is {'not' if wanted else 'still'} good"
        time.sleep(0.1)


def is_let_in(connection):
    try:
        connection.check_credentials()
    except WrongPassword:
        return False
    return True


def test_databases_that_are_made_anew_get_their_rights_back(secured):
    secured.connection.drop_database("audit")  # as ./clear-all.sh does
    assert setup.ensure_databases(secured.connection).databases == ["audit"]
    assert secured.connection.call("GET", "/audit/_security") == rights.security("audit")


def test_a_file_of_credentials_is_its_owners_only_and_names_a_user(tmp_path, secured):
    system = secured
    path = tmp_path / "mine"
    environ = system.environ | {"DRW_CREDENTIALS": str(path), "DRW_COUCHDB_URL": system.couchlet.url}
    with pytest.raises(BadInput, match="No such file"):
        read_settings(environ)
    path.touch(0o600)
    with pytest.raises(BadInput, match="names no user"):
        read_settings(environ)
    path.write_text("COUCHDB_USER=drw-xtss\nCOUCHDB_PASSWORD=hush\n")
    path.chmod(0o640)
    with pytest.raises(BadInput, match="chmod 600") as caught:
        read_settings(environ)
    assert "hush" not in str(caught.value)
    assert read_settings(environ | {"CREDENTIALS_DIRECTORY": str(tmp_path)}).password == "hush"
    path.chmod(0o600)
    settings = read_settings(environ | {"COUCHDB_USER": "admin", "COUCHDB_PASSWORD": "other"})
    assert (settings.user, settings.password) == ("drw-xtss", "hush")
    done = system.run("drw", "setup", "--into", "x")
    assert (done.returncode, done.stderr) == (2, "drw: --new-passwords and --into go with --users: add that\n")
