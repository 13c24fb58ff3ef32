"""The drivers' directories of work whose runs are over: what a program printed, and how it ended."""

from __future__ import annotations

import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from drw.upkeep import retention
from shared import lifecycle, names, program
from shared.bus import envelope, queue

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drw.upkeep.evidence import Evidence
    from shared.dbcon import DbConnection

_ENDED: Final = "ended.json"
_PASSED_ON: Final = "passed-on"
_NOTES: Final = "by-message"
_GOING: Final = ".pruned"
_BEGINNING: Final = timedelta(hours=1)
"""For so long at least, what has no end may be about to begin."""
_SETTLED: Final = frozenset({envelope.CONSUMED, envelope.EXPIRED})


class OldWork:
    """The directories of one host's runs."""

    def __init__(self, connection: DbConnection, work: Path) -> None:
        """Take the server, and where the drivers of this machine work."""
        self._connection = connection
        self._work = work
        self._notes: dict[str, list[Path]] = {}

    def over(self, known: Evidence, horizon: datetime) -> Iterator[Path]:
        """Yield the directories of runs that began before ``horizon``, have ended, and are nobody's any more.

        A run of which nobody knows how it ended (the power failed) is over when it is old and no keeper has it.
        """
        entries = sorted(self._work.iterdir()) if self._work.is_dir() else []
        yield from (path for path in entries if path.name.endswith(_GOING))  # an earlier removal was cut off
        busy = self._busy()
        going_on = {each.prog_id for each in known.entities.values() if each.state == lifecycle.PROCESSING}
        for path in entries:
            run = retention.run_of_work(path.name)
            if not run:
                continue
            prog_id, timestamp = names.split_products_dir(run)
            began = names.moment(timestamp)
            has_ended = (path / _ENDED).exists() or (began < horizon - _BEGINNING and not _is_at_work(path))
            is_done = (path / _PASSED_ON).exists() or prog_id not in going_on
            if has_ended and is_done and timestamp not in busy and began < horizon:
                yield path

    def half_written(self, horizon: datetime) -> Iterator[Path]:
        """Yield what is left of notes that were begun before ``horizon`` by a driver that was killed over them."""
        for path in (self._work / _NOTES).glob("*.tmp"):
            with suppress(FileNotFoundError):  # it is a note by now
                written = datetime.fromtimestamp(path.lstat().st_mtime, UTC)
                if written < horizon - _BEGINNING:
                    yield path

    def _busy(self) -> set[str]:
        """Return the timestamps of runs whose message is open or dead: a driver may come back for them."""
        messages: dict[str, set[str]] = {}  # a database that was made anew has the same ids again
        folder = self._work / _NOTES
        for path in folder.glob("*.json") if folder.is_dir() else ():
            try:
                noted = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
                messages.setdefault(noted["message"], set()).add(noted["timestamp"])
                self._notes.setdefault(noted["timestamp"], []).append(path)
            except (OSError, msgspec.DecodeError, KeyError):
                continue  # it names no run
        found = self._connection.database(queue.DATABASE).fetch(messages) if messages else []
        open_ones = [doc["_id"] for doc in found if doc and doc.get("state") not in _SETTLED]
        return {timestamp for message_id in open_ones for timestamp in messages[message_id]}

    def remove(self, path: Path) -> None:
        """Remove a directory, and the note of which message it was for; raises OSError."""
        if not path.name.endswith(_GOING):
            timestamp = names.split_products_dir(retention.run_of_work(path.name))[1]
            for note in self._notes.get(timestamp, ()):
                note.unlink(missing_ok=True)
            path = path.rename(path.with_name(path.name + _GOING))
        shutil.rmtree(path)


def _is_at_work(path: Path) -> bool:
    """Tell whether a program runs in a directory; of one that may not be looked at it is assumed."""
    try:
        return program.is_kept(path / _ENDED)
    except OSError:
        return True


def size(path: Path) -> int:
    """Return how many bytes the files of a directory have."""
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())
