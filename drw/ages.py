"""Spans of time as people say them: ``5 s``, ``3 min``, ``2 h``, ``4 d``. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from shared.clock import span
from shared.errors import BadInput
from shared.names import moment, shown

if TYPE_CHECKING:
    from datetime import datetime

_UNITS_S: Final = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|min|h|d)", re.ASCII)
_LONGEST_D: Final = 36_500
LONGEST_S: Final = _LONGEST_D * 86_400.0
"""No span is longer (seconds): what is reckoned with one stays a time that a calendar, and a clock, can hold."""


def passed_s(text: object, now: datetime) -> float | None:
    """Return how many seconds ago a stored moment was, less than 0 for one to come; None for what is none."""
    try:
        return (now - moment(str(text))).total_seconds()
    except ValueError:
        return None


def since(text: object, now: datetime) -> str:
    """Return how long ago a stored moment was; a dash for what is none."""
    passed = passed_s(text, now)
    return "-" if passed is None else span(passed)


def at(text: object) -> str:
    """Return a stored moment to the second, with a blank instead of the ``T``; a dash for what is none."""
    return str(text)[:19].replace("T", " ") if text else "-"


def is_span(text: str) -> bool:
    """Tell whether somebody typed a span of time."""
    return _SPAN.fullmatch(text.strip()) is not None


def some_seconds(text: str) -> float:
    """As :func:`seconds`, for what makes no sense without any time."""
    value = seconds(text)
    if value == 0:
        raise BadInput(f"{shown(text)} is no time at all: write a span above 0, such as 90s, 30min, 2h or 3d")
    return value


def seconds(text: str) -> float:
    """Return the seconds of a span as it is typed (``90s``, ``30min``, ``1.5h``, ``3d``); raise BadInput."""
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise BadInput(f"{shown(text)} is not a span of time: write it as 90s, 30min, 2h or 3d")
    value = float(found[1]) * _UNITS_S[found[2]]
    if value > LONGEST_S:
        raise BadInput(f"{shown(text)} is too long a span of time: the longest is {_LONGEST_D}d")
    return value
