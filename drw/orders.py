"""Which OUSs to launch, as operators name them: UIDs, ranges of UIDs, lines of a file. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared import names
from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST: Final = 10_000
"""So many OUSs are launched by one command at most."""

_RANGE: Final = re.compile(r"(uid://[^/]+/[^/]+/X)([0-9a-f]+)\.\.X?([0-9a-f]+)")
_WORDS: Final = 4


@dataclass(frozen=True)
class Order:
    """An OUS to launch; of what is empty, the OUS itself tells, or the command line."""

    ous: str
    prog_id: str = ""
    recipe: str = ""
    executive: str = ""


def uids(text: str) -> list[str]:
    """Return the UIDs that one word means: a UID, or a range such as ``uid://X1/X1/Xb0..Xbf`` (hexadecimal)."""
    if ".." not in text:
        return [names.uid(text)]
    found = _RANGE.fullmatch(text)
    if not found:
        raise BadInput(f"{shown(text)} is no range of UIDs: write it as uid://X1/X1/Xb0..Xbf")
    first, last = int(found[2], 16), int(found[3], 16)
    if last < first:
        raise BadInput(f"{shown(text)} is a range that ends before it begins")
    if last - first >= MOST:
        raise BadInput(f"{shown(text)} has {last - first + 1} UIDs, more than the {MOST} of one command")
    width = len(found[2])
    return [names.uid(f"{found[1]}{number:0{width}x}") for number in range(first, last + 1)]


def of_lines(lines: Iterable[str], where: str) -> Iterator[Order]:
    """Yield what the lines of a file order: ``OUS``, or what launcher takes, ``PROGRAM OUS [RECIPE [EXECUTIVE]]``.

    Blank lines and what follows a ``#`` are passed over. Raises BadInput that names the line.
    """
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            yield from _of_words(words)
        except BadInput as error:
            raise BadInput(f"line {number} of {where}: {error}") from error


def _of_words(words: list[str]) -> list[Order]:
    if words[0].startswith("uid://"):
        words = ["", *words]
    if len(words) == 1 or len(words) > _WORDS:
        raise BadInput(f"{shown(' '.join(words))} orders nothing: write OUS, or PROGRAM OUS [RECIPE [EXECUTIVE]]")
    prog_id, ous, recipe, executive = [*words, "", ""][:_WORDS]
    return [
        Order(
            each,
            names.program_id(prog_id) if prog_id else "",
            names.recipe(recipe) if recipe else "",
            names.executive(executive) if executive else "",
        )
        for each in uids(ous)
    ]


def once_each(orders: Iterable[Order]) -> list[Order]:
    """Return the orders, one an OUS: the last word about each, in the order of the first. BadInput for too many."""
    found: dict[str, Order] = {}
    for each in orders:
        found[each.ous] = each
    if len(found) > MOST:
        raise BadInput(f"these are {len(found)} OUSs, more than the {MOST} of one command: launch them in parts")
    return list(found.values())
