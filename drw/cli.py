"""``drw``: one command for what operators do. Each module of commands makes its own known, see :mod:`drw.registry`."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from drw import (
    audits,
    cancel,
    command_line,
    completion,
    dead,
    doctor,
    drain,
    follow,
    groups,
    janitor,
    launches,
    mail,
    near,
    ous,
    overview,
    pause,
    people,
    roster,
    sending,
    setup,
)
from drw.machine import database
from drw.registry import EXIT_STATUS, OK, Commands, Context
from drw.upkeep import check, prune, rebuild
from shared import actor
from shared.errors import DatabaseAway, WrongPassword
from shared.printable import is_utf8
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_REST: Final = """\
the actors, each with -h:
  launcher pipeline-driver replicated-cache xtss aqua-qa2 product-ingestor data-tracker notifier
  dashboard couchlet
the scripts:
  ./launch-all.sh  ./launch-all.sh --demo  ./clear-all.sh  ./run-tests.sh

example:  drw why uid://X1/X1/Xb0
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    return command_line.run("drw", partial(_do, parser().parse_args(argv)))


class _Parser(actor.OneLineParser):
    """Asks whoever mistypes a command whether one that is close to it was meant."""

    commands: Commands

    def parse_args(  # type: ignore[override] # (as in OneLineParser)
        self, args: Sequence[str] | None = None, namespace: None = None
    ) -> argparse.Namespace:
        """Parse what was typed."""
        words = sys.argv[1:] if args is None else args
        known = self.commands.names()
        if words and is_utf8(words[0]) and not words[0].startswith("-") and words[0] not in known:
            self.error(str(near.unknown("command", words[0], known, f"it is one of {', '.join(known)}")))
        return super().parse_args(args, namespace)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command, as completion reads it too."""
    made = _Parser(
        prog="drw",
        description="Set up, look at and mend a Data Reduction Workflow.",
        epilog=f"{_REST}\n{EXIT_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parsers = made.add_subparsers(required=True, metavar="command", parser_class=actor.OneLineParser)
    made.commands = Commands(parsers, "drw")
    for register in _REGISTERED:
        register(made.commands)
    made.set_defaults(whole=made)
    return made


def _do(args: argparse.Namespace) -> int:
    context = Context(args, read_settings())
    try:
        if args.needs_database:
            _require_database(context)
        status_: int = args.do(context)
    except WrongPassword:
        database.refuse_the_demos(context.settings)
        raise
    finally:
        context.close()
    return status_


def _require_database(context: Context) -> None:
    """Say at once that the database is away, or wants another password, rather than wait for it."""
    if not database.answers(context.settings):
        raise DatabaseAway(
            f"no CouchDB answers at DRW_COUCHDB_URL, {context.settings.couchdb_url}: start it, or ./launch-all.sh, or "
            "correct the address"
        )
    actor.wait_for_database(context.connection, threading.Event(), [], limit_s=context.settings.rpc_deadline_s)


def _register_basics(commands: Commands) -> None:
    commands.add(
        "env",
        _env,
        help="print the settings as exports for a shell",
        example='eval "$(drw env)"',
        needs_database=False,
    )


def _env(context: Context) -> int:
    """Print the settings as shell exports, and a curl line that shows that they work."""
    settings = context.settings
    exports = {
        "DRW_HOME": settings.home,
        "DRW_COUCHDB_URL": settings.couchdb_url,
        "COUCHDB_USER": settings.user,
        "COUCHDB_PASSWORD": settings.password,
        "DRW_EU_CACHE": settings.eu_cache_dir(),
        "DRW_JAO_CACHE": settings.jao_cache_dir(),
    }
    if context.args.json:
        return context.print_json({name: str(value) for name, value in exports.items()})
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(str(value))}")
    print('# curl -u "$COUCHDB_USER:$COUCHDB_PASSWORD" "$DRW_COUCHDB_URL/status-entities/_all_docs?include_docs=true"')
    return OK


_REGISTERED: Final[tuple[Callable[[Commands], None], ...]] = (
    overview.register,
    ous.register,
    mail.register,
    follow.register,
    roster.register,
    doctor.register,
    check.register,
    rebuild.register,
    prune.register,
    launches.register,
    cancel.register,
    dead.register,
    pause.register,
    groups.register,
    drain.register,
    sending.register,
    audits.register,
    setup.register,
    _register_basics,
    janitor.register,
    people.register,
    completion.register,
)
"""Who makes commands known, in the order of ``drw -h``."""
