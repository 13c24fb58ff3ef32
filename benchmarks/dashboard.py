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
            yield DbConnection(settings), environ
            couchlet.terminate()


@contextmanager
def dashboard(environ: dict[str, str]) -> Iterator[str]:
    """Run a dashboard; give its address."""
    argv = [str(BIN / "dashboard"), "--port", "0"]
    with subprocess.Popen(argv, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = next(each for each in process.stderr if " ready" in each)
        found = re.search(r"http://\S+", line)
        assert found
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield found[0]
        process.terminate()


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
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    return float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))


def move(connection: DbConnection, number: int) -> str:
    """Move the OUS with this number into Delivered, now; return its UID."""
    doc_id = ous(number, 0, datetime.now(UTC))["_id"]

    def change(doc: dict[str, Any] | None) -> dict[str, Any]:
        assert doc
        state = lifecycle.VERIFIED if doc["state"] == lifecycle.DELIVERED else lifecycle.DELIVERED
        at = stamp(datetime.now(UTC))
        entry = {"at": at, "by": "xtss", "state": state, "note": ""}
        return doc | {"state": state, "timestamp": at, "history": [*doc["history"], entry]}

    connection.database(status.DATABASE).mutate(doc_id, change)
    return doc_id


def measure_moves(page: Any, connection: DbConnection) -> None:  # noqa: ANN401 (playwright's page)
    """Move 60 OUSs a second and print how long after the last move the board has it, and the frames lost meanwhile."""
    page.evaluate(
        "() => { window.longest = 0; let last = performance.now();"
        " const tick = (now) => { window.longest = Math.max(window.longest, now - last); last = now;"
        " requestAnimationFrame(tick); }; requestAnimationFrame(tick); }"
    )
    begun = time.monotonic()
    last = ""
    for count in range(MOVES_A_SECOND * SECONDS):
        last = move(connection, count)
        time.sleep(max(0.0, begun + (count + 1) / MOVES_A_SECOND - time.monotonic()))
    moved = time.monotonic()
    page.wait_for_selector(f'.card[data-id="{last}"]')
    rate = MOVES_A_SECOND * SECONDS / (moved - begun)
    print(f"{rate:.0f} moves/s for {moved - begun:.0f} s: the last is on the board after", end=" ")
    print(f"{(time.monotonic() - moved) * 1000:.0f} ms; longest frame {page.evaluate('window.longest'):.0f} ms")


def measure_fifty(url: str, connection: DbConnection) -> None:
    """Hold fifty lines of events, and print how long a change takes to reach the last of them, and a page too."""
    seen: dict[str, list[float]] = {}
    lines = [urllib.request.urlopen(url + "events", timeout=60) for _ in range(BROWSERS)]

    def listen(line: Any) -> None:  # noqa: ANN401 (a response)
        for each in line:
            if each.startswith(b'data: {"moves"'):
                for found in re.findall(rb'\{"id":"([^"]+)","before"', each):
                    seen.setdefault(found.decode(), []).append(time.monotonic())

    for line in lines:
        threading.Thread(target=listen, args=(line,), daemon=True).start()
    delays = []
    for number in range(5000, 5020):
        doc_id = move(connection, number)
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


def main() -> None:
    """Run everything."""
    ouss, messages = (int(each) for each in (*sys.argv[1:], "10000", "100000")[:2])
    with system() as (connection, environ):
        fill(connection, ouss, messages)
        begun = time.monotonic()
        with dashboard(environ) as url, sync_playwright() as playwright:
            urllib.request.urlopen(url, timeout=60).read()
            print(f"{ouss} OUSs, {messages} messages: read {time.monotonic() - begun:.1f} s after the start")
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            paints = [paint_ms(page, url) for _ in range(5)]
            print(f"first contentful paint: median {statistics.median(paints):.0f} ms, worst {max(paints):.0f} ms")
            measure_moves(page, connection)
            browser.close()
            measure_fifty(url, connection)


if __name__ == "__main__":
    main()
