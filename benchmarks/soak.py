"""An hour's work, compressed: no process may hold more after it than after its first tenth.

    python benchmarks/soak.py                              # 500 OUSs, 20,000 messages
    python benchmarks/soak.py --units 100 --messages 4000

A whole system of real processes takes the first tenth of the OUSs through their life cycle, a scripted reviewer among
them, while others ask xtss for what makes up the messages; then it rests, and what each process holds is counted:
memory (MB), threads, open files, connections. The same again for the rest of the OUSs. It is counted at rest, because
at work a process holds as many connections as it does things at that moment. Prints a line a process; exit status 1 if
anything has grown by more than a tenth.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from storm import TESTS, loaded

from shared.bus import Bus
from shared.connections import UNUSED_S
from shared.errors import DrwError
from shared.messages import StateRequest

COUCHLET = "couchlet"
REST_S: Final = UNUSED_S + 10.0
"""For so long nothing is done: what is kept for a moment in case that more comes is given back."""

LOOKS, EVERY_S = 24, 5.0
"""The least of so many looks counts: two who happen to ask at once hold a connection more for the minute after."""

MOST_GROWTH = 0.10
BATCH, MOST_OPEN = 50, 200
AHEAD: Final = 0.05
"""By which share of their messages those who ask are ahead of the OUSs, so that both work at once."""


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
    """One run: what everybody held after the first tenth of the OUSs, and after all."""

    def __init__(self, storm: Any, system: Any, options: argparse.Namespace) -> None:  # noqa: ANN401 (the tests' own)
        """Take a storm without weather, and the system that it is in."""
        self._storm = storm
        self._system = system
        self._messages = options.messages
        self._asked = 0
        self._over = threading.Event()
        self.rests: list[dict[str, Held]] = []

    def run(self) -> None:
        """Let everything work, and rest, twice."""
        every = self._storm.ouss
        tenth = dict(itertools.islice(every.items(), len(every) // 10))
        for part in (tenth, every):
            self._storm.ouss = part
            self._work(self._messages / 2 * len(part) / len(every))
            self.rests.append(self._rest())

    def _work(self, requests: float) -> None:
        """Take the OUSs to their ends, and ask xtss so often in all."""
        self._over.clear()
        asking = threading.Thread(target=self._ask, args=[requests])
        asking.start()
        try:
            self._storm.pass_over()
        finally:
            self._over.set()
            asking.join()

    def _ask(self, requests: float) -> None:
        """Ask xtss for OUSs, a few hundred requests at once, as many as there is progress with the OUSs."""
        bus = Bus(self._system.connection, self._system.settings, me="soak")
        uids = list(self._storm.ouss)
        while not self._over.wait(0.05):
            if self._asked > requests * (self._storm.progress + AHEAD) or self._open() > MOST_OPEN:
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

    def _rest(self) -> dict[str, Held]:
        """Rest, then return what everybody holds: the least of some looks."""
        time.sleep(REST_S)
        processes = self._storm.processes | {COUCHLET: self._system.couchlet.process.pid}
        looks: dict[str, list[Held]] = {name: [] for name in processes}
        for _ in range(LOOKS):
            for name, pid in processes.items():
                looks[name].append(held(pid))
            time.sleep(EVERY_S)
        return {name: Held(*map(min, zip(*found, strict=True))) for name, found in looks.items()}

    def table(self) -> list[str]:
        """Return a line a process, each figure as ``first -> last``; what has grown is marked."""
        lines = []
        for name, last in self.rests[-1].items():
            pairs = zip(Held._fields, self.rests[0][name], last, strict=True)
            cells = [f"{what} {was:.0f} -> {now:.0f}{' GROWN' * _has_grown(was, now)}" for what, was, now in pairs]
            lines.append(f"{name:12} {', '.join(cells)}")
        return lines


def _has_grown(was: float, now: float) -> bool:
    return now > was * (1 + MOST_GROWTH)


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
            soak.run()
            wrong = storm.wrong()
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
