"""The standard streams of a command, whatever the shell made of them: closed, full, cut off, or of few characters."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Final

from shared.printable import visible_lines

_OUTPUT_FAULTS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def prepare() -> None:
    """Make the streams such that anything can be printed, before anything is.

    Where one is closed (``>&-``) another stands in for it, so that what is printed goes into no other file. What is
    printed then cannot be written, which is said at the end as of a disk that is full. What a terminal's characters
    have no place for is spelled out. A width of no columns is none: rich would print nothing into it.
    """
    if os.environ.get("COLUMNS", "").strip("0 ") == "":
        os.environ.pop("COLUMNS", None)
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def tell(done: str) -> None:
    """Print what was done and cannot be taken back; where that cannot be written, it is said on standard error."""
    try:
        print(done, flush=True)
    except OSError:
        print(done, file=sys.stderr)
        raise


def sentence(error: OSError) -> str:
    """Return what went wrong, in words; where it is the output, what was to be printed is dropped.

    Nothing where whoever read it has seen enough, as with ``| head``.
    """
    if isinstance(error, BrokenPipeError):
        drop_output()
        return ""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if error.errno not in _OUTPUT_FAULTS:
        return str(error)
    drop_output()
    return f"what there is to say cannot be written: {error.strerror}"


def complain(name: str, said: str) -> None:
    """Say on standard error what went wrong with a command, if there is anything to say.

    Others' text may be in it, which is to steer no terminal.
    """
    if said:
        print(f"{name}: {visible_lines(said)}", file=sys.stderr)


def drop_output() -> None:
    """Have what is still to be printed go nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
