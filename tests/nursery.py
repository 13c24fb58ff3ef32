"""Couchlets that start in milliseconds: each is a fork of a process that has imported everything already.

The tests start some 400, and most of a start is Python's own. A fork is a process like any other: it is killed, stopped
and started again on the same data. This file is the process that forks too: it reads a request a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LONGEST_S: Final = 3600.0


class Forked:
    """A process that is no child of ours, as :class:`subprocess.Popen` shows those that are."""

    def __init__(self, pid: int, out: Path) -> None:
        self.pid = pid
        self.stdout = out.open()
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return 0 if it has ended, with whatever status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float = _LONGEST_S) -> int:
        if hasattr(self, "_descriptor"):
            ended, _, _ = select.select([self._descriptor], [], [], timeout)
            if not ended:
                raise subprocess.TimeoutExpired("couchlet", timeout)
            os.close(self._descriptor)
            del self._descriptor
        return 0

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def couchlet(self, home: Path, port: int) -> Forked:
        """Start a couchlet with its data and its log in ``home``."""
        out = home / "couchlet.out"
        out.unlink(missing_ok=True)
        os.mkfifo(out)
        environ = {**os.environ, "DRW_HOME": str(home)}
        arguments = ["--port", str(port), "--data", str(home / "couchlet")]
        request = {"arguments": arguments, "environ": environ, "out": str(out), "log": str(home / "couchlet.log")}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Forked(int(self._process.stdout.readline()), out)

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def become(main: Callable[[], int]) -> NoReturn:
    """Be ``main`` and end with its status: a fork must never go on where its parent does."""
    status = 1
    try:
        status = main()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (see above)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _main() -> None:
    from couchlet import cli  # noqa: PLC0415 (for the forks, not for those who ask for them)

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that none stays a zombie
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            become(lambda: _couchlet(cli.main, **request))  # noqa: B023 (it runs here and now)
        print(pid, flush=True)


def _couchlet(
    main: Callable[[list[str]], int], *, arguments: list[str], environ: dict[str, str], out: str, log: str
) -> int:
    """Run as what was asked for, with its own input, output, environment and chance."""
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    for descriptor, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_WRONLY), (2, log, os.O_WRONLY)):
        opened = os.open(path, flags | (os.O_CREAT | os.O_APPEND if descriptor == 2 else 0), 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environ)
    random.seed()
    return main(arguments)


if __name__ == "__main__":
    _main()
