"""A line in the log, now and then, of work that takes long: how many bytes of how many are done."""

from __future__ import annotations

import logging
from typing import Final

from shared.clock import elapsed_s

EVERY_S: Final = 10.0
_LOG = logging.getLogger(__name__)
_THOUSAND: Final = 1000
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


class ProgressLine:
    """Called with the bytes done and the bytes in all (0 where they are unknown), it logs a line every ten seconds."""

    def __init__(self, what: str, *, every_s: float = EVERY_S) -> None:
        """Take what is being done, and how long to wait between two lines (seconds); short work says nothing."""
        self._what = what
        self._every_s = every_s
        self._next_s = elapsed_s() + every_s

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is, unless that was said a moment ago."""
        if elapsed_s() >= self._next_s:
            self._next_s = elapsed_s() + self._every_s
            of = f" of {size(total)}, {100 * done // total} %" if total else ""
            _LOG.info("%s: %s%s", self._what, size(done), of)


def size(count: int) -> str:
    """Return a number of bytes as people write it: ``1.2 GB``."""
    value = float(count)
    for unit in _UNITS:
        if value < _THOUSAND or unit == _UNITS[-1]:
            break
        value /= _THOUSAND
    return f"{count} bytes" if unit == _UNITS[0] else f"{value:.1f} {unit}"
