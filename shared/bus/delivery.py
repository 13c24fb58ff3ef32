"""What a handler is given: a claimed message, and what may be done in its name."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol

from shared import errors
from shared.bus import envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.envelope import Message
    from shared.bus.leases import Held, LeaseKeeper
    from shared.bus.retry import RetryPolicy


_SEND_WITHIN_S: Final = 30.0
_SHORTEST_SEND_S: Final = 1.0


class Sender(Protocol):
    """What a delivery sends by: the bus."""

    def send(
        self,
        selector: str,
        body: dict[str, Any],
        *,
        within_s: float,
        message_id: str | None,
        cause: str,
        priority: int,
    ) -> str:
        """Send a message, trying for so many seconds, and return its id."""
        ...


class Delivery:
    """A claimed message in the hands of its handler."""

    def __init__(self, sender: Sender, keeper: LeaseKeeper, held: Held, policy: RetryPolicy) -> None:
        """Take what to send by, the claim and its keeper, and the policy that counts its attempts."""
        self._sender = sender
        self._keeper = keeper
        self._held = held
        self._policy = policy

    @property
    def message(self) -> Message:
        """The message, as it was claimed or last renewed."""
        return self._held.message

    @cached_property
    def body(self) -> dict[str, Any]:
        """What the message says: the handler's own copy, for what is stored stays as it was sent."""
        return copy.deepcopy(self._held.message.body)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a Retry now would make the message dead."""
        return self._policy.is_spent(self._held.message.attempts)

    def check(self) -> None:
        """Raise LeaseLost when the message is somebody else's, and Stopped when the process has to end.

        To be asked before an effect, and now and then by what lasts long. While the lease lasts this costs nothing;
        after it (this process may have slept) the message is read.
        """
        if self._held.aborted and not self._held.lost:
            raise errors.Stopped("the process stops")
        if not self._keeper.verify(self._held):
            raise errors.LeaseLost(f"message {self.message.id} was taken over by somebody else")

    def on_abort(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the work must end now: by another thread, or at once if it must already."""
        self._held.on_abort(callback)

    def off_abort(self, callback: Callable[[], None]) -> None:
        """Take ``callback`` back."""
        self._held.off_abort(callback)

    @property
    def is_aborted(self) -> bool:
        """Whether the work must end now: the claim is lost, or the process stops for good."""
        return self._held.aborted

    def child_id(self, selector: str, name: str) -> str:
        """Return the id of the message that this one causes under ``name``: always the same."""
        return envelope.caused_id(selector, self.message.id, self.message.epoch, name)

    def send(self, selector: str, body: dict[str, Any], *, name: str, priority: int = envelope.DEFAULT_PRIORITY) -> str:
        """Send a message caused by this one and return its id.

        ``name`` says what the message is for; sending it again, in a second run of the handler too, sends nothing
        more. It is not tried for longer than the lease is sure to last: then somebody else may be at the message.
        Raises as :meth:`Bus.send <shared.bus.bus.Bus.send>`, and LeaseLost.
        """
        self.check()
        return self._sender.send(
            selector,
            body,
            within_s=max(min(_SEND_WITHIN_S, self._held.remaining_s()), _SHORTEST_SEND_S),
            message_id=self.child_id(selector, name),
            cause=self.message.id,
            priority=priority,
        )
