"""The range of values that a selector leaves to a field, by AND-ing its comparisons.

A range decides which part of an index is read; the selector itself is still tried on what is read, so a range may
be too wide, never too narrow.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from couchlet.mango.selector import Selector, only
from couchlet.order.json_order import ABOVE_ALL, compare_json, json_key

_INDEXABLE: Final = frozenset(("$lt", "$lte", "$eq", "$gt", "$gte", "$beginsWith", "$exists"))
HIGHEST_CHARACTER: Final = "\uffff"
"""Sorts after every other character by the collation."""


class Bound(NamedTuple):
    """One end of a range."""

    value: Any
    inclusive: bool


class Range(NamedTuple):
    """The values between two bounds; a bound that is None is open. `empty` means that no value can match."""

    low: Bound | None = None
    high: Bound | None = None
    empty: bool = False


EVERYTHING: Final = Range()
NOTHING: Final = Range(empty=True)


def indexable_fields(selector: Selector) -> list[str]:
    """Return the fields that an index can restrict, sorted: those under `$and` with a comparison."""
    return sorted(set(_indexable(selector)))


def _indexable(selector: Selector) -> list[str]:
    if not selector:
        return []
    name, argument = only(selector)
    if name == "$and":
        return [field for item in argument for field in _indexable(item)]
    if name.startswith("$"):
        return []
    return [name] if only(argument)[0] in _INDEXABLE else []


def field_ranges(selector: Selector) -> dict[str, Range]:
    """Return the range of each indexable field; if one is empty, that one alone, because nothing else matters then."""
    ranges: dict[str, Range] = {}
    for field in indexable_fields(selector):
        found = range_of(selector, field)
        if found.empty:
            return {field: found}
        ranges[field] = found
    return ranges


def range_of(selector: Selector, field: str, start: Range = EVERYTHING) -> Range:
    """Return the range that a selector leaves to a field."""
    name, argument = only(selector)
    if name == "$and":
        for item in argument:
            start = range_of(item, field, start)
        return start
    if name != field or start.empty:
        return start
    operator, value = only(argument)
    return _narrow(start, operator, value)


def _narrow(range_: Range, operator: str, value: Any) -> Range:  # noqa: ANN401 - any JSON value
    if operator == "$beginsWith":
        return _narrow(_narrow(range_, "$gte", value), "$lte", value + HIGHEST_CHARACTER)
    low, high = range_.low, range_.high
    if operator in {"$gt", "$gte", "$eq"}:
        low = _tighter(low, Bound(value, operator != "$gt"), 1)
    if operator in {"$lt", "$lte", "$eq"}:
        high = _tighter(high, Bound(value, operator != "$lt"), -1)
    if low and high:
        order = compare_json(low.value, high.value)
        if order > 0 or (order == 0 and not (low.inclusive and high.inclusive)):
            return NOTHING
    return Range(low, high)


def _tighter(old: Bound | None, new: Bound, direction: int) -> Bound:
    """Return the bound that leaves less: the higher one for the low end (1), the lower one for the high end (-1)."""
    if old is None:
        return new
    order = compare_json(new.value, old.value) * direction
    if order:
        return new if order > 0 else old
    return new if not new.inclusive else old


def seek_keys(ranges: list[Range]) -> tuple[bytes, bytes]:
    """Return the part of an index to read: keys from the first bytes on, and below the second."""
    start = b""
    for range_ in ranges:
        if range_.low is None:
            break
        start += json_key(range_.low.value)
    end = b""
    for range_ in ranges:
        if range_.high is None:
            break
        end += json_key(range_.high.value)
    return start, end + ABOVE_ALL
