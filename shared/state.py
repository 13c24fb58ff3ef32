"""The client of xtss: whoever wants the status of an OUS changed asks here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shared import status
from shared.bus import ExecutorClient
from shared.entities import Entities
from shared.errors import OutcomeUnknown
from shared.messages import XTSS, StateRequest

if TYPE_CHECKING:
    from shared.bus import Bus, Delivery
    from shared.status import StatusEntity


class StateClient:
    """Asks xtss, and waits for its answer.

    Every method returns the OUS as it is then, and raises StateRefused, RemoteError or OutcomeUnknown, and
    DatabaseError where its history is too large for an answer and cannot be read. With ``delivery`` and ``name`` the
    request is caused by that message: in a second run of its handler it is not executed again.
    """

    def __init__(self, bus: Bus, *, deadline_s: float) -> None:
        """Take the bus and how long (seconds) to wait for xtss."""
        self._client = ExecutorClient(bus, XTSS, deadline_s=deadline_s)
        self._entities = Entities(bus.queue.database.server)

    def get(self, ous_uid: str) -> StatusEntity | None:
        """Return an OUS, or None where there is none."""
        answer = self._client.call(StateRequest(operation="get", ousUID=ous_uid).body())
        return self._whole(answer) if answer else None

    def create(
        self, ous_uid: str, prog_id: str, *, recipe: str, executive: str, note: str = "", by: str = ""
    ) -> StatusEntity:
        """Create an OUS, ReadyForProcessing; return the one that exists where it does."""
        value = {"progID": prog_id, "recipe": recipe, "executive": executive}
        request = StateRequest(operation="create", ousUID=ous_uid, value=value, note=note, by=by)
        return self._whole(self._client.call(request.body()))

    def set(
        self,
        ous_uid: str,
        change: status.Change,
        *,
        expected: tuple[str, ...] = (),
        note: str = "",
        by: str = "",
        run: str = "",
        launched: str = "",
        session: str = "",
        force: bool = False,
        delivery: Delivery | None = None,
        name: str = "",
        message_id: str | None = None,
    ) -> StatusEntity:
        """Change several fields at once, if the OUS is in one of the ``expected`` states.

        ``run``, ``launched`` and the reviewer's ``session``, where given, must be those of the OUS too.
        """
        value = {key: each for key, each in msgspec.to_builtins(change).items() if each is not None}
        request = StateRequest(
            operation="set",
            ousUID=ous_uid,
            value=value,
            expected=expected,
            run=run,
            launchedAt=launched,
            session=session,
            note=note,
            by=by,
            force=force,
        )
        return self._whole(self._call(request, delivery, name, message_id))

    def _whole(self, answer: dict[str, Any]) -> StatusEntity:
        """Return the OUS of an answer, with its history as it was then, of which nothing is ever taken away."""
        entity, changes = status.read(answer), status.left_out(answer)
        if not changes:
            return entity
        now = self._entities.get(entity.entity_id)
        if now is None or len(now.history) < changes:
            raise OutcomeUnknown(f"the history of {entity.entity_id} cannot be read as xtss has it: try again")
        return msgspec.structs.replace(entity, history=now.history[:changes])

    def _call(self, request: StateRequest, delivery: Delivery | None, name: str, message_id: str | None) -> Any:  # noqa: ANN401 (any JSON)
        if delivery is None:
            return self._client.call(request.body(), message_id=message_id)
        delivery.check()
        return self._client.call(request.body(), message_id=delivery.child_id(XTSS, name), cause=delivery.message.id)
