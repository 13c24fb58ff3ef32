"""What every process of drw stands on: names, life cycle, message bus, database adapter.

Imports point one way: nothing in here imports from ``actors``, ``drw`` or ``dashboard``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def _say_in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say of Ctrl-C while a program is still being imported that it was one; all else is shown as ever."""
    if kind is KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _say_in_one_line
