"""`_changes`: what changed since a sequence, at once or as it happens.

A feed that waits costs an open connection and one task: it sleeps on the database's event, which the next commit
sets, or until its heartbeat or timeout is due.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import msgspec

from couchlet import json_text
from couchlet.mango.paths import project
from couchlet.revisions import Branch, branches_by_rank
from couchlet.storage.latest import MOST
from couchlet.storage.transaction import Content
from couchlet.web.change_options import ChangeOptions, parse_changes
from couchlet.web.pacing import Turn, breathe
from couchlet.web.reply import JsonStream, etag_of, not_modified
from couchlet.web.sequences import packed_sequence
from couchlet.web.showing import ShowOptions, show_content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.storage.records import StoredDocument
    from couchlet.web.call import Call

_ROWS_A_QUERY: Final = 500


class _Cursor(msgspec.Struct):
    """Where a feed is: everything up to `seq` was looked at, `left` rows may still be sent."""

    seq: int
    left: int
    sent: int = 0


async def changes(call: Call) -> web.StreamResponse:
    """Answer by the kind of feed."""
    database = call.database()
    call.allow("GET", "POST", "HEAD")
    options = await parse_changes(call, database)
    if options.feed == "normal" or call.method == "HEAD":
        return await _normal(call, database, options)
    return await _Feed(call, database, options).run()


async def _normal(call: Call, database: Database, options: ChangeOptions) -> web.StreamResponse:
    counters = database.counters
    etag = etag_of(database.uuid, counters.update_seq, counters.purge_seq)
    unchanged = not_modified(call, etag)
    if unchanged:
        return unchanged
    stream = JsonStream(call, {"ETag": etag})
    until = counters.update_seq
    # Downwards everything is read from the newest on, whatever `since` says.
    cursor = _Cursor(until if options.descending else options.since, options.limit)
    await stream.add(b'{"results":[\n')
    async for row in _rows(database, options, cursor, until):
        await stream.add(row if cursor.sent == 1 else b",\r\n" + row)
    if options.descending:
        # Whoever wants no row at all is told of how many there are.
        is_counted = cursor.sent or not options.limit
        pending = database.reader.changes_after(0, cursor.seq - bool(cursor.sent)) if is_counted else 0
    else:
        pending = database.reader.changes_after(cursor.seq, until)
    await stream.add(_end(database, cursor.seq, pending))
    return await stream.end()


def _end(database: Database, seq: int, pending: int) -> bytes:
    last = json_text.encode(packed_sequence(database, seq))
    return b'\n],\n"last_seq":%b,"pending":%d}\n' % (last, pending)


async def _rows(database: Database, options: ChangeOptions, cursor: _Cursor, until: int) -> AsyncIterator[bytes]:
    """Return the rows of changes up to a sequence; the cursor moves along."""
    reader = database.reader
    upper = until
    turn = Turn()
    while cursor.left > 0 and not database.closed:
        count = min(_ROWS_A_QUERY, cursor.left) if _is_unfiltered(options) else _ROWS_A_QUERY
        if options.descending:
            found = reader.changes(0, upper, count, descending=True)
        else:
            found = reader.changes(cursor.seq, until, count, descending=False)
        for row in found:
            await turn.give_up_if_long()
            cursor.seq = row.seq
            text = _row(database, row, options, cursor.left)
            if text is not None:
                cursor.left -= 1
                cursor.sent += 1
                yield text
                if cursor.left == 0:
                    return
        if len(found) < count:
            if not options.descending:
                cursor.seq = max(cursor.seq, until)
            return
        upper = found[-1].seq - 1
        await breathe()


def _is_unfiltered(options: ChangeOptions) -> bool:
    return options.ids is None and options.matcher is None and not options.design_only


def _is_plain(options: ChangeOptions) -> bool:
    """Whether a feed shows what most do: every change, in order, by the revision that is shown."""
    special = options.descending or options.all_leaves or options.include_docs or options.seq_interval != 1
    return _is_unfiltered(options) and not special


def _sequence(database: Database, seq: int, options: ChangeOptions, left: int) -> bytes:
    """Return the sequence that a row shows, by how many rows were still wanted before it."""
    return b"null" if left % options.seq_interval else json_text.encode(packed_sequence(database, seq))


def _row(database: Database, row: StoredDocument, options: ChangeOptions, left: int) -> bytes | None:
    """One change as JSON; None if the filter does not let it pass."""
    if options.ids is not None and row.id not in options.ids:
        return None
    if options.design_only and not row.id.startswith("_design"):
        return None
    if not options.all_leaves and options.matcher is None:
        revisions = [str(row.shown)]
    else:
        revisions = _passing_revisions(database, row, options)
        if not revisions:
            return None
    listed = b",".join(b'{"rev":%b}' % json_text.encode(revision) for revision in revisions)
    text = b'{"seq":%b,"id":%b,"changes":[%b]%b' % (
        _sequence(database, row.seq, options, left),
        json_text.encode(row.id),
        listed,
        b',"deleted":true' if row.deleted else b"",
    )
    if options.include_docs:
        text += b',"doc":' + _document(database, row, options)
    return text + b"}"


def _passing_revisions(database: Database, row: StoredDocument, options: ChangeOptions) -> list[str]:
    branches: list[Branch] = branches_by_rank(row.tree)
    if not options.all_leaves:
        branches = branches[:1]
    if options.matcher is None:
        return [str(branch.leaf) for branch in branches]
    passing = []
    for branch in branches:
        content = database.reader.content(row, branch.leaf)
        if content is None:
            continue
        shown = show_content(database.reader, row, content, with_meta=False)
        if options.matcher(json_text.decode_stored(shown)):
            passing.append(str(branch.leaf))
    return passing


def _document(database: Database, row: StoredDocument, options: ChangeOptions) -> bytes:
    show = ShowOptions(
        conflicts=options.conflicts,
        attachments=options.attachments,
        att_encoding_info=options.att_encoding_info,
    )
    content = Content(row.shown, bool(row.deleted), row.body, row.attachments)
    text = show_content(database.reader, row, content, show)
    if options.fields:
        return json_text.encode(project(json_text.decode_stored(text), options.fields))
    return text


class _Feed:
    """A feed that waits for changes: longpoll, continuous or eventsource."""

    def __init__(self, call: Call, database: Database, options: ChangeOptions) -> None:
        self._call = call
        self._database = database
        self._options = options
        self._is_long_poll = options.feed == "longpoll"
        self._is_event_source = options.feed == "eventsource"
        since = 0 if options.descending else options.since
        self._cursor = _Cursor(since, options.limit)
        headers = {"Cache-Control": "no-cache"} if self._is_event_source else {}
        content_type = "text/event-stream" if self._is_event_source else "application/json"
        self._stream = JsonStream(call, headers, content_type)

    async def run(self) -> web.StreamResponse:
        """Send changes until the feed ends: by its limit, its timeout, or with the server or the database."""
        if self._is_long_poll:
            await self._stream.add(b'{"results":[\n')
        while True:
            # The event is taken before looking, so that no commit falls between looking and waiting.
            event = self._database.change_event()
            await self._send_new()
            if self._is_done():
                break
            await self._stream.flush()
            if not await self._wait(event):
                break
        await self._send_end()
        return await self._stream.end()

    def _is_done(self) -> bool:
        if self._database.closed or self._call.context.stopping.is_set():
            return True
        if self._is_long_poll:
            return self._cursor.sent > 0
        return self._cursor.left <= 0 or self._options.descending

    async def _send_new(self) -> None:
        if self._database.closed:
            return
        until = self._database.counters.update_seq
        if until <= self._cursor.seq and not self._options.descending:
            return
        if _is_plain(self._options) and self._is_latest(until):
            await self._send_latest(until)
            return
        async for row in _rows(self._database, self._options, self._cursor, until):
            await self._stream.add(self._framed(row))

    def _is_latest(self, until: int) -> bool:
        """Whether all that is new to this feed is among the latest rows, or few enough to be made such."""
        latest, purge_seq = self._database.latest_rows, self._database.counters.purge_seq
        if latest.purge_seq != purge_seq or until - latest.until > MOST:
            latest.restart(max(self._cursor.seq, until - MOST), purge_seq)
        return self._cursor.seq >= latest.since

    async def _send_latest(self, until: int) -> None:
        """Send what is new: of many feeds that a write wakes, the first makes the rows and the others repeat them."""
        latest = self._database.latest_rows
        if latest.until < until:
            found = self._database.reader.changes(latest.until, until, MOST, descending=False)
            made = [(row.id, row.seq, _row(self._database, row, self._options, 1) or b"") for row in found]
            latest.extend(made, until)
        for seq, row in latest.after(self._cursor.seq)[: self._cursor.left]:
            self._cursor = _Cursor(seq, self._cursor.left - 1, self._cursor.sent + 1)
            await self._stream.add(self._framed(row))
        if self._cursor.left:
            self._cursor.seq = until

    def _framed(self, row: bytes) -> bytes:
        if self._is_event_source:
            # The cursor is behind the row already.
            seq = _sequence(self._database, self._cursor.seq, self._options, self._cursor.left + 1)
            return b"data: %b\nid: %b\n\n" % (row, seq)
        if self._is_long_poll:
            return row if self._cursor.sent == 1 else b",\r\n" + row
        return row + b"\n"

    async def _wait(self, event: asyncio.Event) -> bool:
        """Wait for the next commit, with heartbeats meanwhile; False when the time is up."""
        heartbeat_s = self._options.heartbeat_s
        ends = None if heartbeat_s else time.monotonic() + self._options.timeout_s
        while True:
            patience = heartbeat_s if ends is None else max(ends - time.monotonic(), 0)
            try:
                async with asyncio.timeout(patience):
                    await event.wait()
            except TimeoutError:
                if ends is not None:
                    return False
                await self._stream.add(b"event: heartbeat\ndata: \n\n" if self._is_event_source else b"\n")
                await self._stream.flush()
                continue
            return True

    async def _send_end(self) -> None:
        if self._is_event_source:
            return
        seq = self._cursor.seq
        newest = self._database.counters.update_seq
        pending = 0
        if seq < newest and not self._database.closed:
            pending = self._database.reader.changes_after(seq, newest)
        if self._is_long_poll:
            await self._stream.add(_end(self._database, seq, pending))
            return
        last = json_text.encode(packed_sequence(self._database, seq))
        await self._stream.add(b'{"last_seq":%b,"pending":%d}\n\n' % (last, pending))
