"""The rows of `_changes`: which changes a feed shows, each as JSON, and what is left for the next time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from couchlet import json_text
from couchlet.mango.paths import project
from couchlet.revisions import Branch, branches_by_rank
from couchlet.storage.transaction import Content
from couchlet.web.pacing import Turn, breathe
from couchlet.web.sequences import packed_sequence
from couchlet.web.showing import ShowOptions, show_content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from couchlet.storage.database import Database
    from couchlet.storage.reader import Reader
    from couchlet.storage.records import StoredDocument
    from couchlet.web.change_options import ChangeOptions

_ROWS_A_QUERY: Final = 500
_DOCUMENTS_A_QUERY: Final = 100
_MOST_LOOKED_UP: Final = 1000
"""So many documents at most are looked up by their ids; for more, all changes are read."""


class Cursor(msgspec.Struct):
    """Where a feed is: what is told as its last sequence, how many rows may still be sent, and how many were.

    The last round looked at what changed after `since`, up to `until`, when `sent_before` rows were sent. `counted`
    is the last change that is not pending; of documents that were looked up, as CouchDB does it, only those that were
    sent are not.
    """

    seq: int
    left: int
    sent: int = 0
    since: int = 0
    until: int = 0
    sent_before: int = 0
    counted: int | None = None
    is_lookup: bool = False

    def begin(self, options: ChangeOptions, until: int) -> None:
        """Begin a round; downwards everything is read from the newest on, whatever `since` says."""
        if options.descending:
            self.seq = until
        self.since, self.until, self.counted = self.seq, until, None
        self.sent_before, self.is_lookup = self.sent, _is_lookup(options)

    def take(self, seq: int) -> None:
        """Go on behind a change that is sent."""
        self.seq = self.counted = seq
        self.left -= 1
        self.sent += 1

    def end(self, options: ChangeOptions) -> None:
        """Know that there was nothing else.

        The last sequence stays that of the last change: not all sequences have one (see `Transaction.skip_sequence`).
        Only where documents were looked up CouchDB tells the newest (`couch_changes:send_lookup_changes`).
        """
        if options.descending:
            self.counted = 1
        else:
            if self.is_lookup:
                self.seq = max(self.seq, self.until)
            self.counted = self.until

    def pending(self, reader: Reader, *, descending: bool) -> int:
        """How many changes of the last round were not looked at."""
        since = 0 if descending else self.since
        if self.is_lookup:
            return reader.changes_after(since, self.until) - (self.sent - self.sent_before)
        if self.counted is None:
            return reader.changes_after(since, self.until)
        if descending:
            return reader.changes_after(0, self.counted - 1)
        return reader.changes_after(self.counted, self.until)


async def change_rows(database: Database, options: ChangeOptions, cursor: Cursor, until: int) -> AsyncIterator[bytes]:
    """Return the rows of changes up to a sequence; the cursor moves along.

    Where each change has to be tried, CouchDB tries one more than it sends: one that is not shown moves the cursor.
    """
    cursor.begin(options, until)
    is_tried = not _is_unfiltered(options) and not _is_lookup(options)
    if not cursor.left and not is_tried:
        return
    turn = Turn()
    async for rows in _found(database, options, cursor):
        for row in rows:
            await turn.give_up_if_long()
            text = change_row(database, row, options, cursor.left)
            if not cursor.left:
                if text is None:
                    cursor.seq = row.seq
                    cursor.counted = cursor.counted or row.seq
                return
            if text is None:
                cursor.seq = row.seq
                continue
            cursor.take(row.seq)
            yield text
            if not cursor.left and not is_tried:
                return
    if cursor.left:
        cursor.end(options)


async def _found(database: Database, options: ChangeOptions, cursor: Cursor) -> AsyncIterator[list[StoredDocument]]:
    """Return the changes to try, in order, some at a time."""
    reader = database.reader
    if _is_lookup(options):
        yield _looked_up(reader, options, cursor)
        return
    place, until = cursor.since, cursor.until
    bare = options.matcher is None and not options.include_docs
    most = _ROWS_A_QUERY if bare else _DOCUMENTS_A_QUERY
    while not database.closed:
        count = min(most, cursor.left) if _is_unfiltered(options) else most
        if options.descending:
            found = reader.changes(0, place, count, descending=True, bare=bare)
        else:
            found = reader.changes(place, until, count, descending=False, bare=bare)
        yield found
        if len(found) < count:
            return
        place = found[-1].seq - 1 if options.descending else found[-1].seq
        await breathe()


def _looked_up(reader: Reader, options: ChangeOptions, cursor: Cursor) -> list[StoredDocument]:
    """Return the changes of the documents that alone can pass; one that was named twice comes twice, as in CouchDB."""
    if options.ids is not None:
        found = reader.documents(options.ids).items()
        rows = [row for id_, row in found for _ in range(options.ids[id_])]
    else:
        rows = reader.living("id >= '_design/' AND id < '_design0'", [], -1)
    low = 0 if options.descending else cursor.since
    changed = [row for row in rows if low < row.seq <= cursor.until]
    return sorted(changed, key=lambda row: row.seq, reverse=options.descending)


def _is_lookup(options: ChangeOptions) -> bool:
    """Whether the filter names so few documents that they are looked up."""
    return options.design_only or (options.ids is not None and options.ids.total() <= _MOST_LOOKED_UP)


def _is_unfiltered(options: ChangeOptions) -> bool:
    return options.ids is None and options.matcher is None and not options.design_only


def is_plain(options: ChangeOptions) -> bool:
    """Whether a feed shows what most do: every change, in order, by the revision that is shown."""
    special = options.descending or options.all_leaves or options.include_docs or options.seq_interval != 1
    return _is_unfiltered(options) and not special


def change_sequence(database: Database, seq: int, options: ChangeOptions, left: int) -> bytes:
    """Return the sequence that a row shows, by how many rows were still wanted before it."""
    return b"null" if left % options.seq_interval else json_text.encode(packed_sequence(database, seq))


def change_row(database: Database, row: StoredDocument, options: ChangeOptions, left: int) -> bytes | None:
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
        change_sequence(database, row.seq, options, left),
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
    # With `conflicts` CouchDB opens the revision that is shown with them before it is tried, if that one alone is.
    show = ShowOptions(conflicts=options.conflicts and not options.all_leaves)
    passing = []
    for branch in branches:
        content = database.reader.content(row, branch.leaf)
        if content is None:
            continue
        shown = show_content(database.reader, row, content, show)
        if options.matcher(json_text.decode_stored(shown)):
            passing.append(str(branch.leaf))
    return passing


def _document(database: Database, row: StoredDocument, options: ChangeOptions) -> bytes:
    show = ShowOptions(
        conflicts=options.conflicts,
        # CouchDB collects them itself where a selector is tried on all leaves (`open_all_revs_include_doc`).
        empty_conflicts=options.all_leaves and options.matcher is not None,
        attachments=options.attachments,
        att_encoding_info=options.att_encoding_info,
    )
    content = Content(row.shown, bool(row.deleted), row.body, row.attachments)
    text = show_content(database.reader, row, content, show)
    if options.fields:
        return json_text.encode(project(json_text.decode_stored(text), options.fields))
    return text
