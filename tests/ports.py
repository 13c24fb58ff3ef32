"""Ports for the servers of tests."""

from __future__ import annotations

import itertools
import os
import random
import socket
from contextlib import suppress
from typing import Final

_WORKERS: Final = 10
_EACH: Final = 2_000
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", f"gw{_WORKERS}").removeprefix("gw"))
_NUMBERS: Final = itertools.count(random.randrange(_EACH))


def free_port() -> int:
    """Return a port that nobody listens on, and that nobody is given while its server is away.

    It is below those that the system hands out by itself, is this worker's of pytest-xdist alone, and comes again only
    after a long while.
    """
    while True:
        port = 10_000 + _WORKER % (_WORKERS + 1) * _EACH + next(_NUMBERS) % _EACH
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
