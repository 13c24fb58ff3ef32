"""What CouchDB answers, as far as we go by it: what is otherwise is not CouchDB's own. Pure.

See the paths of CouchDB's documentation, ``api/database`` and ``api/document``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec


class Written(msgspec.Struct):
    """The answer to one write."""

    rev: str


class Got(msgspec.Struct):
    """The answer of ``_bulk_get``."""

    class Result(msgspec.Struct):
        """What there is under one id."""

        class Leaf(msgspec.Struct):
            """A revision, or why there is none."""

            ok: dict[str, Any] | None = None
            error: dict[str, Any] = {}

        id: str
        docs: list[Leaf]

    results: list[Result]


class Found(msgspec.Struct):
    """The answer of ``_find``."""

    docs: list[dict[str, Any]]
    bookmark: str = ""
    warning: str = ""


class Indexes(msgspec.Struct):
    """The answer of ``_index``: of the index of ids, which CouchDB has by itself, ``ddoc`` is null."""

    class Index(msgspec.Struct):
        """One index."""

        ddoc: str | None
        name: str

    indexes: list[Index]


class Listed(msgspec.Struct):
    """The answer of ``_all_docs``."""

    rows: list[dict[str, Any]]


class Change(msgspec.Struct):
    """A row of ``_changes``; ``changes`` has the leaf that is shown, or all of them where they were asked for.

    In a continuous one a heartbeat has no ``id``, nor has the last row, which tells of the end.
    """

    class Leaf(msgspec.Struct):
        """A revision that is a leaf now."""

        rev: Annotated[str, msgspec.Meta(pattern="^[0-9]+-")]

    id: str = ""
    seq: Any = None
    deleted: bool = False
    changes: list[Leaf] = []


class Changed(msgspec.Struct):
    """The answer of ``_changes``."""

    last_seq: Any
    results: list[Change]


_PASSING: Final = frozenset(
    {
        "error",
        "insufficent_storage",  # CouchDB spells it so
        "insufficient_storage",
        "internal_server_error",
        "not_found",  # "no_db_file": a shard is being moved or made
        "timeout",
        "unknown_error",
    }
)
"""Errors of single documents of a ``_bulk_docs`` that say nothing of their content."""


class Row(msgspec.Struct, frozen=True):
    """What was answered for one document: its new revision, or an error's name and reason.

    ``sure`` is False where too few nodes of a cluster took a single PUT (202 instead of 201).
    """

    id: str
    rev: str = ""
    error: str = ""
    reason: str = ""
    sure: bool = True

    @property
    def is_away(self) -> bool:
        """Whether the document could not be written for now, as on a disk that is full, whatever it holds."""
        return self.error in _PASSING
