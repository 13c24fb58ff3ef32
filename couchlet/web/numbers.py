"""Numbers in addresses, as Erlang reads them."""

from __future__ import annotations

import re
from typing import Final

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")


def integer(text: str) -> int:
    """Return an integer as `list_to_integer` does: no blanks, no underscores, no digits of other scripts.

    Raises:
        ValueError: it is none.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)
