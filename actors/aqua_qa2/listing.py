"""What waits for review, as lines for a terminal of any width, and which of it a reviewer means. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, Final

from actors.aqua_qa2.styled import Line, Piece, line, plain, said, score, wrapped
from shared import names
from shared.clock import span
from shared.errors import BadInput
from shared.report import NOTHING, band

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from actors.aqua_qa2.scores import Scores
    from shared.status import StatusEntity

_GAP: Final = "  "
_BELOW: Final = "   "
"""Before what goes on below itself."""

_AMBIGUOUS_SHOWN: Final = 5


@dataclass(frozen=True, kw_only=True)
class Row:
    """An OUS that waits for review or is being reviewed.

    ``since`` is when its run was first ready for review (UTC), ``reviewer`` who has it, empty for nobody; ``left``
    tells that the reviewer's program has died, ``mine`` that it is this one.
    """

    entity: StatusEntity
    since: str
    scores: Scores
    reviewer: str = ""
    left: bool = False
    mine: bool = False

    @property
    def ous(self) -> str:
        """The UID of the OUS."""
        return self.entity.entity_id

    def age_s(self, now: datetime) -> float:
        """Return how long it has waited, in seconds; 0 where its history has no time that could be read."""
        try:
            return max((now - names.moment(self.since)).total_seconds(), 0.0)
        except ValueError:
            return 0.0

    def held_by(self) -> str:
        """Return who reviews it, in words; nothing if nobody does."""
        if not self.reviewer:
            return ""
        return "you" if self.mine else f"left by {self.reviewer}" if self.left else f"with {self.reviewer}"

    def json(self, now: datetime, weblog_url: str) -> dict[str, Any]:
        """Return this as JSON for programs; times are UTC, ages in seconds."""
        entity, scores = self.entity, self.scores
        return {
            "ousUID": entity.entity_id,
            "progID": entity.prog_id,
            "executive": entity.executive,
            "run": entity.run,
            "state": entity.state,
            "since": self.since,
            "ageS": round(self.age_s(now), 1),
            "reviewer": self.reviewer,
            "left": self.left,
            "finalScore": scores.final,
            "band": band(scores.final).value,
            "topics": dict(scores.topics),
            "problem": scores.problem,
            "weblog": weblog(weblog_url, entity.entity_id, entity.run) if entity.run else "",
        }


def weblog(url: str, ous_uid: str, run: str) -> str:
    """Return the address at which reviewers find the weblog of a run."""
    return f"{url}/{names.weblog(ous_uid, run).removesuffix('.zip')}"


def title(rows: Sequence[Row]) -> str:
    """Return the line above the list."""
    waiting = sum(not row.reviewer or row.left for row in rows)
    others = len(rows) - waiting
    return f"OUSs ready to be reviewed: {waiting}" + (f" (and {others} being reviewed)" if others else "")


def listed(numbered: Mapping[int, Row], now: datetime, width: int | None, most: int | None = None) -> list[Line]:
    """Return the list: one line a row where the terminal is wide enough, else two, or more where it is very narrow.

    ``width`` is None for what is piped. Of more than ``most`` lines the rest is counted only.
    """
    rows = list(numbered.values())
    head = line(("bold", title(rows)))
    lines = [head] if width is None else wrapped(head, width)
    if not rows:
        return lines
    first, second = _tables(numbered, now)
    wide = [_joined(one, two) for one, two in zip(first, second, strict=True)]
    fits = width is None or max(len(plain(each)) for each in wide) <= width
    shown: list[list[Line]] = [[each] for each in wide]
    if width is not None and not fits:
        second = [(*line(_BELOW), *two) for two in second]
        shown = [[*_stretches(one, width), *_stretches(two, width)] for one, two in zip(first, second, strict=True)]
    return lines + _cut(shown, None if most is None else most + 1 - len(lines))


def _stretches(row: Line, width: int) -> list[Line]:
    """Return a row as lines that a narrow terminal has room for, broken between its columns; none of them is empty."""
    stretches: list[Line] = [()]
    used = 0
    for piece in row:
        length = len(piece[1])
        if stretches[-1] and used + length - len(_GAP) > width:
            stretches.append(line(_BELOW))
            used = len(_BELOW)
        stretches[-1] = (*stretches[-1], piece)
        used += length
    return [_joined(each, ()) for each in stretches if plain(each).strip()]


def _cut(shown: list[list[Line]], most: int | None) -> list[Line]:
    """Return the lines of as many rows as there is room for; the first row is the head."""
    if most is None or sum(map(len, shown)) <= most:
        return list(chain(*shown))
    count = max(sum(height < most for height in accumulate(map(len, shown))), 1)
    more = line(("dim", f"{_BELOW}… and {len(shown) - count} more: 'list' shows all"))
    return [*chain(*shown[:count]), more]


def _tables(numbered: Mapping[int, Row], now: datetime) -> tuple[list[Line], list[Line]]:
    """Return the columns that say which OUS it is, and those that say how its run is; the heads come first."""
    which: list[list[Piece]] = [[("bold", each) for each in ("#", "OUS", "program", "at", "age", "")]]
    how: list[list[Piece]] = [[("bold", each) for each in ("run", "score", "topics")]]
    for number, row in numbered.items():
        entity = row.entity
        which.append(
            [
                ("bold", str(number)),
                said(row.ous),
                said(entity.prog_id),
                said(entity.executive),
                ("", span(row.age_s(now))),
                said(row.held_by(), "dim"),
            ]
        )
        scores = row.scores
        how.append(
            [
                said(entity.run or "-"),
                ("dim", scores.problem) if scores.problem else score(scores.final),
                ("", topics(scores)),
            ]
        )
    return _aligned(which), _aligned(how)


def topics(scores: Scores) -> str:
    """Return the scores of the topics in one line, each behind its first letter: ``D 0.95 F 0.88 C 0.62 I 1.00``."""
    return " ".join(f"{name[0]} {NOTHING if value is None else f'{value:.2f}'}" for name, value in scores.topics)


def _aligned(table: list[list[Piece]]) -> list[Line]:
    widths = [max(len(row[column][1]) for row in table) for column in range(len(table[0]))]
    return [
        tuple((style, text.ljust(width) + _GAP) for (style, text), width in zip(row, widths, strict=True))
        for row in table
    ]


def _joined(one: Line, two: Line) -> Line:
    pieces = [*one, *two]
    style, text = pieces[-1]
    return (*pieces[:-1], (style, text.rstrip()))


def chosen(text: str, numbered: Mapping[int, str], gone: Mapping[int, str]) -> str:
    """Return the UID that a reviewer means: a number of the list, a UID, or the ending of one that is listed.

    ``gone`` has the numbers that were in the list and are no longer. Raises BadInput for what is none of these, and for
    an ending that several have.
    """
    wanted = text.strip()
    if wanted.isascii() and wanted.isdigit():
        return _by_number(wanted, numbered, gone)
    if wanted.startswith("uid://"):
        return names.uid(wanted)
    found = [uid for uid in numbered.values() if wanted and uid.endswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(found[:_AMBIGUOUS_SHOWN]) + (" …" if len(found) > _AMBIGUOUS_SHOWN else "")
        raise BadInput(f"{len(found)} OUSs end in {names.shown(wanted)}: {some}")
    raise BadInput(
        f"{names.shown(wanted)} is no number of the list, no UID, and no OUS in the list ends so: '?' tells what can "
        "be typed"
    )


def _by_number(digits: str, numbered: Mapping[int, str], gone: Mapping[int, str]) -> str:
    """Return the UID that has a number; raise BadInput where none has it.

    Digits are never taken for the ending of a UID: who types the number of an OUS that has just left the list would
    get another one.
    """
    wanted = digits.lstrip("0")
    number = next((each for each in (*numbered, *gone) if str(each) == wanted), None)  # int() refuses very many digits
    if number is None:
        raise BadInput(f"there is no number {names.shown(digits)} in the list")
    if number not in numbered:
        raise BadInput(f"{number} is no longer in the list: it was {gone[number]}")
    return numbered[number]
