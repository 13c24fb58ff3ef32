"""The rows of the latest changes, which every feed that waits is about to send: made once, not once a feed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST: Final = 256
"""How many rows are kept, and made in one go for all feeds."""


class LatestRows:
    """One row a document that changed after ``since``, up to ``until``, in the order of their sequences."""

    def __init__(self) -> None:
        """Begin empty."""
        self.since = self.until = self.purge_seq = 0
        self._rows: dict[str, tuple[int, bytes]] = {}

    def restart(self, since: int, purge_seq: int) -> None:
        """Forget all, and begin after a sequence; what is purged has no row any more, so a purge has this done."""
        self.since = self.until = since
        self.purge_seq = purge_seq
        self._rows.clear()

    def extend(self, rows: Iterable[tuple[str, int, bytes]], until: int) -> None:
        """Add what changed since, as id, sequence and row, in order: only the last change of a document is shown."""
        for id_, seq, text in rows:
            self._rows.pop(id_, None)
            self._rows[id_] = seq, text
        self.until = until
        while len(self._rows) > MOST:
            self.since, _ = self._rows.pop(next(iter(self._rows)))

    def after(self, seq: int) -> list[tuple[int, bytes]]:
        """Return the sequences and rows after a sequence, which is not before ``since``."""
        found = []
        for row in reversed(self._rows.values()):
            if row[0] <= seq:
                break
            found.append(row)
        return found[::-1]
