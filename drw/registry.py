"""How a command of ``drw`` is made known: its name, its arguments, an example, and the function that does it.

A module of commands has one function ``register(commands)``, which :mod:`drw.cli` calls::

    def register(commands: Commands) -> None:
        parser = commands.add("queue", _queue, help="what waits at each selector", example="drw queue ingest.JAO")
        parser.add_argument("selector", nargs="*", type=actor.checked(envelope.selector))

    def _queue(context: Context) -> int:
        rows = read(context.connection, context.args.selector)
        if context.args.json:
            return context.print_json(rows)
        columns.print_table(context.console, HEADS, lines(rows))
        return OK

What the function returns is the exit status. What cannot be done is raised as one of :mod:`shared.errors` and becomes
one sentence on standard error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import textwrap
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from rich.console import Console
from rich.progress import track

from shared import actor
from shared.bus import Bus
from shared.dbcon import DbConnection
from shared.printable import visible
from shared.state import StateClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from shared.settings import Settings

_T = TypeVar("_T")
_NARROWEST: Final = 20
"""A terminal that is narrower breaks lines itself."""

OK: Final = 0
FAILURE: Final = actor.FAILURE
"""It could not be done, or what was looked at is not as it should be."""

USAGE_ERROR: Final = actor.USAGE_ERROR
"""The arguments are wrong, or name something that does not exist."""

DATABASE_AWAY: Final = actor.DATABASE_AWAY
"""The database does not answer: nothing is known, and the same command may be tried again."""

EXIT_STATUS: Final = """\
exit status:
  0  done, and all is as it should be
  1  it could not be done, or what was looked at is not as it should be
  2  the arguments are wrong, or name something that does not exist
  3  the database does not answer; the same command may be tried again
  130  ended by Ctrl-C"""


@dataclass(frozen=True)
class Context:
    """What a command works with: its arguments, the settings, the database, and where it prints."""

    args: argparse.Namespace
    settings: Settings
    console: Console = field(default_factory=lambda: Console(soft_wrap=False))

    @cached_property
    def connection(self) -> DbConnection:
        """The database; nothing is asked before the first call."""
        return DbConnection(self.settings)

    @cached_property
    def bus(self) -> Bus:
        """This process's place on the bus, for sending and calling."""
        return Bus(self.connection, self.settings, me=f"drw@{socket.gethostname()}:{os.getpid()}")

    @cached_property
    def state(self) -> StateClient:
        """Whom to ask for changes of OUSs: xtss."""
        return StateClient(self.bus, deadline_s=self.settings.rpc_deadline_s)

    def close(self) -> None:
        """Close what was opened."""
        if "bus" in self.__dict__:
            self.bus.stop()
        if "connection" in self.__dict__:
            self.connection.close()

    def print_json(self, value: object, status: int = OK) -> int:
        """Print a value (structs, dataclasses, dicts, …) as JSON and return the exit status."""
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
        return status

    def hint(self, sentence: str) -> None:
        """Say on standard error what whoever typed may want to know; what was asked for is done all the same."""
        print(f"drw: {visible(sentence)}", file=sys.stderr, flush=True)

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Say what is waited for as long as the block lasts, which only a terminal gets to see."""
        line = Console(stderr=True)
        return line.status(text) if line.is_terminal else nullcontext()

    def track(self, items: Iterable[_T], what: str, *, total: int) -> Iterable[_T]:
        """Go through the ``total`` items of long work with a progress bar, which only a terminal gets to see."""
        bar = Console(stderr=True)
        return track(items, what, total=total, console=bar, transient=True, disable=not bar.is_terminal)


class Commands:
    """The commands of ``drw``, or the actions of one of them."""

    def __init__(self, parsers: Any, path: str) -> None:  # noqa: ANN401 (argparse keeps the type to itself)
        """Take where argparse keeps the subcommands, and how the command is called so far."""
        self._parsers = parsers
        self._path = path

    def names(self) -> list[str]:
        """Return what the commands are called."""
        return list(self._parsers.choices)

    def add(
        self,
        name: str,
        do: Callable[[Context], int],
        *,
        help: str,  # noqa: A002 (as argparse calls it)
        example: str,
        description: str = "",
        json: bool = True,
        needs_database: bool = True,
    ) -> argparse.ArgumentParser:
        """Make a command known and return its parser, to add arguments to.

        ``description`` is for those who ask with ``-h``; ``json=False`` is for commands whose output no program reads;
        ``needs_database=False`` for those that say themselves what is wrong with the database, or do without.
        """
        parser = self._parser(name, help, description or f"{help[0].upper()}{help[1:]}.", example)
        if json:
            parser.add_argument("--json", action="store_true", help="print JSON, for programs")
        parser.set_defaults(do=do, needs_database=needs_database)
        return parser

    def group(self, name: str, *, help: str, example: str) -> Commands:  # noqa: A002 (as argparse calls it)
        """Make a command known that has actions of its own (``drw dead list``), and return where to add them."""
        parser = self._parser(name, help, f"{help[0].upper()}{help[1:]}.", example)
        return Commands(parser.add_subparsers(required=True, metavar="action"), f"{self._path} {name}")

    def _parser(self, name: str, help_: str, description: str, example: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self._parsers.add_parser(
            name,
            prog=f"{self._path} {name}",
            help=help_,
            description=textwrap.fill(description, max(shutil.get_terminal_size().columns - 2, _NARROWEST)),
            epilog=f"example:  {example}\n\n{EXIT_STATUS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        return parser
