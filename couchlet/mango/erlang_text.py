"""Values as Erlang prints them, because CouchDB's errors quote them so."""

from __future__ import annotations

from typing import Any


def erlang_term(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a JSON value in the form of Erlang's `~w`: text as its bytes, objects as lists of pairs in a tuple."""
    if isinstance(value, str):
        return f"<<{','.join(str(byte) for byte in value.encode())}>>"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = ",".join(f"{{{erlang_term(name)},{erlang_term(item)}}}" for name, item in value.items())
        return f"{{[{pairs}]}}"
    if isinstance(value, list):
        return f"[{','.join(erlang_term(item) for item in value)}]"
    return str(value)


def erlang_string(text: str) -> str:
    """Return a parameter in the form of Erlang's `~p`: an empty one is a list to it."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"' if text else "[]"
