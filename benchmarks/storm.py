"""Run storms, one seed after another, over a system of real processes; stop at the first that leaves something wrong.

    python benchmarks/storm.py                      # fifty seeds, 60 OUSs each
    python benchmarks/storm.py --first 7 --seeds 1 --units 200 --seconds 300

On a couchlet, or on the CouchDB at DRW_TEST_COUCHDB_URL, which is not killed, and has to be one for tests alone: ALL
THAT IT HOLDS IS DELETED. Prints a line a seed: how long it took, how often actors had to be started again, and what was
wrong, if anything.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))


def loaded(name: str, path: Path) -> ModuleType:
    """Return a module of the tests, which are no package."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Run the storms that were asked for; 0 when every one left everything right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds (default 50)")
    parser.add_argument("--units", type=int, default=60, help="OUSs in each (default 60)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long things go wrong (default 30)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the operator's own outages are no news
    parts = [loaded(name, TESTS / f"{name}.py") for name in ("storm", "conftest", "acceptance/conftest")]
    for seed in range(options.first, options.first + options.seeds):
        with tempfile.TemporaryDirectory(prefix="storm") as folder:
            if not _blow(parts, Path(folder), seed, options):
                return 1
    return 0


def _blow(parts: list[ModuleType], home: Path, seed: int, options: argparse.Namespace) -> bool:
    storms, servers, systems = parts
    with servers.served(home) as server:
        system = systems.System(home, server)
        storm = storms.Storm(system, seed, units=options.units, seconds=options.seconds)
        begun = time.monotonic()
        try:
            wrong = storm.run()
        finally:
            storm.close()
            system.stop()
    troubles, restarts = len(storm.log), storm.restarts
    took_s = time.monotonic() - begun
    print(f"seed {seed}: {len(wrong)} wrong, {troubles} troubles, {restarts} restarts, {took_s:.0f} s", flush=True)
    for each in [*wrong[:20], *(storm.log if wrong else [])]:
        print(f"  {each}", flush=True)
    return not wrong


if __name__ == "__main__":
    sys.exit(main())
