"""What `_explain` says of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchlet.mango.candidates import index_candidates
from couchlet.mango.planner import Plan, covers, hold_contest, plan_of
from couchlet.mango.ranges import Range, indexable_fields
from couchlet.mango.selector import fields_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from couchlet.mango.definitions import IndexDefinition
    from couchlet.mango.options import FindOptions

_MAX = "<MAX>"


def explanation(database: str, definitions: Sequence[IndexDefinition], options: FindOptions) -> dict[str, Any]:
    """Return the plan of a query, if an index can answer it, and the indexes that were not chosen.

    Raises:
        CouchError: 400 if the query insists on an index that cannot be used.
    """
    contest = hold_contest(definitions, options, is_explained=True)
    plan = plan_of(contest, options.selector) if contest.ranked else None
    fields = fields_of(options.selector)
    indexable = indexable_fields(options.selector)
    answer = {
        "dbname": database,
        "index": plan.index.as_json() if plan else None,
        "partitioned": False,
        "selector": options.selector,
        "opts": _options(options),
        "limit": options.limit,
        "skip": options.skip,
        "fields": list(options.fields),
        "index_candidates": index_candidates(definitions, contest, options),
        "selector_hints": [
            {
                "type": "json",
                "indexable_fields": indexable,
                "unindexable_fields": sorted(fields - set(indexable)),
            }
        ],
    }
    if plan:
        answer |= {"mrargs": _view_arguments(plan, options), "covering": covers(plan.index, options)}
    return answer


def _options(options: FindOptions) -> dict[str, Any]:
    return {
        "use_index": list(options.use_index),
        "bookmark": options.bookmark or "nil",
        "limit": options.limit,
        "skip": options.skip,
        "sort": dict(options.sort),
        "fields": list(options.fields),
        "partition": options.partition,
        "r": options.quorum,
        "conflicts": options.conflicts,
        "stale": options.stale,
        "update": options.update,
        "stable": options.stable,
        "execution_stats": options.execution_stats,
        "allow_fallback": options.allow_fallback,
    }


def _view_arguments(plan: Plan, options: FindOptions) -> dict[str, Any]:
    start, end = _keys(plan, options)
    if options.descending:
        start, end = end, start
    return {
        # For a quorum the documents are read apart from the index.
        "include_docs": not covers(plan.index, options) and options.quorum == 1,
        "view_type": "map",
        "reduce": False,
        "partition": None,
        "start_key": start,
        "end_key": end,
        "direction": "rev" if options.descending else "fwd",
        "stable": options.stable or options.stale == "ok",
        "update": options.update and options.stale != "ok",
        "conflicts": options.conflicts or "undefined",
    }


def _keys(plan: Plan, options: FindOptions) -> tuple[Any, Any]:
    if plan.impossible:
        return None, None
    if plan.index.is_special:
        range_ = plan.ranges[0] if plan.ranges else Range()
        # A query that says nothing of `_id` starts at null, one that only bounds it above at the empty text.
        lowest = "" if "_id" in indexable_fields(options.selector) else None
        return (range_.low.value if range_.low else lowest), (range_.high.value if range_.high else _MAX)
    start: list[Any] = []
    for range_ in plan.ranges:
        if range_.low is None:
            break
        start.append(range_.low.value)
    end: list[Any] = []
    for range_ in plan.ranges:
        if range_.high is None:
            break
        end.append(range_.high.value)
    return start, [*end, _MAX]
