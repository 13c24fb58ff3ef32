"""Removing what lost and stayed, where a database has several copies of each shard.

Of two who meet in a document there the one that lost takes its leaf back, and so does whoever writes next. It stays
where its writer died meanwhile, or where it stood on a copy that was away, and nobody writes the document any more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from drw import setup
from shared.bus import envelope, janitor, queue
from shared.bus.trees import Trees
from shared.errors import DatabaseAway

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from shared.dbcon import Database, DbConnection

_LOG = logging.getLogger(__name__)
_PAGE: Final = 1000


def remove(connection: DbConnection, stopping: threading.Event) -> int:
    """Remove leaves that lost from whatever was written since the round before; return from how many documents.

    One that comes later, with the copy that has it, is a change of its own. How far this came is kept in the queue's
    database. Raises DatabaseError.
    """
    queue_ = connection.database(queue.DATABASE)
    freed = 0
    for name in setup.DATABASES:
        database = connection.database(name)
        if not database.may_fork():
            continue
        since = str(_seen(queue_.get(janitor.ROUND)).get(name) or "0")
        all_were_tried = True
        for ids, reached in _forked(database, since):
            became = [_freed(database, doc_id) for doc_id in ids]
            freed += became.count(True)
            all_were_tried = all_were_tried and None not in became
            if all_were_tried:  # else the next round begins here again
                _keep(queue_, name, reached)
            if stopping.is_set():
                return freed
    return freed


def _forked(database: Database, since: str) -> Iterator[tuple[list[str], str]]:
    """Yield, page by page, the documents written since then that have several leaves, and how far that is."""
    count = _PAGE
    while count == _PAGE:
        page = database.changed(since, limit=_PAGE)
        since, count = str(page.last_seq), len(page.results)
        yield [each.id for each in page.results if len(each.changes) > 1], since


def _freed(database: Database, doc_id: str) -> bool | None:
    """As :func:`_free`; None for a document that cannot be read or written now, which keeps no other back."""
    try:
        return _free(database, doc_id)
    except DatabaseAway as error:
        database.info()  # else it is the database that is away
        _LOG.warning("what lost is not removed from document %s of %s: %s", doc_id, database.name, error)
        return None


def _free(database: Database, doc_id: str) -> bool:
    """Remove the leaves that lost from a document; tell whether there were any."""
    if database.name == queue.DATABASE and envelope.is_message_id(doc_id):
        return Trees(database).prune_settled(doc_id)
    living = [leaf for leaf in database.leaves([doc_id])[doc_id] if not leaf.get("_deleted")]
    if len(living) > 1:
        database.mutate(doc_id, lambda _: None)  # whoever writes next removes them, and so does who writes nothing
    return len(living) > 1


def _seen(round_: dict[str, object] | None) -> dict[str, object]:
    seen = (round_ or {}).get("seen")
    return seen if isinstance(seen, dict) else {}


def _keep(queue_: Database, name: str, reached: str) -> None:
    queue_.mutate(janitor.ROUND, lambda doc: {**(doc or {"schema": 1}), "seen": {**_seen(doc), name: reached}})
