"""Every command of ``drw``: its help has an example that can be typed, and programs can read what it prints."""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from drw import cli

NOT_FOR_PROGRAMS = {"drw completion"}
"""What prints a script."""


def leaves(parser, path="drw"):
    """Yield each command that does something, with its parser."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for name, each in group.choices.items():
            yield from leaves(each, f"{path} {name}")
    if not groups:
        yield path, parser


COMMANDS = dict(leaves(cli.parser()))


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_has_an_example_that_can_be_typed(path):
    (example,) = re.findall(r"^example:  (.*)$", COMMANDS[path].epilog, flags=re.MULTILINE)
    typed = re.sub(r'^eval "\$\((.*)\)"$', r"\1", example)
    words = shlex.split(typed.partition(" | ")[0])
    assert " ".join(words).startswith(path)
    args = cli.parser().parse_args(words[1:])
    assert callable(args.do)
    assert "exit status:" in COMMANDS[path].epilog


@pytest.mark.parametrize("path", sorted(COMMANDS.keys() - NOT_FOR_PROGRAMS))
def test_programs_can_read_what_a_command_prints(path):
    assert "--json" in COMMANDS[path].format_help()


DOCS = Path(__file__).resolve().parents[2] / "docs"
TYPED = [
    (path.name, line)
    for path in sorted(DOCS.glob("*.md"))
    for line in re.findall(r"^\$ (drw .*)$", path.read_text(), flags=re.MULTILINE)
]


@pytest.mark.parametrize(("page", "line"), TYPED)
def test_what_the_documentation_types_can_be_typed(page, line):
    words = shlex.split(line.partition(" | ")[0], comments=True)
    assert callable(cli.parser().parse_args(words[1:]).do), page


def test_what_changes_something_asks_why():
    for name in (
        "launch",
        "rerun",
        "cancel",
        "drain",
        "send",
        "call",
        "pause",
        "resume",
        "unsubscribe",
        "dead requeue",
        "dead discard",
    ):
        assert "--reason" in COMMANDS[f"drw {name}"].format_help(), name


@pytest.mark.parametrize(
    ("typed", "said"),
    [("stat", "there is no command 'stat': did you mean status?"), ("xyz", "there is no command 'xyz': it is one of ")],
)
def test_a_mistyped_command_gets_those_that_are_close(capsys, typed, said):
    with pytest.raises(SystemExit) as ended:
        cli.main([typed, "--json"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"drw: {said}")


INTERRUPTED = """
import builtins, signal
plain = builtins.__import__
def interrupted(name, *more):
    if name == "msgspec":
        signal.raise_signal(signal.SIGINT)
    return plain(name, *more)
builtins.__import__ = interrupted
"""


@pytest.mark.parametrize("module", ["drw.cli", "drw.machine.launch", "drw.demo.__main__", "actors.aqua_qa2.prompt"])
def test_ctrl_c_while_a_program_is_still_being_imported_is_said_in_one_line(module):
    done = subprocess.run(
        [sys.executable, "-c", f"{INTERRUPTED}import {module}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "interrupted\n")


def test_help_keeps_to_the_width_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for path, parser in leaves(cli.parser()):
        lines = parser.format_help().splitlines()
        described = lines[: next(at for at, line in enumerate(lines) if line.startswith("example:"))]
        assert max(map(len, described)) <= 80, path
