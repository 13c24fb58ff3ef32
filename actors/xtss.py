"""xtss: the interface to the State System. It alone writes the status entities of OUSs.

An RPC executor on selector ``xtss``. A request is ``{"operation": …, "ousUID": …, "value": …}``; the operations are the
seed's ``set-state``, ``set-substate`` and ``set-exec``, and ours: ``create``, ``get`` and ``set`` (several fields).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from shared import actor, names, status
from shared.bus import Executor
from shared.clock import stamp
from shared.errors import BadMessage
from shared.messages import XTSS, StateRequest, read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.bus import Delivery
    from shared.clock import Clock
    from shared.dbcon import Database, Doc
    from shared.status import Signature, StatusEntity

_LOG = logging.getLogger(__name__)
SLOTS: Final = 8
BATCH: Final = 2 * SLOTS
REMEMBERED: Final = 50
"""OUSs that are not read again before they are changed again; one with a long history takes some ten kilobytes."""


class StateSystem:
    """Carries out requests on the status entities in one database."""

    def __init__(self, entities: Database, clock: Clock, *, strict: bool) -> None:
        """Take the database and whether moves that the life cycle does not have are refused, or only logged."""
        self._entities = entities
        self._clock = clock
        self._strict = strict
        self._operations: dict[str, Callable[[StateRequest, Signature], StatusEntity | None]] = {
            "create": self._create,
            "get": lambda request, _: self._find(request.ousUID),
            "set": lambda request, signature: self._set(request, read_change(request.value), signature),
            "set-state": lambda request, signature: self._set(request, _one(request, "state"), signature),
            "set-substate": lambda request, signature: self._set(request, _one(request, "substate"), signature),
            "set-exec": lambda request, signature: self._set(request, _one(request, "executive"), signature),
        }

    def execute(self, delivery: Delivery) -> Doc | None:
        """Carry out one request and return the OUS as it is then (None where there is none)."""
        request = read(StateRequest, delivery.body)
        operation = self._operations.get(request.operation)
        if operation is None:
            known = ", ".join(self._operations)
            raise BadMessage(f"{names.shown(request.operation)} is not an operation of xtss: it is one of {known}")
        delivery.check()
        message = delivery.message
        signature = status.Signature(stamp(self._clock.now()), request.by or message.sender, message.id, request.note)
        entity = operation(request, signature)
        return status.answer(entity) if entity else None

    def _find(self, ous_uid: str) -> StatusEntity | None:
        doc = self._entities.get(names.document_id(ous_uid))
        return status.read(doc) if doc else None

    def _create(self, request: StateRequest, signature: Signature) -> StatusEntity:
        value = request.value if isinstance(request.value, dict) else {}
        wanted = status.created(
            request.ousUID, value.get("progID"), value.get("recipe"), value.get("executive"), signature
        )

        def create(found: StatusEntity | None) -> StatusEntity:
            if found is not None and found.prog_id != wanted.prog_id:
                raise BadMessage(f"{found.entity_id} exists and belongs to {found.prog_id}, not to {wanted.prog_id}")
            return found or wanted

        return self._mutate(request.ousUID, create)

    def _set(self, request: StateRequest, change: status.Change, signature: Signature) -> StatusEntity:
        states = (request.expected,) if isinstance(request.expected, str) else request.expected
        expected = status.Expected(states=states, run=request.run, launched=request.launchedAt, session=request.session)

        before: list[StatusEntity] = []

        def change_it(found: StatusEntity | None) -> StatusEntity:
            if found is None:
                raise BadMessage(f"there is no OUS {request.ousUID}: launch it first")
            before[:] = [found]
            return status.changed(
                found, change, signature, expected=expected, strict=self._strict and not request.force
            )

        after = self._mutate(request.ousUID, change_it)
        _log_move(before[0], after)
        return after

    def _mutate(self, ous_uid: str, change: Callable[[StatusEntity | None], StatusEntity]) -> StatusEntity:
        def apply(doc: Doc | None) -> Doc | None:
            before = status.read(doc) if doc else None
            after = change(before)
            return None if after is before else msgspec.to_builtins(after)

        doc = self._entities.mutate(names.document_id(ous_uid), apply)
        assert doc is not None
        return status.read(doc)


def _log_move(before: StatusEntity, after: StatusEntity) -> None:
    """Log what has been written: a change is worked out again where another was quicker."""
    if not status.is_legal(before, after):
        _LOG.warning("%s: %s -> %s is not in the life cycle", after.entity_id, before.state, after.state)
    if after != before:
        _LOG.info("%s: %s -> %s %s", after.entity_id, before.state, after.state, after.substate)


def read_change(value: object) -> status.Change:
    """Return the ``value`` of a ``set`` request; raise BadMessage for a malformed one."""
    try:
        return msgspec.convert(value, status.Change)
    except msgspec.ValidationError as error:
        raise BadMessage(f"the value of a set request is malformed: {error}") from error


def _one(request: StateRequest, field: str) -> status.Change:
    if not isinstance(request.value, str):
        raise BadMessage(f"the value of {request.operation} is {names.shown(request.value)}: it must be a text")
    return read_change({field: request.value})


def main(argv: Sequence[str] | None = None) -> int:
    """Run xtss."""
    parser = actor.parser("xtss", "Keep the states of OUSs: an RPC executor on selector xtss.", "xtss --strict")
    parser.add_argument(
        "--strict", action="store_true", help="refuse moves that the life cycle does not have, instead of logging them"
    )
    args = parser.parse_args(argv)

    def serve(me: actor.Actor) -> int:
        system = StateSystem(
            me.connection.database(status.DATABASE, remembers=REMEMBERED), me.connection.clock, strict=args.strict
        )
        Executor(me.bus, XTSS, system.execute, slots=SLOTS, batch=BATCH)
        return me.serve(f"executing requests on {XTSS}{' strictly' if args.strict else ''}")

    return actor.run("xtss", args, serve)
