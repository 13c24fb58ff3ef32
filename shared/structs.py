"""Structs and threads: what msgspec has to know of a type before two threads decode it at once.

It works out a struct's fields when it is first decoded, and lets other threads in meanwhile: those find it half done,
and the process ends with a segmentation fault (msgspec 0.22, six threads that decode a new type at once).
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = threading.Lock()


def learn() -> None:
    """Have msgspec work out every struct that has been imported; to be called before there are threads."""
    with _LOCK:
        for kind in set(_below(msgspec.Struct)):
            with suppress(NameError, TypeError):  # of fields that only a type checker knows: it is never decoded
                msgspec.json.Decoder(kind)


def _below(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
