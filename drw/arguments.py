"""Kinds of arguments that several commands take, as argparse types."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from shared.errors import BadInput


def number(text: str) -> int:
    """Return a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError
    return int(text)


number.__name__ = "whole number from 1 on"  # argparse says "invalid <name> value"


def text_of(file: str) -> bytes:
    """Return what a file holds, or standard input for ``-``."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


def json_object(text: str | bytes, where: str) -> dict[str, Any]:
    """Return the JSON object that a text is; BadInput names ``where`` it came from."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadInput(f"{where} is no JSON object: {error}") from error
