"""``./clear-all.sh``: drops and makes anew our databases and the two caches, after asking."""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drw import command_line, setup
from drw.columns import counted
from drw.machine import database, heartbeats, processes, starting
from drw.machine.running import Home
from shared import actor, cache
from shared.dbcon import DbConnection
from shared.errors import DrwError
from shared.settings import read_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from shared.settings import Settings

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
NAME: Final = "clear-all.sh"
_YES: Final = "yes"


def clear(connection: DbConnection, caches: Sequence[Path]) -> None:
    """Drop and make anew every database of ours, and empty the caches.

    The caches are checked first, so that nothing is destroyed when one of them is refused (CacheError).
    """
    for path in caches:
        cache.refuse_unless_clearable(path, protected=[_CHECKOUT])
    setup.drop_databases(connection)
    setup.ensure_databases(connection)
    for path in caches:
        cache.clear(path, protected=[_CHECKOUT])


def what_is_there(connection: DbConnection, caches: Sequence[Path]) -> list[str]:
    """Return a line for each thing that :func:`clear` would destroy."""
    existing = set(connection.database_names())
    lines = [
        f"database {name}: {counted(connection.database(name).count(), 'document')}"
        for name in setup.DATABASES
        if name in existing
    ]
    return lines + [
        f"cache {path}: {counted(len(list(path.iterdir())), 'entry', 'entries')}" for path in caches if path.is_dir()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Clear everything, or say why not."""
    parser = actor.OneLineParser(
        prog=NAME,
        description="Drop and make anew drw's databases and the caches DRW_EU_CACHE and DRW_JAO_CACHE. Destructive.",
        epilog="example:  ./clear-all.sh --yes",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--force", action="store_true", help="go on though actors that were started by hand run")
    return command_line.run(NAME, partial(_run, parser.parse_args(argv)))


def _run(args: argparse.Namespace) -> int:
    settings = read_settings()
    caches = [settings.eu_cache_dir(), settings.jao_cache_dir()]
    starting.refuse_nested_caches(settings)
    for path in caches:
        cache.refuse_unless_clearable(path, protected=[_CHECKOUT])
    _refuse_while_running(settings)
    database.refuse_the_demos(settings)
    with database.for_a_moment(settings) as reached:
        connection = DbConnection(reached)
        try:
            actor.wait_for_database(connection, threading.Event(), [])

            def refuse() -> None:
                _refuse_while_running(settings)
                if not args.force:
                    heartbeats.refuse_living(connection, "or go on with --force")

            return _clear_asking(connection, caches, refuse, yes=args.yes)
        finally:
            connection.close()


def _clear_asking(connection: DbConnection, caches: Sequence[Path], refuse: Callable[[], None], *, yes: bool) -> int:
    """Clear, if the person agrees; whoever began to run while they thought about it is looked for once more."""
    refuse()
    there = what_is_there(connection, caches)
    print(f"CouchDB at {connection.url}")
    print("\n".join(f"  will be emptied: {line}" for line in there) or "  nothing there yet")
    if there and not yes:
        if not _agreed():
            print("nothing was changed")
            return actor.FAILURE
        refuse()
    clear(connection, caches)
    print(f"{len(setup.DATABASES)} databases and {len(caches)} caches are ready and empty")
    print("\n".join(f"  cache {path}" for path in caches))
    return 0


def _refuse_while_running(settings: Settings) -> None:
    """Raise DrwError while actors that were started here run; the database may."""
    place = Home(settings.home)
    supervised = place.is_supervised()
    names = [
        row.process.name
        for row in place.state().rows
        if row.is_alive() or (supervised and row.phase in {"starting", "waiting"})
    ]
    if actors := [name for name in names if name != processes.COUCHLET]:
        raise DrwError(f"{', '.join(actors)} run here: end them first with ./launch-all.sh --stop")


def _agreed() -> bool:
    try:
        return input(f"All of that will be destroyed. Type {_YES} to go on: ").strip() == _YES
    except (EOFError, KeyboardInterrupt):
        print()
        return False


if __name__ == "__main__":
    sys.exit(main())
