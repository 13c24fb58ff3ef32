"""Letting others have their turn: a long answer is made in the event loop, a piece at a time."""

from __future__ import annotations

import asyncio


async def breathe() -> None:
    """Let other requests go on before the next piece."""
    await asyncio.sleep(0)
