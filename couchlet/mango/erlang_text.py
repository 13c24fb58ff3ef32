"""Values as Erlang prints them, because CouchDB's errors quote them so."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN: Final = frozenset((*range(0x08, 0x0E), 0x1B, *range(0x20, 0x7F), *range(0xA0, 0x100)))
"""Bytes that `io_lib:printable_latin1_list` takes for text."""

_ALL_EXACT: Final = 2**53
"""Up to here every whole number is a float."""


def erlang_term(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a JSON value in the form of Erlang's `~w`: text as its bytes, objects as lists of pairs in a tuple."""
    return _term(value, _bytes)


def erlang_shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a JSON value in the form of Erlang's `~p`: as `~w`, but with text as text if all of its bytes can be."""
    return _term(value, lambda text: f"<<{erlang_string(text)}>>" if _can_be_shown(text) else _bytes(text))


def _term(value: Any, binary: Callable[[str], str]) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return binary(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = ",".join(f"{{{_term(name, binary)},{_term(item, binary)}}}" for name, item in value.items())
        return f"{{[{pairs}]}}"
    if isinstance(value, list):
        return f"[{','.join(_term(item, binary) for item in value)}]"
    return _float(value) if isinstance(value, float) else str(value)


def _float(value: float) -> str:
    """Return a float as `io_lib_format:fwrite_g` writes it: with an exponent where that is shorter, or it is large."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    power = len(text) - 1 + int(exponent)
    plain = f"{abs(Decimal(repr(value))):f}"
    plain = plain if "." in plain else f"{plain}.0"
    scientific = f"{text[0]}.{text[1:] or '0'}e{power}"
    is_plain = abs(value) < _ALL_EXACT and len(plain) <= len(scientific)
    return "-" * sign + (plain if is_plain else scientific)


def _bytes(text: str) -> str:
    return f"<<{','.join(str(byte) for byte in text.encode())}>>"


def _can_be_shown(text: str) -> bool:
    return bool(text) and _SHOWN.issuperset(text.encode())


def erlang_string(text: str) -> str:
    """Return a parameter in the form of Erlang's `~p`: to it text is a list of bytes, shown as text if all can be."""
    raw = text.encode("utf-8", "surrogateescape")
    if not raw or not _SHOWN.issuperset(raw):
        return f"[{','.join(map(str, raw))}]"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'
