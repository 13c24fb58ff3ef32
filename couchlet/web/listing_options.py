"""The parameters of `_all_docs` and its like: which keys, in which order, how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from couchlet import json_text
from couchlet.errors import bad_request, query_parse_error
from couchlet.order.json_order import compare_raw

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    def contains(self, key: str) -> bool:
        """Whether a key is inside the bounds."""
        direction = -1 if self.descending else 1
        if self.startkey is not ABSENT and compare_raw(key, self.startkey) * direction < 0:
            return False
        if self.endkey is ABSENT:
            return True
        order = compare_raw(key, self.endkey) * direction
        return order < 0 or (order == 0 and self.inclusive_end)


def parse_listing(query: Mapping[str, str], body: Mapping[str, Any]) -> Listing:
    """Parse the query string and, for a POST, the body, which counts more.

    Raises:
        CouchError: 400 with CouchDB's sentence for what is wrong.
    """
    values: dict[str, Any] = {}
    for name, text in query.items():
        values[_ALIASES.get(name, name)] = _parse_text(name, text)
    for name, value in body.items():
        _check_value(name, value)
        values[_ALIASES.get(name, name)] = value
    if "key" in values:
        values["startkey"] = values["endkey"] = values.pop("key")
    keys = values.get("keys")
    if keys is not None and not isinstance(keys, list):
        raise bad_request("`keys` parameter must be an array.")
    _check_combination(values)
    known = {name: value for name, value in values.items() if name in Listing.__struct_fields__}
    if known.get("limit") is None:
        known.pop("limit", None)
    return Listing(**known)


def _check_combination(values: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself, or what only views with a reduce function have."""
    if values.get("keys") is not None and ("startkey" in values or "endkey" in values):
        raise query_parse_error("`keys` is incompatible with `key`, `start_key` and `end_key`")
    if values.get("reduce"):
        raise query_parse_error("`reduce` is invalid for map-only views.")
    if values.get("group") or values.get("group_level"):
        raise query_parse_error("Invalid use of grouping on a map view.")


def _parse_text(name: str, text: str) -> Any:  # noqa: ANN401 - depends on the parameter
    if name in _JSON:
        return json_text.decode(text)
    if name in _BOOLEAN:
        if text.lower() not in {"true", "false"}:
            raise query_parse_error(f'Invalid boolean parameter: "{text}"')
        return text.lower() == "true"
    if name in _INTEGER:
        try:
            number = int(text)
        except ValueError as error:
            raise query_parse_error(f'Invalid value for integer: "{text}"') from error
        if number < 0:
            raise query_parse_error(f'Invalid value for positive integer: "{text}"')
        return number
    _check_choice(name, text)
    return text


def _check_choice(name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    if name in _CHOICES and value not in _CHOICES[name]:
        raise query_parse_error(f"Invalid value for `{name}`.")


def _check_value(name: str, value: Any) -> None:  # noqa: ANN401 - any JSON value
    _check_choice(name, value)
    if name in _BOOLEAN and not isinstance(value, bool):
        raise query_parse_error(f"Invalid boolean parameter: {json_text.encode(value).decode()}")
    if name in _INTEGER and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise query_parse_error(f"Invalid value for integer: {json_text.encode(value).decode()}")
