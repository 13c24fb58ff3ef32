"""Ctrl-C while a program is still being imported, before anything of it could answer that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def said_in_one_line() -> None:
    """Have Python say of a Ctrl-C that nobody answers that it was one, without a traceback; all else as before.

    For programs, whose packages call it first of all; whoever only uses the bus keeps what they have.
    """
    before = sys.excepthook

    def say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if kind is KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
        else:
            before(kind, error, trace)

    sys.excepthook = say
