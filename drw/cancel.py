"""``drw cancel``: take the launch of an OUS back, and end its run where one goes on."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drw import ages, near, ous
from drw.columns import listed, say
from drw.explain import facts
from drw.registry import FAILURE, OK
from shared import actor, audit, cancels, lifecycle, messages, names, status
from shared.bus import Message, envelope
from shared.clock import elapsed_s
from shared.dead_letters import DeadLetters
from shared.entities import Entities
from shared.errors import BadInput, DeadlineExceeded, DrwError, StateRefused

if TYPE_CHECKING:
    from drw.registry import Commands, Context
    from shared.cancels import Cancellation
    from shared.status import StatusEntity

_CANCELLED: Final = frozenset({lifecycle.READY_FOR_PROCESSING, lifecycle.PROCESSING_PROBLEM})
_PROCESS: Final = tuple(map(messages.process_selector, names.EXECUTIVES))
_LOOK_S: Final = 2.0
_SPARE_S: Final = 20.0


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "cancel",
        _cancel,
        help="take the launch of an OUS back, and end its run",
        description=(
            "Take the launch of an OUS back. A run that goes on is ended, with all its processes, by the driver that "
            "has it, on whatever machine: the OUS then is in ProcessingProblem. One whose run has not begun stays "
            "ReadyForProcessing. The command waits until that is so; it may be repeated."
        ),
        example='drw cancel uid://X1/X1/Xb0 --reason "the wrong recipe"',
    )
    parser.add_argument("ousUID", type=actor.checked(names.uid), help="like uid://X1/X1/Xb0")
    parser.add_argument("--reason", required=True, help="goes into the OUS's history and the audit")
    parser.add_argument(
        "--wait",
        type=actor.checked(ages.seconds),
        metavar="SPAN",
        help="how long to wait (90s, 2min), default: somewhat more than a lease lasts",
    )


def _cancel(context: Context) -> int:
    uid = context.args.ousUID
    cancels.refuse_without(context.args.reason)
    entity = Entities(context.connection).get(uid)
    if entity is None:
        raise near.unknown("OUS", uid, ous.uids(context.connection), "'drw ous' lists those that there are")
    launches = [
        each.id
        for each in facts.of_ous(context.connection, entity, all_at=_PROCESS)
        if each.selector.startswith(messages.PROCESS) and (each.is_open or each.state == envelope.DEAD)
    ]
    if not launches and entity.state != lifecycle.PROCESSING:
        return _nothing(context, entity)
    launch = status.launch_of(entity)
    audit.intend(context.connection, "cancel", uid, context.args.reason, by=audit.who(), revision=launch)
    taken_back = cancels.cancel(
        context.bus.queue.database,
        uid,
        launches,
        by=audit.who(),
        reason=context.args.reason,
        now=context.connection.clock.now(),
    )
    _Ending(context, taken_back).run(launches)
    return _outcome(context, _left(context, entity), launches)


def _nothing(context: Context, entity: StatusEntity) -> int:
    """Say that nothing of an OUS runs; that is as it should be where it can be launched."""
    sentence = f"nothing of {entity.entity_id} runs: it is {entity.state}"
    if entity.state not in lifecycle.LAUNCHABLE:
        raise DrwError(f"{sentence}, which 'drw cancel' does not end: 'drw why {entity.entity_id}' says what does")
    return _say(context, entity, [], sentence)


def _left(context: Context, before: StatusEntity) -> StatusEntity:
    """Return the OUS as it is after all its messages came to their end; from Processing it is led out here.

    It is left there by a driver that was killed, and whose message is over or was purged.
    """
    uid = before.entity_id
    entity = Entities(context.connection).get(uid)
    if entity is None:
        raise DrwError(f"{uid} has vanished")
    if entity.state != lifecycle.PROCESSING:
        return entity
    try:
        return context.state.set(
            uid,
            status.Change(state=lifecycle.PROCESSING_PROBLEM),
            expected=(lifecycle.PROCESSING,),
            launched=status.launch_of(before),
            note=cancels.NOTE + context.args.reason,
            by=audit.who(),
        )
    except StateRefused as error:
        raise DrwError(f"{error}; look again with 'drw why {uid}'") from error


def _outcome(context: Context, entity: StatusEntity, launches: list[str]) -> int:
    if entity.state in _CANCELLED:
        return _say(context, entity, launches, f"{entity.entity_id} is cancelled: it is {entity.state}")
    sentence = f"the cancellation came too late: {entity.entity_id} is {entity.state}"
    if entity.state == lifecycle.READY_FOR_REVIEW:
        sentence += f", run {entity.run}; a review that ends with Fail keeps it from being delivered"
    _say(context, entity, launches, sentence)
    return FAILURE


def _say(context: Context, entity: StatusEntity, launches: list[str], sentence: str) -> int:
    if context.args.json:
        return context.print_json({"ous": entity.entity_id, "state": entity.state, "messages": launches})
    say(context.console, sentence)
    return OK


@dataclass(frozen=True)
class _Ending:
    """Sees to it that every message of a cancelled launch comes to its end."""

    context: Context
    cancellation: Cancellation

    def run(self, ids: list[str]) -> None:
        """Return once all came to their end; raise DeadlineExceeded when that takes too long."""
        settings, given_s = self.context.settings, self.context.args.wait
        wait_s = settings.lease_s + settings.clock_spare_s + _SPARE_S if given_s is None else given_s
        until_s = elapsed_s() + wait_s
        while held := [each for each in self.context.bus.queue.fetch(ids) if not self._is_over(each)]:
            if elapsed_s() >= until_s:
                raise DeadlineExceeded(_still_held(held, self.cancellation.ous))
            with self.context.waiting(f"waiting until {_holders(held)} ends the run"):
                self._wait_for(held[0])

    def _is_over(self, message: Message) -> bool:
        """End a message that nobody has; tell whether it is over."""
        if message.state == envelope.DEAD:
            self._discard(message)
            return True
        if not message.is_open:
            return True
        queue = self.context.bus.queue
        lapses_in_s = queue.takeable_in_s(message)
        if message.state == envelope.CLAIMED and (lapses_in_s is None or lapses_in_s > 0):
            return False
        mine = queue.claim([message], self.context.bus.policy, secrets.token_hex(8)).mine
        if not mine:
            return False
        cancels.end(self.context.state, mine[0], self.cancellation)
        done = envelope.done(mine[0], now=queue.clock.now())
        return queue.write([done], until_s=elapsed_s() + self.context.settings.lease_s)[0].standing == "written"

    def _discard(self, message: Message) -> None:
        letters = DeadLetters(self.context.connection, by=audit.who())
        try:
            letters.discard(message.id, self.cancellation.note)
        except BadInput:
            return  # somebody else has discarded or requeued it: requeued, its driver finds it cancelled

    def _wait_for(self, message: Message) -> None:
        """Wait a moment, or until this message came to its end."""
        replies = self.context.bus.replies
        try:
            with replies.expecting(message.id) as event:
                replies.wait(message.id, event, elapsed_s() + _LOOK_S)
        except DeadlineExceeded:
            return  # its holder may have died meanwhile: it is looked at again


def _holders(held: list[Message]) -> str:
    return listed(sorted({each.claim.by for each in held if each.claim})) or "a driver"


def _still_held(held: list[Message], uid: str) -> str:
    return (
        f"the cancellation of {uid} is kept, and {_holders(held)} has not ended the run yet: it will as "
        f"soon as it hears of it, or the driver after it; 'drw why {uid}' tells"
    )
