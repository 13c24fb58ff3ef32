"""Waiting for what nobody tells of: other processes, and what a server does after its answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def until(condition: Callable[[], T], limit_s: float = 30.0) -> T:
    """Look until something is so, and return it; it is an AssertionError where it is not so in time."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found
