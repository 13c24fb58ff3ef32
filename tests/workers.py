"""Workers in processes of their own, that can be killed, stopped and continued, and what they say of their work.

What is to be done with a message stands in its body:

- ``n``: its number, by which the test knows it
- ``work_s``: how long the work takes (it ends early when it is told to)
- ``deaf``: the work does not end when it is told to
- ``kill``: the work, when its time is over, kills its process
- ``outcome``: what the handler returns, ``done`` if not said
- ``next``: selectors to which the handler sends a message each, after its work

Workers tell of each begin and end of work in one line of at most a pipe's atomic size, all into one pipe: what was said
is known even when the process is killed the next moment.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.actor import Actor
    from shared.bus import Delivery, Outcome


class Worker:
    """One process."""

    def __init__(self, name: str, argv: list[str], environ: dict[str, str], journal: int, log: Path) -> None:
        self.name = name
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, __file__, name, str(journal), str(log), *argv],
            env=environ,
            stdin=subprocess.DEVNULL,
            pass_fds=[journal],
        )

    def terminate(self) -> None:
        """Ask it to stop, as a supervisor does."""
        self.process.terminate()

    def freeze(self) -> None:
        """Stop it where it is, as a suspended machine is."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def threads(self) -> int:
        """Return how many threads the process has now."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def said(self, text: str) -> int:
        """Return how many lines of its log contain ``text``."""
        return sum(text in line for line in self.log.read_text(encoding="utf-8").splitlines())

    def wait(self, timeout: float = 20.0) -> int:
        """Wait for its end and return its exit status."""
        return self.process.wait(timeout)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Workers:
    """The workers of a test, and everything that they said, in order."""

    def __init__(self, environ: dict[str, str], home: Path) -> None:
        self._environ = {**os.environ, **environ}
        self._home = home
        self._workers: list[Worker] = []
        self._lines: list[dict[str, Any]] = []
        self._more = threading.Condition()
        self._read_end, self._write_end = os.pipe()
        self._reader = threading.Thread(target=self._read, name="journal")
        self._reader.start()

    def start(self, name: str, *listens: str, url: str = "", ready: bool = True, **settings: str) -> Worker:
        """Start a worker that listens to ``pattern``, ``pattern:batch`` or ``pattern:batch:slots``."""
        environ = {**self._environ, **settings, **({"DRW_COUCHDB_URL": url} if url else {})}
        made = Worker(name, list(listens), environ, self._write_end, self._home / f"{name}.log")
        self._workers.append(made)
        if ready:
            self.wait_for(1, what="ready", by=name)
        return made

    def all(self) -> list[Worker]:
        return list(self._workers)

    def lines(self, **wanted: object) -> list[dict[str, Any]]:
        """Return what was said so far: ``what`` (ready, begun, ended, sent), ``by`` whom, ``at`` when, ``n``, …"""
        with self._more:
            return self._matching(wanted)

    def wait_for(self, count: int, timeout: float = 30.0, **wanted: object) -> list[dict[str, Any]]:
        """Wait until so many lines were said that have these values; return them."""
        with self._more:
            enough = self._more.wait_for(lambda: len(self._matching(wanted)) >= count, timeout)
            found = self._matching(wanted)
        assert enough, f"{len(found)} of {count} lines {wanted}: {found[-5:]}"
        return found

    def wait_until(self, condition: Callable[[list[dict[str, Any]]], bool], timeout: float = 30.0) -> None:
        """Wait until something is true of all that was said; it is asked again after each line."""
        with self._more:
            assert self._more.wait_for(lambda: condition(self._lines), timeout), self._lines[-5:]

    def _matching(self, wanted: dict[str, object]) -> list[dict[str, Any]]:
        return [line for line in self._lines if all(line.get(key) == value for key, value in wanted.items())]

    def _read(self) -> None:
        with os.fdopen(self._read_end, encoding="utf-8") as journal:
            for line in journal:
                with self._more:
                    self._lines.append(json.loads(line))
                    self._more.notify_all()

    def end(self) -> None:
        for worker in self._workers:
            worker.end()
        os.close(self._write_end)
        self._reader.join()


def _main() -> int:
    """Be a worker."""
    from shared import actor  # noqa: PLC0415 (the tests that start workers need nothing of it)

    parser = argparse.ArgumentParser()
    for name in ("name", "journal", "log"):
        parser.add_argument(name)
    parser.add_argument("listens", nargs="*")
    args = parser.parse_args()
    args.log_level, args.log_format, args.log_file = "INFO", "text", Path(args.log)

    def say(what: str, **more: object) -> None:
        line = json.dumps({"what": what, "by": args.name, "at": time.time(), **more})
        os.write(int(args.journal), line.encode() + b"\n")

    def serve(running: Actor) -> int:
        for listen in args.listens:
            pattern, batch, slots = (*listen.split(":"), "1", "1")[:3]
            running.bus.listen(pattern, _handler(say), batch=int(batch), slots=int(slots))
        say("ready")
        return running.serve("a worker of the tests")

    return actor.run(args.name, args, serve)


def _handler(say: Callable[..., None]) -> Callable[[Delivery], Outcome | None]:
    from shared.bus import Dead, Done, Retry, Snooze  # noqa: PLC0415 (as above)

    outcomes = {"done": Done(), "retry": Retry("again", 0.1), "snooze": Snooze("rain", 0.1), "dead": Dead("never")}

    def handle(delivery: Delivery) -> Outcome | None:
        body, attempt = delivery.body, delivery.message.attempts
        n = body.get("n")
        say("begun", n=n, attempt=attempt, selector=delivery.message.selector)
        if body.get("kill"):
            time.sleep(body.get("work_s", 0.0))
            os.kill(os.getpid(), signal.SIGKILL)
        told = threading.Event()
        if not body.get("deaf"):
            delivery.on_abort(told.set)
        told.wait(body.get("work_s", 0.0))
        say("worked", n=n, attempt=attempt, selector=delivery.message.selector, aborted=told.is_set())
        for selector in body.get("next", ()):
            delivery.send(selector, {"n": n}, name=f"after-{n}")
        if told.is_set():
            raise InterruptedError("told to end")
        with contextlib.suppress(KeyError):
            return outcomes[body["outcome"]]
        return None

    return handle


if __name__ == "__main__":
    sys.exit(_main())
