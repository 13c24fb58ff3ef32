"""The archive: files in CouchDB's database ``ngas``, each an attachment of the document that describes it.

What knows how to archive is here, apart from what is archived: a real NGAS server can take this module's place.
"""

from __future__ import annotations

import hashlib
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from shared import errors, forks
from shared.clock import elapsed_s, stamp
from shared.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shared.clock import Clock
    from shared.dbcon import Database, Doc

DATABASE: Final = "ngas"
SCHEMA: Final = 1
_CHUNK_BYTES: Final = 1 << 20
_TRIES: Final = 5
_LATE_S: Final = 5.0
_LOOK_S: Final = 0.1
_LOG = logging.getLogger(__name__)


class ArchivedFile(msgspec.Struct, frozen=True):
    """What the archive says of a file: size in bytes, SHA-256 in hexadecimal, when it was written (UTC)."""

    name: str = msgspec.field(name="_id")
    size: int
    sha256: str
    written: str = msgspec.field(name="writeTimestamp")


def described(doc: Doc) -> ArchivedFile | None:
    """Return what a document of the archive says of its file, or None while the file is not whole.

    Raises ArchiveError where the document says it in a way that nobody can read: it was not made by :class:`Archive`.
    """
    if "sha256" not in doc or doc["_id"] not in doc.get("_attachments", {}):
        return None
    try:
        return msgspec.convert(doc, ArchivedFile)
    except msgspec.ValidationError as error:
        raise errors.ArchiveError(
            f"document {doc['_id']} of {DATABASE} does not describe its file: {error}; mend it by hand, or let "
            "'drw check --repair' archive the file anew"
        ) from error


class Archive:
    """Puts files into the archive, and gets and checks them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Take the database to keep the files in."""
        self._database = database
        self._clock = clock

    def describe(self, name: str) -> ArchivedFile | None:
        """Return what the archive says of a file, or None while it has none that is whole.

        Raises ArchiveError as :func:`described`.
        """
        doc = self._database.get(name)
        return described(doc) if doc else None

    def put(self, path: Path, name: str, *, size: int, sha256: str) -> ArchivedFile:
        """Archive a file under ``name``; nothing happens if it is there with the same content.

        First the content goes in, then the description that makes it count. Raises NameTaken when another content is
        there under that name, ArchiveError when the file is not what ``size`` (bytes) and ``sha256`` say or the archive
        does not take it, SourceAway while it cannot be read.
        """
        met = False
        for _ in range(_TRIES):
            found = self.describe(name)
            if found is not None:
                if met:
                    self._tidy(name)
                if (found.size, found.sha256) != (size, sha256):
                    raise errors.NameTaken(
                        f"the archive has another file under the name {name}: {found.size} bytes, sha256 {found.sha256}"
                    )
                return found
            try:
                met |= self._store(path, name, size, sha256)
            except errors.Conflict as error:
                met = True
                _LOG.info("%s is being archived by somebody else too (%s)", name, error)
        raise errors.ArchiveError(f"{name} could not be archived: others write it all the time")

    def _store(self, path: Path, name: str, size: int, sha256: str) -> bool:
        """Store content and description; tell whether something stood against the latter at first."""
        before = self._database.get(name)
        if before is not None and described(before) is not None:  # since it was looked at: nothing is put over that
            raise errors.Conflict(f"{name} is archived by now")
        rev = before["_rev"] if before else ""
        try:
            rev = self._database.attach(name, name, rev, _checked(path, size, sha256), size)
        except errors.Refused as error:
            raise errors.ArchiveError(
                f"the archive does not take {name}, of {size} bytes: {error}; a file that is too large needs a larger "
                "max_attachment_size and max_http_request_size in CouchDB's configuration"
            ) from error
        doc = self._database.get(name, rev=rev)
        if doc is None:
            raise errors.Conflict(f"{name} was changed meanwhile")
        description: Doc = doc | {
            "schema": SCHEMA,
            "writeTimestamp": stamp(self._clock.now()),
            "size": size,
            "sha256": sha256,
        }
        return self._write_description(description)

    def _write_description(self, doc: Doc) -> bool:
        """Write the description to a content that was just stored, again while a copy does not have that yet.

        Where there are several copies a content is stored when most have it. The one that is late refuses what refers
        to it (CouchDB 3.5.0: 412, ``missing_stub``), and CouchDB answers so though the others write it. Written again,
        the very same has the same revision. Tells whether that was so.
        """
        until_s, refused = elapsed_s() + _LATE_S, False
        while True:
            try:
                self._database.put(doc)
            except errors.Conflict:
                if not self._database.may_fork() or elapsed_s() > until_s:
                    raise
            else:
                return refused
            refused = True
            time.sleep(_LOOK_S)
            if self.describe(doc["_id"]) is not None:
                return refused

    def _tidy(self, name: str) -> None:
        """Remove the leaves that lost against a description, which nobody comes to change any more."""
        if not self._database.may_fork():
            return
        try:
            leaves = self._database.leaves_of_every_copy(name)
            shown = forks.shown(leaves)
            if shown and described(shown):
                lost = [leaf["_rev"] for leaf in leaves if leaf is not shown and not leaf.get("_deleted")]
                self._database.remove((name, rev) for rev in lost)
        except errors.DrwError as error:
            _LOG.warning("leaves that lost are not removed from %s: %s", name, error)

    def get(self, name: str) -> Iterator[bytes]:
        """Yield a file's content piece by piece; raise ArchiveError if the archive does not have it."""
        try:
            yield from self._database.attachment(name, name)
        except errors.NotFound as error:
            raise errors.ArchiveError(f"the archive has no file {name}") from error

    def check(self, name: str, *, size: int, sha256: str) -> str:
        """Return what is wrong with a file in the archive, read back whole; nothing if it is as it should be."""
        try:
            found = self.describe(name)
        except errors.ArchiveError as error:
            return str(error)
        if found is None:
            return f"{name} is not in the archive"
        if (found.size, found.sha256) != (size, sha256):
            return f"{name} in the archive is described as {found.size} bytes with sha256 {found.sha256}"
        hashed, length = hashlib.sha256(), 0
        for piece in self.get(name):
            hashed.update(piece)
            length += len(piece)
        if (length, hashed.hexdigest()) != (size, sha256):
            return f"{name} in the archive has {length} bytes with sha256 {hashed.hexdigest()}"
        return ""


def _checked(path: Path, size: int, sha256: str) -> Iterator[bytes]:
    """Yield a file's content, and raise ArchiveError before the last piece if it is not what it should be.

    A file that cannot be read is SourceAway: its disk may come back, and nothing contradicts anything. Raising in the
    middle of the request keeps CouchDB from storing it.
    """
    hashed, length, held = hashlib.sha256(), 0, b""
    tell = ProgressLine(f"archiving {path.name}")
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                hashed.update(piece)
                length += len(piece)
                if length > size:  # before more is sent than was announced: CouchDB would store the beginning
                    break
                tell(length, size)
                if held:
                    yield held
                held = piece
    except OSError as error:
        raise errors.SourceAway(f"{path} cannot be read to be archived: {error.strerror}") from error
    if (length, hashed.hexdigest()) != (size, sha256):
        raise errors.ArchiveError(f"{path} is not what was announced: {length} bytes, sha256 {hashed.hexdigest()}")
    if held:
        yield held
