"""Launching: having an OUS processed. It is made ReadyForProcessing, and a message goes to a pipeline driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from shared import audit, cancels, heartbeats, lifecycle, review
from shared.actor import ACTORS_DATABASE
from shared.bus import envelope
from shared.errors import DatabaseError, DrwError, StateRefused
from shared.messages import process_selector
from shared.status import Change

if TYPE_CHECKING:
    from shared.bus import Bus, Message
    from shared.dbcon import DbConnection
    from shared.messages import ProcessRequest
    from shared.state import StateClient
    from shared.status import StatusEntity

LAUNCHED: Final = "launched"
"""What the note of a launch in the history begins with; a launch may be cancelled after it."""

_WHAT_TO_DO: Final = {
    lifecycle.PROCESSING: "wait until the run ends, or end it with 'drw cancel'",
    lifecycle.READY_FOR_REVIEW: "review it with aqua-qa2",
    lifecycle.REVIEWING: "wait for the reviewer's verdict: Fail makes it ready for another launch",
    lifecycle.VERIFIED: "wait until it is delivered",
    lifecycle.DELIVERY_IN_PROGRESS: "wait until it is delivered",
}


@dataclass(frozen=True)
class Launched:
    """A launch that stands: of which OUS, by which message. It is not new if it was launched before and still waits."""

    ous: str
    recipe: str
    executive: str
    message: str
    is_new: bool

    @property
    def sentence(self) -> str:
        """What was done, for people."""
        what = "is launched" if self.is_new else "was launched before, and still waits"
        return f"{self.ous} {what}: {self.recipe} at {self.executive}, message {self.message}"


@dataclass(frozen=True)
class Prepared:
    """A launch whose OUS is ReadyForProcessing, and whose message is still to be sent."""

    entity: StatusEntity
    request: ProcessRequest
    executive: str
    force: bool
    reason: str


class Launching:
    """Launches OUSs in a person's name. Several threads may share one."""

    def __init__(self, connection: DbConnection, bus: Bus, state: StateClient, *, by: str) -> None:
        """Take the server, what to send and to ask xtss by, and the name that history and audit keep."""
        self._connection = connection
        self._bus = bus
        self._state = state
        self._by = by

    def launch(self, request: ProcessRequest, executive: str, *, force: bool = False, reason: str = "") -> Launched:
        """Make an OUS ReadyForProcessing and send it to the pipeline driver at ``executive``.

        Raises as :meth:`prepare` and :meth:`send`.
        """
        return self.send(self.prepare(request, executive, force=force, reason=reason))

    def prepare(self, request: ProcessRequest, executive: str, *, force: bool = False, reason: str = "") -> Prepared:
        """Make an OUS ReadyForProcessing; raise StateRefused from a state that has no launch."""
        entity = self._make_ready(request, executive, force=force, reason=reason)
        return Prepared(entity, request, executive, force, reason)

    def send(self, prepared: Prepared) -> Launched:
        """Send the message of a launch: messages of one executive are taken in the order in which they are sent.

        The message's id is made from the OUS's history, so that whoever died in between and does it again, or two who
        do it at once, send one message. Raises DrwError where the launch before came to an end that a person has to
        look at.
        """
        entity, executive, force = prepared.entity, prepared.executive, prepared.force
        said = review.for_next_run(entity.history)
        request = msgspec.structs.replace(prepared.request, launchedAt=entity.timestamp, review=said)
        message, earlier = self._composed(entity, request, executive, force=force)
        _refuse_ended(entity, earlier)
        if earlier is None:  # before it is sent, so that no launch is without its record
            what = "launch, forced" if force else "launch"
            audit.intend(self._connection, what, entity.entity_id, prepared.reason, by=self._by, revision=message.id)
        self._bus.send_many([message])
        return Launched(entity.entity_id, entity.recipe, executive, message.id, earlier is None)

    def _composed(
        self, entity: StatusEntity, request: ProcessRequest, executive: str, *, force: bool
    ) -> tuple[Message, Message | None]:
        """Return the message of a launch, and as it stands if it was sent before.

        After one that a person took back or discarded before its run began, it is another.
        """
        uid, changes, selector = entity.entity_id, len(entity.history), process_selector(executive)
        cancelled = cancels.of_ous(self._bus.queue.database, uid)
        ended_at = ""
        while True:
            key = keys(uid, changes, ended_at)[-1] + (f" {self._bus.me}" if force else "")
            message = self._bus.compose(selector, request.body(), dedup=key)
            if cancelled and message.id in cancelled.messages and ended_at != cancelled.at:
                ended_at = cancelled.at
                continue
            earlier = self._bus.queue.get(message.id)
            if earlier is None or not envelope.is_discarded(earlier):
                return message, earlier
            ended_at = earlier.done_at or ""

    @staticmethod
    def refuse(found: StatusEntity | None, request: ProcessRequest, *, force: bool) -> None:
        """Raise DrwError where an OUS cannot be launched: it is another program's, or something goes on with it."""
        if found is None:
            return
        if found.prog_id != request.progID:
            raise DrwError(f"{found.entity_id} belongs to program {found.prog_id}, not to {request.progID}")
        if found.state not in lifecycle.LAUNCHABLE and not force:
            what = _WHAT_TO_DO.get(found.state, "look at it with 'drw why'")
            raise StateRefused(f"{found.entity_id} is {found.state}: {what}, or launch with --force", found=found.state)

    def _make_ready(self, request: ProcessRequest, executive: str, *, force: bool, reason: str) -> StatusEntity:
        note = ": ".join(filter(None, [LAUNCHED, reason]))
        found = self._state.get(request.ousUID)
        self.refuse(found, request, force=force)
        if found is None:
            return self._state.create(
                request.ousUID, request.progID, recipe=request.recipe, executive=executive, note=note, by=self._by
            )
        change = Change(state=lifecycle.READY_FOR_PROCESSING, recipe=request.recipe, executive=executive)
        return self._state.set(request.ousUID, change, expected=(found.state,), note=note, by=self._by, force=force)


def keys(ous_uid: str, changes: int, *ended_at: str) -> list[str]:
    """Return what the id of a launch can be made from: the OUS and how many changes its history has then.

    A launch that was cancelled, or discarded, before its run began leaves the history as it is: the next one names the
    moment of that.
    """
    key = f"launch {ous_uid} {changes}"
    return [key, *(f"{key} after {each}" for each in ended_at if each)]


def _refuse_ended(entity: StatusEntity, earlier: Message | None) -> None:
    """Raise DrwError where the message of this very launch has come to its end."""
    if earlier is not None and earlier.state == envelope.DEAD:
        raise DrwError(
            f"{entity.entity_id} was launched before and its message {earlier.id} is dead: see 'drw dead list', then "
            "'drw dead requeue' it, or launch with --force"
        )
    if earlier is not None and not earlier.is_open:
        raise DrwError(
            f"{entity.entity_id} was launched before and its message {earlier.id} has come to its end "
            f"({earlier.state}): launch with --force"
        )


def caution(connection: DbConnection, executive: str) -> str:
    """Return what to say to whoever has launched something where no pipeline driver is seen to live, else nothing.

    What was launched is launched: that it cannot be seen is no error of the launch, which would be made again.
    """
    now, start = connection.clock.now(), f"pipeline-driver.{executive}@"
    drivers = connection.database(ACTORS_DATABASE).every(start=start, end=start + "\ufff0")
    try:
        lives = any(heartbeats.is_alive(doc, now) for doc in drivers)
    except DatabaseError as error:
        return f"it is not known whether a pipeline-driver lives at {executive}: {error}"
    return "" if lives else f"no pipeline-driver lives at {executive}: start one"
