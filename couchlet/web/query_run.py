"""Running a planned query: reading the index in pieces, trying the selector, and writing what matches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from couchlet import json_text
from couchlet.errors import CouchError
from couchlet.mango.matching import compile_selector
from couchlet.mango.paths import project
from couchlet.mango.planner import Plan, covers, is_scan, warning
from couchlet.mango.ranges import Range, seek_keys
from couchlet.storage.records import StoredDocument
from couchlet.storage.transaction import Content
from couchlet.web.bookmarks import NO_BOOKMARK, Place, pack_bookmark, parse_bookmark
from couchlet.web.pacing import PacedMatcher, Turn, breathe
from couchlet.web.showing import ShowOptions, show_content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from couchlet.mango.options import FindOptions
    from couchlet.storage.database import Database
    from couchlet.web.reply import JsonStream

_FIRST_ROWS = 25
_MOST_ROWS = 500

_Row = tuple[Place, StoredDocument]


class _Progress(msgspec.Struct):
    """What a query has read and given so far.

    As in CouchDB, what was read since the last match (`uncounted`) counts with the next one, or at the end.
    """

    examined: int = 0
    uncounted: int = 0
    returned: int = 0
    last: Place | None = None

    def count(self) -> None:
        """Count what was read."""
        self.examined += self.uncounted
        self.uncounted = 0


async def run_query(stream: JsonStream, database: Database, plan: Plan, options: FindOptions) -> None:
    """Write the answer of a `_find`."""
    start = parse_bookmark(options.bookmark)
    if plan.impossible:
        await stream.add(b'{"docs":[\r\n]}\r\n')
        return
    began = time.perf_counter()
    progress = _Progress()
    await stream.add(b'{"docs":[\r\n')
    async for text in _matches(database, plan, options, start, progress):
        await stream.add(text if progress.returned == 1 else b",\r\n" + text)
    tail = _tail(plan, options, progress, time.perf_counter() - began)
    await stream.add(b"\r\n]," + json_text.encode(tail)[1:] + b"\r\n")


def _tail(plan: Plan, options: FindOptions, progress: _Progress, elapsed_s: float) -> dict[str, Any]:
    bookmark = pack_bookmark(progress.last) if progress.last else options.bookmark
    tail: dict[str, Any] = {"bookmark": bookmark or NO_BOOKMARK}
    examined = 0 if covers(plan.index, options) else progress.examined
    if options.execution_stats:
        tail["execution_stats"] = {
            "total_keys_examined": progress.examined,
            "total_docs_examined": examined if options.quorum == 1 else 0,
            "total_quorum_docs_examined": examined if options.quorum > 1 else 0,
            "results_returned": progress.returned,
            "execution_time_ms": round(elapsed_s * 1000, 3),
        }
    message = warning(plan, options, examined, progress.returned)
    if message:
        tail["warning"] = message
    return tail


async def _matches(
    database: Database, plan: Plan, options: FindOptions, start: Place | None, progress: _Progress
) -> AsyncIterator[bytes]:
    """Return the documents to give, as JSON, and the progress with each.

    When all are there, CouchDB reads on to the next match and counts what it reads, and so does this.
    """
    matcher = PacedMatcher(compile_selector(options.selector))
    fields = list(options.fields)
    show = ShowOptions(conflicts=options.conflicts)
    to_skip = options.skip
    turn = Turn()
    async for place, row in _rows(database, plan, options, start):
        await turn.give_up_if_long()
        progress.uncounted += 1
        content = Content(row.shown, False, row.body, row.attachments)
        text = show_content(database.reader, row, content, show)
        document = json_text.decode_stored(text)
        is_match = await matcher.matches(document)
        # For a quorum CouchDB has every document looked at where matches are collected.
        is_sent = is_match or options.quorum > 1
        if row.id.startswith("_design/"):
            if is_sent:
                # It is passed over there, and with it is forgotten what was read up to it.
                progress.uncounted = 0
            continue
        if is_sent:
            progress.count()
        if is_match:
            if progress.returned < options.limit:
                progress.last = place
            if to_skip:
                to_skip -= 1
            elif progress.returned == options.limit:
                return
            else:
                progress.returned += 1
                yield json_text.encode(project(document, fields)) if fields else text
        if progress.returned == options.limit and _knows_enough(plan, options, progress):
            break
    progress.count()


def _knows_enough(plan: Plan, options: FindOptions, progress: _Progress) -> bool:
    """Whether a query that has all its results would not be told anything else if it counted on."""
    if options.execution_stats:
        return False
    return covers(plan.index, options) or is_scan(progress.examined + progress.uncounted, progress.returned)


def _rows(database: Database, plan: Plan, options: FindOptions, start: Place | None) -> AsyncIterator[_Row]:
    # One more than is given, because the next one counts.
    wanted = min(options.limit + options.skip, _FIRST_ROWS) + 1
    if plan.index.is_special:
        range_ = plan.ranges[0] if plan.ranges else Range()
        return _rows_by_id(database, range_, start, wanted, descending=options.descending)
    number = next((held.number for held in database.indexes if held.definition == plan.index), None)
    if number is None:
        raise CouchError(404, "not_found", "The index was deleted while the query began.")
    low, high = seek_keys(plan.ranges)
    return _rows_by_index(database, number, (low, high), start, wanted, descending=options.descending)


async def _rows_by_index(
    database: Database, number: int, span: tuple[bytes, bytes], start: Place | None, wanted: int, *, descending: bool
) -> AsyncIterator[_Row]:
    low, high = span
    after = None
    if start is not None:
        after = start.id
        low, high = (low, min(start.key, high)) if descending else (max(start.key, low), high)
    while True:
        rows = database.reader.index_entries(number, low, after, high, wanted, descending=descending)
        for key, row in rows:
            yield Place(key, row.id), row
        if len(rows) < wanted:
            return
        after = rows[-1][1].id
        low, high = (low, rows[-1][0]) if descending else (rows[-1][0], high)
        wanted = min(wanted * 2, _MOST_ROWS)
        await breathe()


async def _rows_by_id(
    database: Database, range_: Range, start: Place | None, wanted: int, *, descending: bool
) -> AsyncIterator[_Row]:
    """Living documents in the order of their ids."""
    condition, values = "deleted = 0", []
    if range_.low is not None and isinstance(range_.low.value, str):
        condition += " AND id >= ?"
        values.append(range_.low.value)
    if range_.high is not None:
        if not isinstance(range_.high.value, str):
            return
        condition += " AND id <= ?"
        values.append(range_.high.value)
    beyond = " AND id < ?" if descending else " AND id > ?"
    last = start.id if start else None
    while True:
        here = condition if last is None else condition + beyond
        bound = values if last is None else [*values, last]
        rows = database.reader.living(here, bound, wanted, descending=descending)
        for row in rows:
            yield Place(b"", row.id), row
        if len(rows) < wanted:
            return
        last = rows[-1].id
        wanted = min(wanted * 2, _MOST_ROWS)
        await breathe()
