"""notifier: tells people who are elsewhere. What happened is posted to a web address, ``DRW_WEBHOOK_URL``.

It looks for news and sends each as a message, whose id is made from what the news is about: however many notifiers
look, and however often, there is one message. Posting it is a handler like any other, so it is repeated until the web
address has taken it.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec
import urllib3

from shared import actor, entities, heartbeats, news, status
from shared.bus import Retry, Snooze, envelope, janitor, queue
from shared.bus.wake import Feed
from shared.clock import elapsed_s, stamp
from shared.errors import BadInput, DatabaseError, OutcomeUnknown, SentDifferently
from shared.logs import Trouble
from shared.names import moment, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.actor import Actor
    from shared.bus import Delivery, Outcome
    from shared.dbcon import Doc
    from shared.news import News

_LOG = logging.getLogger(__name__)
_BEGUN: Final = "control:notifier:begun"
_KNOWN: Final = 20_000
_ANSWER_S: Final = 10.0
_SETTLED_GENERATION: Final = 3
_SLOTS: Final = 4
_PAGE: Final = 200
_ALL: Final = 10_000_000
_DEAD_FIELDS: Final = ["_id", "state", "doneAt", "errors", "body.ousUID"]
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Webhook:
    """Posts news to a web address."""

    def __init__(self, url: str) -> None:
        """Take the address. It may have a secret in it, so only its host is ever said."""
        self._url = url
        self.host = urlsplit(url).hostname or ""
        self._client = urllib3.PoolManager(timeout=urllib3.Timeout(_ANSWER_S), retries=False, maxsize=_SLOTS)

    def handle(self, delivery: Delivery) -> Outcome | None:
        """Post one piece of news. Who keeps the Idempotency-Key sees none twice, also when an answer gets lost."""
        key = delivery.message.id.partition(":")[2]
        try:
            answer = self._client.request(
                "POST",
                self._url,
                body=msgspec.json.encode(delivery.body),
                headers={"Content-Type": "application/json", "Idempotency-Key": key, "User-Agent": "drw"},
                redirect=False,
                preload_content=False,
            )
            answer.close()  # how it goes on is of no interest, and may have no end
        except urllib3.exceptions.HTTPError as error:
            return Snooze(f"{self.host} cannot be reached: {type(error).__name__}")
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            _LOG.info("told %s: %s", self.host, delivery.body.get("text"))
            return None
        what = f"{self.host} answered {answer.status}"
        passing = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in _PASSING
        return Snooze(what) if passing else Retry(f"{what}: does DRW_WEBHOOK_URL name the right address?")


class Newsroom:
    """Looks for news and sends them. It is a watcher of the feeds of the OUSs and of the queue."""

    def __init__(self, me: Actor) -> None:
        """Take the actor."""
        self._me = me
        self._entities = me.connection.database(status.DATABASE)
        self._queue = me.bus.queue.database
        self._kept = timedelta(seconds=janitor.retention_s(me.settings.retention_s, me.settings.lease_s) / 2)
        self._changed: set[str] = set()
        self._lock = threading.Lock()
        self._everything = threading.Event()
        self._everything.set()
        self._wake = threading.Event()
        self._begun = ""
        self._next_roll_call_s = 0.0
        self._sent: dict[str, None] = {}
        self._suspects: dict[str, float] = {}

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear that an OUS has changed, or a message that can be dead: it was sent, claimed, and changed again."""
        if doc_id.startswith("uid___"):
            with self._lock:
                self._changed.add(doc_id)
        elif own or generation < _SETTLED_GENERATION:
            return
        self._wake.set()

    def restarted(self) -> None:
        """Hear that changes may have been missed: all that may have news is looked at."""
        self._everything.set()
        self._wake.set()

    def run(self) -> None:
        """Look when something has changed, and once a heartbeat, until the actor stops."""
        trouble = Trouble(_LOG, "nobody is told what is new")
        while not self._me.stopping.is_set():
            self._wake.clear()
            try:
                self.run_once()
            except (DatabaseError, OutcomeUnknown) as error:
                trouble.met(error)
                self._everything.set()
                self._suspects.clear()
            else:
                trouble.over()
            self._me.stopping.wait(self._me.settings.poll_s)  # what comes together is looked at together
            self._wake.wait(self._me.settings.heartbeat_s)

    def run_once(self) -> None:
        """Send what is new: in the OUSs that have changed, among the dead messages, among the actors."""
        since = self._since()
        if everything := self._everything.is_set():
            self._everything.clear()  # never unseen, should another break come just now
        with self._lock:
            changed, self._changed = self._changed, set()
        docs = self._all_entities(since) if everything else self._entities.fetch(changed) if changed else []
        for doc in docs:
            self._send(*(news.of_entity(doc, since) if doc else ()))
        for doc in self._dead(since):
            self._send(*filter(None, [news.of_dead_letter(doc)]))
        if self._next_roll_call_s <= elapsed_s():
            self._send(*self._lost_actors(since))
            self._next_roll_call_s = elapsed_s() + self._me.settings.heartbeat_s

    def _since(self) -> str:
        """Return from when on something is news: since the first notifier, as long as what was sent is remembered."""
        now = self._me.connection.clock.now()
        if not self._begun:
            doc = self._queue.mutate(_BEGUN, lambda found: _begun_anew(found, stamp(now)))
            self._begun = str((doc or {}).get("since", stamp(now)))
        return max(self._begun, stamp(now - self._kept))

    def _all_entities(self, since: str) -> Iterator[Doc]:
        """Yield the OUSs that may have news: those that rest since a moment, and all that have gone on from there."""
        for state in news.TOLD:
            yield from chain.from_iterable(entities.pages(self._entities, state, since=since))
        for state in news.GONE_ON:
            yield from self._gone_on(state)

    def _gone_on(self, state: str) -> Iterator[Doc]:
        """Yield the OUSs in a state, whatever their substate: all ids first, so that none is lost while they move."""
        found = self._entities.find(
            {"state": state, "substate": {"$gte": ""}},
            index=status.STATE_INDEX,
            sort=status.INDEXES[status.STATE_INDEX],
            limit=_ALL,
            fields=["_id"],
        )
        ids = [doc["_id"] for doc in found]
        for at in range(0, len(ids), _PAGE):
            yield from filter(None, self._entities.fetch(ids[at : at + _PAGE]))

    def _dead(self, since: str) -> Iterator[Doc]:
        return chain.from_iterable(queue.ended(self._queue, envelope.DEAD, since=since, fields=_DEAD_FIELDS))

    def _lost_actors(self, since: str) -> Iterator[News]:
        """Yield the actors that have stayed silent while we looked.

        After a database was away everybody looks dead for a moment.
        """
        now, before, self._suspects = self._me.connection.clock.now(), self._suspects, {}
        for doc in self._me.connection.database(actor.ACTORS_DATABASE).every():
            if str(doc.get("at")) < since or heartbeats.standing(doc, now) != "dead":
                continue
            try:
                patience_s = heartbeats.BEATS * float(doc["every"])
            except (KeyError, TypeError, ValueError):
                continue  # made by hand: no actor says so of itself
            found = news.of_lost_actor(doc)
            self._suspects[found.key] = before.get(found.key, elapsed_s())
            if elapsed_s() - self._suspects[found.key] >= patience_s:
                yield found

    def _send(self, *found: News) -> None:
        for each in found:
            if each.key in self._sent:
                continue
            try:
                self._me.bus.send(news.SELECTOR, each.body(), dedup=each.key)
            except SentDifferently:
                _LOG.debug("%s was told in other words", each.key)
            self._sent[each.key] = None
            if len(self._sent) > _KNOWN:
                del self._sent[next(iter(self._sent))]


def _begun_anew(found: Doc | None, now: str) -> Doc | None:
    """Return the document that says since when there are notifiers, None where the one that is found says so.

    Of a time that is none, or is still to come, nothing would ever be news.
    """
    if found is None:
        return {"schema": 1, "since": now}
    since = found.get("since")
    try:
        if isinstance(since, str) and since == stamp(moment(since)) <= now:
            return None
    except ValueError:
        pass
    _LOG.warning("%s has %s, which is no time that is past: what happens from now on is news", _BEGUN, shown(since))
    return found | {"since": now}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the notifier."""
    parser = actor.parser(
        "notifier",
        "Post what happened to DRW_WEBHOOK_URL:\nproblems, dead messages, deliveries, lost actors.",
        "DRW_WEBHOOK_URL=https://example.org/hook notifier",
    )
    args = parser.parse_args(argv)

    def serve(me: Actor) -> int:
        if not me.settings.webhook_url:
            raise BadInput("DRW_WEBHOOK_URL is not set: it is the web address that is told")
        room, webhook = Newsroom(me), Webhook(me.settings.webhook_url)
        me.bus.listen(news.SELECTOR, webhook.handle, slots=_SLOTS)
        me.bus.feed.watch(room)
        feed = Feed(me.connection.database(status.DATABASE), heartbeat_s=me.settings.heartbeat_s)
        feed.watch(room)
        feed.start()
        thread = threading.Thread(target=room.run, name="newsroom", daemon=True)
        thread.start()
        me.part("newsroom", thread.is_alive)
        me.part("status feed", lambda: feed.is_alive)
        try:
            return me.serve(f"telling {webhook.host} what happens")
        finally:
            feed.stop()

    return actor.run("notifier", args, serve)
