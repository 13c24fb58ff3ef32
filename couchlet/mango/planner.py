"""Which index answers a query, by the rules of CouchDB's planner.

An index is usable if the selector demands all its fields and it has the wanted order. Of the usable ones that
wins which restricts most of the selector's fields, then which has fewest fields, then by name. A partial index is
used only if the query names it. The order of all documents by id is the last resort.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from couchlet.errors import CouchError
from couchlet.mango.definitions import ALL_DOCS, IndexDefinition
from couchlet.mango.ranges import EVERYTHING, Range, field_ranges, indexable_fields
from couchlet.mango.selector import Selector, fields_of, only

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from couchlet.mango.options import FindOptions

_NO_SORT_INDEX: Final = "No index exists for this sort, try indexing by the sort fields."
_NO_INDEX: Final = "No matching index found, create an index to optimize query time."
_SCAN: Final = (
    "The number of documents examined is high in proportion to the number of results returned. "
    "Consider adding a more specific index to improve this."
)
_SCAN_RATIO: Final = 10


class Plan(msgspec.Struct, frozen=True):
    """The index to use and the ranges of its first fields; `impossible` if no document can match."""

    index: IndexDefinition
    ranges: list[Range]
    impossible: bool


class Contest(msgspec.Struct, frozen=True):
    """How far the indexes came: those that were tried, of these the ones that can be used, and that the query allows.

    Partial ones are tried if the query names them. Of the last round, `ranked` has those of the favoured kind, the
    winner first; it is empty if no index can be used. `ranges` are what the selector leaves to each field.
    """

    tried: list[IndexDefinition]
    usable: list[IndexDefinition]
    allowed: list[IndexDefinition]
    ranked: list[IndexDefinition]
    ranges: dict[str, Range]

    def lacks_overlap(self, index: IndexDefinition) -> bool:
        """Whether the selector restricts fields that are not among an index's leading ones."""
        return len(_prefix(index, self.ranges)) < len(self.ranges)


def make_plan(definitions: Sequence[IndexDefinition], options: FindOptions) -> Plan:
    """Choose the index.

    Raises:
        CouchError: 400 `no_usable_index` or `invalid_index`.
    """
    contest = hold_contest(definitions, options)
    if not contest.ranked:
        raise CouchError(400, "no_usable_index", _NO_SORT_INDEX)
    return plan_of(contest, options.selector)


def hold_contest(
    definitions: Sequence[IndexDefinition], options: FindOptions, *, is_explained: bool = False
) -> Contest:
    """Find out which index suits a query best; to one that is only explained, that none does is nothing special.

    Raises:
        CouchError: 400 `invalid_index` if the query insists on one that cannot be used.
    """
    everything = [ALL_DOCS, *definitions]
    named = _named(everything, options.use_index)
    tried = [index for index in everything if not index.partial or index in named]
    usable = [index for index in tried if mismatch(index, options) is None]
    allowed = _named(usable, options.use_index)
    if not allowed:
        if (usable or is_explained) and not options.allow_fallback and (options.use_index or len(usable) <= 1):
            raise _not_suitable(options.use_index)
        allowed = usable
    views = [index for index in allowed if not index.is_special]
    ranges = field_ranges(options.selector)
    ranked = sorted(
        views or allowed,
        key=lambda index: (-len(_prefix(index, ranges)), len(index.columns), index.ddoc, index.name),
    )
    return Contest(tried, usable, allowed, ranked, ranges)


def _named(indexes: Sequence[IndexDefinition], use_index: tuple[str, ...]) -> list[IndexDefinition]:
    if not use_index:
        return []
    ddoc = use_index[0] if use_index[0].startswith("_design/") else f"_design/{use_index[0]}"
    return [index for index in indexes if index.ddoc == ddoc and use_index[1:] in {(), (index.name,)}]


def _not_suitable(use_index: tuple[str, ...]) -> CouchError:
    if not use_index:
        return CouchError(400, "invalid_index", "You must specify an index with the `use_index` parameter.")
    return CouchError(
        400,
        "invalid_index",
        f"{_title(use_index)} specified by `use_index` could not be found or it is not suitable.",
    )


def _title(use_index: tuple[str, ...]) -> str:
    return f"_design/{', '.join((use_index[0].removeprefix('_design/'), *use_index[1:]))}"


Mismatch = Literal["field_mismatch", "sort_order_mismatch"]


def mismatch(index: IndexDefinition, options: FindOptions) -> Mismatch | None:
    """Return why an index cannot answer the query in the order wanted; None if it can."""
    sort = [name for name, _ in options.sort]
    if index.is_special:
        if not sort:
            return None
        has_fields, sorts = "_id" in indexable_fields(options.selector), sort == ["_id"]
    else:
        needed = set(index.columns) - set(sort) - {"_id", "_rev"}
        has_fields = not missing_fields(options.selector, needed)
        sorts = has_fields and _sorts(index.columns, sort, options.selector)
    if not has_fields:
        return "field_mismatch"
    return None if sorts else "sort_order_mismatch"


def missing_fields(selector: Selector, needed: set[str]) -> set[str]:
    """Those of the needed fields that a matching document might lack."""
    if not selector or not needed:
        return needed
    name, argument = only(selector)
    if name == "$and":
        for item in argument:
            needed = missing_fields(item, needed)
        return needed
    if name == "$or":
        # Of no alternatives there is none that lacks a field: CouchDB uses any index then.
        return set().union(*(missing_fields(item, needed) for item in argument))
    if argument == {"$exists": False}:
        return needed
    return needed - {name}


def _sorts(columns: list[str], sort: list[str], selector: Selector) -> bool:
    """Whether the index has the wanted order; leading fields that are constant do not matter."""
    if not sort:
        return True
    for place, column in enumerate(columns):
        if column == sort[0]:
            return columns[place : place + len(sort)] == sort
        if not _is_constant(selector, column):
            return False
    return False


def _is_constant(selector: Selector, field: str) -> bool:
    if not selector:
        return False
    name, argument = only(selector)
    if name == "$and":
        return any(_is_constant(item, field) for item in argument)
    return name == field and only(argument)[0] == "$eq"


def plan_of(contest: Contest, selector: Selector) -> Plan:
    """Return how a selector is answered through the index that won."""
    winner = contest.ranked[0]
    ranges = {"_id": EVERYTHING} | contest.ranges if winner.is_special else contest.ranges
    used = _prefix(winner, ranges)
    pointless = bool(selector) and only(selector) in (("$and", []), ("$or", []))
    return Plan(winner, used, pointless or (len(used) == 1 and used[0].empty))


def _prefix(index: IndexDefinition, ranges: dict[str, Range]) -> list[Range]:
    """Return the ranges of the index's leading fields that the selector restricts."""
    used = []
    for column in index.columns:
        if column not in ranges:
            break
        used.append(ranges[column])
    return used


def holds_all(index: IndexDefinition, fields: Iterable[str]) -> bool:
    """Whether an index has all of these fields; none named are all there are."""
    wanted = set(fields)
    return bool(wanted) and wanted <= {"_id", *index.columns}


def covers(index: IndexDefinition, options: FindOptions) -> bool:
    """Whether an index has all that a query looks at, so that CouchDB reads no documents for it."""
    if index.is_special or not options.fields:
        return False
    return holds_all(index, {*options.fields, *fields_of(options.selector)})


def warning(plan: Plan, options: FindOptions, examined: int, returned: int) -> str | None:
    """Return what CouchDB warns of: an index that was not used, none at all, or many documents read for few results."""
    lines = []
    if options.use_index and not _named([plan.index], options.use_index):
        title = _title(options.use_index)
        if len(options.use_index) > 1:
            lines.append(f"{title} was not used because it is not a valid index for this query.")
        else:
            lines.append(f"{title} was not used because it does not contain a valid index for this query.")
    if plan.index.is_special:
        lines.append(_NO_INDEX)
    if is_scan(examined, returned):
        lines.append(_SCAN)
    return "\n".join(lines) or None


def is_scan(examined: int, returned: int) -> bool:
    """Whether CouchDB warns of how many documents were read for so many results."""
    return examined / max(returned, 1) > _SCAN_RATIO
