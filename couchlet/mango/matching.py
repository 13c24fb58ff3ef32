"""Deciding whether a document matches: a normalised selector is compiled once into a function."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, Final

from couchlet import json_text
from couchlet.errors import CouchError, unknown_error
from couchlet.mango.bounded_search import search
from couchlet.mango.paths import BAD_PATH, NOT_FOUND, get_path, parse_path
from couchlet.mango.patterns import compile_pattern
from couchlet.mango.selector import Selector, only
from couchlet.order.json_order import compare_json, compare_raw

Matcher = Callable[[Any], bool]
Compare = Callable[[Any, Any], int]

_COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "$lt": operator.lt,
    "$lte": operator.le,
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$gte": operator.ge,
    "$gt": operator.gt,
}


def compile_selector(selector: Selector) -> Matcher:
    """Return the function that says whether a document matches a normalised selector."""
    return _compile(selector, compare_json) if selector else _always


def _always(_value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return True


def _never(_value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return False


def _compile(selector: Selector, compare: Compare) -> Matcher:
    name, argument = only(selector)
    if name in _COMPARISONS:
        return _comparison(name, argument, compare)
    if name.startswith("$"):
        maker = _MAKERS.get(name)
        if maker is None:
            raise CouchError(400, "invalid_operator", f"Invalid operator: {name}")
        return maker(argument, compare)
    if not name:
        return _compile(argument, compare)
    return _field(name, argument, compare)


def _field(name: str, condition: Selector, compare: Compare) -> Matcher:
    path = parse_path(name)
    absent_matches = condition == {"$exists": False}
    inner = _compile(condition, compare_raw if name == "_id" else compare)

    def match(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        found = get_path(value, path)
        if found is NOT_FOUND:
            return absent_matches
        return found is not BAD_PATH and inner(found)

    return match


def _comparison(name: str, argument: Any, compare: Compare) -> Matcher:  # noqa: ANN401 - any JSON value
    test = _COMPARISONS[name]
    if compare is compare_json and name == "$eq" and isinstance(argument, str) and _is_plain(argument):

        def equals(value: Any) -> bool:  # noqa: ANN401 - any JSON value
            # Plain ASCII texts collate alike only if they are the same: most comparisons end here.
            if not isinstance(value, str):
                return False
            return value == argument or (not _is_plain(value) and compare(value, argument) == 0)

        return equals
    return lambda value: test(compare(value, argument), 0)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _and(arguments: list[Selector], compare: Compare) -> Matcher:
    matchers = [_compile(argument, compare) for argument in arguments]
    if len(matchers) == 1:
        return matchers[0]
    return lambda value: all(matcher(value) for matcher in matchers)


def _or(arguments: list[Selector], compare: Compare) -> Matcher:
    if not arguments:
        return _always
    matchers = [_compile(argument, compare) for argument in arguments]
    return lambda value: any(matcher(value) for matcher in matchers)


def _not(argument: Selector, compare: Compare) -> Matcher:
    matcher = _compile(argument, compare)
    return lambda value: not matcher(value)


def _all(arguments: list[Any], _compare: Compare) -> Matcher:
    if not arguments:
        return _never
    wanted = [json_text.encode(argument) for argument in arguments]
    lone_list = wanted[0] if len(arguments) == 1 and isinstance(arguments[0], list) else None

    def match(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        if not isinstance(value, list):
            return False
        # As text, because here 1 and 1.0 differ.
        held = {json_text.encode(item) for item in value}
        return held.issuperset(wanted) or (lone_list is not None and json_text.encode(value) == lone_list)

    return match


def _in(arguments: list[Any], compare: Compare) -> Matcher:
    if not arguments:
        return _never
    matchers = [_comparison("$eq", argument, compare) for argument in arguments]

    def match(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        values = value if isinstance(value, list) else [value]
        return any(matcher(item) for matcher in matchers for item in values)

    return match


def _not_in(arguments: list[Any], compare: Compare) -> Matcher:
    contained = _in(arguments, compare)
    return lambda value: not contained(value)


def _nor(_arguments: list[Selector], _compare: Compare) -> Matcher:
    """Return what CouchDB makes of it below elements, where it moves no negation inwards: an operator it lacks."""

    def match(_value: Any) -> bool:  # noqa: ANN401 - any JSON value
        raise CouchError(400, "invalid_operator", "Invalid operator: $nor")

    return match


def _element_match(argument: Selector, compare: Compare) -> Matcher:
    matcher = _compile(argument, compare)
    return lambda value: isinstance(value, list) and _unless_it_fails(any, matcher, value)


def _all_match(argument: Selector, compare: Compare) -> Matcher:
    matcher = _compile(argument, compare)
    return lambda value: isinstance(value, list) and bool(value) and _unless_it_fails(all, matcher, value)


def _key_match(argument: Selector, compare: Compare) -> Matcher:
    matcher = _compile(argument, compare)
    return lambda value: isinstance(value, dict) and _unless_it_fails(any, matcher, value)


def _unless_it_fails(quantifier: Callable[[Iterable[bool]], bool], matcher: Matcher, items: Iterable[Any]) -> bool:
    """Whether any or all items match; as in CouchDB, a condition that fails on one before that is known does not."""
    try:
        return quantifier(map(matcher, items))
    except CouchError:
        return False


def _exists(argument: bool, _compare: Compare) -> Matcher:
    return _always if argument else _never


def _type(argument: str, _compare: Compare) -> Matcher:
    return lambda value: json_type(value) == argument


def json_type(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return the name that `$type` has for the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, dict) else "array"


def _modulo(argument: list[int], _compare: Compare) -> Matcher:
    divisor, remainder = argument

    def match(value: Any) -> bool:  # noqa: ANN401 - any JSON value
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        if divisor == 0:
            raise unknown_error("badarith")
        rest = abs(value) % abs(divisor)
        # The remainder has the sign of the value, as in Erlang.
        return (rest if value >= 0 else -rest) == remainder

    return match


def _begins_with(argument: str, _compare: Compare) -> Matcher:
    return lambda value: isinstance(value, str) and value.startswith(argument)


def _regex(argument: str, _compare: Compare) -> Matcher:
    pattern = compile_pattern(argument)
    assert pattern is not None
    return lambda value: isinstance(value, str) and search.matches(pattern, value.encode())


def _size(argument: int, _compare: Compare) -> Matcher:
    return lambda value: isinstance(value, list) and len(value) == argument


_MAKERS: Final[dict[str, Callable[[Any, Compare], Matcher]]] = {
    "$and": _and,
    "$or": _or,
    "$not": _not,
    "$nor": _nor,
    "$all": _all,
    "$in": _in,
    "$nin": _not_in,
    "$elemMatch": _element_match,
    "$allMatch": _all_match,
    "$keyMapMatch": _key_match,
    "$exists": _exists,
    "$type": _type,
    "$mod": _modulo,
    "$beginsWith": _begins_with,
    "$regex": _regex,
    "$size": _size,
}
