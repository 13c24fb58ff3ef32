"""What is known that is close to a name that is not: the sentence for whoever mistyped. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from drw.columns import listed
from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST: Final = 3


def close_to(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names like this one, the closest first."""
    by_folded = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_folded, n=_MOST, cutoff=0.6)
    return [by_folded[each] for each in found]


def question(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the question whether a known name like this one was meant; ``otherwise`` where there is none."""
    close = close_to(name, known)
    return f"did you mean {listed(close, last='or')}?" if close else otherwise


def unknown(what: str, name: str, known: Iterable[str], remedy: str) -> BadInput:
    """Return the error for a name that nothing has: what there is that is close, else the remedy."""
    return BadInput(f"there is no {what} {shown(name)}: {question(name, known, remedy)}")
