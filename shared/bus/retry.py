"""When to try again: the retry policy of messages and the back-off of polling.

Pure: chance is passed in as a number from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a message is tried, and how long to wait in between (seconds)."""

    attempts: int = 8
    first_s: float = 1.0
    longest_s: float = 300.0

    def is_spent(self, attempts: int) -> bool:
        """Tell whether a message that was tried this often has had its last attempt."""
        return attempts >= self.attempts

    def wait_s(self, attempts: int, chance: float) -> float:
        """Return how long to wait after the attempt with this number (from 1): doubled each time, jitter downwards.

        The jitter of up to a half keeps messages that failed together from coming back together.
        """
        doubled = self.first_s * 2.0 ** min(max(attempts, 1) - 1, 60)
        return float(min(doubled, self.longest_s) * (1 - chance / 2))


@dataclass(frozen=True, kw_only=True)
class BackOff:
    """How long to wait between two polls that find nothing: the longer nothing comes, the longer (seconds).

    This is the seed's "extends the sleep intervals progressively".
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    factor: float = 1.5

    def wait_s(self, empty_polls: int, chance: float = 0.0) -> float:
        """Return the wait after so many polls in a row that found nothing; jitter upwards, never past the longest."""
        grown = self.first_s * self.factor ** min(max(empty_polls - 1, 0), 100)
        return float(min(grown * (1 + chance / 4), self.longest_s))
