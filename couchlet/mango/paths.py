"""Paths to a field inside a document: `a.b.0`, with a backslash before a point that belongs to a name."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

from couchlet.errors import CouchError

Path = tuple[str, ...]


class _Missing:
    """What a path leads to when it leads nowhere."""


NOT_FOUND: Final = _Missing()
"""The last object on the path has no such member."""

BAD_PATH: Final = _Missing()
"""The path goes through a value that has no members, or beyond the end of an array."""


@lru_cache(maxsize=4096)
def parse_path(field: str) -> Path:
    """Split a field's name.

    Raises:
        CouchError: 400 `invalid_field_name` if a part is empty.
    """
    if "\\" in field:
        parts = [part.replace("\\", "") for part in re.split(r"(?<!\\)\.", field)]
        whole = re.split(r"(?<!\\)\.", field)
    else:
        parts = whole = field.split(".")
    if "" in whole:
        raise CouchError(400, "invalid_field_name", f"Invalid field name: {field}")
    return tuple(parts)


def get_path(value: Any, path: Path) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value at a path, or NOT_FOUND or BAD_PATH."""
    for name in path:
        if isinstance(value, dict):
            if name not in value:
                return NOT_FOUND
            value = value[name]
        elif isinstance(value, list):
            place = _place(name, value)
            if place is None:
                return BAD_PATH
            value = value[place]
        else:
            return BAD_PATH
    return value


def _place(name: str, values: list[Any]) -> int | None:
    digits = name.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:  # noqa: PLR2004 - no array is as long
        return None
    place = int(digits)
    return place if place < len(values) else None


def project(document: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """Return the document with only these fields, nested as they were; fields it lacks are left out."""
    result: dict[str, Any] = {}
    for field in fields:
        path = parse_path(field)
        value = get_path(document, path)
        if value is not NOT_FOUND and value is not BAD_PATH:
            _set_path(result, path, value)
    return result


def _set_path(target: dict[str, Any], path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    for name in path[:-1]:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            return
        # A copy, because the inner object may be the document's own, put here by another field.
        target[name] = target = dict(inner)
    target[path[-1]] = value
