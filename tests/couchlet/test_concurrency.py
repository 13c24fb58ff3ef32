"""Many at once: races have one winner, connections do not disturb each other, waiting costs next to nothing."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import aiohttp
from couchdb_server import Server

RACERS = 8
ROUNDS = 25


def _race(server: Server, path: str, me: int, start, results) -> None:
    connection = server.connect()
    won = []
    start.wait()
    while True:
        current = server.ask("GET", path, connection=connection).json()
        if current["count"] >= ROUNDS:
            break
        current["count"] += 1
        current["by"] = me
        answer = server.ask("PUT", path, current, connection=connection)
        assert answer.status in {201, 409}, answer.body
        if answer.status == 201:
            won.append((current["count"], answer.json()["rev"]))
    results.put(won)


def test_racing_processes_have_one_winner_a_revision(server, database):
    path = f"{database}/contested"
    server.ask("PUT", path, {"count": 0})
    start, results = multiprocessing.Event(), multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=_race, args=(Server(server.host, server.port), path, me, start, results))
        for me in range(RACERS)
    ]
    for process in processes:
        process.start()
    start.set()
    won = [pair for _ in processes for pair in results.get(timeout=60)]
    for process in processes:
        process.join(20)
    assert sorted(count for count, _ in won) == list(range(1, ROUNDS + 1))
    assert sorted(int(rev.split("-")[0]) for _, rev in won) == list(range(2, ROUNDS + 2))
    history = server.ask("GET", f"{path}?revs=true").json()["_revisions"]["ids"]
    assert {rev.split("-")[1] for _, rev in won} == set(history[:-1])


def test_a_leaf_is_there_for_every_reader_whatever_becomes_of_the_others(server, database):
    """It is shown, and not shown, and shown again: its content moves, and nobody may look between."""
    leaf, over = "2-" + "a" * 32, threading.Event()

    def grow_and_cut() -> None:
        for n in range(40):
            for wanted in ({"_rev": f"2-f{n:031}", "n": n}, {"_rev": f"3-f{n:031}", "_deleted": True}):
                ids = [wanted["_rev"][2:], *([f"f{n:031}"] if wanted["_rev"][0] == "3" else []), "1" * 32]
                doc = {"_id": "forked", "_revisions": {"start": int(wanted["_rev"][0]), "ids": ids}, **wanted}
                server.ask("POST", f"{database}/_bulk_docs", {"docs": [doc], "new_edits": False})

    stays = {"_id": "forked", "_rev": leaf, "_revisions": {"start": 2, "ids": [leaf[2:], "1" * 32]}, "stays": True}
    server.ask("POST", f"{database}/_bulk_docs", {"docs": [stays], "new_edits": False})

    def look(path: str, body: object = None) -> int:
        looks = 0
        with closing(server.connect()) as connection:
            while not over.is_set():
                answer = server.ask("POST" if body else "GET", f"{database}/{path}", body, connection=connection)
                assert b'"stays":true' in answer.body, answer.body[:300]
                looks += 1
        return looks

    with ThreadPoolExecutor(4) as pool:
        looking = [
            pool.submit(look, "_bulk_get", {"docs": [{"id": "forked"}]}),
            pool.submit(look, "forked?open_revs=all"),
            pool.submit(look, f"forked?rev={leaf}"),
        ]
        try:
            grow_and_cut()
        finally:
            over.set()
        assert all(each.result() > 10 for each in looking)


def test_sixty_four_connections_at_once(server, database):
    def work(worker: int) -> int:
        connection = server.connect()
        try:
            for number in range(10):
                path = f"{database}/c{worker}-{number}"
                made = server.ask("PUT", path, {"n": number}, connection=connection)
                assert made.status == 201
                assert server.ask("GET", path, connection=connection).json()["_rev"] == made.json()["rev"]
        finally:
            connection.close()
        return worker

    with ThreadPoolExecutor(64) as pool:
        assert sorted(pool.map(work, range(64))) == list(range(64))
    assert server.ask("GET", database).json()["doc_count"] == 640


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def _wait_for_change(session: aiohttp.ClientSession, url: str, waiting: asyncio.Semaphore) -> float:
    async with session.get(f"{url}/_changes?feed=longpoll&since=now&timeout=30000") as response:
        # The head of the answer comes when the feed has begun to wait.
        await response.content.readline()
        waiting.release()
        rest = await response.content.read()
        arrived = time.perf_counter()
        assert json.loads(b'{"results":[\n' + rest)["results"], rest
        return arrived


async def _hundred_long_polls(server: Server, database: str) -> tuple[list[float], float, int]:
    url = f"{server.url}{database}"
    waiting = asyncio.Semaphore(0)
    headers = {"Authorization": server.authorization}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        polls = [asyncio.create_task(_wait_for_change(session, url, waiting)) for _ in range(100)]
        for _ in polls:
            await waiting.acquire()
        assert server.process is not None
        before = _cpu_s(server.process.pid)
        threads = _threads(server.process.pid)
        await asyncio.sleep(0.5)  # the time over which the cost of waiting is measured
        cost_s = _cpu_s(server.process.pid) - before
        sent = time.perf_counter()
        async with session.put(f"{url}/wake", json={}) as response:
            assert response.status == 201
        arrived = await asyncio.gather(*polls)
    return [moment - sent for moment in arrived], cost_s, threads


def test_a_hundred_long_polls_wait_for_nothing_and_all_wake(server, database):
    last = []
    for _ in range(3):
        delays, cost_s, threads = asyncio.run(_hundred_long_polls(server, database))
        assert len(delays) == 100
        assert cost_s < 0.1
        assert threads < 30
        last.append(max(delays))
        server.ask("DELETE", f"{database}/wake?rev={server.ask('GET', f'{database}/wake').json()['_rev']}")
    # Counted from before the write. All have to wake within 50 ms (the benchmark measures about 10); here the clients
    # share one thread, and the machine runs other tests too.
    assert min(last) < 0.15


def test_a_client_that_goes_away_frees_what_it_held(server, database):
    assert server.process is not None
    descriptors = Path(f"/proc/{server.process.pid}/fd")

    def count_descriptors() -> int:
        return len(list(descriptors.iterdir()))

    async def open_and_leave() -> int:
        timeout = aiohttp.ClientTimeout(total=30)
        headers = {"Authorization": server.authorization}
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            url = f"{server.url}{database}/_changes?feed=continuous&heartbeat=1000"
            feeds = [await session.get(url) for _ in range(50)]
            held = count_descriptors()
            for feed in feeds:
                feed.close()
        return held

    held = asyncio.run(open_and_leave())
    deadline = time.monotonic() + 10
    while count_descriptors() > held - 45:
        assert time.monotonic() < deadline, "connections of clients that left are still open"
        server.ask("GET", "/_up")
