"""A process that has worked for long holds no more than one that has worked a little; long forms are in benchmarks/."""

from __future__ import annotations

from pathlib import Path

ROUND, ROUNDS = 150, 4


def held(pid):
    """Return what a process holds: threads, open files, and memory in MB."""
    place = Path(f"/proc/{pid}")
    facts = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
    return int(facts["Threads"]), len(list((place / "fd").iterdir())), int(facts["VmRSS"].split()[0]) / 1024


def test_a_worker_holds_no_more_after_many_messages(place, workers):
    worker = workers.start("worker", "work.EU:20:2")
    sender, found = place.bus("sender"), []
    for number in range(ROUNDS):
        sender.send_many([sender.compose("work.EU", {"n": n}) for n in range(ROUND)])
        workers.wait_for(ROUND * (number + 1), what="worked", timeout=60)
        found.append(held(worker.process.pid))
    (threads, files, memory), last = found[0], found[-1]
    assert last[0] <= threads
    assert last[1] <= files + 2
    assert last[2] <= memory * 1.1 + 2
