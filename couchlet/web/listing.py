"""`_all_docs` and its like: documents in the order of their ids."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from couchlet import json_text
from couchlet.errors import bad_request, method_not_allowed, unknown_error
from couchlet.order.json_order import compare_raw
from couchlet.storage.transaction import Content
from couchlet.web.attachments import attachment
from couchlet.web.listing_options import ABSENT, Listing, parse_listing, parse_one_of_many
from couchlet.web.pacing import breathe
from couchlet.web.reply import JsonStream
from couchlet.web.sequences import packed_sequence
from couchlet.web.showing import ShowOptions, show_content, show_local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.storage.local_documents import LocalDocument
    from couchlet.storage.records import StoredDocument
    from couchlet.web.call import Call

_ROWS_A_QUERY = 500
_DOCUMENTS_A_QUERY = 100
_SYSTEM = {"_local/purge-": {"purge_seq"}, "_local/shard-sync": {"target_uuid", "seq"}}
"""Documents that CouchDB keeps for itself: what their ids begin with, and what they have."""
_DESIGN = ("_design/", "_design0")
_KINDS = {"_all_docs": "", "_design_docs": "_design/", "_local_docs": "_local/"}
"""What the ids in each list begin with."""


async def all_docs(call: Call) -> web.StreamResponse:
    """`_all_docs`, `_design_docs`, `_local_docs`, and `queries` below each."""
    database = call.database()
    kind = call.parts[1]
    if call.parts[2:] == ["queries"]:
        return await _queries(call, database, kind)
    if call.parts[2:]:
        # As CouchDB has it, that is an attachment of a document that cannot be.
        return await attachment(call, kind, "/".join(call.parts[2:]))
    if call.method == "POST":
        call.require_json()
        listing = parse_listing(call.parameters, await call.json_object())
    elif call.reads:
        listing = parse_listing(call.parameters)
    else:
        raise method_not_allowed("GET,HEAD,POST")
    stream = JsonStream(call)
    await _write_listing(stream, database, kind, listing)
    return await stream.end()


async def _queries(call: Call, database: Database, kind: str) -> web.StreamResponse:
    call.allow("POST")
    body = await call.json_object()
    if "queries" not in body:
        raise bad_request("POST body must include `queries` parameter.")
    queries = body["queries"]
    if not isinstance(queries, list):
        raise bad_request("`queries` member must be an array.")
    if not all(isinstance(query, dict) for query in queries):
        raise unknown_error("function_clause")
    listings = [parse_one_of_many(call.parameters, query) for query in queries]
    stream = JsonStream(call)
    await stream.add(b'{"results":[\r\n')
    for number, listing in enumerate(listings):
        await stream.add(b",\r\n" if number else b"")
        await _write_listing(stream, database, kind, listing)
    await stream.add(b"\r\n]}")
    return await stream.end()


async def _write_listing(stream: JsonStream, database: Database, kind: str, listing: Listing) -> None:
    if kind == "_local_docs":
        head: dict[str, Any] = {"total_rows": None, "offset": None}
        rows = _local_rows(database, kind, listing)
    elif listing.keys is not None:
        head = {"total_rows": _total(database, kind), "offset": None}
        rows = _key_rows(database, _picked(kind, listing), listing)
    else:
        start, end = _bounds(kind, listing)
        total = _total(database, kind)
        head = {"total_rows": total, "offset": min(_offset(database, kind, listing), total)}
        rows = _range_rows(database, listing, start, end)
    if listing.update_seq:
        is_range = listing.keys is None and kind != "_local_docs"
        head["update_seq"] = packed_sequence(database, database.counters.update_seq) if is_range else None
    await stream.add(json_text.encode(head)[:-1] + b',"rows":[\r\n')
    first = True
    async for row in rows:
        await stream.add(row if first else b",\r\n" + row)
        first = False
    await stream.add(b"\r\n]}\n")


Bound = tuple[str, bool] | None
"""A bound among ids and whether it belongs to the range; None is open."""


def _bounds(kind: str, listing: Listing) -> tuple[Bound, Bound]:
    """Return the low and the high end of the ids asked for, whatever the direction."""
    low, high = _bound(listing.startkey, True), _bound(listing.endkey, listing.inclusive_end)
    if listing.descending:
        low, high = high, low
    if _excludes(listing):
        return ("", False), ("", False)
    if kind == "_design_docs":
        low = max(filter(None, (low, (_DESIGN[0], True))), key=lambda bound: bound[0])
        high = min(filter(None, (high, (_DESIGN[1], False))), key=lambda bound: bound[0])
    return low, high


def _bound(value: Any, inclusive: bool) -> Bound:  # noqa: ANN401 - any JSON value
    return (value, inclusive) if isinstance(value, str) else None


def _excludes(listing: Listing) -> bool:
    """Whether a bound that is no text leaves nothing: text comes after everything else."""
    beyond = listing.startkey if listing.descending else listing.endkey
    return beyond is not ABSENT and not isinstance(beyond, str) and compare_raw("", beyond) > 0


def _conditions(low: Bound, high: Bound) -> tuple[str, list[str]]:
    condition, values = "deleted = 0", []
    if low is not None:
        condition += " AND id >= ?" if low[1] else " AND id > ?"
        values.append(low[0])
    if high is not None:
        condition += " AND id <= ?" if high[1] else " AND id < ?"
        values.append(high[0])
    return condition, values


def _total(database: Database, kind: str) -> int:
    if kind == "_all_docs":
        return database.counters.living
    return database.reader.count_living(*_conditions((_DESIGN[0], True), (_DESIGN[1], False)))


def _offset(database: Database, kind: str, listing: Listing) -> int:
    """How many documents of the whole database come before the first row shown, whatever the list is of."""
    start = _bound(listing.startkey, True)
    if listing.descending and _excludes(listing):
        start = ("", False)
    if kind == "_design_docs":
        edge = (_DESIGN[int(listing.descending)], not listing.descending)
        start = (min if listing.descending else max)(start or edge, edge, key=lambda bound: bound[0])
    if start is None:
        return listing.skip
    opposite = (start[0], not start[1])
    span = (opposite, None) if listing.descending else (None, opposite)
    return database.reader.count_living(*_conditions(*span)) + listing.skip


async def _range_rows(database: Database, listing: Listing, low: Bound, high: Bound) -> AsyncIterator[bytes]:
    left = listing.limit
    skip = listing.skip
    bare = not listing.include_docs
    most = _ROWS_A_QUERY if bare else _DOCUMENTS_A_QUERY
    while left is None or left > 0:
        count = most if left is None else min(left, most)
        rows = database.reader.living(*_conditions(low, high), count, skip, descending=listing.descending, bare=bare)
        for row in rows:
            yield _row(database, row, listing)
        if len(rows) < count:
            return
        if left is not None:
            left -= len(rows)
        skip = 0
        if listing.descending:
            high = (rows[-1].id, False)
        else:
            low = (rows[-1].id, False)
        await breathe()


def _picked(kind: str, listing: Listing) -> list[Any]:
    """Return the keys of which there are to be rows: those of another kind count for `skip` and `limit` only."""
    keys = listing.keys or []
    end = None if listing.limit is None else listing.skip + listing.limit
    keys = (keys[::-1] if listing.descending else keys)[listing.skip : end]
    prefix = _KINDS[kind]
    return [key for key in keys if isinstance(key, str) and key.startswith(prefix)] if prefix else keys


async def _key_rows(database: Database, keys: list[Any], listing: Listing) -> AsyncIterator[bytes]:
    for start in range(0, len(keys), _DOCUMENTS_A_QUERY):
        part = keys[start : start + _DOCUMENTS_A_QUERY]
        rows = database.reader.documents(key for key in part if isinstance(key, str))
        for key in part:
            row = rows.get(key) if isinstance(key, str) else None
            if row is not None:
                yield _row(database, row, listing)
            else:
                is_local = isinstance(key, str) and key.startswith("_local/")
                yield _local_row(key, database.reader.local(key) if is_local else None, listing)
        await breathe()


def _row(database: Database, row: StoredDocument, listing: Listing) -> bytes:
    id_ = json_text.encode(row.id)
    shown = row.shown
    deleted = b',"deleted":true' if row.deleted else b""
    text = b'{"id":%b,"key":%b,"value":{"rev":%b%b}' % (id_, id_, json_text.encode(str(shown)), deleted)
    if not listing.include_docs:
        return text + b"}"
    if row.deleted:
        return text + b',"doc":null}'
    options = ShowOptions(
        conflicts=listing.conflicts,
        attachments=listing.attachments,
        att_encoding_info=listing.att_encoding_info,
    )
    content = Content(shown, False, row.body, row.attachments)
    return text + b',"doc":' + show_content(database.reader, row, content, options) + b"}"


async def _local_rows(database: Database, kind: str, listing: Listing) -> AsyncIterator[bytes]:
    for id_, found in _picked_local(database, kind, listing):
        yield _local_row(id_, found, listing)


def _local_row(key: Any, found: LocalDocument | None, listing: Listing) -> bytes:  # noqa: ANN401 - any JSON value
    """Return the row of a `_local` document, or of a key that has none of any kind."""
    if found is None:
        return json_text.encode({"key": key, "error": "not_found"})
    row: dict[str, Any] = {"id": key, "key": key, "value": {"rev": str(found[0])}}
    if listing.include_docs:
        row["doc"] = msgspec.Raw(show_local(key, *found))
    return json_text.encode(row)


def _picked_local(database: Database, kind: str, listing: Listing) -> Iterator[tuple[str, LocalDocument | None]]:
    """Yield the ids and documents of the rows; those that CouchDB keeps for itself are left out of a range."""
    read = database.reader.local
    if listing.keys is not None:
        yield from ((id_, read(id_)) for id_ in _picked(kind, listing))
        return
    ids = [id_ for id_ in database.reader.local_ids() if listing.contains(id_)]
    if listing.descending:
        ids.reverse()
    found = ((id_, read(id_)) for id_ in ids)
    shown = (item for item in found if item[1] and (listing.include_system or not _is_system(item[0], item[1][1])))
    end = None if listing.limit is None else listing.skip + listing.limit
    yield from islice(shown, listing.skip, end)


def _is_system(id_: str, body: bytes) -> bool:
    """Whether a document is a mark of how far a purge or a copy between shards has come."""
    needed = next((members for prefix, members in _SYSTEM.items() if id_.startswith(prefix)), None)
    return needed is not None and needed <= json_text.decode_stored(body).keys()
