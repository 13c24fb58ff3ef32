"""Measures the dashboard with 10,000 OUSs and 100,000 messages, in a real browser and beside fifty others.

``python benchmarks/dashboard.py [OUSS] [MESSAGES]`` starts a couchlet and a dashboard of its own in a directory that is
deleted afterwards, and prints: the first contentful paint of the board (median of five), how far the board is behind
while 60 OUSs a second move, the delay from a change to its event with fifty browsers.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from drw import setup
from shared import lifecycle, names, status
from shared.bus import queue
from shared.clock import stamp
from shared.dbcon import DbConnection
from shared.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
CHROMIUM = "/usr/bin/chromium"
BATCH = 1000
MOVES_A_SECOND = 60
SECONDS = 10
BROWSERS = 50
LANES = 4


@contextmanager
def system() -> Iterator[tuple[DbConnection, dict[str, str]]]:
    """Run a couchlet with empty databases; give a connection and the environment for others."""
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "DRW_HOME": home}
        for each in ("COUCHDB_USER", "COUCHDB_PASSWORD"):
            environ.pop(each, None)
        argv = [str(BIN / "couchlet"), "--port", "0"]
        with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as couchlet:
            assert couchlet.stdout
            found = re.search(r"http://[^\s/]+", couchlet.stdout.readline().decode())
            assert found
            environ["DRW_COUCHDB_URL"] = found[0]
            settings = read_settings(environ)
            setup.ensure(settings)
            try:
                yield DbConnection(settings), environ
            finally:
                couchlet.terminate()


@contextmanager
def dashboard(environ: dict[str, str]) -> Iterator[str]:
    """Run a dashboard; give its address."""
    with process(environ) as (url, _):
        yield url


@contextmanager
def process(environ: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run a dashboard; give its address and the id of its process."""
    argv = [str(BIN / "dashboard"), "--port", "0"]
    with subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr
        line = next(each for each in started.stderr if " ready" in each)
        found = re.search(r"http://\S+", line)
        assert found
        threading.Thread(target=started.stderr.read, daemon=True).start()
        try:
            yield found[0], started.pid
        finally:
            started.terminate()


def threads(pid: int) -> int:
    """Return how many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def lines_to(pid: int, port: int) -> int:
    """Return how many connections a process holds to a port of this machine."""
    own = {target.name for each in Path(f"/proc/{pid}/fd").iterdir() if (target := _socket(each))}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in own for row in rows)


def _socket(link: Path) -> Path | None:
    try:
        return link.readlink()
    except FileNotFoundError:
        return None


def ous(number: int, moves: int, begun: datetime) -> dict[str, Any]:
    """Return an OUS that has made so many moves of a smooth life."""
    path = [each for each in lifecycle.STATES if each != lifecycle.PROCESSING_PROBLEM]
    if number % 3 == 2 and moves == 2:  # noqa: PLR2004 (the third state of a life is where one fails)
        path[2] = lifecycle.PROCESSING_PROBLEM
    history = [
        {
            "at": stamp(begun + timedelta(minutes=11 * step + number % 7)),
            "by": "xtss",
            "state": state,
            "substate": "",
            "note": "the pipeline found no calibrator" if state == lifecycle.PROCESSING_PROBLEM else "",
        }
        for step, state in enumerate(path[: moves + 1])
    ]
    uid = f"uid://A{number // 4096:03X}/X{number % 4096 // 64:x}/X{number % 64:x}"
    detail = "PipelineCalibration" if moves < 2 else ""  # noqa: PLR2004 (in the first two states)
    return {
        "_id": names.document_id(uid),
        "schema": 1,
        "entityId": uid,
        "progID": f"20{15 + number % 9}.1.{number % 977:05}.S",
        "recipe": "PipelineCalibration",
        "state": history[-1]["state"],
        "substate": detail,
        "executive": names.EXECUTIVES[number % 4],
        "timestamp": history[-1]["at"],
        "history": history,
    }


def fill(connection: DbConnection, ouss: int, messages: int) -> None:
    """Store so many OUSs in all states, and so many consumed messages."""
    now = datetime.now(UTC)
    made = [ous(each, min(each % 23, 6), now - timedelta(minutes=90 + each % 2880)) for each in range(ouss)]
    for start in range(0, ouss, BATCH):
        connection.database(status.DATABASE).bulk(made[start : start + BATCH])
    for start in range(0, messages, BATCH):
        connection.database(queue.DATABASE).bulk([message(each) for each in range(start, min(start + BATCH, messages))])


def message(number: int) -> dict[str, Any]:
    """Return a message that was consumed."""
    return {
        "_id": f"xtss:{number:09}:abc",
        "schema": 1,
        "selector": "xtss",
        "state": "consumed",
        "priority": 5,
        "creationTimestamp": "2026-11-20T10:00:00.000001",
        "doneAt": f"2026-11-20T10:00:00.{number % 1000000:06}",
        "sender": "benchmark",
        "body": {},
        "digest": "",
        "attempts": 1,
    }


def paint_ms(page: Any, url: str) -> float:  # noqa: ANN401 (playwright's page)
    """Return how long the board took until its first contentful paint."""
    page.goto(url)
    return float(page.evaluate(_FIRST_PAINT))


_FIRST_PAINT = """() => new Promise((done) => new PerformanceObserver((list) => {
  const found = list.getEntriesByName("first-contentful-paint");
  if (found.length) done(found[0].startTime);
}).observe({ type: "paint", buffered: true }))"""

_WATCH = """() => {
  window.longest = 0;
  window.seen = {};
  let last = performance.now();
  const tick = (now) => {
    window.longest = Math.max(window.longest, now - last);
    last = now;
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  const note = (node) => {
    for (const card of node.querySelectorAll?.("[data-id]") ?? []) note(card);
    if (node.dataset?.id) window.seen[node.dataset.id] = Date.now() / 1000;
  };
  new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(note)))
    .observe(document.getElementById("live"), { childList: true, subtree: true });
}"""


class Mover:
    """Moves OUSs by one write each, at the revisions that it knows."""

    def __init__(self, connection: DbConnection, ouss: int) -> None:
        """Read the first so many OUSs."""
        self._database = connection.database(status.DATABASE)
        ids = [ous(each, 0, datetime.now(UTC))["_id"] for each in range(ouss)]
        self._docs = [doc for doc in self._database.fetch(ids) if doc]

    def move(self, number: int) -> tuple[str, float]:
        """Move one OUS into Delivered, or Verified if it was there; return its id and when that was stored."""
        doc = self._docs[number % len(self._docs)]
        state = lifecycle.VERIFIED if doc["state"] == lifecycle.DELIVERED else lifecycle.DELIVERED
        at = stamp(datetime.now(UTC))
        doc |= {"state": state, "timestamp": at}
        doc["history"].append({"at": at, "by": "xtss", "state": state, "note": ""})
        doc["_rev"] = self._database.put(doc)
        return doc["_id"], time.time()


def measure_moves(page: Any, mover: Mover) -> None:  # noqa: ANN401 (playwright's page)
    """Move 60 OUSs a second and print how long each took until the board had it, and the longest frame meanwhile."""
    page.evaluate(_WATCH)
    begun = time.monotonic()
    stored = {}

    def lane(first: int) -> None:
        for count in range(first, MOVES_A_SECOND * SECONDS, LANES):
            time.sleep(max(0.0, begun + count / MOVES_A_SECOND - time.monotonic()))
            doc_id, at = mover.move(count)
            stored[doc_id] = at

    lanes = [threading.Thread(target=lane, args=(first,)) for first in range(LANES)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    took = time.monotonic() - begun
    deadline = time.monotonic() + 30
    seen: dict[str, float] = {}
    while len(seen.keys() & stored.keys()) < len(stored) and time.monotonic() < deadline:
        seen = page.evaluate("window.seen")
    delays = sorted((seen[each] - stored[each]) * 1000 for each in stored if each in seen)
    print(f"{len(stored) / took:.0f} moves/s for {took:.0f} s: {len(delays)} of {len(stored)} were on the board after")
    print(f"  median {statistics.median(delays):.0f} ms, 99 % {delays[len(delays) * 99 // 100]:.0f} ms,", end=" ")
    print(f"the last {delays[-1]:.0f} ms; longest frame {page.evaluate('window.longest'):.0f} ms")


def measure_fifty(url: str, pid: int, database_port: int, mover: Mover) -> None:
    """Hold fifty lines of events; print how long a change takes to reach the last of them, and what they cost."""
    seen: dict[str, list[float]] = {}
    before = threads(pid), lines_to(pid, database_port)
    lines = [urllib.request.urlopen(url + "events", timeout=60) for _ in range(BROWSERS)]

    def listen(line: Any) -> None:  # noqa: ANN401 (a response)
        for each in line:
            if each.startswith(b'data: {"moves"'):
                for found in re.findall(rb'\{"id":"([^"]+)","card"', each):
                    seen.setdefault(found.decode(), []).append(time.monotonic())

    for line in lines:
        threading.Thread(target=listen, args=(line,), daemon=True).start()
    delays = []
    for number in range(20):
        doc_id, _ = mover.move(number)
        written = time.monotonic()
        while len(seen.get(doc_id, ())) < BROWSERS and time.monotonic() < written + 10:
            time.sleep(0.005)
        delays.append(max(seen[doc_id]) - written)
    begun = time.monotonic()
    urllib.request.urlopen(url, timeout=60).read()
    page_ms = (time.monotonic() - begun) * 1000
    print(
        f"{BROWSERS} browsers: a change reaches the last of them after {statistics.median(delays) * 1000:.0f} ms",
        end=" ",
    )
    print(f"(worst {max(delays) * 1000:.0f} ms), a board beside them takes {page_ms:.0f} ms")
    after = threads(pid), lines_to(pid, database_port)
    print(f"  threads {before[0]} before, {after[0]} with them; lines to the database {before[1]} before, {after[1]}")


def main() -> None:
    """Run everything."""
    ouss, messages = (int(each) for each in (*sys.argv[1:], "10000", "100000")[:2])
    with system() as (connection, environ):
        fill(connection, ouss, messages)
        begun = time.monotonic()
        with process(environ) as (url, pid), sync_playwright() as playwright:
            urllib.request.urlopen(url, timeout=60).read()
            print(f"{ouss} OUSs, {messages} messages: read {time.monotonic() - begun:.1f} s after the start")
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            paints = [paint_ms(page, url) for _ in range(5)]
            print(f"first contentful paint: median {statistics.median(paints):.0f} ms, worst {max(paints):.0f} ms")
            mover = Mover(connection, MOVES_A_SECOND * SECONDS)
            measure_moves(page, mover)
            browser.close()
            measure_fifty(url, pid, int(environ["DRW_COUCHDB_URL"].rpartition(":")[2]), mover)


if __name__ == "__main__":
    main()
