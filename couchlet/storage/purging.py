"""Purging: leaves vanish without a tombstone, and are remembered for a while for those who keep copies."""

from __future__ import annotations

from typing import Final

from couchlet import json_text
from couchlet.errors import CouchError
from couchlet.revisions import Revision, Tree, holds, remove_leaves, winner
from couchlet.storage.records import StoredDocument, stored_document
from couchlet.storage.transaction import Change, Content, Transaction

DEFAULT_PURGED_INFOS_LIMIT: Final = 1000


def purge(transaction: Transaction, requests: dict[str, list[Revision]]) -> dict[str, list[Revision]]:
    """Remove the leaves named; returns those that were there, for every id asked."""
    heads = transaction.heads(requests)
    result: dict[str, list[Revision]] = {}
    changes = []
    for id_, revisions in requests.items():
        head = heads.get(id_)
        tree: Tree = head.tree if head else ()
        rest, result[id_] = remove_leaves(tree, revisions)
        if head and result[id_]:
            changes.append(_change(transaction, head, tree, rest))
    if requests:
        _apply(transaction, changes)
        _remember(transaction, requests)
    return result


def _apply(transaction: Transaction, changes: list[Change]) -> None:
    """Write what is left, with as many sequences as CouchDB uses: one a leaf that is left, or else one for all.

    It counts leaves anew (`couch_db_updater:apply_purge_reqs`), and wants indexes to see that something was purged
    (`couch_bt_engine:purge_docs`).
    """
    before = transaction.counters.update_seq
    for change in changes:
        leaves = len(change.after.tree) if change.after else 0
        for _ in range(leaves - 1):
            transaction.skip_sequence()
        transaction.apply([change])
    if transaction.counters.update_seq == before:
        transaction.skip_sequence()


def _change(transaction: Transaction, head: StoredDocument, before: Tree, rest: Tree) -> Change:
    """Return what is left of the document: nothing, or its other leaves, of which one is shown now."""
    gone = [revision for branch in before for revision in branch.revisions() if not holds(rest, revision)]
    if not rest:
        return Change(head, None, [], gone)
    shown = winner(rest).leaf
    if shown == head.shown:
        after = stored_document(head.id, rest, head.body, head.attachments)
        return Change(head, after, [], gone)
    content = transaction.content(head.id, shown)
    if content is None:
        raise CouchError(500, "internal_server_error", f"The content of {head.id} {shown} is missing.")
    kept = [] if head.shown in gone else [Content(head.shown, bool(head.deleted), head.body, head.attachments)]
    after = stored_document(head.id, rest, content.body, content.attachments)
    return Change(head, after, kept, [*gone, shown])


def _remember(transaction: Transaction, requests: dict[str, list[Revision]]) -> None:
    counters = transaction.counters
    rows = []
    for id_, revisions in requests.items():
        counters.purge_seq += 1
        rows.append((counters.purge_seq, id_, json_text.encode([str(revision) for revision in revisions])))
    transaction.connection.executemany("INSERT INTO purged VALUES (?, ?, ?)", rows)


def trim_purged(transaction: Transaction) -> None:
    """Forget the oldest purges beyond the limit; compaction does this."""
    beyond = transaction.counters.purge_seq - int(transaction.setting("purged_infos_limit", DEFAULT_PURGED_INFOS_LIMIT))
    if beyond > 0:
        transaction.connection.execute("DELETE FROM purged WHERE seq <= ?", (beyond,))
