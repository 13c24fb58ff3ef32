"""Connections that are kept for the next request, and given back when none comes."""

from __future__ import annotations

import queue
from collections import deque
from typing import Final, Protocol

from shared.clock import elapsed_s

UNUSED_S: Final = 60.0
"""For so long a connection is kept that nobody uses: a moment in which much is asked at once opens more of them than
the hours after it need, and the server keeps a process and a socket for each. It is less than the five minutes after
which CouchDB closes a silent line itself, perhaps while a request is on its way, and long enough that work that comes
and goes finds them open."""


class Connection(Protocol):
    """What can be closed; it is opened anew by its next request."""

    def close(self) -> None:
        """Give the socket back."""


class Kept(queue.LifoQueue[Connection | None]):
    """The connections of a pool that are free; the one used last goes out first, so that the others can rest.

    Who puts one back closes those that nobody has used for :data:`UNUSED_S`. Places that were never used are None, as
    urllib3 has it.
    """

    def _init(self, maxsize: int) -> None:  # noqa: ARG002 (the queue itself sees that there are no more)
        self._free: deque[tuple[float, Connection | None]] = deque()

    def _qsize(self) -> int:
        return len(self._free)

    def _put(self, item: Connection | None) -> None:
        now_s = elapsed_s()
        self._free.append((now_s, item))
        while self._free[0][0] < now_s - UNUSED_S:
            _, unused = self._free.popleft()
            if unused:
                unused.close()

    def _get(self) -> Connection | None:
        return self._free.pop()[1]
