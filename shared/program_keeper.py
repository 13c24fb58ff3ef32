"""The process between a program and whoever started it: ``python -I program_keeper.py STATUS_FD``.

It runs one program in a process group of its own, ends it when it is told to, when its time is over or when its own
parent is gone (however that died: the kernel closes the pipe), and writes the record of how it ended before it exits
itself. So a program never outlives its driver, and a driver that comes back learns how the program ended. A parent that
is merely stopped keeps its pipe, and the program goes on.

Standard library only, nothing of drw's: this is started for every run. :mod:`shared.program` is its other half; the
first line on standard input is a JSON object of ``argv``, ``directory``, ``environ``, ``record``, ``time_limit_s`` (or
null) and ``grace_s``; every later line is a number, the grace in seconds with which to cancel. Standard output and
standard error are the program's log. STATUS_FD gets one line of ``pid``, or of ``errno`` and ``error``, and when all
is over a second line, the record; the end of this process closes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_SWEEP_S: Final = 5.0
"""How long to wait for killed processes to be gone; one that the kernel holds (a dead disk) is left behind."""

_LONGEST_WAIT_MS: Final = 1000 * 3600


def _prctl(option: int, value: int) -> None:
    """Ask the kernel for something that only Linux has; elsewhere the process group has to do."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _adopted() -> list[int]:
    """Return the pids of this process's children: the program's, and those of its that lost their parents."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


class Keeper:
    """One program being kept."""

    def __init__(self, order: dict[str, Any], wakeup: int) -> None:
        """Take the order as it came, and the file that becomes readable with each signal."""
        self.order = order
        self.wakeup = wakeup
        self.pid = 0
        self.status: int | None = None
        self.usage = [0.0, 0.0, 0]
        self.flags = {"timed_out": False, "cancelled": False, "orphaned": False}
        self.killing_at: float | None = None
        self.started_at = datetime.now(UTC)
        self.began = time.monotonic()
        limit_s = order["time_limit_s"]
        self.limit = None if limit_s is None else self.began + limit_s
        self.listening = True
        self.heard = b""

    def start(self) -> None:
        """Start the program in a session of its own, with nothing on standard input; OSError if that fails."""
        # A keeper that is killed must not leave a program without one.
        program = subprocess.Popen(  # noqa: S603 (the argument list is the order)
            self.order["argv"],
            cwd=self.order["directory"],
            env=self.order["environ"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 (there is one thread)
        )
        self.pid = program.pid
        # It is reaped by wait4 below, which tells what it used.
        program.returncode = 0

    def reap(self) -> None:
        """Collect every child that has ended, and add up what they used."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = status
            self.usage = [
                self.usage[0] + usage.ru_utime,
                self.usage[1] + usage.ru_stime,
                max(self.usage[2], usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)),
            ]

    def send(self, number: int) -> bool:
        """Send a signal to the whole group and to what has left it; tell whether anybody was there."""
        alive = False
        if not self.pid:
            # Group 0 would be our own.
            return alive
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
            alive = True
        for pid in _adopted():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # A second signal right after the first would interrupt a program that is stopping.
                if os.getpgid(pid) != self.pid:
                    os.kill(pid, number)
                    alive = True
        return alive

    def end(self, reason: str, grace_s: float) -> None:
        """Begin to end the program: ask all of it to stop, and kill it when the grace is over."""
        first = self.killing_at is None and self.status is None
        deadline = time.monotonic() + grace_s
        self.killing_at = deadline if self.killing_at is None else min(self.killing_at, deadline)
        if first:
            self.flags[reason] = True
            self.send(signal.SIGTERM)
            self.send(signal.SIGCONT)

    def listen(self) -> None:
        """Read what the parent says; its end of the pipe is closed when it is gone."""
        said = os.read(0, 4096)
        if not said:
            self.listening = False
            self.end("orphaned", self.order["grace_s"])
            return
        *lines, self.heard = (self.heard + said).split(b"\n")
        for line in lines:
            self.end("cancelled", float(line))

    def wait(self, until: float | None) -> None:
        """Wait for a child to end, a word of the parent, or the time ``until``."""
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        if self.listening:
            poll.register(0, select.POLLIN)
        left_s = None if until is None else max(0.0, until - time.monotonic())
        timeout_ms = None if left_s is None else min(_LONGEST_WAIT_MS, left_s * 1000 + 1)
        for file, _ in poll.poll(timeout_ms):
            if file == self.wakeup:
                os.read(self.wakeup, 4096)
            else:
                self.listen()
        self.reap()

    def run(self) -> None:
        """Keep the program until it has ended, then end what it left behind."""
        while self.status is None:
            now = time.monotonic()
            if self.killing_at is not None and now >= self.killing_at:
                self.send(signal.SIGKILL)
                self.wait(now + 0.1)
                continue
            if self.killing_at is None and self.limit is not None and now >= self.limit:
                self.end("timed_out", self.order["grace_s"])
            self.wait(self.limit if self.killing_at is None else self.killing_at)
        self.sweep()

    def sweep(self) -> None:
        """End what is left of the group: at once, or when the grace is over if it was asked to stop."""
        kill_at = self.killing_at or time.monotonic()
        give_up_at = max(kill_at, time.monotonic()) + _SWEEP_S
        while time.monotonic() < give_up_at:
            if not self.send(signal.SIGKILL if time.monotonic() >= kill_at else 0):
                return
            self.wait(min(time.monotonic() + 0.02, give_up_at))

    def outcome(self) -> dict[str, Any]:
        """Return the record of how the program ended."""
        status = self.status or 0
        return {
            "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            **self.flags,
            "started_at": self.started_at.isoformat(),
            "ended_at": datetime.now(UTC).isoformat(),
            "duration_s": time.monotonic() - self.began,
            "time_limit_s": self.order["time_limit_s"],
            "user_s": self.usage[0],
            "system_s": self.usage[1],
            "max_rss_bytes": self.usage[2],
        }


def write_record(record: Path, content: bytes) -> None:
    """Write ``content`` to ``record``, durably, whole or not at all; OSError if the disk is full."""
    temporary = record.with_name(f"{record.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(record)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(record.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def _order() -> dict[str, Any] | None:
    """Read the first line of standard input, byte by byte so as not to take what follows; None if it never came."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return None
        line += byte
    order: dict[str, Any] = json.loads(line)
    return order


def _wakeup() -> int:
    """Return a file that becomes readable whenever a child ends."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return reading


def main(status_file: int) -> None:
    """Keep one program, as standard input says."""
    order = _order()
    if order is None:
        return
    # Whoever reads the record can tell by this lock that a keeper is still at work on it.
    lock = os.open(order["record"] + ".keeper", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(order, _wakeup())
    signal.signal(signal.SIGTERM, lambda _number, _frame: keeper.end("cancelled", order["grace_s"]))
    said: dict[str, Any]
    try:
        keeper.start()
    except OSError as error:
        said = {"errno": error.errno, "error": error.strerror}
    else:
        said = {"pid": keeper.pid}
    _tell(status_file, json.dumps(said).encode())
    if keeper.pid:
        keeper.run()
        outcome = json.dumps(keeper.outcome()).encode()
        try:
            write_record(Path(order["record"]), outcome)
        except OSError as error:
            with contextlib.suppress(OSError):  # the log may be on the same full disk: the parent is told all the same
                print(f"the record {order['record']} cannot be written: {error.strerror}", file=sys.stderr, flush=True)
        _tell(status_file, outcome)


def _tell(status_file: int, line: bytes) -> None:
    """Write a line to the parent. It may be gone already: then the end of standard input says so."""
    with contextlib.suppress(BrokenPipeError):
        os.write(status_file, line + b"\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
