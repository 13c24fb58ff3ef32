"""Selectors, normalised as CouchDB 3.5.0 does it: explicit operators, dotted fields, negations moved inwards.

A normalised selector is an object of one member: an operator with its argument, or a field's name with a condition.
The steps follow the description in CouchDB's documentation (`api/database/find`) and its observable results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from couchlet.errors import CouchError, not_implemented
from couchlet.mango.erlang_text import erlang_term
from couchlet.mango.paths import parse_path
from couchlet.mango.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

Selector = dict[str, Any]

_MAX_DEPTH: Final = 200


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and compile_pattern(value) is not None


def _is_divisor_and_remainder(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_integer, value))  # noqa: PLR2004


_LISTS_OF_SELECTORS: Final = frozenset(("$and", "$or", "$nor"))
_SELECTORS: Final = frozenset(("$not", "$elemMatch", "$allMatch", "$keyMapMatch"))
_OF_ELEMENTS: Final = frozenset(("$elemMatch", "$allMatch", "$keyMapMatch"))
_ANY_ARGUMENT: Final = frozenset(("$lt", "$lte", "$eq", "$ne", "$gte", "$gt"))
_TEXT_ARGUMENT: Final = frozenset(("$regex", "$beginsWith"))
"""With anything but text these are no operators to CouchDB."""
_UNSUPPORTED: Final = frozenset(("$where", "$geoWithin", "$geoIntersects", "$near", "$nearSphere"))
_ARGUMENTS: Final[dict[str, Callable[[object], bool]]] = {
    "$in": _is_list,
    "$nin": _is_list,
    "$all": _is_list,
    "$exists": lambda value: isinstance(value, bool),
    "$type": lambda value: isinstance(value, str),
    "$mod": _is_divisor_and_remainder,
    "$regex": _is_pattern,
    "$size": lambda value: _is_integer(value) and isinstance(value, int) and value >= 0,
    "$beginsWith": lambda _: True,
}
_OPPOSITES: Final = {
    "$lt": "$gte",
    "$gte": "$lt",
    "$gt": "$lte",
    "$lte": "$gt",
    "$eq": "$ne",
    "$ne": "$eq",
    "$in": "$nin",
    "$nin": "$in",
}


def only(selector: Selector) -> tuple[str, Any]:
    """Return the one member of a normalised selector."""
    return next(iter(selector.items()))


def normalize(selector: object) -> Selector:
    """Check and normalise a selector; an empty one stays empty and matches everything.

    Raises:
        CouchError: 400 with Mango's name for what is wrong.
    """
    if not isinstance(selector, dict):
        raise CouchError(400, "invalid_selector_json", f"Selector must be a JSON object, not: {erlang_term(selector)}")
    if not selector:
        return {}
    result = _push_negations(_dot_fields(_explicit(selector, 0), ""))
    if "" in result:
        raise CouchError(400, "invalid_selector", "One or more conditions is missing a field name.")
    return result


def _bad_argument(operator: str, argument: object) -> CouchError:
    return CouchError(400, "bad_arg", f"Bad argument for operator {operator}: {erlang_term(argument)}")


def _explicit(value: Any, depth: int) -> Selector:  # noqa: ANN401 - any JSON value
    """Make every operator explicit: several members are `$and`, a bare value is `$eq`."""
    if depth > _MAX_DEPTH:
        raise CouchError(400, "invalid_selector", f"The selector is nested deeper than {_MAX_DEPTH} levels.")
    if not isinstance(value, dict) or not value:
        return {"$eq": value}
    if len(value) > 1:
        return {"$and": [_explicit({name: item}, depth + 1) for name, item in value.items()]}
    name, argument = only(value)
    if not name.startswith("$"):
        return {name: _explicit(argument, depth + 1)}
    return {name: _operator_argument(name, argument, depth)}


def _operator_argument(name: str, argument: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    if name in _LISTS_OF_SELECTORS:
        if not isinstance(argument, list):
            raise _bad_argument(name, argument)
        return [_explicit(item, depth + 1) for item in argument]
    if name in _SELECTORS:
        if not isinstance(argument, dict):
            raise _bad_argument(name, argument)
        return _explicit(argument, depth + 1)
    if name in _ARGUMENTS and (name not in _TEXT_ARGUMENT or isinstance(argument, str)):
        if not _ARGUMENTS[name](argument):
            raise _bad_argument(name, argument)
        return argument
    if name in _ANY_ARGUMENT:
        return argument
    if name == "$text":
        raise not_implemented("couchlet has no text indexes, which $text needs: use $regex or $beginsWith.")
    if name in _UNSUPPORTED:
        raise CouchError(400, "not_supported", f"Unsupported operator: {name}")
    raise CouchError(400, "invalid_operator", f"Invalid operator: {name}")


def _dot_fields(selector: Selector, path: str) -> Selector:
    """Move fields down to the operators: `{a: {b: c}}` becomes `{a.b: c}`."""
    name, argument = only(selector)
    if name in _LISTS_OF_SELECTORS:
        return {name: [_dot_fields(item, path) for item in argument]}
    if name == "$not":
        return {name: _dot_fields(argument, path)}
    if name in _OF_ELEMENTS:
        return {path: {name: _dot_fields(argument, "")}}
    if name.startswith("$"):
        return {path: selector}
    inner = f"{path}.{name}" if path else name
    if inner:
        parse_path(inner)
    return _dot_fields(argument, inner)


def _push_negations(selector: Selector) -> Selector:
    name, argument = only(selector)
    if name == "$not":
        return _negate(argument)
    if name == "$nor":
        return {"$and": [_negate(item) for item in argument]}
    if name in {"$and", "$or"}:
        return {name: [_push_negations(item) for item in argument]}
    if name in _OF_ELEMENTS:
        return {name: _push_negations(argument)}
    return selector


def _negate(selector: Selector) -> Selector:
    """Return the opposite of a selector, by De Morgan's laws and opposite operators as far as there are any."""
    name, argument = only(selector)
    if name == "$not":
        return _push_negations(argument)
    if name == "$nor":
        return {"$or": [_push_negations(item) for item in argument]}
    if name in {"$and", "$or"}:
        return {"$or" if name == "$and" else "$and": [_negate(item) for item in argument]}
    if not name.startswith("$"):
        return {name: _negate(argument)}
    if name == "$exists":
        return {name: not argument}
    return {_OPPOSITES[name]: argument} if name in _OPPOSITES else {"$not": selector}


def fields_of(selector: Selector) -> set[str]:
    """Return the fields that a normalised selector looks at."""
    if not selector:
        return set()
    name, argument = only(selector)
    if name.startswith("$") and isinstance(argument, list):
        return set().union(*(fields_of(item) for item in argument))
    return {name}
