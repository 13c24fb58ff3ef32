"""Forks of a document's history, where a database has several copies of each shard.

There two writers who meet can both be told that their write took place: one with 201, when most copies took it, the
other with 202, when another's was there already; and that one's leaf may even be the one that is shown. (Measured on
three nodes in one race of ten; CouchDB's ``fabric_doc_update``.) So whoever is told 202 looks at all leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    Doc = dict[str, Any]


def generation(rev: str) -> int:
    """Return how many revisions led to one, itself included."""
    return int(rev.partition("-")[0])


def rivals(rev: str, leaves: Iterable[Doc]) -> list[str]:
    """Return the living leaves that may stand in the place of ``rev``: as long or longer, and not grown from it.

    The leaves have ``_revisions``, as CouchDB adds them for ``revs=true``.
    """
    return [
        leaf["_rev"]
        for leaf in leaves
        if not leaf.get("_deleted") and generation(leaf["_rev"]) >= generation(rev) and not grew_from(leaf, rev)
    ]


def apart(rev: str, leaves: Collection[Doc]) -> list[Doc] | None:
    """Return the living leaves of other branches: neither grown from ``rev``, nor what it grew from itself.

    Copies that lag show as a leaf what has long been written to. The leaves have ``_revisions``; None where ``rev`` is
    in no history of them, so that nobody knows what it grew from.
    """
    own = next((leaf for leaf in leaves if grew_from(leaf, rev)), None)
    if own is None:
        return None
    return [
        leaf for leaf in leaves if not (leaf.get("_deleted") or grew_from(leaf, rev) or grew_from(own, leaf["_rev"]))
    ]


def shown(leaves: Iterable[Doc]) -> Doc | None:
    """Return the leaf that CouchDB shows for a document: of the living the longest, and of those the greatest.

    None where all are deleted, or there is none (CouchDB's documentation, ``replication/conflicts``).
    """
    living = [leaf for leaf in leaves if not leaf.get("_deleted")]
    return max(living, key=lambda leaf: (generation(leaf["_rev"]), leaf["_rev"]), default=None)


def longest(leaves: Iterable[Doc], *, but: Collection[str] = ()) -> list[Doc]:
    """Return the longest of living leaves, the one that CouchDB shows first; ``but`` some, where others are as long."""
    living = list(leaves)
    length = max((generation(leaf["_rev"]) for leaf in living), default=0)
    chosen = [leaf for leaf in living if generation(leaf["_rev"]) == length]
    return sorted([leaf for leaf in chosen if leaf["_rev"] not in but] or chosen, key=_rev, reverse=True)


def gives_way(rev: str, others: Iterable[str]) -> bool:
    """Tell whether a leaf that lost has to go: of leaves of which none may count, the longest and then least stays.

    Were all who lost to go, there might be none left: of three writers each may have found one copy.
    """
    return any((-generation(other), other) < (-generation(rev), rev) for other in others)


def grew_from(leaf: Doc, rev: str) -> bool:
    """Tell whether a leaf, with its ``_revisions``, is a revision or one that was made of it."""
    ids = leaf["_revisions"]["ids"]
    at = leaf["_revisions"]["start"] - generation(rev)
    return 0 <= at < len(ids) and bool(ids[at] == rev.partition("-")[2])


def _rev(leaf: Doc) -> str:
    return str(leaf["_rev"])
