"""The parameters of `_all_docs` and its like: which keys, in which order, how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from couchlet import json_text
from couchlet.errors import bad_request, query_parse_error, unknown_error
from couchlet.mango.erlang_text import erlang_shown, erlang_string
from couchlet.order.json_order import compare_raw
from couchlet.web.numbers import integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from couchlet.web.call import Parameters

_JSON: Final = frozenset(("key", "keys", "startkey", "start_key", "endkey", "end_key"))
_BOOLEAN: Final = frozenset(
    (
        "descending",
        "inclusive_end",
        "include_docs",
        "update_seq",
        "conflicts",
        "attachments",
        "att_encoding_info",
        "reduce",
        "group",
        "sorted",
    )
)
_INTEGER: Final = frozenset(("limit", "skip", "group_level"))
_CHOICES: Final = {
    "stale": ("ok", "update_after"),
    "stable": ("true", "false", True, False),
    "update": ("true", "false", "lazy", True, False),
}
"""What tells how fresh an index has to be; here it always is, so that the value makes no difference."""

_ALIASES: Final = {
    "start_key": "startkey",
    "end_key": "endkey",
    "start_key_doc_id": "startkey_docid",
    "end_key_doc_id": "endkey_docid",
}
_MOST_ROWS: Final = 2**59 - 1
"""The largest number that Erlang keeps in a machine word."""

ABSENT: Final = object()
"""A bound that was not given, which differs from one that is null."""


class Listing(msgspec.Struct):
    """Parsed parameters; `keys` asks for these in this order, a bound that is ABSENT is open."""

    keys: list[Any] | None = None
    startkey: Any = ABSENT
    endkey: Any = ABSENT
    inclusive_end: bool = True
    descending: bool = False
    limit: int | None = None
    skip: int = 0
    include_docs: bool = False
    update_seq: bool = False
    conflicts: bool = False
    attachments: bool = False
    att_encoding_info: bool = False
    include_system: bool = False

    def contains(self, key: str) -> bool:
        """Whether a key is inside the bounds."""
        direction = -1 if self.descending else 1
        if self.startkey is not ABSENT and compare_raw(key, self.startkey) * direction < 0:
            return False
        if self.endkey is ABSENT:
            return True
        order = compare_raw(key, self.endkey) * direction
        return order < 0 or (order == 0 and self.inclusive_end)


Values = dict[str, Any]
"""Parameters by their first names, each with its parsed value."""


def parse_listing(parameters: Parameters, body: Mapping[str, Any] | None = None) -> Listing:
    """Parse the query string and, for a POST, the body: of what both say the query string counts.

    Raises:
        CouchError: 400 with CouchDB's sentence for what is wrong.
    """
    inside = _parsed_body(body or {})
    outside = _parsed_query(parameters)
    values: Values = {}
    for name, value in outside if body is None else inside:
        if name == "keys":
            # Here one key is still a list of keys; the bounds that _put makes of it as well are the same.
            if body is not None and not isinstance(value, list):
                raise bad_request("`keys` body member must be an array.")
            values["keys"] = _checked_keys(value)
            break
    for name, value in (*inside, *outside):
        _put(values, name, value)
    return _listing(values)


def parse_one_of_many(parameters: Parameters, body: Mapping[str, Any]) -> Listing:
    """Parse one of several queries in a body: what it says counts more than the query string, but for the keys there.

    Raises:
        CouchError: 400 with CouchDB's sentence for what is wrong.
    """
    values: Values = {}
    for name, value in _parsed_query(parameters):
        _put(values, name, value)
    values.pop("keys", None)
    for name, value in _parsed_body(body):
        if name == "keys" and not isinstance(value, list):
            raise query_parse_error("`keys` must be an array of strings.")
        _put(values, name, value)
    return _listing(values)


def _put(values: Values, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    if name == "key":
        values["startkey"] = values["endkey"] = value
    elif name == "keys" and len(_checked_keys(value)) == 1:
        values["startkey"] = values["endkey"] = value[0]
    else:
        values[_ALIASES.get(name, name)] = value


def _checked_keys(value: Any) -> list[Any]:  # noqa: ANN401 - any JSON value
    if not isinstance(value, list):
        raise bad_request("`keys` parameter must be an array.")
    return value


def _listing(values: Values) -> Listing:
    _check_combination(values)
    for bound in ("startkey", "endkey"):
        # A document's id is the key here; so CouchDB lets it stand for one that is not given.
        values.setdefault(bound, values.get(f"{bound}_docid", ABSENT))
    # CouchDB does not check this one.
    values["skip"] = min(values.get("skip", 0), _MOST_ROWS)
    values["include_system"] = values.get("include_system") == "true"
    return Listing(**{name: value for name, value in values.items() if name in Listing.__struct_fields__})


def _check_combination(values: Values) -> None:
    """Refuse what contradicts itself, or what only views with a reduce function or partitions have."""
    if values.get("reduce"):
        raise query_parse_error("Reduce is invalid for map-only views.")
    if values.get("keys"):
        bounds = [values.get("startkey", ABSENT), values.get("endkey", ABSENT)]
        # Of one key `_put` made both bounds.
        if bounds not in ([ABSENT, ABSENT], values["keys"] * 2):
            raise query_parse_error("`keys` is incompatible with `key`, `start_key` and `end_key`")
    if values.get("group") or values.get("group_level"):
        raise query_parse_error("Invalid use of grouping on a map view.")
    if "partition" in values:
        raise query_parse_error("`partition` parameter is not supported on this db")
    if values.get("limit", 0) > _MOST_ROWS:
        raise query_parse_error(f"Limit is too large, must not exceed {_MOST_ROWS}")


def _parsed_query(parameters: Parameters) -> list[tuple[str, Any]]:
    return [(name, _parse_text(name, text)) for name, text in parameters]


def _parsed_body(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, _parse_value(name, value)) for name, value in body.items()]


def _parse_text(name: str, text: str) -> Any:  # noqa: ANN401 - depends on the parameter
    if name in _JSON:
        return json_text.decode(text)
    if name in _BOOLEAN:
        return _parse_boolean(text)
    if name in _INTEGER:
        try:
            number = integer(text)
        except ValueError as error:
            raise query_parse_error(f"Invalid value for integer: {erlang_string(text)}") from error
        if number < 0:
            raise query_parse_error(f"Invalid value for positive integer: {erlang_string(text)}")
        return number
    _check_choice(name, text)
    return json_text.readable(text)


def _parse_boolean(text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise query_parse_error(f"Invalid boolean parameter: {erlang_string(text)}")
    return text.lower() == "true"


def _parse_value(name: str, value: Any) -> Any:  # noqa: ANN401 - any JSON value
    _check_choice(name, value)
    if name in _BOOLEAN and not isinstance(value, bool):
        if not isinstance(value, str):
            if value is None or isinstance(value, dict):
                raise unknown_error("function_clause")
            raise query_parse_error(f"Invalid boolean parameter: {erlang_shown(value)}")
        return _parse_boolean(value)
    if name in _INTEGER and (not isinstance(value, int) or isinstance(value, bool)):
        raise query_parse_error(f"Invalid value for integer: {erlang_shown(value)}")
    if name in _INTEGER and value < 0:
        raise query_parse_error(f"Invalid value for positive integer: {value}")
    return value


def _check_choice(name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    if name in _CHOICES and value not in _CHOICES[name]:
        raise query_parse_error(f"Invalid value for `{name}`.")
