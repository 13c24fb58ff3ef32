"""What a listener listens on, and where that lies in the order in which CouchDB keeps selectors.

Pure. CouchDB's indexes are ordered by ICU collation: ``_ - .`` before digits before letters, small and capital letters
alike but for ties. Selectors have only such characters, so the order can be told without ICU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.bus import envelope

if TYPE_CHECKING:
    from collections.abc import Iterable

_WILDCARD: Final = ".*"
_ORDER: Final = "\t_-.0123456789abcdefghijklmnopqrstuvwxyz\ufff0"
_RANKS: Final = {character: place for place, character in enumerate(_ORDER[:-1])} | {_ORDER[-1]: len(_ORDER)}
_STRANGE: Final = len(_ORDER) - 1
_FIRST: Final = "\t"
"""Collates before every character that a selector can go on with."""

_LAST: Final = "\ufff0"
"""Collates after every character that a selector can go on with."""


@dataclass(frozen=True)
class Pattern:
    """One selector, or all that begin with a prefix (``cached.*``)."""

    text: str

    def __post_init__(self) -> None:
        """Refuse what is no selector."""
        envelope.selector(self.text.removesuffix(_WILDCARD))

    @property
    def is_range(self) -> bool:
        """Whether this covers many selectors."""
        return self.text.endswith(_WILDCARD)

    @property
    def first(self) -> str:
        """Where the selectors that it covers begin in an index."""
        return self.text[:-1] if self.is_range else self.text

    @property
    def last(self) -> str:
        """Where they end."""
        return self.text[:-1] + _LAST if self.is_range else self.text

    def covers(self, selector: str) -> bool:
        """Tell whether messages for a selector are meant; collation puts strangers into a range too."""
        return selector.startswith(self.text[:-1]) if self.is_range else selector == self.text


def rank(text: str) -> tuple[int, ...]:
    """Return what puts selectors, and the ends of patterns, into the order of an index.

    A stranger's selector may have other characters: they go behind the letters, still within every range.
    """
    return tuple(_RANKS.get(character, _STRANGE) for character in text.lower())


def behind(selector: str) -> str:
    """Return where, in an index, whatever comes after all rows of a selector begins.

    ``$gt`` the selector itself would have CouchDB read all of its rows once more.
    """
    return selector + _FIRST


def stretch(patterns: Iterable[Pattern], start: str = "") -> tuple[str, str] | None:
    """Return first and last place of an index, from ``start`` on, between which the patterns lie; None if none do.

    What lies in between and is covered by none of them is read and passed over.
    """
    begin = rank(start)
    left = [pattern for pattern in patterns if rank(pattern.last) >= begin]
    if not left:
        return None
    first = min((pattern.first for pattern in left), key=rank)
    return max(start, first, key=rank), max((pattern.last for pattern in left), key=rank)
