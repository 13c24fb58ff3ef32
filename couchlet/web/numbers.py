"""Numbers in addresses, as Erlang reads them."""

from __future__ import annotations

import re
from typing import Final

INTEGER: Final = re.compile(r"[+-]?[0-9]+")
"""What `list_to_integer` takes, of any length: no blanks, no underscores, no digits of other scripts."""


def integer(text: str) -> int:
    """Return the integer that a text is.

    Raises:
        ValueError: it is none.
    """
    if not INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)
