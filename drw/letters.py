"""Reading the queue for operators: messages as they stand, found through its three indexes and in bounded numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from shared.bus import envelope, queue

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.dbcon import Database, Doc

MOST: Final = 5000
"""So many messages of a kind are read at most; where there are more, what is said of them says so."""

_FIELDS: Final = [
    *(
        "_id",
        "selector",
        "state",
        "sender",
        "creationTimestamp",
        "due",
        "doneAt",
        "attempts",
        "errors",
        "waits",
        "claim",
    ),
    *("body.ousUID", "body.name", "body.productsDir", "body.timestamp", "body.launchedAt"),
]
"""What is read of a message: never its whole body, which may have megabytes."""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A message as operators see it. Times are UTC text as stored, empty where there is none.

    ``by`` has it since ``since`` until ``until``; it ``waits`` for something, or met ``error`` last. ``ous`` and
    ``name`` are what its body names: the OUS, or the products directory or weblog of a run.
    """

    id: str
    selector: str
    state: str
    sent: str = ""
    sender: str = ""
    due: str = ""
    ended: str = ""
    attempts: int = 0
    by: str = ""
    since: str = ""
    until: str = ""
    waits: str = ""
    error: str = ""
    ous: str = ""
    name: str = ""
    run: str = ""
    launched: str = ""

    @property
    def is_open(self) -> bool:
        """Whether work is still to be done for it."""
        return self.state in envelope.OPEN_STATES

    def why(self) -> str:
        """Return who has it, or what it waits for, or what went wrong last."""
        if self.state == envelope.CLAIMED:
            return f"with {self.by or 'nobody'}"
        if self.waits:
            return f"waits: {self.waits}"
        return f"failed: {self.error}" if self.error else ""


def letter(doc: Doc) -> Letter:
    """Return a document of the queue as a letter, whatever is wrong with it."""
    claim, body = _mapping(doc.get("claim")), _mapping(doc.get("body"))
    failures = doc.get("errors")
    last = _mapping(failures[-1]) if isinstance(failures, list) and failures else {}
    message_id = str(doc["_id"])
    return Letter(
        id=message_id,
        selector=str(doc.get("selector") or envelope.selector_of(message_id)),
        state=str(doc.get("state", "")),
        sent=_text(doc, "creationTimestamp"),
        sender=_text(doc, "sender"),
        due=_text(doc, "due"),
        ended=_text(doc, "doneAt"),
        attempts=doc["attempts"] if isinstance(doc.get("attempts"), int) else 0,
        by=_text(claim, "by"),
        since=_text(claim, "since"),
        until=_text(claim, "until"),
        waits=_text(doc, "waits"),
        error=_text(last, "what"),
        ous=_text(body, "ousUID"),
        name=_text(body, "name") or _text(body, "productsDir"),
        run=_text(body, "timestamp"),
        launched=_text(body, "launchedAt"),
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(fields: dict[str, Any], name: str) -> str:
    return str(fields.get(name) or "")


def at_work(database: Database, selectors: Sequence[str] = (), *, most: int = MOST) -> list[Letter]:
    """Return the open messages, of some selectors or of all: for each index and selector ``most`` at most."""
    found: list[Letter] = []
    wanted: list[Any] = [*selectors] or [{"$gt": None}]
    for index in (queue.READY_INDEX, queue.DUE_INDEX):
        for where in wanted:
            found += _read(database, index, {"selector": where}, most)
    return found


def ended(database: Database, state: str, *, most: int = MOST, newest_first: bool = False) -> list[Letter]:
    """Return messages that are dead, consumed or expired, at most so many, in the order of their end."""
    return _read(database, queue.ENDED_INDEX, {"state": state, "doneAt": {"$gt": None}}, most, down=newest_first)


def _read(database: Database, index: str, where: Doc, most: int, *, down: bool = False) -> list[Letter]:
    fields = queue.INDEXES[index][0]
    sort: list[str | Doc] = [{each: "desc"} for each in fields] if down else list(fields)
    docs = database.find(where, index=index, sort=sort, limit=most, fields=_FIELDS)
    return [letter(doc) for doc in docs]


def fetch(database: Database, ids: Iterable[str]) -> list[Letter]:
    """Return the messages with these ids that exist, in one request."""
    wanted = list(ids)
    return [letter(doc) for doc in database.fetch(wanted) if doc] if wanted else []
