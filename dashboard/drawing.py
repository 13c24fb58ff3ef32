"""The pictures: sizes and places of what the templates draw as SVG. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from dashboard.flow import DAY, HOUR

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dashboard.flow import Stay

SLOTS: Final = 48
"""As many hours or days are drawn, the last ones."""
_HEIGHT: Final = 60
_WIDTH: Final = 12
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400


@dataclass(frozen=True)
class Bar:
    """One bar: where it stands, how high it is, and what it says."""

    x: int
    height: int
    title: str


@dataclass(frozen=True)
class Chart:
    """How many OUSs came into one state, in each of the last hours or days."""

    state: str
    bars: list[Bar]
    total: int
    most: int
    first: str
    last: str


def bars(state: str, entered: Mapping[str, Counter[str]], now: datetime, *, by_day: bool) -> Chart:
    """Return the bars of one state, up to now; hours in which nothing happened have their place too."""
    slots = _slots(now, by_day=by_day)
    counts = [entered[slot][state] if slot in entered else 0 for slot in slots]
    most = max(counts, default=0)
    drawn = [
        Bar(place * _WIDTH, max(round(count / most * _HEIGHT), 2), f"{_label(slot)}: {count}")
        for place, (slot, count) in enumerate(zip(slots, counts, strict=True))
        if count
    ]
    ends = (_label(slots[0]), _label(slots[-1])) if slots else ("", "")
    return Chart(state, drawn, sum(counts), most, *ends)


def _slots(now: datetime, *, by_day: bool) -> list[str]:
    step, length = (timedelta(days=1), DAY) if by_day else (timedelta(hours=1), HOUR)
    return [(now - step * back).isoformat()[:length] for back in reversed(range(SLOTS))]


def _label(slot: str) -> str:
    return f"{slot.replace('T', ' ')}:00" if "T" in slot else slot


@dataclass(frozen=True)
class Span:
    """How long OUSs stay in a state: the lengths of two bars in percent of the longest, and both in words."""

    state: str
    count: int
    median: float
    p90: float
    median_text: str
    p90_text: str


def stays(found: Sequence[Stay]) -> list[Span]:
    """Return the bars of all states on one scale."""
    longest = max((each.p90_s for each in found), default=0.0) or 1.0
    return [
        Span(
            each.state,
            each.count,
            round(each.median_s / longest * 100, 2),
            round(each.p90_s / longest * 100, 2),
            duration(each.median_s),
            duration(each.p90_s),
        )
        for each in found
    ]


@dataclass(frozen=True)
class Stretch:
    """A time that an OUS was in one state: where its bar begins and how long it is (percent of the whole), in words."""

    state: str
    start: float
    length: float
    words: str


def stretches(changes: Sequence[tuple[str, datetime]], now: datetime) -> list[Stretch]:
    """Return the bars of an OUS's life from its changes (state and when); changes within a state are none."""
    begun = [
        each for before, each in zip([None, *changes], changes, strict=False) if not before or before[0] != each[0]
    ]
    if not begun:
        return []
    first = begun[0][1]
    whole_s = max((now - first).total_seconds(), 1.0)
    found = []
    for (state, since), (_, until) in zip(begun, [*begun[1:], ("", now)], strict=True):
        length_s = max((until - since).total_seconds(), 0.0)
        start = min(max((since - first).total_seconds() / whole_s * 100, 0.0), 100.0)
        length = min(length_s / whole_s * 100, 100.0 - start)
        found.append(Stretch(state, round(start, 2), round(length, 2), duration(length_s)))
    return found


def duration(seconds: float) -> str:
    """Return a time span in words, to two figures that matter: ``0.4 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
    if seconds < 10:  # noqa: PLR2004 (below this, tenths matter)
        return f"{seconds:.1f} s"
    if seconds < _MINUTE_S * 2:
        return f"{seconds:.0f} s"
    if seconds < _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < _DAY_S:
        return f"{int(seconds // _HOUR_S)} h {int(seconds % _HOUR_S // _MINUTE_S)} min"
    return f"{int(seconds // _DAY_S)} d {int(seconds % _DAY_S // _HOUR_S)} h"
