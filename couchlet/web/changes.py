"""`_changes`: what changed since a sequence, at once or as it happens.

A feed that waits costs an open connection and one task: it sleeps on the database's event, which the next commit
sets, or until its heartbeat or timeout is due.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from couchlet import json_text
from couchlet.storage.latest import MOST
from couchlet.web.change_options import ChangeOptions, parse_changes
from couchlet.web.change_rows import Cursor, change_row, change_rows, change_sequence, is_plain
from couchlet.web.reply import JsonStream, etag_of, not_modified
from couchlet.web.sequences import packed_sequence

if TYPE_CHECKING:
    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.web.call import Call


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
    cursor = Cursor(options.since, options.limit)
    await stream.add(b'{"results":[\n')
    async for row in change_rows(database, options, cursor, until):
        await stream.add(row if cursor.sent == 1 else b",\r\n" + row)
    pending = cursor.pending(database.reader, descending=options.descending)
    await stream.add(_end(database, cursor.seq, pending))
    return await stream.end()


def _end(database: Database, seq: int, pending: int) -> bytes:
    last = json_text.encode(packed_sequence(database, seq))
    return b'\n],\n"last_seq":%b,"pending":%d}\n\n' % (last, pending)


class _Feed:
    """A feed that waits for changes: longpoll, continuous or eventsource."""

    def __init__(self, call: Call, database: Database, options: ChangeOptions) -> None:
        self._call = call
        self._database = database
        self._options = options
        self._is_long_poll = options.feed == "longpoll"
        self._is_event_source = options.feed == "eventsource"
        self._cursor = Cursor(options.since, options.limit)
        headers = {"Cache-Control": "no-cache"} if self._is_event_source else {}
        content_type = "text/event-stream" if self._is_event_source else "application/json"
        self._stream = JsonStream(call, headers, content_type)

    async def run(self) -> web.StreamResponse:
        """Send changes until the feed ends: by its limit, its timeout, or with the server or the database."""
        if self._is_long_poll:
            await self._stream.add(b'{"results":[\n')
        is_greeted = False
        while True:
            # The event is taken before looking, so that no commit falls between looking and waiting.
            event = self._database.change_event()
            sent_before = self._cursor.sent
            await self._send_new()
            if self._is_done():
                await self._send_end(b"\n" if self._cursor.sent > sent_before else b"")
                break
            if not (is_greeted or self._cursor.sent):
                # Where a client waits from the beginning, CouchDB sends it something at once.
                await self._stream.add(b"\n")
            is_greeted = True
            await self._stream.flush()
            if not await self._wait(event):
                await self._send_end(b"")
                break
        return await self._stream.end()

    def _is_done(self) -> bool:
        if self._database.closed or self._call.context.stopping.is_set():
            return True
        is_full = self._cursor.sent > 0 if self._is_long_poll else self._cursor.left <= 0
        return is_full or self._is_read_down()

    def _is_read_down(self) -> bool:
        """Whether a feed from the newest change down left nothing; of looked-up documents, the others are left."""
        options = self._options
        return options.descending and self._cursor.pending(self._database.reader, descending=True) <= 0

    async def _send_new(self) -> None:
        if self._database.closed:
            return
        until = self._database.counters.update_seq
        if until <= self._cursor.seq and not self._options.descending:
            return
        if is_plain(self._options) and self._is_latest(until):
            await self._send_latest(until)
            return
        async for row in change_rows(self._database, self._options, self._cursor, until):
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
            found = self._database.reader.changes(latest.until, until, MOST, descending=False, bare=True)
            made = [(row.id, row.seq, change_row(self._database, row, self._options, 1) or b"") for row in found]
            latest.extend(made, until)
        self._cursor.begin(self._options, until)
        for seq, row in latest.after(self._cursor.seq)[: self._cursor.left]:
            self._cursor.take(seq)
            await self._stream.add(self._framed(row))
        if self._cursor.left:
            self._cursor.end(self._options)

    def _framed(self, row: bytes) -> bytes:
        if self._is_event_source:
            # The cursor is behind the row already.
            seq = change_sequence(self._database, self._cursor.seq, self._options, self._cursor.left + 1)
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

    async def _send_end(self, line: bytes) -> None:
        """End the feed; of events with a line that is empty, or none."""
        if self._is_event_source:
            await self._stream.add(line)
            return
        seq, pending = self._cursor.seq, 0
        if not self._database.closed:
            pending = self._cursor.pending(self._database.reader, descending=self._options.descending)
        if self._is_long_poll:
            await self._stream.add(_end(self._database, seq, pending))
            return
        last = json_text.encode(packed_sequence(self._database, seq))
        await self._stream.add(b'{"last_seq":%b,"pending":%d}\n\n' % (last, pending))
