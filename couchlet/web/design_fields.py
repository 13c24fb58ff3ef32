"""The members of design documents that have a meaning must have its type; the rules and sentences are CouchDB's."""

from __future__ import annotations

from typing import Any, Final

from couchlet.errors import CouchError

_TYPES: Final[dict[str, type]] = {"object": dict, "array": list, "string": str, "boolean": bool}
_ANY: Final = ""

_RULES: Final[tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = (
    (("filters",), ("object",)),
    (("filters", _ANY), ("string", "object")),
    (("language",), ("string",)),
    (("lists",), ("object",)),
    (("lists", _ANY), ("string", "object")),
    (("options",), ("object",)),
    (("options", "include_design"), ("boolean",)),
    (("options", "local_seq"), ("boolean",)),
    (("options", "partitioned"), ("boolean",)),
    (("rewrites",), ("array", "string")),
    (("shows",), ("object",)),
    (("shows", _ANY), ("string", "object")),
    (("updates",), ("object",)),
    (("updates", _ANY), ("string", "object")),
    (("validate_doc_update",), ("string",)),
    (("views",), ("object",)),
    (("views", "lib"), ("object",)),
    (("views", _ANY), ("object",)),
    (("views", _ANY, "reduce"), ("string",)),
)
"""Each path (with any name where it is empty) and the types that may stand there; a path that is absent is right."""


def validate_design_fields(body: dict[str, Any]) -> None:
    """Check the members of a design document.

    Raises:
        CouchError: 400 `invalid_design_doc`.
    """
    for path, types in _RULES:
        _check(body, path, types, ())
    if body.get("options", {}).get("partitioned"):
        raise _invalid("partitioned option cannot be true in a non-partitioned database.")
    map_type = "object" if body.get("language") == "query" else "string"
    _check(body, ("views", _ANY, "map"), (map_type,), ())
    for name, view in body.get("views", {}).items():
        if name != "lib" and "map" not in view:
            raise _invalid(f"View `{name}` must contain map function")


def _check(value: Any, path: tuple[str, ...], types: tuple[str, ...], above: tuple[str, ...]) -> None:  # noqa: ANN401
    name, rest = path[0], path[1:]
    for key in value if name == _ANY else [name] if name in value else []:
        inner = value[key]
        if rest:
            _check(inner, rest, types, (*above, key))
        elif not any(isinstance(inner, _TYPES[type_]) for type_ in types):
            raise _invalid(f"`{'.'.join((*above, key))}` field must have {' or '.join(types)} type")


def _invalid(reason: str) -> CouchError:
    return CouchError(400, "invalid_design_doc", reason)
