"""Revision trees of messages, where the queue's database has several copies of each shard.

There two writers who meet can both be told that their write took place: one 201, and 202 for the other, whose leaf
stays in the tree and may even be the one that is shown. So there a claim counts by a 201 alone, whoever settles
removes the leaves that lost, and a lapsed lease is taken over only after all leaves were read: none may be settled,
none may have a lease that lasts, and the others are removed first, so that their owners' writes meet a conflict.
(Measured on three nodes: of 300 races each had exactly one 201, and every sixth a 202 beside it.)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from shared import errors, forks
from shared.bus import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from shared.bus.envelope import Message
    from shared.dbcon import Database, Doc

_LOG = logging.getLogger(__name__)


class Trees:
    """Reads all leaves of messages and removes those that lost."""

    def __init__(self, database: Database) -> None:
        """Take the queue's database."""
        self._database = database

    def prune(self, settled: Message) -> None:
        """Remove what lost against a message that was just settled: every other leaf that is not longer.

        A claim by 201 is the only one of its revision, so beside what its holder wrote no leaf of the same length
        counts; a longer one is what came after. What cannot be removed now is left to the janitor.
        """
        try:
            leaves = self._database.leaves_of_every_copy(settled.id, ancestors=True)
        except errors.DatabaseError as error:
            _LOG.warning("leaves that lost are not removed from message %s: %s", settled.id, error)
            return
        self._remove(_lost_against(settled.rev, leaves))

    def prune_settled(self, doc_id: str) -> bool:
        """Remove from a settled message what :meth:`prune` did not see, on a copy that was away; tell whether it was.

        Raises DatabaseError.
        """
        leaves = self._database.leaves_of_every_copy(doc_id, ancestors=True)
        stands = forks.shown(each for each in leaves if each.get("state") in envelope.TERMINAL_STATES)
        lost = _lost_against(stands["_rev"], leaves) if stands else []
        return bool(lost) and self._remove(lost)

    def step_back(self, forked: Message) -> bool:
        """Remove a claim of ours that does not count, if another leaf is longer: that one's writer went on.

        Where none is, it is left alone, for it may be the only copy of the message; whoever settles removes it, or
        whoever takes it over when its lease is over. Tells whether there is another leaf, as long or longer: if not,
        no rival was quicker, but too few copies answer.
        """
        try:
            leaves = self._database.leaves_of_every_copy(forked.id, ancestors=True)
        except errors.DatabaseError as error:
            _LOG.warning("a claim that does not count is not removed from message %s: %s", forked.id, error)
            return False
        length = forks.generation(forked.rev)
        rivals = forks.apart(forked.rev, leaves) or []
        if any(generation(each) > length for each in rivals):
            self._remove([_revision(forked)])
        return any(generation(each) >= length for each in rivals)

    def make_sure_that_most_answer(self, me: str) -> None:
        """Write a document of our own, and take it back; raise DatabaseAway where too few copies took it.

        A claim that too few took cannot be taken back, and spends an attempt.
        """
        doc_id = f"control:quorum:{me}"
        before = self._database.get(doc_id)
        doc = {"_id": doc_id, "schema": 1} | ({"_rev": before["_rev"]} if before else {})
        row = self._database.put_row(doc_id, msgspec.json.encode(doc))
        if not row.rev or not row.sure:
            raise errors.NotNow(f"too few copies of {self._database.name} take what is written")
        self._database.remove([(doc_id, row.rev)])

    def reapable(self, lapsed: Sequence[Message], *, is_over: Callable[[Doc], bool]) -> list[Message]:
        """Return those lapsed claims that may be taken over, after their other leaves were removed.

        ``is_over`` tells whether the lease of a claimed leaf is surely over. What was written to since it was read, as
        a copy that lags does not know, is no other leaf: removed, it would be the message itself that is gone. Raises
        DatabaseError.
        """
        trees = self._database.leaves((message.id for message in lapsed), ancestors=True)
        free = []
        for message in lapsed:
            leaves = trees[message.id]
            if any(forks.grew_from(each, message.rev) for each in leaves if each["_rev"] != message.rev):
                continue
            others = forks.apart(message.rev, leaves)
            if others is None:
                continue
            settled = [each for each in others if str(each.get("state")) in envelope.TERMINAL_STATES]
            if settled:  # the settled leaf stands, and is shown once the claim is gone
                stands = max(settled, key=generation)
                self._remove([*(each for each in others if each is not stands), _revision(message)])
            elif all(is_over(each) for each in others) and self._remove(others):
                free.append(message)
        return free

    def _remove(self, leaves: Iterable[Doc]) -> bool:
        return self._database.remove((leaf["_id"], leaf["_rev"]) for leaf in leaves)


def newest(leaves: Iterable[Doc]) -> Doc | None:
    """Return the leaf to which most revisions led; None where there is none."""
    return max(leaves, key=generation, default=None)


def generation(leaf: Doc) -> int:
    """Return how many revisions led to a leaf, itself included."""
    return forks.generation(leaf["_rev"])


def _lost_against(rev: str, leaves: Collection[Doc]) -> list[Doc]:
    """Return the leaves of other branches than a settled one's that are not longer."""
    length = forks.generation(rev)
    return [each for each in forks.apart(rev, leaves) or () if generation(each) <= length]


def _revision(message: Message) -> Doc:
    return {"_id": message.id, "_rev": message.rev}
