"""Trying a regular expression for a bounded time, as CouchDB bounds the steps of its own.

An expression that backtracks can take longer than the universe, and Python's holds the whole process meanwhile. So a
search whose steps are few, by a bound that is easy to see, is made here; any other in a process of its own, which
gives up when its time is over.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from couchlet.mango.pattern_process import REQUEST

LIMIT_S: Final = 0.1
"""Processor time that one text is tried for; beyond it there is no match, as beyond the steps of CouchDB's PCRE."""

_LOG = logging.getLogger(__name__)
_FEW_STEPS: Final = 1_000_000
_MOST_REPEATS: Final = 50
_REPEATED_GROUP: Final = re.compile(rb"\)[*+?{]")
_REPEAT: Final = re.compile(rb"(?<!\()[*+?{]")


def steps(pattern: bytes, length: int) -> float:
    """Return a bound of the steps of a search: each repeat may end anywhere, each start and alternative be tried."""
    if _REPEATED_GROUP.search(pattern):
        return float("inf")
    starts = 0 if pattern.startswith(b"^") and b"|" not in pattern else 1
    repeats = min(len(_REPEAT.findall(pattern)), _MOST_REPEATS)
    return float(length + 1) ** (repeats + starts) * (1 + pattern.count(b"|"))


class BoundedSearch:
    """Searches for patterns, in this process or in one that keeps to a time; from any thread."""

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        """Start nothing yet."""
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)

    def matches(self, pattern: re.Pattern[bytes], text: bytes) -> bool:
        """Whether the pattern is found in the text within the time that it has."""
        if steps(pattern.pattern, len(text)) <= _FEW_STEPS:
            return pattern.search(text) is not None
        with self._lock:
            for _ in range(2):
                try:
                    return self._ask(pattern.pattern, text)
                except BrokenPipeError:
                    # Somebody ended the process: a new one answers.
                    self.close()
        _LOG.warning("the process for patterns ended twice over one text of %d bytes: no match", len(text))
        return False

    def _ask(self, pattern: bytes, text: bytes) -> bool:
        if self._process is None:
            self._process = _start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(REQUEST.pack(self._limit_s, len(pattern), len(text)) + pattern + text)
        self._process.stdin.flush()
        answer = self._process.stdout.read(1)
        if not answer:
            raise BrokenPipeError
        return answer == b"1"

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        # What was still to be sent has nowhere to go.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _start() -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("pattern_process.py")
    # A session of its own: Ctrl-C at the terminal is for the server, with which this one ends.
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-S", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


search: Final = BoundedSearch()
"""The one that all selectors share."""
