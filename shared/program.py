"""Running a program: its own directory, process group, log, time limit, exit code and resource use.

Between us and the program stands a small process, :mod:`shared.program_keeper`, that ends the program when we die and
records how it ended. It knows nothing of what the program is for.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared.errors import ProgramError
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE_S: Final = 5.0
"""How long a program that is ended may take to stop by itself before it is killed."""

_KEEPER: Final = Path(__file__).with_name("program_keeper.py")
_START_S: Final = 30.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program ended. Times are aware UTC, durations are in seconds.

    Exactly one of ``code`` and ``signal`` is set, or neither when its keeper was killed and nobody knows.
    ``timed_out``, ``cancelled`` and ``orphaned`` say why it was ended by us, whatever code it chose to leave with.
    """

    code: int | None = None
    signal: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    orphaned: bool = False
    started_at: datetime
    ended_at: datetime
    duration_s: float
    time_limit_s: float | None = None
    user_s: float = 0.0
    system_s: float = 0.0
    max_rss_bytes: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether it exited with code 0 of its own accord."""
        return self.code == 0 and not (self.timed_out or self.cancelled or self.orphaned)

    def sentence(self) -> str:
        """Return how it ended, to follow the program's name: ``exited with code 1 after 3.2 s``."""
        after = f"after {self.duration_s:.1f} s"
        if self.timed_out:
            return f"ran past its time limit of {self.time_limit_s:g} s and was ended"
        if self.cancelled:
            return f"was cancelled {after}"
        if self.orphaned:
            return f"was ended {after} because the process that had started it was gone"
        if self.signal is not None:
            return f"was killed by signal {_signal_name(self.signal)} {after}"
        if self.code is None:
            return f"was lost {after}: the process that watched it was killed"
        return f"exited with code {self.code} {after}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


class Program:
    """A program that was started; made by :func:`start`. One thread waits for it, any thread may cancel it."""

    def __init__(self, keeper: subprocess.Popen[bytes], status: int, pid: int) -> None:
        """Take the keeper's process, our end of its status pipe and the program's pid."""
        self.pid = pid
        self._keeper = keeper
        self._status = status
        self._started_at = datetime.now(UTC)
        self._began = time.monotonic()
        self._ended: Ended | None = None
        self._writing = threading.Lock()

    def wait(self, timeout_s: float | None = None) -> Ended | None:
        """Return how the program ended, once it and all its processes have; None if the time is over before."""
        if self._ended is None:
            poll = select.poll()
            # The keeper writes next when all is over; if it is killed, the pipe is closed.
            poll.register(self._status, select.POLLIN)
            if not poll.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000):
                return None
            self._ended = self._collect()
        return self._ended

    def cancel(self, grace_s: float = GRACE_S) -> None:
        """Ask the program to stop, and kill it with all its processes after ``grace_s``; :meth:`wait` tells when."""
        with self._writing, suppress(BrokenPipeError, ValueError):
            # ValueError and BrokenPipeError: it has ended already.
            assert self._keeper.stdin is not None
            self._keeper.stdin.write(f"{max(0.0, grace_s)!r}\n".encode())
            self._keeper.stdin.flush()

    def _collect(self) -> Ended:
        with os.fdopen(self._status, "rb") as status:
            outcome = status.read()
        self._keeper.wait()
        with self._writing, suppress(BrokenPipeError):
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()
        if outcome:
            return _ended(outcome)
        # The keeper was killed. The kernel has killed the program with it; this is for what the program had started.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        lost_s = time.monotonic() - self._began
        return Ended(started_at=self._started_at, ended_at=datetime.now(UTC), duration_s=lost_s)


def start(
    argv: Sequence[str],
    *,
    directory: Path,
    environ: Mapping[str, str],
    log: Path,
    record: Path,
    time_limit_s: float | None = None,
    grace_s: float = GRACE_S,
) -> Program:
    """Start the program ``argv`` in ``directory``, with ``environ`` alone as its environment and never a shell.

    What it writes is appended to ``log``. How it ended is written to ``record`` once it has, and it is ended, with all
    its processes, ``time_limit_s`` after its start or when this process is gone. ProgramError if it cannot be started.
    """
    _check(argv, environ, directory)
    order = {
        "argv": list(argv),
        "directory": str(directory),
        "environ": dict(environ),
        "record": str(record.absolute()),
        "time_limit_s": time_limit_s,
        "grace_s": grace_s,
    }
    reading, writing = os.pipe()
    try:
        keeper = _start_keeper(log, writing)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        record.unlink(missing_ok=True)
        pid = _give_order(keeper, order, reading)
    except OSError as error:
        os.close(reading)
        _dismiss(keeper)
        raise ProgramError(f"{shown(argv[0])} cannot be started: {error.strerror}: {record}") from error
    except BaseException:
        os.close(reading)
        _dismiss(keeper)
        raise
    return Program(keeper, reading, pid)


def _check(argv: Sequence[str], environ: Mapping[str, str], directory: Path) -> None:
    if not argv or not argv[0]:
        raise ProgramError("there is no program to start: the command is empty")
    if any("\0" in text for text in (*argv, *environ, *environ.values())):
        raise ProgramError(f"{shown(argv[0])} cannot be started: an argument or variable holds a NUL character")
    if not directory.is_dir():
        raise ProgramError(f"{shown(argv[0])} cannot be started: its directory {directory} does not exist")


def _start_keeper(log: Path, status: int) -> subprocess.Popen[bytes]:
    try:
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 (our own program)
                [sys.executable, "-I", "-S", "-X", "utf8", str(_KEEPER), str(status)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                pass_fds=(status,),
                start_new_session=True,
            )
    except OSError as error:
        raise ProgramError(f"no program can be started with the log {log}: {error.strerror}") from error


def _give_order(keeper: subprocess.Popen[bytes], order: dict[str, Any], status: int) -> int:
    """Tell the keeper what to run and return the program's pid; ProgramError if it does not run."""
    assert keeper.stdin is not None
    answer = b""
    with suppress(BrokenPipeError):
        keeper.stdin.write(json.dumps(order).encode() + b"\n")
        keeper.stdin.flush()
    poll = select.poll()
    poll.register(status, select.POLLIN)
    until = time.monotonic() + _START_S
    # Byte by byte: what follows the line is the record of a program that has ended already.
    while not answer.endswith(b"\n"):
        said = os.read(status, 1) if poll.poll(max(0.0, until - time.monotonic()) * 1000) else b""
        if not said:
            raise ProgramError(
                f"{shown(order['argv'][0])} could not be started: what starts it failed; the log says why"
            )
        answer += said
    told: dict[str, Any] = json.loads(answer)
    if "pid" not in told:
        raise ProgramError(_why(order["argv"][0], told, order["environ"]))
    return int(told["pid"])


def _dismiss(keeper: subprocess.Popen[bytes]) -> None:
    """End a keeper whose program was not started; one that is at a loss is killed."""
    assert keeper.stdin is not None
    with suppress(BrokenPipeError):
        keeper.stdin.close()
    try:
        keeper.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()


def _why(program: str, said: dict[str, Any], environ: Mapping[str, str]) -> str:
    name = shown(program)
    if said["errno"] == errno.ENOENT and "/" in program and Path(program).exists():
        return f"{name} cannot be started: the interpreter that its first line names does not exist"
    if said["errno"] == errno.ENOENT:
        where = "" if "/" in program else f" on the path {shown(environ.get('PATH', ''))}"
        return f"{name} cannot be started: there is no such program{where}"
    if said["errno"] in {errno.EACCES, errno.EPERM}:
        return f"{name} cannot be started: it is not executable; chmod +x may help"
    if said["errno"] == errno.ENOEXEC:
        return f"{name} cannot be started: it is neither a binary nor does it begin with #! and an interpreter"
    return f"{name} cannot be started: {said['error']}"


def is_kept(record: Path) -> bool:
    """Tell whether a keeper is still at work on ``record``, for another process than the one that started it."""
    try:
        lock = os.open(f"{record}.keeper", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _ended(outcome: bytes) -> Ended:
    content = json.loads(outcome)
    times = {name: datetime.fromisoformat(content[name]) for name in ("started_at", "ended_at")}
    return Ended(**(content | times))


def read_record(record: Path, *, wait_s: float = 0.0) -> Ended | None:
    """Return how the program of ``record`` ended, None if that is not known.

    A program whose driver was killed a moment ago may be about to be ended: its keeper is given up to ``wait_s``.
    """
    until = time.monotonic() + wait_s
    while is_kept(record) and time.monotonic() < until:
        time.sleep(_POLL_S)
    try:
        return _ended(record.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProgramError(f"the record {record} cannot be read: {error}; remove it to forget that run") from error
