"""Accounts are locked for a while after wrong passwords, against guessing; the rule and the figures are CouchDB's."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from couchlet.errors import forbidden

if TYPE_CHECKING:
    from collections.abc import Callable

THRESHOLD: Final = 5
"""Wrong passwords after which an account is locked for the address that they came from."""

LIFETIME_S: Final = 300.0
"""How long wrong passwords count, from the first of them on."""

_MOST: Final = 10_000

_Account = tuple[str, str, str]


class Lockout:
    """Counts wrong passwords by address, name and salt: a new password begins anew, other addresses are not locked."""

    def __init__(
        self,
        *,
        enforced: bool = True,
        threshold: int = THRESHOLD,
        lifetime_s: float = LIFETIME_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nobody is locked yet; and nobody ever is, if it is not enforced."""
        self._enforced = enforced
        self._threshold = threshold
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._failures: OrderedDict[_Account, tuple[float, int]] = OrderedDict()

    def check(self, peer: str, name: str, salt: str) -> None:
        """Let an account pass that is not locked.

        Raises:
            CouchError: 403, whatever the password is.
        """
        if self._enforced and self._count(peer, name, salt)[1] >= self._threshold:
            raise forbidden("Account is temporarily locked due to multiple authentication failures")

    def count_failure(self, peer: str, name: str, salt: str) -> None:
        """Note a wrong password."""
        if not self._enforced:
            return
        first, count = self._count(peer, name, salt)
        self._failures[peer, name, salt] = first, count + 1
        while len(self._failures) > _MOST:
            self._failures.popitem(last=False)

    def _count(self, peer: str, name: str, salt: str) -> tuple[float, int]:
        """Return when the first failure that counts was, and how many there are."""
        now = self._clock()
        first, count = self._failures.get((peer, name, salt), (now, 0))
        if now - first < self._lifetime_s:
            return first, count
        del self._failures[peer, name, salt]
        return now, 0
