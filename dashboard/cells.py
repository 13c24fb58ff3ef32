"""What stands in the cells of the dashboard's tables. Templates escape all of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from flask import url_for

from shared import names
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAGE: Final = 25
"""As many rows has a page of a table."""

_HASH_SHOWN: Final = 12
_GROUPED: Final = "\u202f"
"""A narrow space at which no line breaks."""

_SECOND: Final = len("2026-11-20T23:40:00")


@dataclass(frozen=True)
class Cell:
    """A text; where it leads, what it says in full, and its look: ``bad``, ``good``, ``prose`` (long), ``number``."""

    text: str
    href: str = ""
    title: str = ""
    look: str = ""


@dataclass(frozen=True)
class Order:
    """In which order a table is read: by what (nothing for its own order), from the last to the first or not."""

    by: str = ""
    descending: bool = False


@dataclass(frozen=True)
class Page:
    """One page of a table: its rows, how many there are in all, and where the next page is."""

    key: str
    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    total: int
    after: str = ""
    remark: str = ""
    """What there is to say below it, such as that there are more than can be counted."""
    where: str = ""
    """The address of the table, to which order and place are added; empty for one that cannot be turned."""
    sorts: Mapping[str, str] = field(default_factory=dict)
    """By which of its heads it can be sorted, and what that is called in an address."""
    order: Order = Order()
    start: int = 0
    """How many rows are on the pages before this one."""

    def turned(self, head: str) -> str:
        """Return the address of the table sorted by a head; by the one it is sorted by already, the other way round."""
        by = self.sorts[head]
        return self._address(by, descending=by == self.order.by and not self.order.descending)

    def first(self) -> str:
        """Return the address of the first page, in the same order."""
        return self._address(self.order.by, descending=self.order.descending)

    def onward(self) -> str:
        """Return the address of the next page, with how many rows are before it."""
        behind = {"after": self.after, "start": str(self.start + len(self.rows))}
        return self._address(self.order.by, descending=self.order.descending, **behind)

    def _address(self, by: str, *, descending: bool, **behind: str) -> str:
        query = {**behind, "sort": by, "order": "down" if descending else ""}
        text = urlencode({name: value for name, value in query.items() if value})
        return f"{self.where}{'&' if '?' in self.where else '?'}{text}" if text else self.where


def plain(value: Any) -> Cell:  # noqa: ANN401 (whatever a document holds)
    """Return a value as it is."""
    return Cell("" if value is None else str(value))


def number(value: object) -> Cell:
    """Return a number, its digits in groups; what is none as it is."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return Cell(f"{value:,}".replace(",", _GROUPED) if is_whole else plain(value).text, look="number")


def count(value: object) -> Cell:
    """Return how many a list has; nothing for what is no list."""
    return number(len(value) if isinstance(value, list) else None)


def prose(text: str, look: str = "") -> Cell:
    """Return a text that may be long, and is folded."""
    return Cell(text, look=f"prose {look}".strip())


def at(value: object) -> Cell:
    """Return a time to the second, in full where one points at it."""
    text = value if isinstance(value, str) else ""
    return Cell(text[:_SECOND].replace("T", " "), title=text)


def checksum(value: object) -> Cell:
    """Return the beginning of a checksum, in full where one points at it."""
    text = value if isinstance(value, str) else ""
    return Cell(text[:_HASH_SHOWN] + "…" if len(text) > _HASH_SHOWN else text, title=text)


def ous(uid: object) -> Cell:
    """Return the UID of an OUS, leading to its page; what is none leads nowhere."""
    try:
        return Cell(str(uid), href=url_for("pages.ous", doc_id=names.document_id(str(uid))))
    except BadInput:
        return plain(uid)


def message(message_id: str) -> Cell:
    """Return a message's id, leading to its page."""
    return Cell(message_id, href=url_for("messages.one", message_id=message_id), look="prose")


def weblog(weblog_url: str, uid: object, run: object) -> Cell:
    """Return a link to the weblog of a run, if it has one."""
    try:
        name = names.weblog(str(uid), str(run)).removesuffix(".zip")
    except BadInput:
        return Cell("")
    return Cell("weblog", href=f"{weblog_url}/{quote(name)}/", title=name)
