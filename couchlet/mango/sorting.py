"""Sort specifications, which index definitions use for their fields too."""

from __future__ import annotations

from typing import Any, Final

from couchlet.errors import CouchError
from couchlet.mango.erlang_text import erlang_shown

_DIRECTIONS: Final = frozenset(("asc", "desc"))


def parse_sort(value: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - any JSON value
    """Parse `["a", {"b": "desc"}]` into names and directions, all of one direction.

    Raises:
        CouchError: 400 with Mango's name for what is wrong.
    """
    if not isinstance(value, list):
        raise CouchError(400, "invalid_sort_json", f"Sort must be an array of sort specs, not: {erlang_shown(value)}")
    fields = [_parse_field(item) for item in value]
    if len({direction for _, direction in fields}) > 1:
        raise CouchError(
            400, "unsupported_mixed_sort", "Sorts currently only support a single direction for all fields."
        )
    return fields


def _parse_field(item: Any) -> tuple[str, str]:  # noqa: ANN401 - any JSON value
    if isinstance(item, str) and item:
        return item, "asc"
    if isinstance(item, dict) and len(item) == 1:
        name, direction = next(iter(item.items()))
        if isinstance(direction, str) and direction in _DIRECTIONS:
            return name, direction
    raise CouchError(400, "invalid_sort_field", f"Invalid sort field: {erlang_shown(item)}")
