"""data-tracker: watches over deliveries. An OUS is Delivered when the archive has proved to hold all of its run."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared import actor, lifecycle, status
from shared.bus.retry import BackOff
from shared.bus.wake import Feed
from shared.clock import elapsed_s
from shared.entities import Entities
from shared.errors import DatabaseError, DrwError
from shared.lifecycle import DELIVERED, DELIVERY_IN_PROGRESS, PRODUCTS_INGESTED
from shared.logs import about
from shared.proofs import Proofs
from shared.status import Change, StatusEntity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.actor import Actor

_LOG = logging.getLogger(__name__)


@dataclass
class Pending:
    """An OUS that is not proved yet: what is missing, how often that was seen, when to look again."""

    missing: str
    looks: int
    next_s: float


class Tracker:
    """Looks for OUSs in delivery and checks their runs in the archive. It is a watcher of the status feed."""

    def __init__(self, me: Actor) -> None:
        """Take the actor."""
        self._me = me
        self._entities = Entities(me.connection)
        self._proofs = Proofs(me.connection)
        self._back_off = BackOff(first_s=me.settings.poll_s, longest_s=me.settings.poll_max_s)
        self._pending: dict[str, Pending] = {}
        self._wake = threading.Event()

    def changed(self, doc_id: str, generation: int, *, own: bool) -> None:
        """Hear that an OUS has changed."""
        del doc_id, generation, own
        self._wake.set()

    def restarted(self) -> None:
        """Hear that changes may have been missed."""
        self._wake.set()

    def run(self) -> None:
        """Look, then wait for a change or for the next look, until the actor stops."""
        empty = 0
        while not self._me.stopping.is_set():
            self._wake.clear()
            try:
                empty = 0 if self.run_once() else empty + 1
            except DatabaseError as error:
                _LOG.warning("looking again later: %s", error)
                empty += 1
            next_s = min((each.next_s - elapsed_s() for each in self._pending.values()), default=60.0)
            self._wake.wait(min(self._back_off.wait_s(empty), max(next_s, 0.1)))

    def run_once(self) -> int:
        """Check every OUS whose products are ingested; return how many became Delivered.

        Raises DatabaseError if it cannot be read which ones these are.
        """
        found = self._entities.in_state(DELIVERY_IN_PROGRESS, PRODUCTS_INGESTED)
        self._pending = {each.id: self._pending[each.id] for each in found if each.id in self._pending}
        return sum(self._check(each) for each in found if self._is_due(each) and not self._me.stopping.is_set())

    def _is_due(self, entity: StatusEntity) -> bool:
        pending = self._pending.get(entity.id)
        return pending is None or pending.next_s <= elapsed_s()

    def _check(self, entity: StatusEntity) -> bool:
        """Set an OUS Delivered if the archive has all of its run; else note what is missing.

        Whatever goes wrong is this OUS's affair: a file that cannot be read must not keep the others from delivery.
        """
        with about(ous=entity.entity_id):
            try:
                missing = self._missing(entity)
                if not missing:
                    self._deliver(entity)
                    return True
            except DrwError as error:
                missing = str(error)
            self._wait_for(entity, missing)
            return False

    def _missing(self, entity: StatusEntity) -> str:
        """Return what is not proved yet, or nothing: size and SHA-256 of every file are read back.

        Nothing is read before everything is described: what is read has to be read again at the next look.
        """
        found = self._proofs.described(entity)
        if found.lacks:
            return found.lacks
        wrong = self._proofs.read_back(found.files)
        self._proofs.keep(entity, wrong)
        return wrong

    def _deliver(self, entity: StatusEntity) -> None:
        self._me.state.set(
            entity.entity_id,
            Change(state=DELIVERED),
            expected=(DELIVERY_IN_PROGRESS,),
            run=entity.run,
            note="the archive has every file of the run, size and sha256 verified",
        )
        _LOG.info("%s is Delivered", entity.entity_id)

    def _wait_for(self, entity: StatusEntity, missing: str) -> None:
        before = self._pending.get(entity.id)
        looks = before.looks + 1 if before else 1
        if before is None or before.missing != missing:
            _LOG.info("not delivered yet: %s", missing)
        self._pending[entity.id] = Pending(missing, looks, elapsed_s() + self._back_off.wait_s(looks))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the data tracker."""
    parser = actor.parser(
        "data-tracker", "Set OUSs to Delivered once the archive holds all of their run.", "data-tracker"
    )
    args = parser.parse_args(argv)

    def serve(me: Actor) -> int:
        tracker = Tracker(me)
        feed = Feed(me.connection.database(status.DATABASE), heartbeat_s=me.settings.heartbeat_s)
        feed.watch(tracker)
        feed.start()
        thread = threading.Thread(target=tracker.run, name="tracker", daemon=True)
        thread.start()
        me.part("tracker", thread.is_alive)
        me.part("status feed", lambda: feed.is_alive)
        try:
            return me.serve(f"watching OUSs in {lifecycle.DELIVERY_IN_PROGRESS}")
        finally:
            feed.stop()

    return actor.run("data-tracker", args, serve)
