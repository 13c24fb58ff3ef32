"""An hour's work, compressed: no process may hold more in the end than after the first tenth.

    python benchmarks/soak.py                              # 500 OUSs, 20,000 messages
    python benchmarks/soak.py --units 100 --messages 4000

A whole system of real processes takes the OUSs through their life cycle, a scripted reviewer among them, while others
ask xtss for what makes up the messages. Prints a line a process: memory (MB), threads, open files, connections, after
the first tenth and at the end. Exit status 1 if anything has grown by more than a tenth.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from storm import TESTS, loaded

from shared.bus import Bus
from shared.errors import DrwError
from shared.messages import StateRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

COUCHLET = "couchlet"
EVERY_S = 1.0
FIRST, LAST = (0.10, 0.20), (0.90, 1.01)
"""Which shares of the messages are compared: the second tenth with the last."""

MOST_GROWTH = 0.10
SPARE = {"memory": 3.0, "threads": 4.0, "files": 5.0, "connections": 5.0}
"""What does not count, however small the figure: pools that grow to their size when many things meet."""

BATCH, MOST_OPEN = 50, 200
AHEAD: Final = 0.05
"""By which share of all messages those who ask are ahead of the OUSs: every tenth is to hold work of every kind."""


class Held(NamedTuple):
    """What a process holds: memory in MB, threads, open files (connections too), and connections."""

    memory: float
    threads: int
    files: int
    connections: int


def held(pid: int) -> Held:
    """Return what a process holds now."""
    place = Path(f"/proc/{pid}")
    facts = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
    links = []
    for each in (place / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            links.append(str(each.readlink()))
    connections = sum(link.startswith("socket:") for link in links)
    return Held(int(facts["VmRSS"].split()[0]) / 1024, int(facts["Threads"]), len(links), connections)


class Soak:
    """One run: what is sampled of whom, after how many messages."""

    def __init__(self, storm: Any, system: Any, options: argparse.Namespace) -> None:  # noqa: ANN401 (the tests' own)
        """Take a storm without weather, and the system that it is in."""
        self._storm = storm
        self._system = system
        self._options = options
        self._asked = 0
        self._over = threading.Event()
        self.samples: list[tuple[int, Mapping[str, Held]]] = []

    def run(self) -> list[str]:
        """Let everything work to its end; return what was wrong with the outcome."""
        threads = [threading.Thread(target=each) for each in (self._sample, self._ask)]
        for thread in threads:
            thread.start()
        try:
            wrong: list[str] = self._storm.run()
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        return wrong

    def _sample(self) -> None:
        while not self._over.wait(EVERY_S):
            processes = self._storm.processes | {COUCHLET: self._system.couchlet.process.pid}
            with suppress(OSError, DrwError):  # they end when all is over
                count = self._system.connection.database("msgq").info()["doc_count"]
                self.samples.append((count, {name: held(pid) for name, pid in processes.items()}))

    def _ask(self) -> None:
        """Ask xtss for OUSs, a few hundred requests at once, as many as there is progress with the OUSs."""
        bus = Bus(self._system.connection, self._system.settings, me="soak")
        uids = list(self._storm.ouss)
        while not self._over.wait(0.05):
            if self._asked > self._options.messages / 2 * (self._storm.progress + AHEAD) or self._open() > MOST_OPEN:
                continue
            uid = uids[self._asked % len(uids)]
            body = StateRequest(operation="get", ousUID=uid).body()
            with suppress(DrwError):
                bus.send_many([bus.compose("xtss", body) for _ in range(BATCH)])
                self._asked += BATCH

    def _open(self) -> int:
        found = self._system.connection.database("msgq").find(
            {"selector": "xtss"}, index="ready", sort=["selector", "priority", "creationTimestamp"], limit=MOST_OPEN + 1
        )
        return len(found)

    def table(self) -> list[str]:
        """Return a line a process, each figure as ``first -> last``; what has grown is marked."""
        lines = []
        for name in self.samples[-1][1]:
            cells = []
            for what in Held._fields:
                first, last = (self._median(name, what, part) for part in (FIRST, LAST))
                grown = last > first * (1 + MOST_GROWTH) + SPARE[what]
                shown = self._series(name, what) if grown or last > first * (1 + MOST_GROWTH) else ""
                cells.append(f"{what} {first:.0f} -> {last:.0f}{shown}{' GROWN' if grown else ''}")
            lines.append(f"{name:12} {', '.join(cells)}")
        return lines

    def _series(self, name: str, what: str) -> str:
        """Return a figure tenth by tenth, to tell what fills from what leaks."""
        tenths = (self._median(name, what, (n / 10, (n + 1) / 10)) for n in range(10))
        return f" ({' '.join(f'{each:.0f}' for each in tenths)})"

    def _median(self, name: str, what: str, part: tuple[float, float]) -> float:
        low, high = (share * self.samples[-1][0] for share in part)
        found = [getattr(each[name], what) for count, each in self.samples if low <= count < high and name in each]
        return statistics.median(found or [0])


def main() -> int:
    """Run the soak that was asked for; 0 if nothing has grown and everything is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=500, help="OUSs (default 500)")
    parser.add_argument("--messages", type=int, default=20_000, help="messages in all, about (default 20,000)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    storms, servers, systems = (
        loaded(name, TESTS / f"{name}.py") for name in ("storm", "conftest", "acceptance/conftest")
    )
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        couchlet = servers.Couchlet(Path(folder))
        couchlet.start()
        system = systems.System(Path(folder), couchlet)
        storm = storms.Storm(system, 1, units=options.units, seconds=0.0, calm_s=7200.0)
        soak = Soak(storm, system, options)
        try:
            wrong = soak.run()
            sent = sum(1 for _ in system.connection.database("msgq").every())
        finally:
            storm.close()
            system.stop()
            couchlet.stop()
    lines = soak.table()
    print(*lines, *wrong[:20], sep="\n")
    print(f"{options.units} OUSs, {sent} messages, {time.monotonic() - begun:.0f} s, {len(wrong)} wrong")
    return 1 if wrong or any("GROWN" in line for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
