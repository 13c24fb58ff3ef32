"""Measure the bus on one server, in one go, beside what the database itself can do and the queue people write first.

    python benchmarks/bus.py                                   # on a couchlet of its own
    python benchmarks/bus.py http://admin:secret@127.0.0.1:5984   # on any CouchDB; its databases bench-… are made anew

Prints a table, then the same as JSON. Every figure is the median of five runs; what is to be reached are ratios within
one run, because machines differ and are shared. Consumers are processes of their own. Needs a server administrator.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import reference
from rich.console import Console
from rich.table import Table

from actors.xtss import BATCH as STATES_AHEAD
from actors.xtss import REMEMBERED, SLOTS, StateSystem
from drw import setup
from shared.bus import Bus, Executor, ExecutorClient, Message, janitor, queue
from shared.clock import elapsed_s, stamp
from shared.dbcon import DbConnection
from shared.messages import XTSS
from shared.settings import read_settings
from shared.state import StateClient
from shared.status import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.settings import Settings

ROUNDS: Final = 5
BATCH: Final = reference.BATCH
AHEAD: Final = BATCH
QUEUE: Final = "bench-msgq"
FIND_QUEUE: Final = "bench-find"
STATUS: Final = "bench-status"
ROUND: Final = ("Processing", "ReadyForReview", "Reviewing", "ReadyForProcessing")
BODY: Final = {"progID": "2015.1.00657.S", "ousUID": "uid://A003/X1/X1b", "recipe": "PipelineCalibration"}
SELECTOR: Final = "bench.work"
Figures = dict[str, Any]


class Bench:
    """One server under measurement, and databases of our own on it."""

    def __init__(self, settings: Settings) -> None:
        """Take the server to measure."""
        self.settings = settings
        self.connection = DbConnection(settings)
        self.database = self.connection.database(QUEUE)

    def fresh(self) -> Bus:
        """Make the queue anew, and return a bus on it."""
        self.clear()
        setup.make_queue(self.connection, QUEUE)
        return self.bus("benchmark")

    def bus(self, me: str) -> Bus:
        """Return a bus with a connection of its own."""
        return Bus(DbConnection(self.settings), self.settings, me=me, database_name=QUEUE)

    def clear(self) -> None:
        """Delete every database of ours."""
        for name in (QUEUE, FIND_QUEUE, STATUS):
            self.connection.drop_database(name)

    def fill(self, bus: Bus, count: int, selector: Callable[[int], str] = lambda _: SELECTOR) -> list[Message]:
        """Send messages, in batches; return them as composed."""
        sent: list[Message] = []
        for start in range(0, count, 500):
            batch = [bus.compose(selector(n), BODY) for n in range(start, min(start + 500, count))]
            bus.send_many(batch)
            sent += batch
        return sent

    def consumed(self, processes: int) -> tuple[float, float]:
        """Have everything for SELECTOR consumed; return messages a second and the share of claims that conflicted.

        The clock runs from the moment when all consumers may begin, until nothing is open.
        """
        context = multiprocessing.get_context("spawn")
        ready, go, done = context.Semaphore(0), context.Event(), context.Event()
        results = context.Queue()
        argument = (self.settings, ready, go, done, results)
        consumers = [context.Process(target=_consume, args=argument, daemon=True) for _ in range(processes)]
        total = self.open_messages()
        for each in consumers:
            each.start()
        for _ in consumers:
            ready.acquire()
        begun = time.perf_counter()
        go.set()
        handled, ended = 0, begun
        while handled < total:
            handled += results.get(timeout=300)
            ended = time.perf_counter()
        done.set()
        claims = [results.get(timeout=60) for _ in consumers]
        for each in consumers:
            each.join()
        tried = sum(mine + lost for mine, lost in claims)
        assert handled == total, f"{handled} messages handled of {total}"
        assert self.open_messages() == 0, "messages are left"
        return total / (ended - begun), sum(lost for _, lost in claims) / tried

    def open_messages(self) -> int:
        """Return how many messages are ready, delayed or claimed."""
        found = 0
        for index in (queue.READY_INDEX, queue.DUE_INDEX):
            where = {"selector": {"$gt": None}}
            sort = queue.INDEXES[index][0]
            found += len(self.database.find(where, index=index, sort=sort, limit=1_000_000, fields=["_id"]))
        return found


def _consume(settings: Settings, ready: Any, go: Any, done: Any, results: Any) -> None:  # noqa: ANN401 (of multiprocessing)
    """Consume until told to stop, telling of messages as they are settled; runs in a process of its own."""
    bus = Bench(settings).bus(f"consumer{os.getpid()}")
    _tell_of_settled(bus, results.put)
    bus.listen(SELECTOR, lambda _: None, batch=AHEAD)
    ready.release()
    go.wait()
    with bus:
        done.wait()
    results.put((bus.queue.claimed, bus.queue.conflicts))


def _tell_of_settled(bus: Bus, tell: Callable[[int], None]) -> None:
    """Have ``tell`` called with how many messages a bus has settled, each time that it has."""
    write = bus.queue.write

    def telling(messages: list[Message], **options: float) -> Any:  # noqa: ANN401 (as Queue.write)
        results = write(messages, **options)
        if settled := sum(result.standing == "written" for result in results):
            tell(settled)
        return results

    bus.queue.write = telling  # type: ignore[method-assign, assignment]


def throughput(bench: Bench, count: int) -> Figures:
    """Measure sending and receiving, each beside its floor in the same round."""
    rounds: list[Figures] = []
    for _ in range(ROUNDS):
        bus = bench.fresh()
        figures: Figures = {}
        floor = [bus.compose("bench.floor", BODY) for _ in range(count)]
        figures["send floor"] = reference.send_floor(bench.database, floor)
        begun = time.perf_counter()
        for _ in range(count // BATCH):
            bus.send_many([bus.compose(SELECTOR, BODY) for _ in range(BATCH)])
        figures["send by 100"] = count / (time.perf_counter() - begun)
        stored = [each for at in range(0, count, 500) for each in bus.queue.fetch(m.id for m in floor[at : at + 500])]
        figures["receive floor"] = reference.receive_floor(bench.database, stored, AHEAD)
        figures["receive, beside the floor"], _ = bench.consumed(1)
        singles = [bus.compose("bench.floor", BODY) for _ in range(200)]
        figures["single floor"] = reference.single_floor(bench.database, singles)
        begun = time.perf_counter()
        for _ in singles:
            bus.send("bench.single", BODY)
        figures["send one by one"] = len(singles) / (time.perf_counter() - begun)
        for consumers, name in ((1, "1 consumer"), (4, "4 consumers")):  # each with as little behind it
            bench.fill(bench.fresh(), count)
            figures[f"receive, {name}"], figures[f"conflicts, {name}"] = bench.consumed(consumers)
        rounds.append(figures)
    return _medians(rounds) | {
        "send by 100 / floor": _ratio(rounds, "send by 100", "send floor"),
        "send one by one / floor": _ratio(rounds, "send one by one", "single floor"),
        "receive / floor": _ratio(rounds, "receive, beside the floor", "receive floor"),
        "4 consumers / 1": _ratio(rounds, "receive, 4 consumers", "receive, 1 consumer"),
    }


def find_then_overwrite(bench: Bench) -> Figures:
    """Measure the queue that suggests itself: 200 ready messages, one and four consumers."""
    rounds: list[Figures] = []
    context = multiprocessing.get_context("spawn")
    for _ in range(ROUNDS):
        figures: Figures = {}
        for consumers in (1, 4):
            bench.connection.drop_database(FIND_QUEUE)
            bench.connection.create_database(FIND_QUEUE, n=1)
            database = bench.connection.database(FIND_QUEUE)
            reference.make_find_queue(database, 200)
            ready, go, results = context.Semaphore(0), context.Event(), context.Queue()
            processes = [
                context.Process(target=_overwrite, args=(bench.settings, ready, go, results)) for _ in range(consumers)
            ]
            for each in processes:
                each.start()
            for _each in processes:
                ready.acquire()
            begun = time.perf_counter()
            go.set()
            handled = sum(results.get(timeout=300) for _ in processes)
            took_s = time.perf_counter() - begun
            for each in processes:
                each.join()
            name = "1 consumer" if consumers == 1 else "4 consumers"
            figures[f"find-then-overwrite, {name}"] = 200 / took_s
            figures[f"find-then-overwrite, {name}: handled each"] = handled / 200
        rounds.append(figures)
    bench.connection.drop_database(FIND_QUEUE)
    return _medians(rounds)


def _overwrite(settings: Settings, ready: Any, go: Any, results: Any) -> None:  # noqa: ANN401 (of multiprocessing)
    database = DbConnection(settings).database(FIND_QUEUE)
    database.info()
    ready.release()
    go.wait()
    results.put(reference.find_then_overwrite(database))


def latency(bench: Bench) -> Figures:
    """How fast an idle consumer is woken, and how long a call takes, in milliseconds."""
    bus = bench.fresh()
    server = bench.bus("server")
    woken: list[float] = []
    arrived = threading.Event()

    def note(delivery: Any) -> None:  # noqa: ANN401 (a Delivery)
        woken.append((elapsed_s() - delivery.body["sent"]) * 1000)
        arrived.set()

    server.listen("bench.wake", note)
    Executor(server, "bench.call", lambda delivery: delivery.body["n"])
    client = ExecutorClient(bus, "bench.call", deadline_s=30)
    calls: list[float] = []
    with server, bus:
        for number in range(220):
            arrived.clear()
            bus.send("bench.wake", {"sent": elapsed_s()})
            assert arrived.wait(30)
            begun = time.perf_counter()
            assert client.call({"n": number}) == number
            calls.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.02)  # an idle consumer is what is measured
    return {
        "woken, median ms": statistics.median(woken[20:]),
        "woken, 99th percentile ms": statistics.quantiles(woken[20:], n=100)[98],
        "call, median ms": statistics.median(calls[20:]),
    }


def state_changes(bench: Bench, callers: int = 8, each: int = 50) -> Figures:
    """How many state changes a second xtss makes for callers at work side by side, each kept in a history."""
    rates = []
    context = multiprocessing.get_context("spawn")
    for _ in range(ROUNDS):
        bus = bench.fresh()
        bench.connection.create_database(STATUS)
        stop = context.Event()
        server = context.Process(target=_serve_states, args=(bench.settings, stop), daemon=True)
        server.start()
        client = StateClient(bus, deadline_s=60)
        ouss = [f"uid://B/X{number:x}/X1" for number in range(callers)]
        with bus:
            for ous in ouss:
                client.create(ous, "2015.1.00657.S", recipe="PipelineCalibration", executive="EU")
            threads = [threading.Thread(target=_change_state, args=(client, ous, each), daemon=True) for ous in ouss]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rates.append(callers * each / (time.perf_counter() - begun))
        stop.set()
        server.join()
        histories = [len(doc["history"]) for doc in bench.connection.database(STATUS).every()]
        assert min(histories) > each, histories
    return {"xtss, state changes a second": statistics.median(rates)}


def _serve_states(settings: Settings, stop: Any) -> None:  # noqa: ANN401 (of multiprocessing)
    bench = Bench(settings)
    entities = bench.connection.database(STATUS, remembers=REMEMBERED)
    system = StateSystem(entities, bench.connection.clock, strict=True)
    bus = bench.bus("xtss")
    Executor(bus, XTSS, system.execute, slots=SLOTS, batch=STATES_AHEAD)
    with bus:
        stop.wait()


def _change_state(client: StateClient, ous: str, count: int) -> None:
    """Take an OUS through the life cycle, round and round."""
    for number in range(count):
        client.set(ous, Change(state=ROUND[number % len(ROUND)]))


def history(bench: Bench, count: int, consumed: int) -> Figures:
    """Receiving with a long history in the database, and what the janitor leaves of it."""
    rounds: list[Figures] = []
    for _ in range(ROUNDS):
        bus = bench.fresh()
        bench.fill(bus, count)
        rate, _ = bench.consumed(1)
        rounds.append({"receive, empty history": rate})
    bus = bench.fresh()
    long_ago = stamp(bench.connection.clock.now())
    for _ in range(consumed // 1000):
        docs = [json.loads(json.dumps(_consumed_doc(bus, long_ago))) for _ in range(1000)]
        bench.database.bulk(docs)
    for figures in rounds:
        bench.fill(bus, count)
        figures[f"receive, {consumed} consumed"], _ = bench.consumed(1)
    tidied = janitor.Janitor(bench.database, kept_s=0).tidy()
    return _medians(rounds) | {
        f"{consumed} consumed / none": _ratio(rounds, f"receive, {consumed} consumed", "receive, empty history"),
        "messages purged": tidied.purged,
        "file / live documents, after": tidied.file_bytes / max(tidied.live_bytes, 1),
    }


def _consumed_doc(bus: Bus, done_at: str) -> dict[str, Any]:
    message = bus.compose(SELECTOR, BODY)
    return {
        "_id": message.id,
        "schema": message.schema,
        "selector": message.selector,
        "state": "consumed",
        "priority": message.priority,
        "creationTimestamp": message.creation_timestamp,
        "sender": message.sender,
        "body": message.body,
        "digest": message.digest,
        "doneAt": done_at,
    }


def many_selectors(bench: Bench) -> Figures:
    """10,000 messages for 1,000 selectors, 20 listeners in one process."""
    bus = bench.fresh()
    bench.fill(bus, 10_000, lambda n: f"bench.s{n % 20}.{n % 1000}")
    listener = bench.bus("listener")
    lock, left, done = threading.Lock(), [10_000], threading.Event()

    def handle(_: object) -> None:
        with lock:
            left[0] -= 1
            if not left[0]:
                done.set()

    for number in range(20):
        listener.listen(f"bench.s{number}.*", handle, batch=AHEAD)
    before = threading.active_count()
    begun = time.perf_counter()
    with listener:
        threads = threading.active_count() - before
        assert done.wait(300), f"{left[0]} messages were not handled"
        took_s = time.perf_counter() - begun
    return {"1000 selectors, 20 listeners: messages a second": 10_000 / took_s, "threads of the process": threads}


def _medians(rounds: list[Figures]) -> Figures:
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


def _ratio(rounds: list[Figures], above: str, below: str) -> float:
    return statistics.median(figures[above] / figures[below] for figures in rounds)


@contextmanager
def _server(url: str | None, home: str) -> Iterator[Settings]:
    """Give the server at a URL, or a couchlet of our own."""
    if url:
        yield read_settings({"DRW_COUCHDB_URL": url, "DRW_HOME": home})
        return
    environ = {**os.environ, "COUCHDB_USER": "admin", "COUCHDB_PASSWORD": "benchmark"}
    command = [sys.executable, "-m", "couchlet", "--port", "0", "--data", home, "--log-level", "error"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout is not None
    match = re.search(r":(\d+) data", process.stdout.readline())
    if match is None:
        raise SystemExit("couchlet did not start")
    try:
        yield read_settings({"DRW_COUCHDB_URL": f"http://admin:benchmark@127.0.0.1:{match[1]}", "DRW_HOME": home})
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", help="a CouchDB with its administrator; default: a couchlet of its own")
    parser.add_argument("--messages", type=int, default=4000, help="how many in each run (default 4000)")
    parser.add_argument("--consumed", type=int, default=200_000, help="how long the history is (default 200000)")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file too")
    options = parser.parse_args()
    count = max(BATCH, options.messages // BATCH * BATCH)
    with tempfile.TemporaryDirectory() as home, _server(options.url, home) as settings:
        bench = Bench(settings)
        welcome = bench.connection.welcome()
        figures: Figures = {"server": f"{welcome.get('vendor', {}).get('name', 'CouchDB')} {welcome.get('version')}"}
        for measure in (
            lambda: throughput(bench, count),
            lambda: find_then_overwrite(bench),
            lambda: latency(bench),
            lambda: state_changes(bench),
            lambda: many_selectors(bench),
            lambda: history(bench, count, options.consumed),
        ):
            figures |= measure()
            print(".", end="", file=sys.stderr, flush=True)
        bench.clear()
        for name in ("1 consumer", "4 consumers"):
            figures[f"receive / find-then-overwrite, {name}"] = (
                figures[f"receive, {name}"] / figures[f"find-then-overwrite, {name}"]
            )
    _show(figures, options.json)


def _show(figures: Figures, file: str | None) -> None:
    print(file=sys.stderr)
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in figures.items()}
    table = Table("figure", "value", title="the bus on " + figures["server"])
    for name, value in rounded.items():
        table.add_row(name, f"{value:,.2f}" if isinstance(value, float) else str(value))
    Console().print(table)
    text = json.dumps(rounded, indent=2)
    print(text)
    if file:
        Path(file).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
