"""Sort keys for text by the Unicode Collation Algorithm, root locale, as CouchDB compares text through ICU.

Two keys made here compare, byte by byte, as ICU's root collator compares the two texts at tertiary strength:
first by letters, then by accents, then by case. A key holds no zero byte except its last, so keys can be put one
behind the other and still compare part by part.

The weights come from the Unicode root collation table (CLDR), kept in `root_collation.xz`: ranks instead of ICU's
own weights, because only their order matters. Text of nothing but ASCII, which is most of what a database holds,
needs no table.
"""

from __future__ import annotations

import lzma
import unicodedata
from array import array
from functools import lru_cache
from importlib import resources
from typing import Final, NamedTuple

import msgspec

COLLATION_VERSION: Final = "cldr-root-72.1"
"""Name of the order; a stored key made under another name has to be made anew."""

# Every ASCII character that is not ignored, in the order of its letter; an upper-case letter shares its lower-case
# letter's place. Control characters other than white space are ignored by the algorithm.
_ASCII_ORDER: Final = "\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"

# Weight bytes of the second and third level. A run of k common weights is one byte, so that long plain text has
# short keys: below _MIDDLE if something smaller (or the end) follows the run, above it if something greater does.
_END: Final = 0
_RUN_LOW: Final = 3
_LONGEST_RUN: Final = 40
_MIDDLE: Final = 44
_RUN_HIGH: Final = 90
_ABOVE: Final = 91
_FIRST_LEAD: Final = 3
_SPREAD: Final = 150

_COMMON_SECONDARY: Final = 1
_COMMON_TERTIARY: Final = 2
_UPPER_TERTIARY: Final = 13
_UPPER_W_TERTIARY: Final = 16

_SHORT: Final = 64

_NO_STEP: Final = 1_000_000
"""Stands for a difference of zero in the stored table, where 0 stands for a character without a rank."""


class Element(NamedTuple):
    """One collation element: the ranks of its three weights, 0 where it has none at that level."""

    primary: int
    secondary: int
    tertiary: int


class _Table:
    """The root collation: ranks by code point, exceptions, and sequences that sort as one."""

    def __init__(self) -> None:
        packed = resources.files(__package__).joinpath("root_collation.xz").read_bytes()
        stored = msgspec.msgpack.decode(lzma.decompress(packed), strict=False)
        self.count: int = stored["count"]
        self.simple = array("I", _ranks(stored["primaries"]))
        self.complex = {code: [Element(*e) for e in elements] for code, elements in stored["complex"].items()}
        self.contractions = {text: [Element(*e) for e in elements] for text, elements in stored["contractions"].items()}
        self.longest: dict[str, int] = {}
        for text in self.contractions:
            self.longest[text[0]] = max(len(text), self.longest.get(text[0], 0))
        self.ascii_ranks = [self.simple[ord(character)] for character in _ASCII_ORDER]

    def elements_of(self, character: str) -> list[Element]:
        """Return the elements of one character that takes part in no sequence."""
        code = ord(character)
        rank = self.simple[code] if code < len(self.simple) else 0
        if rank:
            return [Element(rank, _COMMON_SECONDARY, _COMMON_TERTIARY)]
        found = self.complex.get(code)
        if found is not None:
            return found
        # Neither listed nor ignored: an unassigned or private character sorts by code point, after all others.
        return [Element(self.count + 1 + code, _COMMON_SECONDARY, _COMMON_TERTIARY)]


def _ranks(deltas: list[int]) -> list[int]:
    """Undo the storage of ranks as differences."""
    ranks = []
    last = 0
    for delta in deltas:
        if delta:
            last += 0 if delta == _NO_STEP else delta
            ranks.append(last)
        else:
            ranks.append(0)
    return ranks


@lru_cache(maxsize=1)
def _table() -> _Table:
    return _Table()


def _ascii_tables() -> tuple[bytes, bytes, bytes]:
    """Return translation tables for ASCII: first-level bytes, third-level ranks, and the characters to leave out."""
    primary = bytearray(256)
    tertiary = bytearray([_COMMON_TERTIARY]) * 256
    for place, character in enumerate(_ASCII_ORDER):
        # Odd places are kept free: whatever sorts between two ASCII characters gets a lead byte between theirs.
        primary[ord(character)] = _FIRST_LEAD + 1 + 2 * place
    for upper in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        primary[ord(upper)] = primary[ord(upper.lower())]
        tertiary[ord(upper)] = _UPPER_W_TERTIARY if upper == "W" else _UPPER_TERTIARY
    ignored = bytes(code for code in range(128) if not primary[code])
    return bytes(primary), bytes(tertiary), ignored


_PRIMARY, _TERTIARY, _IGNORED = _ascii_tables()
_NO_UPPER: Final = bytes(code for code in range(128) if not chr(code).isupper())


def sort_key(text: str) -> bytes:
    """Return the key of a text: compares, byte by byte, as CouchDB compares the text. Ends with a zero byte."""
    return _remembered_key(text) if len(text) <= _SHORT else _key(text)


def _key(text: str) -> bytes:
    if text.isascii():
        raw = text.encode("ascii").translate(None, _IGNORED)
        primary = raw.translate(_PRIMARY)
        upper = raw.translate(None, _NO_UPPER)
        common = _run(len(raw), bytes(0), _END)
        third = _tertiary_level(raw.translate(_TERTIARY)) if upper else common
        return b"%b\x01%b\x01%b\x00" % (primary, common, third)
    return _table_key(text)


_remembered_key = lru_cache(maxsize=1024)(_key)
"""States, types and times stand in many documents and in every revision of one."""


def compare_text(left: str, right: str) -> int:
    """Negative, zero or positive as `left` sorts before, with or after `right`."""
    if left == right:
        return 0
    left_key, right_key = sort_key(left), sort_key(right)
    return (left_key > right_key) - (left_key < right_key)


def _run(length: int, following: bytes, weight: int) -> bytes:
    """`length` common weights as run bytes, and then what follows them."""
    long, rest = divmod(length, _LONGEST_RUN + 1)
    run = bytes([_MIDDLE]) * long
    if rest:
        run += bytes([_RUN_HIGH - rest if weight > _COMMON_TERTIARY else _RUN_LOW + rest])
    return run + following


def _tertiary_level(weights: bytes) -> bytes:
    """Return the third level of a key: weights below the common one, runs of it, and weights above it."""
    parts = []
    run = 0
    for weight in weights:
        if weight == _COMMON_TERTIARY:
            run += 1
        else:
            byte = weight + 1 if weight < _COMMON_TERTIARY else _ABOVE + weight
            parts.append(_run(run, bytes([byte]), weight))
            run = 0
    parts.append(_run(run, b"", _END))
    return b"".join(parts)


def _secondary_level(weights: list[int]) -> bytes:
    """Return the second level of a key: runs of the common weight, and weights above it as two bytes."""
    parts = []
    run = 0
    for weight in weights:
        if weight == _COMMON_SECONDARY:
            run += 1
        else:
            lead, low = divmod(weight, _SPREAD)
            parts.append(_run(run, bytes([_ABOVE + lead, 2 + low]), weight + _COMMON_TERTIARY))
            run = 0
    parts.append(_run(run, b"", _END))
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _table_key(text: str) -> bytes:
    # Character by character: CouchDB's collator does not put marks that stand in disorder into canonical order.
    elements = _elements("".join(unicodedata.normalize("NFD", character) for character in text))
    primary = b"".join(_primary_bytes(element.primary) for element in elements if element.primary)
    secondary = _secondary_level([element.secondary for element in elements if element.secondary])
    tertiary = _tertiary_level(bytes(element.tertiary for element in elements if element.tertiary))
    return b"%b\x01%b\x01%b\x00" % (primary, secondary, tertiary)


@lru_cache(maxsize=1024)
def _primary_bytes(rank: int) -> bytes:
    """One byte for a letter of ASCII; for others the free lead byte between their neighbours, and the rank."""
    ranks = _table().ascii_ranks
    low, high = 0, len(ranks)
    while low < high:
        middle = (low + high) // 2
        if ranks[middle] < rank:
            low = middle + 1
        else:
            high = middle
    if low < len(ranks) and ranks[low] == rank:
        return bytes([_FIRST_LEAD + 1 + 2 * low])
    # Six bits a byte and 2 added: no byte of a weight is ever 0 or 1, which end texts and levels.
    return bytes([_FIRST_LEAD + 2 * low, *(2 + (rank >> shift & 0x3F) for shift in (18, 12, 6, 0))])


def _elements(text: str) -> list[Element]:
    """Return the collation elements of a text in canonical decomposition."""
    table = _table()
    elements: list[Element] = []
    characters = list(text)
    position = 0
    while position < len(characters):
        character = characters[position]
        if character not in table.longest:
            elements.extend(table.elements_of(character))
            position += 1
            continue
        position = _sequence(table, characters, position, elements)
    return elements


def _sequence(table: _Table, characters: list[str], position: int, elements: list[Element]) -> int:
    """Take the longest sequence that starts here (rules S2.1 and S2.1.1 to S2.1.3 of the algorithm)."""
    start = characters[position]
    matched = start
    for length in range(min(table.longest[start], len(characters) - position), 1, -1):
        candidate = "".join(characters[position : position + length])
        if candidate in table.contractions:
            matched = candidate
            break
    position += len(matched)
    matched = _extend_past_marks(table, characters, position, matched)
    elements.extend(table.contractions.get(matched) or table.elements_of(matched))
    return position


def _extend_past_marks(table: _Table, characters: list[str], position: int, matched: str) -> str:
    """Add marks that are not blocked to a sequence, taking them out of the text (rule S2.1.1)."""
    last_class = 0
    look = position
    while look < len(characters):
        mark_class = unicodedata.combining(characters[look])
        if mark_class == 0:
            break
        if last_class < mark_class and matched + characters[look] in table.contractions:
            matched += characters.pop(look)
            continue
        last_class = mark_class
        look += 1
    return matched
