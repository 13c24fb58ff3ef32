"""``drw``: one command for what operators do."""

from __future__ import annotations

import argparse
import shlex
import threading
from functools import partial
from typing import TYPE_CHECKING, Final

from rich.console import Console

from drw import command_line, database, dead, setup
from drw.check import Checker, print_verdicts
from shared import actor, names, status
from shared.dbcon import DbConnection
from shared.errors import WrongPassword
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.settings import Settings

_COMMANDS: Final = """\
the actors, each with -h:
  launcher pipeline-driver replicated-cache xtss aqua-qa2 product-ingestor data-tracker dashboard couchlet
the scripts:
  ./launch-all.sh  ./launch-all.sh --demo  ./clear-all.sh  ./run-tests.sh

example:  drw dead list
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    return command_line.run("drw", partial(_do, _parser().parse_args(argv)))


def _do(args: argparse.Namespace) -> int:
    settings = read_settings()
    if args.command == "env":
        return _env(settings)
    database.require_answer(settings)
    connection = DbConnection(settings)
    try:
        actor.wait_for_database(connection, threading.Event(), [])
        return _run(args, connection)
    except WrongPassword:
        database.refuse_the_demos(settings)
        raise
    finally:
        connection.close()


def _run(args: argparse.Namespace, connection: DbConnection) -> int:
    match args.command:
        case "setup":
            made = setup.ensure_databases(connection)
            print(f"made {', '.join(made)}" if made else "every database and index was there")
            return 0
        case "check":
            return _check(connection, args.ousUID)
        case _:
            return dead.run(connection, args)


def _env(settings: Settings) -> int:
    """Print the settings as shell exports, and a curl line that shows that they work."""
    exports = {
        "DRW_HOME": settings.home,
        "DRW_COUCHDB_URL": settings.couchdb_url,
        "COUCHDB_USER": settings.user,
        "COUCHDB_PASSWORD": settings.password,
        "DRW_EU_CACHE": settings.eu_cache_dir(),
        "DRW_JAO_CACHE": settings.jao_cache_dir(),
    }
    for name, value in exports.items():
        print(f"export {name}={shlex.quote(str(value))}")
    print('# curl -u "$COUCHDB_USER:$COUCHDB_PASSWORD" "$DRW_COUCHDB_URL/status-entities/_all_docs?include_docs=true"')
    return 0


def _check(connection: DbConnection, wanted: Sequence[str]) -> int:
    checker = Checker(connection)
    ouss = wanted or [doc["entityId"] for doc in connection.database(status.DATABASE).every()]
    verdicts, bus = [checker.ous(ous) for ous in ouss], checker.no_open_message()
    print_verdicts(verdicts, [bus], Console())
    return actor.FAILURE if any(each.wrong for each in [*verdicts, bus]) else 0


def _parser() -> argparse.ArgumentParser:
    parser = actor.OneLineParser(
        prog="drw",
        description="Set up, look at and mend a Data Reduction Workflow.",
        epilog=_COMMANDS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    commands.add_parser("setup", help="make the databases and indexes that are missing")
    commands.add_parser("env", help="print the settings as exports for a shell")
    check = commands.add_parser("check", help="check that OUSs are delivered whole and no message is left")
    check.add_argument("ousUID", nargs="*", type=actor.checked(names.uid), help="default: every OUS")
    letters = commands.add_parser("dead", help="messages that could not be handled")
    actions = letters.add_subparsers(dest="what", required=True, metavar="list|requeue|discard")
    actions.add_parser("list", help="show them, with the reasons")
    for what, meaning in (("requeue", "make them ready again"), ("discard", "end them for good")):
        action = actions.add_parser(what, help=meaning)
        action.add_argument("ids", nargs="*", metavar="message", help="its id, or how that begins")
        action.add_argument("--all", action="store_true", help="every dead message")
        action.add_argument("--reason", required=what == "discard", default="", help="is kept in the audit")
    return parser
