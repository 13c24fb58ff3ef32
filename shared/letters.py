"""Messages as people look at them: read whatever is wrong with them, and never with their whole bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from shared.bus import envelope, patterns, queue

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.dbcon import Database, Doc

FIELDS: Final = (
    *("_id", "selector", "state", "sender", "creationTimestamp", "due", "doneAt", "attempts", "errors", "waits"),
    *("claim", "body.ousUID", "body.name", "body.productsDir", "body.timestamp", "body.launchedAt"),
)
"""What is read of a message: never its whole body, which may have megabytes."""

_PAGE: Final = 1000
_ERROR_LENGTH: Final = 300
_WAITING: Final = (envelope.DELAYED, envelope.EXPIRED)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message as people see it. Times are UTC text as stored, empty where there is none.

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
        waits=waits_for(doc)[:_ERROR_LENGTH],
        error=_text(last, "what")[:_ERROR_LENGTH],
        ous=_text(body, "ousUID"),
        name=_text(body, "name") or _text(body, "productsDir"),
        run=_text(body, "timestamp"),
        launched=_text(body, "launchedAt"),
    )


def waits_for(doc: Doc) -> str:
    """Return what a message waits for, or waited for when it expired; empty while it is taken, or may be."""
    return _text(doc, "waits") if doc.get("state") in _WAITING else ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(fields: dict[str, Any], name: str) -> str:
    return str(fields.get(name) or "")


def unsettled(database: Database, selectors: Sequence[str] = ()) -> Iterator[Letter]:
    """Yield every message that is open, to all selectors or to these, or dead, read through the indexes page by page.

    What changes meanwhile may be met twice, or not: whoever needs the truth follows the feed from before.
    """
    addressed: list[Doc] = [{"selector": each} for each in selectors] or [{}]
    for index, where in (
        *((queue.READY_INDEX, each) for each in addressed),
        *((queue.DUE_INDEX, each) for each in addressed),
        (queue.ENDED_INDEX, {"state": envelope.DEAD}),
    ):
        fields = [each for each in queue.INDEXES[index][0] if each not in where]
        yield from map(letter, _walk(database, index, where, fields))


def _walk(database: Database, index: str, where: Doc, fields: Sequence[str]) -> Iterator[Doc]:
    """Yield all that an index has where its first fields are as said.

    Behind a full page, what has the page's last value of the next field is walked by the field after that; then it goes
    on behind that value. So no page is counted off, and none is read twice.
    """
    field, *deeper = fields
    beyond: object = None
    while True:
        docs = _read(database, index, {**where, field: {"$gt": beyond}}, _PAGE)
        if len(docs) < _PAGE:
            yield from docs
            return
        last = docs[-1][field]
        yield from (doc for doc in docs if doc[field] != last)
        if deeper:
            yield from _walk(database, index, {**where, field: last}, deeper)
        else:
            yield from _alike(database, index, {**where, field: last})
        # "$gt" a selector itself would have CouchDB read all of its rows once more.
        beyond = patterns.behind(last) if field == "selector" else last


def _alike(database: Database, index: str, where: Doc) -> list[Doc]:
    """Return all of what differs in no field of an index, however many these are."""
    limit = _PAGE
    while True:
        docs = _read(database, index, where, limit)
        if len(docs) < limit:
            return docs
        limit *= 4


def _read(database: Database, index: str, where: Doc, limit: int) -> list[Doc]:
    sort = queue.INDEXES[index][0]
    return database.find(where, index=index, sort=sort, limit=limit, fields=[*FIELDS, "priority"])
