"""What is in deploy/ is whole: every actor has its place and a command that it takes, and the tools find no fault."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from drw import rights

ROOT = Path(__file__).resolve().parents[2]
DEPLOY, SCRIPTS = ROOT / "deploy", Path(sys.executable).parent
COMPOSE = YAML(typ="safe").load(DEPLOY / "compose.yaml")
SERVICES = COMPOSE["services"]
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
ACTORS = {kind for kind in rights.DATABASES_OF if kind not in {"launcher", "operator"}}
"""Those that run all the time; the others are commands."""


def kind_of(command):
    """Return which kind of actor a command starts."""
    return command[1] if command[0] == "drw" else command[0]


def test_the_compose_file_is_one():
    check = [str(SCRIPTS / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_couchdb_has_a_volume_and_a_health_check_which_everybody_waits_for():
    couchdb = SERVICES["couchdb"]
    assert couchdb["image"].startswith("couchdb:3.5")
    assert any(each.startswith("couchdb:") for each in couchdb["volumes"])
    assert "/_up" in couchdb["healthcheck"]["test"][-1]
    others = [service for name, service in SERVICES.items() if name != "couchdb"]
    assert all(service["depends_on"]["couchdb"]["condition"] == "service_healthy" for service in others)


def test_every_actor_has_a_service_and_a_unit():
    assert {kind_of(service["command"]) for service in SERVICES.values() if "command" in service} >= ACTORS | {
        "janitor"
    }
    assert {unit.stem.removeprefix("drw-").rstrip("@") for unit in UNITS} == ACTORS | {"janitor"}


def test_each_logs_in_as_itself_and_only_janitor_and_setup_as_administrator():
    for name, service in SERVICES.items():
        administrator = name in {"couchdb", "setup", "janitor"}
        assert ("env_file" in service) == administrator
        if not administrator:
            (user,) = service["secrets"]
            assert user == (name if name == "operator" else kind_of(service["command"]))
            assert service["environment"]["DRW_CREDENTIALS"] == f"/run/secrets/{user}"
            assert COMPOSE["secrets"][user] == {"file": f"./users/{user}"}
    for unit in UNITS:
        (user,) = re.findall(r"^LoadCredential=couchdb:/etc/drw/users/(.+)$", unit.read_text(), re.MULTILINE)
        assert user == unit.stem.removeprefix("drw-").rstrip("@")


def test_ports_are_open_to_this_machine_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def variables(text):
    return dict(re.findall(r"^(DRW_\w+)=(.+)$", text, re.MULTILINE))


def test_whoever_looks_into_the_caches_looks_where_the_units_have_them():
    told = variables((DEPLOY / "systemd" / "drw.env.example").read_text())
    used = {
        word
        for unit in UNITS
        for word in re.findall(r"^ExecStart=.*?(/var/lib/drw/\S+)", unit.read_text(), re.MULTILINE)
    }
    assert used == {"/var/lib/drw/%i-cache", told["DRW_JAO_CACHE"]}
    assert told["DRW_EU_CACHE"] == "/var/lib/drw/EU-cache"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_waits_for_the_disks_of_the_folders_that_it_is_given(unit):
    text = unit.read_text()
    (line,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    waits = " ".join(re.findall(r"^RequiresMountsFor=(.+)$", text, re.MULTILINE)).split()
    assert set(re.findall(r"/var/lib/drw/\S+", line)) <= set(waits)


@pytest.mark.parametrize("name", ["operator", "dashboard"])
def test_in_containers_too_there_is_something_to_look_into(name):
    """Those of drw's commands that tidy need all that the actors write."""
    written = {
        each for other in SERVICES.values() for each in other.get("volumes", ()) if each.startswith(("eu-", "jao-"))
    }
    mine = SERVICES[name]["volumes"]
    writable = {each for each in mine if not each.endswith(":ro")}
    assert {each.removesuffix(":ro") for each in written} <= {each.removesuffix(":ro") for each in mine}
    assert (writable >= {"work:/var/lib/drw/work", *(each for each in written if not each.endswith(":ro"))}) == (
        name == "operator"
    )


def commands():
    for name, service in SERVICES.items():
        if name != "couchdb":
            yield service["command"]
    for unit in UNITS:
        (line,) = re.findall(r"^ExecStart=/opt/drw/\.venv/bin/(.+)$", unit.read_text(), re.MULTILINE)
        yield [word.replace("%i", "EU") for word in line.split() if not word.startswith("$")]


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_is_one_that_its_program_takes(capsys, command):
    """With an option that nothing has at its end, the rest must be beyond reproach."""
    (script,) = entry_points(group="console_scripts", name=command[0])
    with pytest.raises(SystemExit) as caught:
        script.load()([*command[1:], "--no-such-option"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --no-such-option (" in capsys.readouterr().err


def test_what_the_image_is_made_of_is_there():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [source for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for source in line.split()[:-1]]
    assert {"shared", "couchlet", "actors", "drw", "dashboard", "requirements.txt", "pyproject.toml"} <= set(copied)
    assert all((ROOT / each).exists() for each in copied)
    kept = re.findall(r"^!(.+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sorted(kept) == sorted(copied)
    assert "USER drw" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze, of systemd, is not installed")
def test_systemd_finds_no_fault_in_the_units(tmp_path):
    names = []
    for path in (DEPLOY / "systemd").glob("*.[st]*"):
        name = path.name.replace("@", "@EU")
        (tmp_path / name).write_text(path.read_text().replace("/opt/drw/.venv/bin", str(SCRIPTS)))
        names.append(name)
    assert len(names) == len(UNITS) + 1

    def verify():
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in names)],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, "\n".join(line for line in done.stderr.splitlines() if "drw" in line)

    assert verify() == (0, "")
    (tmp_path / "drw-xtss.service").write_text("[Service]\nExecStart=/no/such/program\nRestarts=always\n")
    assert verify()[1]
