"""The options of a `_find` request."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from couchlet.errors import CouchError, unknown_error
from couchlet.mango.erlang_text import erlang_term
from couchlet.mango.selector import Selector, normalize
from couchlet.mango.sorting import parse_sort

DEFAULT_LIMIT: Final = 25


class FindOptions(msgspec.Struct, frozen=True):
    """A parsed request: what to find, from which index, in which order, and how much of it."""

    selector: Selector
    use_index: tuple[str, ...] = ()
    bookmark: str | None = None
    limit: int = DEFAULT_LIMIT
    skip: int = 0
    sort: tuple[tuple[str, str], ...] = ()
    fields: tuple[str, ...] = ()
    conflicts: bool = False
    update: bool = True
    stable: bool = False
    stale: str | bool = False
    execution_stats: bool = False
    allow_fallback: bool = True
    quorum: int = 1
    partition: str = ""

    @property
    def descending(self) -> bool:
        """Whether the order is from high to low."""
        return bool(self.sort) and self.sort[0][1] == "desc"


def parse_find(body: Any) -> FindOptions:  # noqa: ANN401 - any JSON value
    """Parse the body of a `_find` or `_explain`.

    Raises:
        CouchError: 400 with Mango's name for what is wrong.
    """
    if not isinstance(body, dict):
        raise CouchError(400, "bad_request", "Request body must be a JSON object")
    rest = dict(body)
    if "selector" not in rest:
        raise CouchError(400, "missing_required_key", "Missing required key: selector")
    options = FindOptions(
        selector=normalize(rest.pop("selector")),
        use_index=parse_index_name(rest.pop("use_index", [])),
        bookmark=_bookmark(rest.pop("bookmark", "")),
        limit=_count(rest.pop("limit", DEFAULT_LIMIT)),
        skip=_count(rest.pop("skip", 0)),
        sort=tuple(parse_sort(rest.pop("sort", []))),
        fields=_fields(rest.pop("fields", [])),
        quorum=_positive(rest.pop("r", 1)),
        conflicts=_boolean(rest.pop("conflicts", False)),
        update=_boolean(rest.pop("update", True)),
        stable=_boolean(rest.pop("stable", False)),
        execution_stats=_boolean(rest.pop("execution_stats", False)),
        allow_fallback=_boolean(rest.pop("allow_fallback", True)),
        stale=_stale(rest.pop("stale", False)),
        partition=_partition(rest.pop("partition", "")),
    )
    if rest:
        raise CouchError(400, "invalid_key", f"Invalid key {next(iter(rest))} for this request.")
    return options


def parse_bulk_delete(body: dict[str, Any]) -> list[str]:
    """Return the ids of the design documents in the body of an `_index/_bulk_delete`.

    Raises:
        CouchError: 400 with Mango's name for what is wrong.
    """
    if "docids" not in body:
        raise CouchError(400, "missing_required_key", "Missing required key: docids")
    ids = body["docids"]
    if not isinstance(ids, list):
        reason = f"Bulk Delete requires an array of non-null docids. Docids: {erlang_term(ids)}"
        raise CouchError(400, "invalid_bulk_docs", reason)
    if None in ids:
        raise unknown_error("badarg")
    for id_ in ids:
        if not isinstance(id_, str) or not parse_index_name(id_):
            raise _invalid_index_name(id_)
    _positive(body.get("w", 2))
    unknown = [name for name in body if name not in {"docids", "w"}]
    if unknown:
        raise CouchError(400, "invalid_key", f"Invalid key {unknown[0]} for this request.")
    return ids


def _boolean(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    if not isinstance(value, bool):
        raise CouchError(400, "invalid_boolean", f"Invalid boolean value: {erlang_term(value)}")
    return value


def _stale(value: Any) -> str | bool:  # noqa: ANN401 - any JSON value
    if value is False or value in ("ok", "false"):
        return "ok" if value == "ok" else False
    raise unknown_error(f"Unknown Error: mango_opts :: {{invalid_ok_or_false_value,{erlang_term(value)}}}")


def _partition(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if not isinstance(value, str):
        raise CouchError(400, "illegal_partition", "Partition must be a string")
    return value


def _count(value: Any) -> int:  # noqa: ANN401 - any JSON value
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CouchError(
            400,
            "invalid_non_neg_integer",
            f"{erlang_term(value)} is not an integer greater than or equal to zero",
        )
    return value


def _positive(value: Any) -> int:  # noqa: ANN401 - any JSON value
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise CouchError(400, "invalid_pos_integer", f"{erlang_term(value)} is not an integer greater than zero")
    return value


def _bookmark(value: Any) -> str | None:  # noqa: ANN401 - any JSON value
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise unknown_error(f"Unknown Error: mango_opts :: {{invalid_bookmark,{erlang_term(value)}}}")
    return value


def _fields(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, list):
        raise CouchError(400, "invalid_fields", f"Fields must be an array of strings, not: {erlang_term(value)}")
    for field in value:
        if not isinstance(field, str):
            raise CouchError(400, "invalid_field", f"Invalid JSON for field spec: {erlang_term(field)}")
    return tuple(value)


def parse_index_name(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - any JSON value
    """Return what an index is called: its design document, or that and its name; nothing for null.

    Raises:
        CouchError: 400 `invalid_index_name` for anything else.
    """
    parts = value.split("/") if isinstance(value, str) else value
    if parts is None:
        return ()
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
        if isinstance(value, str) and parts[0] == "_design" and len(parts) > 1:
            parts = parts[1:]
        if len(parts) <= 2:  # noqa: PLR2004 - design document and name
            return tuple(parts)
    raise _invalid_index_name(value)


def _invalid_index_name(value: Any) -> CouchError:  # noqa: ANN401 - any JSON value
    return CouchError(400, "invalid_index_name", f"Invalid index name: {erlang_term(value)}")
