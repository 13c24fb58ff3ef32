"""Values in the form in which Erlang writes terms outside (External Term Format), because CouchDB hashes that form.

The format is documented in Erlang's ERTS manual (`erl_ext_dist`). In CouchDB text is a binary, and an object a tuple
around a list of pairs, as its JSON library jiffy makes them. Atoms are written as by Erlang 25: CouchDB 3.5 asks for
`minor_version` 1, so later ones write the same.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION: Final = b"\x83"
"""What a whole term begins with."""

_NIL: Final = b"j"
_PAIR: Final = b"h\x02"
_EMPTY_OBJECT: Final = b"h\x01j"
_LONGEST_STRING: Final = 0xFFFF
_BYTES_OF_SMALL_BIG: Final = 0xFF
_BIGGEST_BYTE: Final = 0xFF
_SMALLEST_INTEGER: Final = -(2**31)
_BIGGEST_INTEGER: Final = 2**31 - 1
_ONLY_INTEGERS: Final = {int}
_MOST_NAMES_KEPT: Final = 4096
_LONGEST_NAME_KEPT: Final = 100

_pack_short = struct.Struct(">cH").pack
_pack_long = struct.Struct(">cI").pack
_pack_object = struct.Struct(">3sI").pack
_pack_integer = struct.Struct(">ci").pack
_pack_float = struct.Struct(">cd").pack


def atom(name: str) -> bytes:
    """Return an atom."""
    return _pack_short(b"d", len(name)) + name.encode("ascii")


def binary(data: bytes) -> bytes:
    """Return bytes, or text in UTF-8."""
    return _pack_long(b"m", len(data)) + data


def tuple_of(*items: bytes) -> bytes:
    """Return a tuple of terms."""
    return b"h%c%b" % (len(items), b"".join(items))


def list_of(*items: bytes) -> bytes:
    """Return a list of terms that are not all integers."""
    return b"%b%bj" % (_pack_long(b"l", len(items)), b"".join(items)) if items else _NIL


def integer(value: int) -> bytes:
    """Return an integer of any size."""
    if 0 <= value <= _BIGGEST_BYTE:
        return _BYTES[value]
    if _SMALLEST_INTEGER <= value <= _BIGGEST_INTEGER:
        return _pack_integer(b"b", value)
    size = (abs(value).bit_length() + 7) // 8
    head = b"n%c" % size if size <= _BYTES_OF_SMALL_BIG else _pack_long(b"o", size)
    return b"%b%c%b" % (head, value < 0, abs(value).to_bytes(size, "little"))


def json_value(value: Any) -> bytes:  # noqa: ANN401 - any JSON value
    """Return a JSON value."""
    parts: list[bytes] = []
    _write(value, parts.append)
    return b"".join(parts)


_BINARY_HEADS: Final = tuple(_pack_long(b"m", size) for size in range(_BIGGEST_BYTE + 1))
_BYTES: Final = tuple(b"a%c" % value for value in range(_BIGGEST_BYTE + 1))
_constant = {None: atom("null"), False: atom("false"), True: atom("true")}.__getitem__
_SCALARS: Final[dict[type, Callable[[Any], bytes]]] = {
    str: lambda value: binary(value.encode()),
    int: integer,
    float: partial(_pack_float, b"F"),
    bool: _constant,
    type(None): _constant,
}


class _PairHeads(dict[str, bytes]):
    """The beginnings of members, which are pairs, up to the value: members are named alike in most documents."""

    def __missing__(self, name: str) -> bytes:
        head = _PAIR + binary(name.encode())
        if len(name) <= _LONGEST_NAME_KEPT:
            if len(self) >= _MOST_NAMES_KEPT:
                self.clear()
            self[name] = head
        return head


_PAIR_HEADS: Final = _PairHeads()


# What follows is done for every document that is written. So the parts of a value are joined once, at the end, and text
# in objects, which is the most frequent, is written in place.


def _write(value: Any, put: Callable[[bytes], None]) -> None:  # noqa: ANN401 - any JSON value
    kind = type(value)
    if kind is dict:
        _write_object(value, put)
    elif kind is list:
        _write_array(value, put)
    else:
        put(_SCALARS[kind](value))


def _write_object(value: dict[str, Any], put: Callable[[bytes], None]) -> None:
    if not value:
        put(_EMPTY_OBJECT)
        return
    put(_pack_object(b"h\x01l", len(value)))
    for name, item in value.items():
        put(_PAIR_HEADS[name])
        if type(item) is str:
            data = item.encode()
            size = len(data)
            put(_BINARY_HEADS[size] if size <= _BIGGEST_BYTE else _pack_long(b"m", size))
            put(data)
        else:
            _write(item, put)
    put(_NIL)


def _write_array(value: list[Any], put: Callable[[bytes], None]) -> None:
    if not value:
        put(_NIL)
        return
    string = _string(value)
    if string is not None:
        put(string)
        return
    put(_pack_long(b"l", len(value)))
    for item in value:
        _write(item, put)
    put(_NIL)


def _string(value: list[Any]) -> bytes | None:
    """Return an array as Erlang writes lists that could be text to it: of integers that are bytes, not too many."""
    if type(value[0]) is not int or len(value) > _LONGEST_STRING or set(map(type, value)) != _ONLY_INTEGERS:
        return None
    try:
        return _pack_short(b"k", len(value)) + bytes(value)
    except ValueError:  # one of them is no byte
        return None
