"""The runs of a pipeline driver, as kept in ``DRW_WORK_DIR``.

::

    by-message/<hash of the message>.json     which run a message has, so that a finished run is completed, not repeated
    <products directory's name>.run/          one run: where the program works
        program.log                           what it printed
        ended.json                            how it ended, written before anybody is told
        passed-on                             everything that follows from it was sent
        <products directory>/                 what it made
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from shared import manifest, names
from shared.errors import BadInput, CacheError
from shared.program import read_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path

    from shared.bus import Message
    from shared.cache import CacheDirectory
    from shared.messages import ProcessRequest
    from shared.program import Ended

_LOG = logging.getLogger(__name__)
_RESERVE_TRIES: Final = 1000
_ROOM_BYTES: Final = 1024 * 1024
"""A disk without room for this is full: less than any run takes."""

_KEEPER_ENDS_S: Final = 8.0
"""How long the keeper of a program whose driver died may take to end it and to record that."""

_PASSED_ON: Final = "passed-on"
_KEPT: Final = frozenset({"program.log", "ended.json", "ended.json.keeper", _PASSED_ON})
"""What stays of a run of which nothing is needed any more."""


@dataclass(frozen=True)
class Run:
    """One run of the pipeline: for which OUS, when it was begun, where it works."""

    request: ProcessRequest
    timestamp: str
    directory: Path

    @property
    def products_dir(self) -> str:
        """The name of the products directory that the program has to make."""
        return names.products_dir(self.request.progID, self.timestamp)

    @property
    def products(self) -> Path:
        """The folder with the run's files."""
        return self.directory / names.products_path(self.request.progID, self.timestamp, self.request.ousUID)

    @property
    def log(self) -> Path:
        """What the program printed."""
        return self.directory / "program.log"

    @property
    def record(self) -> Path:
        """How the program ended."""
        return self.directory / "ended.json"

    @property
    def ended(self) -> Ended | None:
        """How the program ended, or None while that is not known."""
        return read_record(self.record, wait_s=_KEEPER_ENDS_S)

    @property
    def is_passed_on(self) -> bool:
        """Whether everything that the run made was sent on."""
        return (self.directory / _PASSED_ON).exists()

    def finish(self) -> None:
        """Note that all was sent on, and :meth:`clear`: the cache has the products.

        What cannot be noted is said and left: the OUS has gone on, and its state is what counts.
        """
        try:
            (self.directory / _PASSED_ON).touch()
        except OSError as error:
            _LOG.warning("that run %s was passed on cannot be noted: %s", self.products_dir, error)
        self.clear()

    def clear(self) -> None:
        """Remove all that the program made, products and scratch; log and record stay, and what cannot be removed."""
        found: list[Path] = []
        with suppress(OSError):
            found = [path for path in self.directory.iterdir() if path.name not in _KEPT]
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()


class _Note(msgspec.Struct, frozen=True):
    """Which run a message has."""

    message: str
    timestamp: str

    def __post_init__(self) -> None:
        """Refuse what is no run's timestamp."""
        names.timestamp(self.timestamp)


class Runs:
    """Begins runs, and finds the one that a message has.

    Where files cannot be read or written, every method raises DiskFull, which passes, or CacheError.
    """

    def __init__(self, work: Path, cache: CacheDirectory, executive: str, now: Callable[[], datetime]) -> None:
        """Take the work directory (made when it is needed), the cache that keeps run names apart, and a clock."""
        self._work = work
        self._cache = cache
        self._executive = executive
        self._now = now

    def of(self, message: Message, request: ProcessRequest) -> Run | None:
        """Return the run that was begun last for a message, if this host has one and knows which."""
        note = self._note(message)
        try:
            with self._keeping(), suppress(FileNotFoundError):
                return self._run(request, msgspec.json.decode(note.read_bytes(), type=_Note).timestamp)
        except (msgspec.DecodeError, BadInput) as error:
            # A machine that lost its power may have left it empty.
            _LOG.warning("the note %s of a run is passed over: %s", note, error)
        return None

    def begin(self, message: Message, request: ProcessRequest) -> Run:
        """Reserve a name, make the run's directory and note both under the message."""
        self.check_room()  # before a name is taken, which it then is for good
        run = self._run(request, self._reserve(request.progID))
        note = self._note(message)
        with self._keeping():
            run.directory.mkdir(parents=True)
            note.parent.mkdir(exist_ok=True)
            temporary = note.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_bytes(msgspec.json.encode(_Note(message.id, run.timestamp)))
            temporary.replace(note)
        return run

    def forget(self, message: Message) -> None:
        """Forget which run a message has, so that the next attempt begins another."""
        with self._keeping():
            self._note(message).unlink(missing_ok=True)

    def check_room(self) -> None:
        """Raise DiskFull where the disk of the work directory has no room for a run, however small."""
        with self._keeping():
            self._work.mkdir(parents=True, exist_ok=True)
            # Without a name, so that whoever is killed here leaves nothing; by chance, which no disk compresses.
            with tempfile.TemporaryFile(dir=self._work) as file:
                file.write(os.urandom(_ROOM_BYTES))
                file.flush()
                os.fsync(file.fileno())

    def _keeping(self) -> AbstractContextManager[None]:
        return manifest.disk_errors("keeping runs", self._work)

    def _run(self, request: ProcessRequest, timestamp: str) -> Run:
        return Run(request, timestamp, self._work / f"{names.products_dir(request.progID, timestamp)}.run")

    def _note(self, message: Message) -> Path:
        # With the moment it was sent: databases that are made anew have the same ids again, for other launches.
        of_message = f"{message.epoch}\n{message.id}\n{message.creation_timestamp}"
        hashed = hashlib.sha256(of_message.encode()).hexdigest()[:32]
        return self._work / "by-message" / f"{hashed}.json"

    def _reserve(self, prog_id: str) -> str:
        """Return a timestamp whose directory name nobody else has: of two that ask at once, one gets it."""
        moment = self._now()
        for _ in range(_RESERVE_TRIES):
            timestamp = names.run_timestamp(moment, self._executive)
            if self._cache.reserve_run(names.products_dir(prog_id, timestamp)):
                return timestamp
            moment = names.moment(timestamp) + timedelta(milliseconds=1)
        raise CacheError(f"no free name for a run of {prog_id} was found in {_RESERVE_TRIES} tries from {moment} on")
