"""When to try again: the retry policy of messages and the back-off of polling.

Pure: chance is passed in as a number from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.clock import LONGEST_S
from shared.errors import BadInput
from shared.names import shown

_STEEPEST: Final = 100.0


def _check_spans(**spans: object) -> None:
    for name, span in spans.items():
        if not (isinstance(span, int | float) and 0 <= span <= LONGEST_S):
            raise BadInput(
                f"{name} cannot be {shown(span)}: it is a time to wait, in seconds, from 0 to {LONGEST_S:.0f}"
            )


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often a message is tried, and how long to wait in between (seconds). Raises BadInput for what cannot be."""

    attempts: int = 8
    first_s: float = 1.0
    longest_s: float = 300.0

    def __post_init__(self) -> None:
        """Refuse here, where it is said, what would fail in the thread that settles every message."""
        _check_spans(first_s=self.first_s, longest_s=self.longest_s)
        if not isinstance(self.attempts, int) or self.attempts < 1:
            raise BadInput(f"attempts cannot be {shown(self.attempts)}: it is a whole number, 1 or more")

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

    This is the seed's "extends the sleep intervals progressively". Raises BadInput for what cannot be.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    factor: float = 1.5

    def __post_init__(self) -> None:
        """Refuse here, where it is said, what would fail in the thread that waits."""
        _check_spans(first_s=self.first_s, longest_s=self.longest_s)
        if not 1 <= self.factor <= _STEEPEST:
            raise BadInput(f"factor cannot be {shown(self.factor)}: it is a number from 1 to {_STEEPEST:.0f}")

    def wait_s(self, empty_polls: int, chance: float = 0.0) -> float:
        """Return the wait after so many polls in a row that found nothing; jitter upwards, never past the longest."""
        grown = self.first_s * self.factor ** min(max(empty_polls - 1, 0), 100)
        return float(min(grown * (1 + chance / 4), self.longest_s))
