"""Who may do what in CouchDB: every database and every actor has its rule, and the writers' function keeps to it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from drw import rights, setup

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"pipeline", "couchlet", "drw"}
"""Console scripts that are no actor: a program that knows no database, the database, and the operator's own."""

JUDGE = """
const [text, calls] = JSON.parse(process.argv[1]);
const judge = eval("(" + text + ")");
console.log(JSON.stringify(calls.map(([role, before]) => {
  try { judge({}, before, {name: role, roles: [role]}); return ""; } catch (error) { return error.forbidden; }
})));
"""


def test_every_actor_has_a_role_and_every_database_has_some():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) - PROGRAMS <= set(rights.DATABASES_OF)
    assert set().union(*rights.DATABASES_OF.values()) == set(setup.DATABASES)


def test_whoever_writes_is_a_member_too():
    for database, kinds in rights.WRITERS_OF.items():
        assert all(database in rights.DATABASES_OF[kind] for kind in kinds)


@pytest.mark.parametrize("database", setup.DATABASES)
def test_nobody_but_server_administrators_administrates_a_database(database):
    security = rights.security(database)
    assert security["admins"] == {"names": [], "roles": ["_admin"]}
    assert security["members"]["roles"]


@pytest.mark.skipif(shutil.which("node") is None, reason="node, which runs the function here, is not installed")
@pytest.mark.parametrize("database", [name for name in setup.DATABASES if rights.writers(name)])
def test_the_function_lets_only_its_writers_write(database):
    roles = ["_admin", "stranger", *(rights.role_of(kind) for kind in rights.DATABASES_OF)]
    calls = [(role, before) for role in roles for before in (None, {"_rev": "1-x"})]
    asked = json.dumps([rights.writers(database)["validate_doc_update"], calls])
    done = subprocess.run(["node", "-e", JUDGE, asked], capture_output=True, text=True, check=True)
    may = [rights.role_of(kind) for kind in rights.WRITERS_OF.get(database, rights.DATABASES_OF)] + [
        "stranger",
        "_admin",
    ]
    if database in rights.WRITERS_OF:
        may.remove("stranger")
    for (role, before), said in zip(calls, json.loads(done.stdout), strict=True):
        kept = database == "audit" and before is not None and role != "_admin"
        assert bool(said) == (role not in may or kept), (role, before, said)
