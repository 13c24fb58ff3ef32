"""Purging what is over: settled messages past their retention, so that the queue's file stays small.

A deleted document would stay for ever as a tombstone, so messages are purged, which needs a server administrator and
is not replicated. A message is purged when every leaf of it is over, when its cause is (or children would be sent
twice by a cause that runs again), when its retention has passed, when every replication out of this database has passed
it, and while every node that may have a copy of it is there. Dead messages wait for an operator, however long.

After a purge the indexes are asked once, because CouchDB keeps what was purged until each index has read it, and then
everything is compacted (CouchDB's documentation, "Clustered Purge" and "Compaction").
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared import dbcon, errors
from shared.bus import envelope, queue, readable
from shared.bus.queue import INDEXES, READY_INDEX
from shared.bus.retry import BackOff
from shared.bus.trees import generation
from shared.clock import stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.dbcon import Database, Doc

ROUND: Final = "control:janitor"
"""What one round leaves for the next, which may be another process's, is kept in this document."""

_OVER: Final = (envelope.CONSUMED, envelope.EXPIRED)
_LEAST_RETENTION_S: Final = 3600.0
_LEAST_LEASES: Final = 20
_PAGE: Final = 100
_CATCHES_UP_S: Final = 600.0
"""So long a node that was away has to be back before anything is purged."""

_NODE_AWAY: Final = "a node of the cluster is away, or is not known to be back for ten minutes"
_UNSEEN: Final = "no round has seen the cluster for so long: the first one ten minutes from now can purge"
_UNREADABLE: Final = "CouchDB cannot read it"
_COMPACTING: Final = BackOff(first_s=0.1, longest_s=5.0)


@dataclass(frozen=True)
class Tidied:
    """What a round of the janitor did: messages purged and kept, the file's and the live documents' size (bytes)."""

    purged: int
    kept: Mapping[str, int]
    file_bytes: int
    live_bytes: int


def retention_s(wanted_s: float, lease_s: float) -> float:
    """Return how long settled messages are kept: what is wanted, and never under an hour or twenty leases.

    For so long a process that slept may still come back and believe that it holds one.
    """
    return max(wanted_s, _LEAST_RETENTION_S, _LEAST_LEASES * lease_s)


class Janitor:
    """Purges one queue's database. Needs the credentials of a server administrator."""

    def __init__(self, database: Database, *, kept_s: float, stopping: threading.Event | None = None) -> None:
        """Take the database, and for how long (seconds) settled messages are kept; ``stopping`` ends a round early."""
        self._database = database
        self._kept_s = kept_s
        self._stopping = stopping or threading.Event()

    def tidy(self) -> Tidied:
        """Purge what may be purged, then give the space back; raises DatabaseError."""
        kept: dict[str, int] = {}
        purged = 0
        outgoing, why_not = _Outgoing(self._database), self._why_not_now()
        for page in self.over():
            doomed, reasons = ({}, [why_not] * len(page)) if why_not else self._readable(page, outgoing)
            for reason in reasons:
                kept[reason] = kept.get(reason, 0) + 1
            self._database.purge(doomed)
            purged += len(doomed)
            if self._stopping.is_set():
                break
        if purged and not self._stopping.is_set():
            self._give_back_space()
        sizes = self._database.info()["sizes"]
        return Tidied(purged, kept, sizes["file"], sizes["active"])

    def _why_not_now(self) -> str:
        """Return nothing if every node that may have a copy is there, and was for a while, so that it has caught up.

        One that was away may have an older revision, which a purge of the newest does not touch: what was settled long
        ago would be ready again. Where no round has looked for as long as messages are kept, one may have been away
        since before what is over now was settled, and nobody knows.
        """
        if not self._database.may_fork():
            return ""
        nodes = self._database.server.call("GET", "/_membership")
        is_whole = set(nodes["cluster_nodes"]) <= set(nodes["all_nodes"])
        before = self._database.get(ROUND) or {}
        now = self._database.server.clock.now()
        horizon = stamp(now - timedelta(seconds=self._kept_s))
        since, unseen = before.get("wholeSince"), str(before.get("lookedAt") or "") < horizon
        if not is_whole or unseen or not isinstance(since, str):
            since = stamp(now) if is_whole else None
        kept = {"wholeSince": since, "lookedAt": stamp(now)}
        self._database.mutate(ROUND, lambda doc: {**(doc or {"schema": 1}), **kept})
        if since is not None and since <= stamp(now - timedelta(seconds=_CATCHES_UP_S)):
            return ""
        return _UNSEEN if unseen and is_whole else _NODE_AWAY

    def over(self) -> Iterator[list[Doc]]:
        """Yield, page by page, the settled messages whose retention is over, the oldest first."""
        horizon = stamp(self._database.server.clock.now() - timedelta(seconds=self._kept_s))
        for state in _OVER:
            yield from queue.ended(self._database, state, until=horizon, fields=["_id", "doneAt", "cause"], limit=_PAGE)

    def _readable(self, page: list[Doc], outgoing: _Outgoing) -> tuple[dict[str, list[str]], list[str]]:
        """As :meth:`_doomed`, where one that CouchDB cannot read, or the cause of which it cannot, is kept."""
        by_id = {doc["_id"]: doc for doc in page}

        def read(ids: Sequence[str], timeout_s: float) -> tuple[dict[str, list[str]], list[str]]:
            return self._doomed([by_id[each] for each in ids], outgoing, timeout_s)

        parts, unreadable = readable.each(self._database, read, list(by_id))
        doomed = {doc_id: leaves for part, _ in parts for doc_id, leaves in part.items()}
        return doomed, [*(each for _, reasons in parts for each in reasons), *([_UNREADABLE] * len(unreadable))]

    def _doomed(self, page: list[Doc], outgoing: _Outgoing, timeout_s: float) -> tuple[dict[str, list[str]], list[str]]:
        """Return the leaves of each message to purge, and why each of the others is kept."""
        causes = {doc["_id"]: str(doc.get("cause") or "") for doc in page}
        found = self._database.fetch(filter(None, set(causes.values())), timeout_s=timeout_s)
        busy = {doc["_id"] for doc in found if doc and doc.get("state") not in _OVER}
        trees = self._database.leaves((doc["_id"] for doc in page), timeout_s=timeout_s)
        behind = outgoing.behind(list(trees))
        doomed: dict[str, list[str]] = {}
        reasons = []
        for doc in page:
            leaves = trees[doc["_id"]]
            if causes[doc["_id"]] in busy:
                reasons.append("its cause is not over")
            elif doc["_id"] in behind:
                reasons.append("a replication has not passed it")
            elif not all(leaf.get("_deleted") or self._is_over(leaf, leaves) for leaf in leaves):
                reasons.append("it is not over in every leaf")
            elif leaves:
                doomed[doc["_id"]] = [leaf["_rev"] for leaf in leaves]
        return doomed, reasons

    def _is_over(self, leaf: Doc, leaves: list[Doc]) -> bool:
        """Tell whether a leaf is settled, or is a lost claim of long ago beside a settled leaf of more revisions."""
        if leaf.get("state") in _OVER:
            return True
        settled = max((generation(each) for each in leaves if each.get("state") in _OVER), default=0)
        horizon = stamp(self._database.server.clock.now() - timedelta(seconds=self._kept_s))
        touched = str(leaf.get("due") or leaf.get("creationTimestamp") or "")
        return str(leaf.get("state")) in envelope.OPEN_STATES and generation(leaf) < settled and touched < horizon

    def _give_back_space(self) -> None:
        fields = INDEXES[READY_INDEX][0]
        self._database.find({fields[0]: {"$gt": None}}, index=READY_INDEX, sort=fields, limit=1, fields=["_id"])
        for path in (["_compact"], ["_compact", dbcon.INDEXES]):
            self._database.server.call("POST", self._database.path(*path), content=b"{}")
        polls = 0
        while self._database.info().get("compact_running") and not self._stopping.wait(_COMPACTING.wait_s(polls)):
            polls += 1  # CouchDB has no other way to tell that it has ended


class _Outgoing:
    """The replications out of a database that its own server runs, and what they have not carried over yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reached = [_reached(each) for each in self._replications()]

    def _replications(self) -> list[Doc]:
        try:
            docs: list[Doc] = self._database.server.call("GET", "/_scheduler/docs", params={"limit": "1000"})["docs"]
        except (errors.Refused, errors.NotFound, errors.DatabaseMissing):
            return []  # a server that does not replicate
        over = {"completed", "failed"}
        return [each for each in docs if _names(each.get("source"), self._database.name) and each["state"] not in over]

    def behind(self, ids: list[str]) -> set[str]:
        """Return those of some documents whose last change a replication has not passed, or may not have."""
        missing: set[str] = set()
        for since in self._reached:
            if since is None:
                return set(ids)
            rows = self._changes(since, ids)
            missing |= {row["id"] for row in rows}
        return missing

    def _changes(self, since: str, ids: list[str]) -> list[Doc]:
        answer = self._database.server.call(
            "POST",
            self._database.path("_changes"),
            content=msgspec.json.encode({"doc_ids": ids}),
            params={"filter": "_doc_ids", "since": since},
        )
        rows: list[Doc] = answer["results"]
        return rows


def _reached(replication: Doc) -> str | None:
    info: Any = replication.get("info")
    reached = info.get("checkpointed_source_seq") if isinstance(info, dict) else None
    return str(reached) if reached else None


def _names(source: object, database: str) -> bool:
    return isinstance(source, str) and source.rstrip("/").rpartition("/")[2] == database


def sentence(tidied: Tidied) -> str:
    """Return what a round did, for people."""
    kept = "".join(f", {count} kept because {reason}" for reason, count in sorted(tidied.kept.items()))
    sizes = f"the queue's file has {tidied.file_bytes} bytes, its documents {tidied.live_bytes}"
    return f"{tidied.purged} messages purged{kept}; {sizes}"
