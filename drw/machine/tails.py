"""Reading the end of a log file that somebody else writes and rotates."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES: Final = 65_536
_LONGEST_BYTES: Final = 10_000_000


def size(path: Path) -> int:
    """Return how long a file is now, 0 if there is none (bytes)."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def since(path: Path, start: int) -> str:
    """Return what was written from byte ``start`` on, its last 64 kB at most; all of a file that was begun anew."""
    end = size(path)
    return between(path, max(start if start <= end else 0, end - _MOST_BYTES), end)


def between(path: Path, start: int, end: int) -> str:
    """Return what a file has from byte ``start`` to byte ``end``; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(end - start).decode(errors="replace")
    except OSError:
        return ""


def end_of(path: Path, count: int) -> list[str]:
    """Return the last lines of a file that are not empty, each of them whole."""
    end, length = size(path), _MOST_BYTES
    while True:
        start = max(0, end - length)
        # One more than wanted: the first of them may be cut.
        lines = last_lines(between(path, start, end), count + 1)
        if start == 0 or len(lines) > count:
            return lines[-count:]
        length *= 4


def last_lines(text: str, count: int) -> list[str]:
    """Return the last lines of a text that are not empty."""
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def turn_over(path: Path) -> None:
    """Once a file that others append to is longer than 10 MB, keep it as ``….1`` and let it begin anew."""
    if size(path) > _LONGEST_BYTES:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
