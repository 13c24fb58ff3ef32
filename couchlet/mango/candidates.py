"""The indexes that a query does not use, each with the reason, as `_explain` lists them.

They are ranked in groups, the nearer an index came to being used the better: those of the winner's kind by their place
behind it, then those of a kind that is not favoured, those that the query itself left out, those that do not suit it,
and partial ones. A group that is empty takes no rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchlet.mango.definitions import ALL_DOCS, IndexDefinition
from couchlet.mango.planner import Contest, holds_all, mismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from couchlet.mango.options import FindOptions


def index_candidates(
    definitions: Sequence[IndexDefinition], contest: Contest, options: FindOptions
) -> list[dict[str, Any]]:
    """Return all indexes but the winner, from the last to the first by their names, with what became of each."""
    everything = sorted((ALL_DOCS, *definitions), key=lambda index: (index.ddoc, index.name), reverse=True)
    ranks = _ranks(everything, contest)
    return [
        {
            "index": index.as_json(),
            "analysis": {
                "usable": index in contest.usable and not index.partial,
                "reasons": [{"name": _reason(index, contest, options)}],
                "ranking": ranks[index.ddoc, index.name],
                "covering": None if index.is_special else holds_all(index, options.fields),
            },
        }
        for index in everything
        if index not in contest.ranked[:1]
    ]


def _ranks(everything: Sequence[IndexDefinition], contest: Contest) -> dict[tuple[str, str], int]:
    """Return the rank of each index, by its design document and name.

    One that is of two groups, because it is partial and the query names it, has the sum of both, as in CouchDB.
    """
    groups = (
        [index for index in contest.allowed if index not in contest.ranked],
        [index for index in contest.usable if index not in contest.allowed],
        [index for index in contest.tried if index not in contest.usable],
        [index for index in everything if index.partial],
    )
    ranks = {(index.ddoc, index.name): place for place, index in enumerate(contest.ranked)}
    rank = max(1, len(contest.ranked))
    for group in groups:
        for index in group:
            key = index.ddoc, index.name
            ranks[key] = ranks.get(key, 0) + rank
        rank += bool(group)
    return ranks


def _reason(index: IndexDefinition, contest: Contest, options: FindOptions) -> str:
    if index.partial:
        return "is_partial"
    unsuitable = mismatch(index, options)
    if unsuitable:
        return unsuitable
    if index not in contest.allowed:
        return "excluded_by_user"
    if index not in contest.ranked:
        return "unfavored_type"
    if contest.lacks_overlap(index):
        return "less_overlap"
    is_wider = len(index.columns) > len(contest.ranked[0].columns)
    return "too_many_fields" if is_wider else "alphabetically_comes_after"
