"""The standard streams of the server, whatever the shell made of them: closed, full, cut off, or of few characters."""

from __future__ import annotations

import io
import logging
import os
import sys

_LOG = logging.getLogger("couchlet")


def prepare() -> None:
    """Have nothing that is printed end the server, or land in a file that took the place of a closed stream."""
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print a line; where that cannot be written the log says so, because a server is there for its clients."""
    try:
        print(text, flush=True)
    except OSError as error:
        _LOG.warning("standard output cannot be written: %s", error.strerror)
        _drop_output()


def _drop_output() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
