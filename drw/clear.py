"""``./clear-all.sh``: drops and makes anew our databases and the two caches, after asking."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drw import setup
from shared import actor, cache, errors
from shared.dbcon import DbConnection
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.settings import Settings

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
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
        f"database {name}: {connection.database(name).info()['doc_count']} documents"
        for name in setup.DATABASES
        if name in existing
    ]
    return lines + [f"cache {path}: {len(list(path.iterdir()))} entries" for path in caches if path.is_dir()]


def main(argv: Sequence[str] | None = None) -> int:
    """Clear everything, or say why not."""
    parser = actor.OneLineParser(
        prog="clear-all.sh",
        description="Drop and make anew drw's databases and the caches DRW_EU_CACHE and DRW_JAO_CACHE. Destructive.",
        epilog="example:  ./clear-all.sh --yes",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    args = parser.parse_args(argv)
    try:
        return _run(read_settings(), ask=not args.yes)
    except errors.BadInput as error:
        print(f"clear-all: {error}", file=sys.stderr)
        return actor.USAGE_ERROR
    except (errors.DrwError, OSError) as error:
        print(f"clear-all: {error}", file=sys.stderr)
        return actor.FAILURE


def _run(settings: Settings, *, ask: bool) -> int:
    connection = DbConnection(settings)
    caches = [settings.eu_cache_dir(), settings.jao_cache_dir()]
    connection.welcome()
    actor.wait_for_database(connection, threading.Event(), [])
    for path in caches:
        cache.refuse_unless_clearable(path, protected=[_CHECKOUT])
    there = what_is_there(connection, caches)
    print(f"CouchDB at {settings.couchdb_url}")
    print("\n".join(f"  will be emptied: {line}" for line in there) or "  nothing there yet")
    if there and ask and not _agreed():
        print("nothing was changed")
        return actor.FAILURE
    clear(connection, caches)
    print(f"{len(setup.DATABASES)} databases and {len(caches)} caches are ready and empty")
    return 0


def _agreed() -> bool:
    try:
        return input(f"All of that will be destroyed. Type {_YES} to go on: ").strip() == _YES
    except (EOFError, KeyboardInterrupt):
        print()
        return False


if __name__ == "__main__":
    sys.exit(main())
