"""Writing messages so that it is known whether it happened.

An answer can be lost after the write took place. So a write whose answer is missing is repeated with the same bytes,
and when it then meets a conflict, the document is read: its ``last.opId`` says whose write it holds. A batch that is
refused as a whole, as CouchDB does for one bad document in it, is written by halves until the bad one is alone.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from shared import errors
from shared.clock import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.bus.envelope import Message
    from shared.dbcon import Database, Doc, Row

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
_SHORTEST_TRY_S: Final = 0.5
_LONGEST_TRY_S: Final = 30.0
_BATCH_BYTES: Final = 8_000_000

Standing = Literal["written", "lost", "refused", "unknown"]


@dataclass(frozen=True)
class Result:
    """What became of one write.

    ``written``: the message stands, with its new revision. ``lost``: somebody else wrote first, or it was purged.
    ``refused``: CouchDB does not take this content, ``reason`` says why. ``unknown``: no answer in time.
    """

    standing: Standing
    message: Message
    reason: str = ""


class Writer:
    """Writes new revisions of messages to the queue's database."""

    def __init__(self, database: Database) -> None:
        """Take the database.

        Where it has several copies of each shard, documents are written one a request: there a conflict can be
        answered 202 to each of two writers, and only 201 says that a majority agreed.
        """
        self._database = database
        self._copies = 0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End every wait between two tries: what is unknown then stays so."""
        self._stopped.set()

    def write(self, messages: Sequence[Message], *, until_s: float) -> list[Result]:
        """Write each message at the revision that it carries; the results are in the same order.

        ``until_s``, a moment of :func:`~shared.clock.elapsed_s`, is when to give up on a database that is away.
        """
        results: list[Result | None] = [None] * len(messages)
        encoded: list[tuple[int, bytes]] = []
        for at, message in enumerate(messages):
            try:
                encoded.append((at, msgspec.json.encode(message)))
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                results[at] = Result("refused", message, f"it cannot be written as JSON: {error}")
        for batch in _batches(encoded):
            chosen = [messages[at] for at, _ in batch]
            written = self._write_batch(chosen, [data for _, data in batch], until_s)
            for (at, _), result in zip(batch, written, strict=True):
                results[at] = result
        return [result for result in results if result]

    def _write_batch(self, messages: Sequence[Message], encoded: list[bytes], until_s: float) -> list[Result]:
        try:
            rows, repeated = self._insist(messages, encoded, until_s)
        except errors.DatabaseAway as error:
            return self._recover([Result("unknown", message, str(error)) for message in messages], until_s)
        except errors.Refused as error:
            if len(messages) == 1:
                return [Result("refused", messages[0], str(error))]
            half = len(messages) // 2
            first = self._write_batch(messages[:half], encoded[:half], until_s)
            return first + self._write_batch(messages[half:], encoded[half:], until_s)
        results = [_judge(message, row) for message, row in zip(messages, rows, strict=True)]
        return self._recover(results, until_s) if repeated else results

    def _insist(self, messages: Sequence[Message], encoded: list[bytes], until_s: float) -> tuple[list[Row], bool]:
        """Send until there is an answer; tell also whether an earlier try may have been carried out."""
        pause_s, repeated = _FIRST_PAUSE_S, False
        while True:
            try:
                return self._send(messages, encoded, _left_s(until_s)), repeated
            except errors.DatabaseAway:
                repeated = True
                if elapsed_s() + pause_s > until_s or self._stopped.wait(pause_s * random.uniform(0.5, 1)):  # noqa: S311 (jitter)
                    raise
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _send(self, messages: Sequence[Message], encoded: list[bytes], timeout_s: float) -> list[Row]:
        if not self._copies:
            self._copies = self._database.info().get("cluster", {}).get("n", 1)
        if self._copies == 1:
            return self._database.bulk_bytes(b'{"docs":[' + b",".join(encoded) + b"]}", timeout_s=timeout_s)
        return [
            self._database.put_row(message.id, data, timeout_s=timeout_s)
            for message, data in zip(messages, encoded, strict=True)
        ]

    def _recover(self, results: list[Result], until_s: float) -> list[Result]:
        """Read whether writes without an answer of their own happened: the document then carries their ``opId``."""
        open_ids = [result.message.id for result in results if result.standing in {"lost", "unknown"}]
        if not open_ids:
            return results
        try:
            found = {doc["_id"]: doc for doc in self._database.fetch(open_ids, timeout_s=_left_s(until_s)) if doc}
        except errors.DatabaseError:
            return results
        return [_recognised(result, found.get(result.message.id)) for result in results]


def _left_s(until_s: float) -> float:
    """Return how long one request may take: what is left of the time, within reason."""
    return min(max(until_s - elapsed_s(), _SHORTEST_TRY_S), _LONGEST_TRY_S)


def _judge(message: Message, row: Row) -> Result:
    if row.error == "conflict":
        return Result("lost", message, row.reason)
    if row.error:
        return Result("refused", message, f"{row.error}: {row.reason}")
    if not row.sure and message.last and message.last.op == "claim":
        return Result("lost", message, "too few copies took the claim")
    return Result("written", msgspec.structs.replace(message, rev=row.rev))


def _recognised(result: Result, doc: Doc | None) -> Result:
    last = result.message.last
    if doc is None or last is None or result.standing not in {"lost", "unknown"}:
        return result
    if doc.get("last", {}).get("opId") != last.op_id:
        return result
    return Result("written", msgspec.structs.replace(result.message, rev=doc["_rev"]))


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
