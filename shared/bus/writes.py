"""Writing messages so that it is known whether it happened.

An answer can be lost after the write took place. So a write whose answer is missing is repeated with the same bytes,
and when it then meets a conflict, the document is read: its ``last.opId`` says whose write it holds. A batch that is
refused as a whole, as CouchDB does for one bad document in it, is written by halves until the bad one is alone.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from shared import errors
from shared.clock import elapsed_s
from shared.logs import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.answers import Row
    from shared.bus.envelope import Message
    from shared.dbcon import Database, Doc

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
_SHORTEST_TRY_S: Final = 0.5
_LONGEST_TRY_S: Final = 30.0
_BATCH_BYTES: Final = 8_000_000

_DECISIVE: Final = frozenset({"claim", "expire", "bury_lapsed"})
"""Writes that several may try at once, and of which one must be the only one."""

Standing = Literal["written", "lost", "forked", "refused", "unknown"]


class Result(msgspec.Struct, frozen=True):
    """What became of one write.

    ``written``: the message stands, with its new revision. ``lost``: somebody else wrote first, or it was purged.
    ``forked``: it stands in the revision tree, perhaps beside another's, and does not count.
    ``refused``: CouchDB does not take this content, ``reason`` says why. ``unknown``: no answer in time.
    """

    standing: Standing
    message: Message
    reason: str = ""
    sure: bool = True
    """Whether most copies took it at once, where there are several; if not, most may hold another's by now."""


class _OneByOne(Exception):
    """The database has several copies of each shard: only single writes say which of them count."""


class Writer:
    """Writes new revisions of messages to the queue's database."""

    def __init__(self, database: Database) -> None:
        """Take the database.

        Where it has several copies of each shard, documents are written one a request: there a conflict can be
        answered 202 to each of two writers, and only 201 says that a majority agreed.
        """
        self._database = database
        self._stopped = threading.Event()
        self._trouble = Trouble(_LOG, "messages cannot be written")

    def stop(self) -> None:
        """End every wait between two tries: what is unknown then stays so."""
        self._stopped.set()

    def write(self, messages: Sequence[Message], *, until_s: float) -> list[Result]:
        """Write each message at the revision that it carries; the results are in the same order.

        ``until_s``, a moment of :func:`~shared.clock.elapsed_s`, is when to give up on a database that is away; of
        what is claimed no later than when the lease may be over. The first try is made in any case.
        Raises DatabaseError where the database refuses us and surely nothing was written; where something was, or may
        have been by a try without an answer, the rest is ``unknown``.
        """
        results: list[Result | None] = [None] * len(messages)
        refusals: list[errors.DatabaseError] = []
        encoded: list[tuple[int, bytes]] = []
        for at, message in enumerate(messages):
            try:
                encoded.append((at, msgspec.json.encode(message)))
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                results[at] = Result("refused", message, f"it cannot be written as JSON: {error}")
        for batch in _batches(encoded):
            chosen = [messages[at] for at, _ in batch]
            written = self._write_batch(chosen, [data for _, data in batch], until_s, refusals)
            for (at, _), result in zip(batch, written, strict=True):
                results[at] = result
        if refusals and all(result is None or result.standing in {"lost", "refused"} for result in results):
            raise refusals[0]
        refusal = str(refusals[0]) if refusals else ""
        return [each or Result("unknown", message, refusal) for message, each in zip(messages, results, strict=True)]

    def _write_batch(
        self,
        messages: Sequence[Message],
        encoded: list[bytes],
        until_s: float,
        refusals: list[errors.DatabaseError],
    ) -> Sequence[Result | None]:
        """Write a part of a batch; once we are refused, as for a wrong password, no part is tried any more: None."""
        if refusals:
            return [None] * len(messages)
        try:
            rows, repeated = self._insist(messages, encoded, until_s)
        except (_OneByOne, errors.Refused) as error:
            if len(messages) == 1:
                return [Result("refused", messages[0], str(error))]
            size = 1 if isinstance(error, _OneByOne) else (len(messages) + 1) // 2
            return self._write_parts(messages, encoded, until_s, refusals, size)
        except errors.DatabaseAway as error:
            return self._recover([Result("unknown", message, str(error)) for message in messages], until_s)
        except errors.DatabaseError as error:
            refusals.append(error)
            return [None] * len(messages)
        results = [_judge(message, row) for message, row in zip(messages, rows, strict=True)]
        return self._recover(results, until_s) if repeated else results

    def _write_parts(
        self,
        messages: Sequence[Message],
        encoded: list[bytes],
        until_s: float,
        refusals: list[errors.DatabaseError],
        size: int,
    ) -> list[Result | None]:
        results: list[Result | None] = []
        for at in range(0, len(messages), size):
            part = slice(at, at + size)
            results += self._write_batch(messages[part], encoded[part], until_s, refusals)
        return results

    def _insist(self, messages: Sequence[Message], encoded: list[bytes], until_s: float) -> tuple[list[Row], bool]:
        """Send until there is an answer; tell also whether an earlier try may have been carried out."""
        pause_s, repeated = _FIRST_PAUSE_S, False
        while True:
            try:
                rows = self._send(messages, encoded, _left_s(until_s))
            except errors.DatabaseAway as error:
                self._trouble.met(error)
                repeated = True
                if not self._may_go_on(pause_s, until_s):
                    raise
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            except (errors.WrongPassword, errors.Forbidden, errors.DatabaseMissing) as error:
                if repeated:
                    raise errors.DatabaseAway(str(error)) from error
                raise
            else:
                self._trouble.over()
                return rows, repeated

    def _send(self, messages: Sequence[Message], encoded: list[bytes], timeout_s: float) -> list[Row]:
        if not self._database.may_fork(timeout_s=timeout_s):
            content = b'{"docs":[' + b",".join(encoded) + b"]}"
            return self._database.bulk_bytes(content, len(encoded), timeout_s=timeout_s)
        if len(messages) > 1:
            raise _OneByOne
        return [self._database.put_row(messages[0].id, encoded[0], timeout_s=timeout_s)]

    def _recover(self, results: list[Result], until_s: float) -> list[Result]:
        """Read whether writes without an answer of their own happened: the document then carries their ``opId``."""
        missing = [result.message for result in results if result.standing in {"lost", "unknown"}]
        pause_s = _FIRST_PAUSE_S
        while missing:
            try:
                found, sure = self._stored(missing, _left_s(until_s)), not self._database.may_fork()
            except errors.DatabaseAway:
                if not self._may_go_on(pause_s, until_s):
                    return results
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            except errors.DatabaseError:
                return results
            else:
                return [_recognised(result, found.get(result.message.id, []), sure=sure) for result in results]
        return results

    def _may_go_on(self, pause_s: float, until_s: float) -> bool:
        """Wait a little before another try; False when there is no time for it.

        The clock is looked at again after the pause, because this process may have slept through it: by now the
        message may be settled and purged, and CouchDB would take the write as that of a new document.
        """
        if elapsed_s() + pause_s > until_s:
            return False
        stopped = self._stopped.wait(pause_s * random.uniform(0.5, 1))  # noqa: S311 (jitter)
        return not stopped and elapsed_s() <= until_s

    def _stored(self, messages: list[Message], timeout_s: float) -> dict[str, list[Doc]]:
        """Return what is stored under some ids: what is shown, or all leaves where several may stand side by side.

        There a write that only one may win is not won by being there: only its own 201 counts.
        """
        if not self._database.may_fork(timeout_s=timeout_s):
            ids = [message.id for message in messages]
            return {doc["_id"]: [doc] for doc in self._database.fetch(ids, timeout_s=timeout_s) if doc}
        ids = [message.id for message in messages if not _is_decisive(message)]
        return self._database.leaves(ids, timeout_s=timeout_s) if ids else {}


def _left_s(until_s: float) -> float:
    """Return how long one request may take: half of what is left, so that a line that hangs leaves time for another."""
    return min(max((until_s - elapsed_s()) / 2, _SHORTEST_TRY_S), _LONGEST_TRY_S)


def _judge(message: Message, row: Row) -> Result:
    if row.error == "conflict":
        return Result("lost", message, row.reason)
    if row.is_away:
        return Result("unknown", message, f"{row.error}: {row.reason}")
    if row.error:
        return Result("refused", message, f"{row.error}: {row.reason}")
    if not row.sure and _is_decisive(message):
        return Result("forked", msgspec.structs.replace(message, rev=row.rev), "too few copies took it at once")
    return Result("written", msgspec.structs.replace(message, rev=row.rev), sure=row.sure)


def _recognised(result: Result, stored: list[Doc], *, sure: bool) -> Result:
    """Return what reading tells of a write without an answer."""
    last = result.message.last
    if last is None or result.standing not in {"lost", "unknown"}:
        return result
    rev = next((doc["_rev"] for doc in stored if _op_id(doc) == last.op_id), "")
    return Result("written", msgspec.structs.replace(result.message, rev=rev), sure=sure) if rev else result


def _op_id(doc: Doc) -> object:
    last = doc.get("last")
    return last.get("opId") if isinstance(last, dict) else None


def _is_decisive(message: Message) -> bool:
    return message.last is not None and message.last.op in _DECISIVE


def _batches(encoded: list[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
    """Cut a list into runs of at most eight million bytes."""
    runs: list[list[tuple[int, bytes]]] = []
    size = 0
    for at, data in encoded:
        if not runs or size + len(data) > _BATCH_BYTES:
            runs.append([])
            size = 0
        runs[-1].append((at, data))
        size += len(data)
    return runs
