"""The process that tries regular expressions which may take for ever; run as a program, it imports nothing of ours.

It reads requests from standard input (a processor time in seconds, the sizes of pattern and text, then both) and
answers one byte each: `1` if the pattern is found, `0` if not, or not in time. It ends with its input.
"""

from __future__ import annotations

import re
import signal
import struct
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

REQUEST = struct.Struct(">dII")
"""What goes before pattern and text."""


class _TimeIsUpError(Exception):
    """Ends a search."""


def _end_search(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _TimeIsUpError


def _found(pattern: bytes, text: bytes, limit_s: float) -> bool:
    try:
        # Processor time, so that a busy machine does not change what matches.
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
        try:
            return re.search(pattern, text) is not None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _TimeIsUpError:
        return False


def main() -> None:
    """Answer until the input ends."""
    signal.signal(signal.SIGVTALRM, _end_search)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    while header := requests.read(REQUEST.size):
        limit_s, pattern_size, text_size = REQUEST.unpack(header)
        pattern, text = requests.read(pattern_size), requests.read(text_size)
        answers.write(b"1" if _found(pattern, text, limit_s) else b"0")
        answers.flush()


if __name__ == "__main__":
    main()
