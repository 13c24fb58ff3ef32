"""The set-up scripts, in a checkout of their own, with real virtual environments and a package index of two stand-ins.

So they need no network and little time. That the real packages can be had is shown by whoever runs these tests in a
fresh clone.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPTS = ("launch-all.sh", "clear-all.sh", "run-tests.sh")
BASE_PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "drw"
version = "0"
"""

BACKEND = '''
"""As much of a build backend as an editable installation needs."""
import pathlib, sys, zipfile
def build_editable(directory, *_):
    name = "drw-0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        wheel.writestr("drw.pth", str(pathlib.Path.cwd()))
        wheel.writestr("drw-0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: drw\\nVersion: 0\\n")
        wheel.writestr("drw-0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("drw-0.dist-info/RECORD", "")
    return name
'''

SAYS_ARGUMENTS = "import sys; print(__spec__.name.removesuffix('.__main__'), sys.argv[1:])"


def make_wheel(folder: Path, name: str, version: str, code: str = "") -> str:
    """Make a wheel of one module into ``folder``; return the line that requires it."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", code)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Checkout:
    """A checkout with the real scripts, whose packages come from a folder beside it."""

    def __init__(self, root: Path, index: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.index = index
        self.environ = {
            "PATH": f"{BASE_PYTHON.parent}:/usr/bin:/bin",
            "HOME": str(index.parent),
            "DRW_PYTHON": str(BASE_PYTHON),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.index.as_uri(),
        }

    def fill(self) -> None:
        root = self.root
        self.index.mkdir(parents=True)
        shutil.copytree(CHECKOUT / "scripts", root / "scripts")
        for name in SCRIPTS:
            shutil.copy(CHECKOUT / name, root)
        (root / "drw").mkdir()
        for name in ("machine/launch", "demo/__main__", "clear"):
            module = root / "drw" / f"{name}.py"
            module.parent.mkdir(exist_ok=True)
            module.write_text(SAYS_ARGUMENTS)
        (root / "pyproject.toml").write_text(PYPROJECT)
        (root / "backend.py").write_text(BACKEND)
        runs_on = make_wheel(self.index, "standin", "1")
        (root / "requirements.txt").write_text(runs_on)
        (root / "requirements-dev.txt").write_text(runs_on + make_wheel(self.index, "pytest", "1", SAYS_ARGUMENTS))

    def moved_to(self, root: Path) -> Checkout:
        return Checkout(self.root.rename(root), self.index)

    def run(self, script: str, *arguments: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.root / script, *arguments],
            cwd=cwd or "/",
            env=self.environ | environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def set_up(tmp_path_factory):
    """A checkout whose run-tests.sh has run once: what it said first, and the checkout."""
    folder = tmp_path_factory.mktemp("set-up")
    made = Checkout(folder / "a path" / "with 'spaces", folder / "index")
    made.fill()
    first = made.run("run-tests.sh", "-k", "names")
    return made, first


@pytest.fixture
def fresh(tmp_path):
    made = Checkout(tmp_path / "checkout", tmp_path / "index")
    made.fill()
    return made


pytestmark = pytest.mark.xdist_group("scripts")


def test_the_first_run_sets_up_says_so_in_one_line_and_passes_its_arguments_on(set_up):
    made, first = set_up
    assert first.returncode == 0, first.stderr
    workers = len(os.sched_getaffinity(0)) + 4
    assert first.stdout == f"pytest ['--numprocesses', '{workers}', '--dist', 'loadgroup', '-k', 'names']\n"
    (line,) = first.stderr.splitlines()
    assert line.startswith(f"setting up {made.venv}, once")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("launch-all.sh", "--status"), "drw.machine.launch ['--status']\n"),
        (("launch-all.sh", "--demo", "--exit"), "drw.demo ['--exit']\n"),
        (("clear-all.sh", "--yes"), "drw.clear ['--yes']\n"),
    ],
)
def test_the_second_run_needs_no_packages_and_says_nothing(set_up, arguments, said, tmp_path):
    made, _ = set_up
    (tmp_path / "drw.py").write_text("raise SystemExit('the module of another folder')")
    done = made.run(*arguments, cwd=tmp_path, PIP_FIND_LINKS="/nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")


def test_a_file_of_tests_that_there_is_not_is_named():
    asked = [sys.executable, "-m", "pytest", "-n", "1", "tests/unit/test_nothing.py"]
    done = subprocess.run(asked, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "file or directory not found: tests/unit/test_nothing.py" in done.stderr


def test_tests_named_as_seen_from_here_are_found(set_up):
    made, _ = set_up
    folder = made.root / "tests" / "unit"
    folder.mkdir(parents=True)
    (folder / "test_names.py").touch()
    done = made.run("run-tests.sh", "test_names.py::test_it", "-n", "0", cwd=folder)
    given = ast.literal_eval(done.stdout.removeprefix("pytest "))
    assert given[-3:] == [f"{folder}/test_names.py::test_it", "-n", "0"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_set_up(fresh, script):
    done = fresh.run(script, "-h")
    assert done.returncode == 0
    assert "example: " in done.stdout
    assert not fresh.venv.exists()


@pytest.mark.parametrize(("option", "status"), [("--status", 1), ("--stop", 0)])
@pytest.mark.parametrize("demo", [(), ("--demo",)])
def test_looking_and_ending_need_no_set_up(fresh, option, status, demo):
    done = fresh.run("launch-all.sh", *demo, option)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith(f"nothing runs that was started here: {fresh.venv} is not set up")
    assert not fresh.venv.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_python_that_another_user_may_not_run_is_named(fresh):
    hidden = fresh.root / "only-root"
    hidden.mkdir(mode=0o700)
    (fresh.venv / "bin").mkdir(parents=True)
    (fresh.venv / "bin" / "python").symlink_to(hidden / "python3")
    for folder in (fresh.root, *fresh.root.parents):
        if folder.is_relative_to(tempfile.gettempdir()) and str(folder) != tempfile.gettempdir():
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [fresh.root / "launch-all.sh"],
        env=fresh.environ | {"DRW_PYTHON": "/usr/bin/python3"},
        capture_output=True,
        text=True,
        user="nobody",
        cwd="/",
        check=False,
    )
    assert done.returncode == 1
    assert f"leads to {hidden}/python3, which is gone or which nobody may not run" in done.stderr


def stand_in_python(folder: Path, answer: str) -> str:
    """Make a program that answers as a Python of a certain kind would."""
    path = folder / "python-stand-in"
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' /usr/bin/python3 '{answer}'\n")
    path.chmod(0o755)
    return str(path)


def test_a_python_without_venv_is_told_in_one_line_which_package_to_install(fresh):
    done = fresh.run("launch-all.sh", DRW_PYTHON=stand_in_python(fresh.root, "3.11 new lacks"))
    assert done.returncode == 2
    assert done.stderr == (
        "launch-all.sh: Python 3.11 lacks its venv module: install it, for instance with: apt install python3.11-venv\n"
    )


def test_a_python_that_is_too_old_is_refused(fresh):
    done = fresh.run("launch-all.sh", DRW_PYTHON=stand_in_python(fresh.root, "3.9 old makes"))
    assert done.returncode == 2
    assert "which is no Python 3.11 or newer" in done.stderr
    assert "is 3.9" in done.stderr


def test_without_packages_it_says_so_and_then_two_scripts_at_once_agree(fresh):
    hidden = fresh.index.rename(fresh.root / "index-away")
    first = fresh.run("launch-all.sh")
    assert first.returncode == 1
    assert "the packages of requirements.txt cannot be installed" in first.stderr
    assert "No matching distribution found for standin==1" in first.stderr
    hidden.rename(fresh.index)
    started = [
        subprocess.Popen(
            [fresh.root / script], env=fresh.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for script in ("launch-all.sh", "clear-all.sh")
    ]
    said = [each.communicate(timeout=120) for each in started]
    assert [each.returncode for each in started] == [0, 0]
    assert sorted(out for out, _ in said) == ["drw.clear []\n", "drw.machine.launch []\n"]
    assert sum("setting up" in err for _, err in said) == 1


def test_changed_requirements_are_installed_and_until_they_can_be_the_old_ones_serve(set_up):
    made, _ = set_up
    before = (made.root / "requirements.txt").read_text()
    newer = make_wheel(made.index, "standin", "2")
    tampered = newer.replace("sha256:", "sha256:0")[:-2] + "\n"
    for requirements, status in ((tampered, 1), (before, 0), (newer, 0)):
        (made.root / "requirements.txt").write_text(requirements)
        done = made.run("launch-all.sh")
        assert done.returncode == status
        assert ("DO NOT MATCH THE HASHES" in done.stderr) == (requirements == tampered)
        assert made.run("launch-all.sh", "--stop").stdout == "drw.machine.launch ['--stop']\n"
    assert list(made.venv.glob("lib/python*/site-packages/standin-2.dist-info"))


def test_a_half_made_environment_is_made_anew(set_up):
    made, _ = set_up
    (made.venv / "drw-unfinished").touch()
    shutil.rmtree(next(made.venv.glob("lib/python*/site-packages/pip")))
    done = made.run("launch-all.sh")
    assert (done.returncode, done.stdout) == (0, "drw.machine.launch []\n")


def test_a_checkout_that_was_moved_is_set_up_anew(set_up):
    made, _ = set_up
    moved = made.moved_to(made.root.with_name("moved"))
    done = moved.run("launch-all.sh")
    assert (done.returncode, done.stdout) == (0, "drw.machine.launch []\n")
    assert str(moved.venv) in (moved.venv / "bin" / "pip").read_text()
