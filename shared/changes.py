"""Changing a document at the revision that it was read at, whoever else does so at the same time.

In one process the threads take turns at a document. Of several processes CouchDB lets one write, and tells the others
of a conflict; where it has several copies of each shard it may let two write: :mod:`shared.forks` says who counts.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from shared import errors, forks
from shared.clock import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shared.answers import Row

    Doc = dict[str, Any]
    Change = Callable[[Doc | None], Doc | None]

_LOG = logging.getLogger(__name__)
_TRIES: Final = 12
_PAUSE_S: Final = 0.02
_TURNS: Final = 64
_TURN_S: Final = 30.0
_DISPUTE_S: Final = 2.0
_LOOK_S: Final = 0.05
_REMEMBERED_S: Final = 1.0


class Documents(Protocol):
    """What is needed of a database: :class:`shared.dbcon.Database` is one, and says what these mean."""

    name: str

    def may_fork(self) -> bool:
        """Tell whether there are several copies of each shard."""

    def get(self, doc_id: str, /) -> Doc | None:
        """Return a document, or None where there is none."""

    def leaves(self, ids: Iterable[str], /) -> dict[str, list[Doc]]:
        """Return every leaf of the revision trees of some documents."""

    def put_row(self, doc_id: str, content: bytes, /) -> Row:
        """Write one document from its bytes."""

    def counts(self, doc_id: str, rev: str, /) -> bool:
        """Tell whether a write that too few copies took at once stands alone."""

    def remove(self, leaves: Iterable[tuple[str, str]], /) -> bool:
        """Delete leaves that lost; tell whether all are gone."""


class LastWritten:
    """The documents that were written last, as they were written, for a moment.

    For a moment only, because CouchDB takes a write at a revision that it never had where there is no document: what
    was deleted with its database would come back.
    """

    def __init__(self, most: int) -> None:
        """Take how many to keep."""
        self._most = most
        self._docs: OrderedDict[str, tuple[float, Doc]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, doc: Doc) -> None:
        """Keep a document under its id."""
        with self._lock:
            self._docs[doc["_id"]] = (elapsed_s(), doc)
            if len(self._docs) > self._most:
                self._docs.popitem(last=False)

    def take(self, doc_id: str) -> Doc | None:
        """Return a document that is kept, and keep it no more; None for one that was written too long ago."""
        with self._lock:
            written_s, doc = self._docs.pop(doc_id, (0.0, None))
        return doc if elapsed_s() - written_s < _REMEMBERED_S else None


class Changes:
    """Changes the documents of one database."""

    def __init__(self, database: Documents, remembers: int) -> None:
        """Take the database, and how many of the documents that were written last are not read again at once."""
        self._database = database
        self._written = LastWritten(remembers)
        self._turns = [threading.Lock() for _ in range(_TURNS)]

    def apply(self, doc_id: str, change: Change) -> Doc | None:
        """Carry out :meth:`Database.mutate <shared.dbcon.Database.mutate>`."""
        lost: set[str] = set()
        with self._turn(doc_id):
            if after := self._change_remembered(doc_id, change, lost):
                return after
            for attempt in range(_TRIES):
                before, beside = self._read(doc_id, lost)
                is_settled = lost.isdisjoint(beside)
                # A leaf of ours that lost may be the only one to stay, until the other has grown: it is written again.
                wanted = change(before) if is_settled else before
                if wanted is None:
                    self._database.remove((doc_id, rev) for rev in beside)
                    return before
                if after := self._write(doc_id, wanted, lost):
                    self._database.remove((doc_id, rev) for rev in beside)
                    if is_settled:
                        return after
                time.sleep(random.uniform(0, _PAUSE_S * 2 ** min(attempt, 6)))  # noqa: S311 (jitter)
        raise errors.Conflict(
            f"document {doc_id} of {self._database.name} was changed by others {_TRIES} times in a row"
        )

    @contextmanager
    def _turn(self, doc_id: str) -> Iterator[None]:
        turn = self._turns[hash(doc_id) % _TURNS]
        if not turn.acquire(timeout=_TURN_S):
            raise errors.NotNow(f"others have been changing {doc_id} of {self._database.name} for {_TURN_S:g} s")
        try:
            yield
        finally:
            turn.release()

    def _change_remembered(self, doc_id: str, change: Change, lost: set[str]) -> Doc | None:
        """Try to change a document as we left it, which saves reading it; None where it has to be read.

        Only a write at that revision proves that it still is so. To leave it as it is, or to refuse the change, may be
        wrong when somebody else has changed it since.
        """
        before = self._written.take(doc_id)
        if before is None:
            return None
        try:
            wanted = change(before)
        except errors.DrwError:
            return None
        return None if wanted is None else self._write(doc_id, wanted, lost)

    def _read(self, doc_id: str, lost: set[str]) -> tuple[Doc | None, list[str]]:
        """Return a document to be changed, and the revisions of the leaves that lost against it.

        Where two writers have met, one is about to give way, and only then is it known which of them counts. One that
        does not do so for long has died; then CouchDB's choice stands.
        """
        if not self._database.may_fork():
            return self._database.get(doc_id), []
        until_s = elapsed_s() + _DISPUTE_S
        leaves = self._living(doc_id)
        while len(longest := forks.longest(leaves, but=lost)) > 1 and elapsed_s() < until_s:
            self._give_way(doc_id, leaves, lost)
            time.sleep(random.uniform(0, _LOOK_S))  # noqa: S311 (jitter)
            leaves = self._living(doc_id)
        if not longest:
            return None, []
        stands, *others = longest
        if others:
            _LOG.warning("%s of %s was changed twice at once: %s stands", doc_id, self._database.name, stands["_rev"])
        return stands, [leaf["_rev"] for leaf in leaves if leaf is not stands]

    def _give_way(self, doc_id: str, leaves: list[Doc], lost: set[str]) -> None:
        """Remove leaves of ours that lost and stayed, where by now there is one that stays rather than they."""
        others = [leaf["_rev"] for leaf in leaves if leaf["_rev"] not in lost]
        ours = [leaf["_rev"] for leaf in leaves if leaf["_rev"] in lost]
        self._database.remove((doc_id, rev) for rev in ours if forks.gives_way(rev, others))

    def _living(self, doc_id: str) -> list[Doc]:
        return [leaf for leaf in self._database.leaves([doc_id])[doc_id] if not leaf.get("_deleted")]

    def _write(self, doc_id: str, doc: Doc, lost: set[str]) -> Doc | None:
        """Write a document at the revision that it was read at and return it; None where another's write stands.

        What was written nevertheless, as a leaf that does not count, is added to ``lost``.
        """
        doc, is_new = {**doc, "_id": doc_id}, "_rev" not in doc
        row = self._database.put_row(doc_id, msgspec.json.encode(doc))
        if row.error == "conflict":
            return None
        if row.error:
            raise errors.Refused(f"document {doc_id} of {self._database.name} was refused: {row.reason}")
        doc["_rev"] = row.rev
        if row.sure:
            self._written.keep(doc)
            return doc
        try:
            stands_alone = self._database.counts(doc_id, row.rev)
        except errors.DatabaseAway:  # what cannot be looked at does not count: it is read again
            stands_alone = False
        if not stands_alone:
            lost.add(row.rev)
            return None
        if is_new:  # the copies that did not answer may have one
            self._database.remove([(doc_id, row.rev)])
            raise errors.NotNow(f"too few copies of {self._database.name} answer to tell whether {doc_id} is new")
        return doc
