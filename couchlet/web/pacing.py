"""Letting others have their turn: a long answer is made in the event loop, a piece at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from couchlet.mango.matching import Matcher

_TURN_S: Final = 0.01


async def breathe() -> None:
    """Let other requests go on before the next piece."""
    await asyncio.sleep(0)


class Turn:
    """The time that one request has held the event loop for."""

    def __init__(self) -> None:
        """Begin now."""
        self._began = time.perf_counter()

    async def give_up_if_long(self) -> None:
        """Let others go on if this has lasted, whatever a row costs: 10 ms at most are added to what others wait."""
        if time.perf_counter() - self._began > _TURN_S:
            await breathe()
            self._began = time.perf_counter()


class PacedMatcher:
    """A selector that goes on in a thread once it was seen to be slow, as one whose pattern has to be given up."""

    def __init__(self, matcher: Matcher) -> None:
        """Take it to be fast."""
        self._matcher = matcher
        self._is_slow = False

    async def matches(self, document: dict[str, Any]) -> bool:
        """Whether the document matches."""
        if self._is_slow:
            return await asyncio.to_thread(self._matcher, document)
        began = time.perf_counter()
        result = self._matcher(document)
        self._is_slow = time.perf_counter() - began > _TURN_S
        return result
