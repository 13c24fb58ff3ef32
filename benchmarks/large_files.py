"""A products directory of large files: copied, hashed and archived in constant memory, with a line of progress.

    python benchmarks/large_files.py                       # five files of 1 GB, sparse
    python benchmarks/large_files.py --files 2 --gigabytes 3

Prints how long each step took and how much memory this process held at most meanwhile, then checks that the archive has
what was put in. couchlet is the archive; give --url for another CouchDB (user and password in it, database ngas there).
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from storm import TESTS, loaded

from drw import setup
from shared import logs, names, ngas
from shared.cache import CacheDirectory
from shared.dbcon import DbConnection
from shared.messages import FileEntry
from shared.progress import ProgressLine
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = names.products_dir("2015.1.00657.S", "2018-07-19T07:10:03.781")
MOST_GROWTH_MB = 50.0


def most_memory_mb() -> float:
    """Return how much memory this process has held at most so far (MB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(what: str, step: Callable[[], object], total: int) -> None:
    """Run a step; say how long it took, how fast it was, and what memory was held at most."""
    begun = time.monotonic()
    step()
    took_s = time.monotonic() - begun
    print(f"{what:9} {took_s:6.1f} s, {total / took_s / 1e6:5.0f} MB/s, at most {most_memory_mb():.0f} MB", flush=True)


def main() -> int:
    """Run every step; 0 if memory stayed constant and the archive has everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of each (default 1)")
    parser.add_argument("--url", help="another CouchDB than a couchlet of its own")
    options = parser.parse_args()
    logs.set_up("large_files", level="INFO", form="text", file=None)
    logging.getLogger("shared.couchdb_http").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="large") as folder:
        return _run(Path(folder), options)


def _run(home: Path, options: argparse.Namespace) -> int:
    size = int(options.gigabytes * 1e9)
    source, jao = home / "source", home / "jao-cache"
    (source / RUN).mkdir(parents=True)
    jao.mkdir()
    for number in range(options.files):
        with (source / RUN / f"product-{number}.data").open("wb") as file:
            file.write(os.urandom(1 << 20))  # no two alike
            file.truncate(size)
    cache, total, files = CacheDirectory.open(jao), size * options.files, list[FileEntry]()
    before = most_memory_mb()
    timed(
        "copied",
        lambda: files.extend(cache.take(source, RUN, "t", progress=ProgressLine("copying", every_s=2.0))),
        total,
    )
    timed("hashed", lambda: cache.manifest(RUN), total)
    couchlet = None
    environ = {"DRW_HOME": str(home), "DRW_COUCHDB_URL": options.url or ""}
    if not options.url:
        couchlet = loaded("conftest", TESTS / "conftest.py").Couchlet(home)
        couchlet.start()
        environ["DRW_COUCHDB_URL"] = couchlet.url
    connection = DbConnection(read_settings(environ))
    try:
        setup.ensure_databases(connection)
        archive = ngas.Archive(connection.database(ngas.DATABASE), connection.clock)
        wrong = _archive(archive, jao, files, total)
    finally:
        connection.close()
        if couchlet:
            couchlet.stop()
    grown = most_memory_mb() - before
    print(f"memory grew by {grown:.0f} MB for {total / 1e9:.1f} GB; {len(wrong)} files wrong", *wrong)
    return 1 if wrong or grown > MOST_GROWTH_MB else 0


def _archive(archive: ngas.Archive, cache: Path, files: list[FileEntry], total: int) -> list[str]:
    def put() -> None:
        for each in files:
            archive.put(cache / each.path, Path(each.path).name, size=each.size, sha256=each.sha256)

    wrong: list[str] = []

    def check() -> None:
        found = (archive.check(Path(each.path).name, size=each.size, sha256=each.sha256) for each in files)
        wrong.extend(filter(None, found))

    timed("archived", put, total)
    timed("checked", check, total)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
