"""The proof that the archive holds all of an OUS's run: everything is described there, and reads back as described.

What is described anybody can look up. What was wrong when files were read back only the data-tracker knows, which did
so: it keeps that in a control document of ``msgq``, ``control:unproved:<document id of the OUS>``, for whoever asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared import delivery, names, ngas
from shared.bus import queue
from shared.clock import stamp
from shared.errors import ArchiveError, DrwError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.dbcon import DbConnection, Doc
    from shared.ngas import ArchivedFile
    from shared.status import StatusEntity

_PREFIX: Final = "control:unproved:"
_SCHEMA: Final = 1


class Unproved(msgspec.Struct, frozen=True):
    """Of which run, since when (UTC), and what is wrong with its files as they were read back."""

    run: str
    since: str
    what: str


class Described(msgspec.Struct, frozen=True):
    """The files of a run that archive and records describe alike, the weblog last; else what ``lacks``."""

    files: tuple[ArchivedFile, ...] = ()
    lacks: str = ""


class Proofs:
    """Looks at what is described, reads files back, and keeps what was wrong with them."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server."""
        self._records = delivery.Records(connection)
        self._archive = ngas.Archive(connection.database(ngas.DATABASE), connection.clock)
        self._queue = connection.database(queue.DATABASE)
        self._clock = connection.clock

    def described(self, entity: StatusEntity) -> Described:
        """Compare what was recorded of an OUS's run with what the archive says that it has; nothing is read back."""
        found = self._records.status(entity.id)
        if found is None or not found.complete:
            return Described(lacks=f"its delivery status is {'not complete' if found else 'missing'}")
        if entity.run and found.timestamp != entity.run:
            return Described(lacks=f"its delivery status is that of run {found.timestamp}")
        try:
            products = [self._product(name) for name in found.data_products]
            return Described((*products, self._weblog(names.weblog(entity.entity_id, found.timestamp))))
        except ArchiveError as error:
            return Described(lacks=str(error))

    def _product(self, name: str) -> ArchivedFile:
        metadata, archived = self._records.metadata(name), self._archive.describe(name)
        if metadata is None:
            raise ArchiveError(f"product {name} has no metadata")
        if archived is None:
            raise ArchiveError(f"product {name} is not in the archive")
        if (archived.size, archived.sha256) != (metadata.size, metadata.sha256):
            raise ArchiveError(f"product {name} in the archive is another than its metadata says")
        return archived

    def _weblog(self, name: str) -> ArchivedFile:
        archived = self._archive.describe(name)
        if archived is None:
            raise ArchiveError(f"weblog {name} is not in the archive")
        return archived

    def read_back(self, files: Iterable[ArchivedFile]) -> str:
        """Return what is wrong with the first file that is not as described, or cannot be read; nothing if all are."""
        for each in files:
            try:
                wrong = self._archive.check(each.name, size=each.size, sha256=each.sha256)
            except DrwError as error:
                wrong = f"{each.name} cannot be read back from the archive: {error}"
            if wrong:
                return wrong
        return ""

    def keep(self, entity: StatusEntity, wrong: str) -> None:
        """Keep what is wrong with an OUS's files, or that nothing is any more."""
        if not wrong:
            self._queue.delete(_PREFIX + entity.id)
            return
        fields = {"schema": _SCHEMA, "run": entity.run, "since": stamp(self._clock.now()), "what": wrong}

        def change(doc: Doc | None) -> Doc | None:
            known = _read(doc)
            same = known is not None and (known.run, known.what) == (entity.run, wrong)
            return None if same else fields | ({"_rev": doc["_rev"]} if doc else {})

        self._queue.mutate(_PREFIX + entity.id, change)

    def kept(self, entity: StatusEntity) -> Unproved | None:
        """Return what is wrong with the files of an OUS's run, None where nothing is known to be."""
        found = _read(self._queue.get(_PREFIX + entity.id))
        return found if found and found.run == entity.run else None


def _read(doc: Doc | None) -> Unproved | None:
    try:
        return msgspec.convert(doc, Unproved) if doc else None
    except msgspec.ValidationError:
        return None  # made by hand: it is overwritten when there is something to say
