"""Measure couchlet and print the figures as JSON: medians of five, every write durable.

The server runs in a process of its own, and so do clients that work side by side; they share this machine's cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event, Semaphore

USER, PASSWORD = "admin", "benchmark"
AUTHORIZATION = "Basic YWRtaW46YmVuY2htYXJr"
HEADERS = {"Authorization": AUTHORIZATION, "Content-Type": "application/json", "Accept": "application/json"}
ROUNDS = 5
LONG_POLLS = 100
GIGABYTE = 1024**3
PIECE_BYTES = 1024**2
READY_INDEX = {
    "index": {"fields": ["selector", "priority"], "partial_filter_selector": {"state": "ready"}},
    "ddoc": "ready",
    "name": "ready",
}
READY_QUERY = {
    "selector": {"selector": "xtss"},
    "sort": ["selector", "priority"],
    "use_index": "ready",
    "allow_fallback": False,
}


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        """Connect with the first request."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Send a request; anything but success ends the measurement."""
        self._connection.request(method, path, body, HEADERS)
        response = self._connection.getresponse()
        text = response.read()
        if response.status >= http.client.BAD_REQUEST:
            raise SystemExit(f"{method} {path} answered {response.status}: {text[:200]!r}")
        return text


def start(data: str) -> tuple[subprocess.Popen[str], int]:
    """Start a couchlet; returns it and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "couchlet", "--port", "0", "--data", data, "--log-level", "error"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COUCHDB_USER": USER, "COUCHDB_PASSWORD": PASSWORD},
    )
    assert process.stdout is not None
    match = re.search(r":(\d+) data", process.stdout.readline())
    if match is None:
        raise SystemExit("couchlet did not start")
    return process, int(match[1])


def batch(first: int, count: int, state: str = "consumed") -> bytes:
    """Return a body for `_bulk_docs`: small documents like the messages of a queue."""
    docs = [
        {
            "_id": f"xtss:{first + number:010}",
            "selector": "xtss",
            "state": state,
            "priority": number % 10,
            "creationTimestamp": "2018-07-19T08:01:10.228",
            "body": {"ousUID": f"uid://A001/X{first + number:x}/X1", "operation": "set-state", "value": "Verified"},
        }
        for number in range(count)
    ]
    return json.dumps({"docs": docs}).encode()


def bulk_rate(client: Client, name: str, total: int = 10_000) -> float:
    """Return documents a second in batches of 100, on one connection."""
    client.ask("PUT", f"/{name}")
    bodies = [batch(first, 100) for first in range(0, total, 100)]
    began = time.perf_counter()
    for body in bodies:
        client.ask("POST", f"/{name}/_bulk_docs", body)
    elapsed_s = time.perf_counter() - began
    client.ask("DELETE", f"/{name}")
    return total / elapsed_s


def _work(port: int, kind: str, paths: list[str], ready: Semaphore, go: Event) -> None:
    client = Client(port)
    client.ask("GET", "/_up")
    ready.release()
    go.wait()
    for path in paths:
        if kind == "put":
            client.ask("PUT", path, b'{"state":"ready","selector":"xtss","priority":1}')
        else:
            client.ask("GET", path)


def side_by_side(port: int, kind: str, name: str, workers: int, count: int) -> float:
    """Return requests a second of several clients, each a process."""
    ready, go = multiprocessing.Semaphore(0), multiprocessing.Event()
    processes = [
        multiprocessing.Process(
            target=_work, args=(port, kind, [f"/{name}/w{worker}-{number}" for number in range(count)], ready, go)
        )
        for worker in range(workers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    began = time.perf_counter()
    go.set()
    for process in processes:
        process.join()
    return workers * count / (time.perf_counter() - began)


def memory_mib(process: subprocess.Popen[str], kind: str = "VmRSS") -> float:
    """Return the resident memory of the server: now (`VmRSS`) or the most it was (`VmHWM`)."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(rf"{kind}:\s+(\d+)", status)[0]) / 1024


def find_ms(client: Client, names: tuple[str, ...]) -> list[float]:
    """Return the median times of a `_find` through the partial index, in each database; asked in turn."""
    body = json.dumps(READY_QUERY).encode()
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(1000):
        for name in names:
            began = time.perf_counter()
            client.ask("POST", f"/{name}/_find", body)
            times[name].append(time.perf_counter() - began)
    return [statistics.median(times[name]) * 1000 for name in names]


def woken_ms(client: Client, port: int, name: str) -> float:
    """Return when the last of many long-polls has its whole answer, counted from before the write that wakes them."""
    request = (
        f"GET /{name}/_changes?feed=longpoll&since=now&heartbeat=30000&include_docs=true HTTP/1.1\r\n"
        f"Host: localhost\r\nAuthorization: {AUTHORIZATION}\r\n\r\n"
    ).encode()
    answers: dict[socket.socket, bytes] = {}
    waiting = selectors.DefaultSelector()
    for _ in range(LONG_POLLS):
        poll = socket.create_connection(("127.0.0.1", port), timeout=30)
        poll.sendall(request)
        answers[poll] = b""
    for poll in answers:
        # The beginning of the answer tells that the server waits for a change.
        beginning = b""
        while b'{"results":[' not in beginning:
            beginning += poll.recv(65536)
        waiting.register(poll, selectors.EVENT_READ)
    began = time.perf_counter()
    writer = threading.Thread(target=client.ask, args=("POST", f"/{name}", b'{"state":"ready"}'))
    writer.start()
    while waiting.get_map():
        for key, _ in waiting.select(30):
            poll = cast("socket.socket", key.fileobj)
            answers[poll] += poll.recv(65536)
            if answers[poll].endswith(b"0\r\n\r\n"):
                waiting.unregister(poll)
    elapsed_s = time.perf_counter() - began
    writer.join()
    for poll in answers:
        poll.close()
    return elapsed_s * 1000


def large_attachment(port: int, name: str, process: subprocess.Popen[str]) -> dict[str, float]:
    """Send a gigabyte and read it back; returns the rates, and by how much the server's memory grew at most."""
    before, piece = memory_mib(process, "VmRSS"), os.urandom(PIECE_BYTES)
    path, headers = f"/{name}/large/file.bin", {**HEADERS, "Content-Type": "application/octet-stream"}
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    began = time.perf_counter()
    body = (piece for _ in range(GIGABYTE // PIECE_BYTES))
    connection.request("PUT", path, body, {**headers, "Content-Length": str(GIGABYTE)})
    answer = connection.getresponse()
    if answer.status != http.client.CREATED:
        raise SystemExit(f"PUT {path} answered {answer.status}: {answer.read()!r}")
    answer.read()
    stored = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    got = 0
    while chunk := answer.read(PIECE_BYTES):
        got += len(chunk)
    read = time.perf_counter()
    connection.close()
    if got != GIGABYTE:
        raise SystemExit(f"GET {path} gave {got} bytes of {GIGABYTE}")
    return {
        "attachment_of_1_gib_in_mib_per_s": round(1024 / (stored - began)),
        "attachment_of_1_gib_out_mib_per_s": round(1024 / (read - stored)),
        "memory_grown_by_attachment_of_1_gib_mib": round(memory_mib(process, "VmHWM") - before, 1),
    }


def fill(client: Client, name: str, total: int) -> None:
    """Make a database with this many consumed messages and ten ready ones."""
    client.ask("PUT", f"/{name}")
    client.ask("POST", f"/{name}/_index", json.dumps(READY_INDEX).encode())
    for first in range(0, total - 10, 500):
        client.ask("POST", f"/{name}/_bulk_docs", batch(first, min(500, total - 10 - first)))
    client.ask("POST", f"/{name}/_bulk_docs", batch(total, 10, "ready"))


def measure(client: Client, process: subprocess.Popen[str], port: int) -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {}
    bulk = [bulk_rate(client, f"bulk{number}") for number in range(ROUNDS)]
    figures["bulk_of_100_docs_per_s"] = round(statistics.median(bulk))
    puts, gets = [], []
    for number in range(ROUNDS):
        name = f"single{number}"
        client.ask("PUT", f"/{name}")
        puts.append(side_by_side(port, "put", name, 4, 500))
        gets.append(side_by_side(port, "get", name, 4, 500))
    figures["single_puts_per_s_4_connections"] = round(statistics.median(puts))
    figures["gets_per_s_4_connections"] = round(statistics.median(gets))
    figures["memory_at_start_mib"] = round(memory_mib(process), 1)
    fill(client, "ten_thousand", 10_000)
    fill(client, "two_hundred_thousand", 200_000)
    figures["memory_with_200000_docs_mib"] = round(memory_mib(process), 1)
    small_ms, large_ms = find_ms(client, ("ten_thousand", "two_hundred_thousand"))
    figures["find_10_ready_of_10000_ms"] = round(small_ms, 3)
    figures["find_10_ready_of_200000_ms"] = round(large_ms, 3)
    figures["find_200000_to_10000_ratio"] = round(large_ms / small_ms, 2)
    client.ask("PUT", "/woken")
    woken = [woken_ms(client, port, "woken") for _ in range(ROUNDS)]
    figures["all_of_100_long_polls_woken_ms"] = round(statistics.median(woken), 1)
    return figures | large_attachment(port, "woken", process)


def main() -> None:
    """Measure a fresh couchlet, in a temporary directory or the one given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="parent of the data directory (default: the system's temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.data) as data:
        process, port = start(data)
        try:
            figures = measure(Client(port), process, port)
        finally:
            process.terminate()
            process.wait()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
