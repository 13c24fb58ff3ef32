"""A process on the bus: what it sends, what it listens to, how it starts and stops."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack

from shared import errors
from shared.bus import envelope, groups
from shared.bus.leases import LeaseKeeper
from shared.bus.listener import Listener
from shared.bus.outcomes import LONGEST_S, GiveBack
from shared.bus.patterns import Pattern
from shared.bus.pauses import Pauses
from shared.bus.queue import DATABASE, Queue
from shared.bus.replies import Replies
from shared.bus.retry import BackOff, RetryPolicy
from shared.bus.settler import Settler
from shared.bus.taker import Taker
from shared.bus.wake import Feed
from shared.bus.work import Work
from shared.clock import Ticker, elapsed_s
from shared.errors import BadInput
from shared.names import shown
from shared.printable import is_utf8

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.bus.envelope import Message
    from shared.bus.listener import Handler
    from shared.dbcon import DbConnection
    from shared.settings import Settings

_LOG = logging.getLogger(__name__)
_SEND_WITHIN_S: Final = 30.0
_LAST_WRITES_S: Final = 5.0


class Options(TypedDict, total=False):
    """What a sender may choose. Times are in seconds; None is as if it were not given.

    ``dedup`` makes the id from a key, in place of ``message_id``: of two messages with one key and one selector the
    second is not sent, and one with another body is SentDifferently. ``cause`` is the id of the message for which it is
    sent. ``delay_s`` is how long nobody may take it, ``expires_s`` after how long nobody shall.
    """

    message_id: str | None
    dedup: str | None
    cause: str
    priority: int
    delay_s: float | None
    expires_s: float | None


def _known(options: Options) -> Options:
    """Return a sender's options; raise BadInput for a mistyped one, which would pass unheard."""
    known = Options.__annotations__
    if unknown := sorted(options.keys() - known.keys()):
        raise BadInput(f"a message has no option {', '.join(unknown)}: there are {', '.join(known)}")
    return options


def _chosen_id(selector: str, options: Options) -> str | None:
    """Return the id that a sender has chosen, None for none; raise BadInput for what is none of this selector."""
    message_id, key = options.get("message_id"), options.get("dedup")
    if key is not None:
        if message_id is not None:
            raise BadInput("a message has its id from message_id or from dedup, not from both")
        if not isinstance(key, str) or not key or not is_utf8(key):
            raise BadInput(f"{shown(key)} is no key: dedup is a text, and not an empty one")
        return envelope.caused_id(selector, key, 0, "once")
    if message_id is not None and not (isinstance(message_id, str) and message_id.startswith(f"{selector}:")):
        raise BadInput(f"message id {shown(message_id)} does not begin with its selector and a colon, {selector}:")
    return message_id


def _span(seconds: float | None) -> float | None:
    if seconds is not None and not (isinstance(seconds, int | float) and abs(seconds) <= LONGEST_S):
        raise BadInput(f"{shown(seconds)} is no span of a message: seconds, up to {LONGEST_S:.0f}")
    return seconds


class Bus:
    """One process's place on the message bus.

    ``with Bus(connection, settings, me="xtss@host:1"):`` starts what is needed and stops it in order. Listeners are
    added before :meth:`start`; sending and calling need no start.
    """

    def __init__(self, connection: DbConnection, settings: Settings, *, me: str, database_name: str = DATABASE) -> None:
        """Take the server, the bus's times, the name that this process signs with, and which database is the queue."""
        self._settings = settings
        self.me = me
        self.lease_s = settings.lease_s
        database = connection.database(database_name)
        self.queue = Queue(database, connection.clock, me=me, lease_s=settings.lease_s, spare_s=settings.clock_spare_s)
        self.feed = Feed(database, heartbeat_s=settings.heartbeat_s)
        self.replies = Replies(self.queue, self.feed)
        self.policy = RetryPolicy(attempts=settings.attempts, first_s=settings.retry_s, longest_s=settings.retry_max_s)
        self._connection = connection
        self._clock = connection.clock
        self._ticker = Ticker(connection.clock)
        self._listeners: list[Listener] = []
        self._stopping = threading.Event()
        self._keeper = LeaseKeeper(self.queue, wrote=self.feed.own_writes.note)
        self._pauses = Pauses(database, connection.clock, me=me, on_change=self._wake)
        self._taker = Taker(
            self.queue,
            self._keeper,
            self._listeners,
            self._pauses,
            back_off=BackOff(first_s=settings.poll_s, longest_s=settings.poll_max_s),
            stopping=self._stopping,
            feed=self.feed,
        )
        self._settler = Settler(self.queue, self._keeper, on_handled=self._taker.wake, on_settled=self._settled)
        self._taking = threading.Thread(target=self._taker.run, name="taker", daemon=True)
        self._started = False

    # Sending

    def send(
        self, selector: str, body: dict[str, Any], *, within_s: float = _SEND_WITHIN_S, **options: Unpack[Options]
    ) -> str:
        """Send a message and return its id; when this returns, it is stored.

        ``within_s`` is how long to try (seconds). Raises BadInput and Refused for what cannot be sent, SentDifferently
        when the id exists with another body, OutcomeUnknown when the database did not answer in time.
        """
        return self.queue.send([self.compose(selector, body, **options)], within_s=within_s)[0].id

    def compose(self, selector: str, body: dict[str, Any], **options: Unpack[Options]) -> Message:
        """Return the message that :meth:`send` would send, for sending many at once by :meth:`send_many`."""
        self._learn_the_time()
        created, now = self._ticker.next(), self._clock.now()
        envelope.selector(selector)
        message_id = _chosen_id(selector, _known(options))
        delay_s, expires_s = _span(options.get("delay_s")) or 0.0, _span(options.get("expires_s"))
        return envelope.new(
            message_id or envelope.new_id(selector, created),
            body,
            created=created,
            sender=self.me,
            cause=options.get("cause", ""),
            priority=options.get("priority", envelope.DEFAULT_PRIORITY),
            not_before=now + timedelta(seconds=delay_s) if delay_s else None,
            expires=now + timedelta(seconds=expires_s) if expires_s is not None else None,
        )

    def _learn_the_time(self) -> None:
        """Ask the database for its time where no answer has told it yet: this machine's own may be wrong by hours."""
        if self._clock.is_learnt:
            return
        try:
            self._connection.welcome()
        except errors.DatabaseError as error:
            _LOG.debug("the database's time is not known yet: %s", error)  # sending says what is wrong with it

    def send_many(self, messages: list[Message], *, within_s: float = _SEND_WITHIN_S) -> list[str]:
        """Send composed messages together and return their ids; errors as :meth:`send`, after all were tried."""
        return [message.id for message in self.queue.send(messages, within_s=within_s)]

    # Listening

    def listen(
        self, pattern: str, handler: Handler, *, slots: int = 1, batch: int = 1, policy: RetryPolicy | None = None
    ) -> None:
        """Have ``handler`` called with a :class:`Delivery` for every message to a selector, or a range (``cached.*``).

        ``slots`` handlers run at once, each in a thread; up to ``batch`` messages are claimed ahead. The handler
        returns Done (or None), Retry, Snooze or Dead; an exception is a Retry. It may run twice for one message, so
        its effects must not add up. Raises BadInput, and RuntimeError once the bus has started.
        """
        self._listeners.append(self._listener(pattern, handler, slots=slots, batch=batch, policy=policy))

    def _listener(
        self, pattern: str, handler: Handler, *, slots: int, batch: int, policy: RetryPolicy | None
    ) -> Listener:
        if self._started:
            raise RuntimeError(f"{pattern} cannot be listened to: the bus has started, and listeners come before that")
        return Listener(Pattern(pattern), handler, slots=slots, batch=batch, policy=policy or self.policy)

    def subscribe(
        self,
        group: str,
        service: str,
        handler: Handler,
        *,
        slots: int = 1,
        batch: int = 1,
        policy: RetryPolicy | None = None,
    ) -> None:
        """As :meth:`listen`, for the messages sent to a group: each subscribed service gets a copy of every one.

        The subscription is stored before this returns, and stays when the process ends. Processes of one service
        share its copies. Raises BadInput, and DatabaseAway.
        """
        copies = groups.copy_selector(group, service)
        # Made before anything is stored: what is refused here is not subscribed.
        listener = self._listener(copies, handler, slots=slots, batch=batch, policy=policy)
        groups.subscribe(self.queue.database, group, service, by=self.me, now=self._clock.now())
        self._listeners.append(listener)
        if not any(each.pattern.text == group for each in self._listeners):
            self.listen(group, groups.expansion(self.queue))

    @property
    def listens(self) -> list[str]:
        """The patterns that this process listens to, in order."""
        return sorted({each.pattern.text for each in self._listeners})

    # Life

    def start(self) -> None:
        """Start the feed and, where there are listeners, everything that serves them."""
        self._started = True
        if self._listeners:
            self.feed.when_broken(self._keeper.doubt_all)
            self.feed.when_open(self._taker.connected)
            self.feed.when_unheard(self._pauses.restarted)
            self.feed.watch(self._pauses, is_impatient=lambda: False)
            self.feed.watch(self._taker, is_impatient=lambda: False)
            for listener in self._listeners:
                listener.start(self._work_of(listener).run_once)
            self._keeper.start()
            self._settler.start()
            self._taking.start()
        self.feed.start()

    def broken(self) -> str:
        """Return the name of a part that has died though it must not, or nothing: the process is useless then."""
        if not self._started or self._stopping.is_set() or not self._listeners:
            return ""
        parts: dict[str, Callable[[], bool]] = {
            "taker": self._taking.is_alive,
            "leases": lambda: self._keeper.is_alive,
            "settler": lambda: self._settler.is_alive,
            "feed": lambda: self.feed.is_alive,
        } | {f"listener {each.pattern.text}": lambda each=each: each.is_alive for each in self._listeners}
        return next((name for name, is_alive in parts.items() if not is_alive()), "")

    def stop(self, grace_s: float | None = None) -> None:
        """Stop in order: claim nothing more, give back what has not begun, let the rest finish, end what does not.

        ``grace_s`` (seconds, by default the settings') is how long begun work may take. What does not even end when
        it is told to is left to its lease. Raises RuntimeError, with nothing stopped, for a handler of this bus: its
        own end is waited for.
        """
        if self._stopping.is_set() or not self._started:
            self.feed.stop()
            return
        if any(listener.is_here for listener in self._listeners):
            raise RuntimeError("a handler cannot stop the bus that waits for its end: have another thread stop it")
        until_s = elapsed_s() + (self._settings.grace_s if grace_s is None else grace_s)
        self._stopping.set()
        self._taker.wake()
        if self._listeners:
            self._give_back_unbegun()
            self._taking.join(max(0.0, until_s - elapsed_s()) + _LAST_WRITES_S)
            self._give_back_unbegun()  # what the taker had just claimed
            self._finish(until_s)
            self._settler.stop(_LAST_WRITES_S)
            self.queue.writer.stop()
            self._keeper.stop(_LAST_WRITES_S)
        self.feed.stop()

    def _give_back_unbegun(self) -> None:
        for listener in self._listeners:
            for held in listener.unbegun():
                self._settler.settle(held, GiveBack(refund=True), listener)

    def _finish(self, until_s: float) -> None:
        """Let what has begun finish; what has not by then is told to end, and waited for a little."""
        if all(listener.join(until_s) for listener in self._listeners):
            return
        for held in self._keeper.all():
            held.abort()
        last_s = max(until_s, elapsed_s()) + _LAST_WRITES_S
        for listener in self._listeners:
            if not listener.join(last_s):
                _LOG.warning("a handler of %s does not end; its message is left to its lease", listener.pattern.text)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, with grace."""
        self.stop()

    def _work_of(self, listener: Listener) -> Work:
        return Work(
            listener,
            sender=self,
            clock=self._clock,
            keeper=self._keeper,
            settler=self._settler,
            pauses=self._pauses,
        )

    def _wake(self) -> None:
        self._taker.wake()

    def _settled(self, message: Message) -> None:
        self.feed.own_writes.note(message.rev)
        self._taker.settled(message)
