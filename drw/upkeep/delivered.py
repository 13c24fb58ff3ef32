"""What the delivery status of an OUS is to say: the rule of ``drw rebuild``. Pure.

A run is whole when every product that any cache or any record knows of it is archived. What is recorded was archived
once, so it stays named where it got lost: a run never becomes whole by forgetting what it lacks.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from drw.upkeep import evidence
from shared import delivery, lifecycle, names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from drw.upkeep.evidence import Evidence
    from shared.delivery import DeliveryStatus, ProductMetadata

    Run = tuple[str, str, str]
    """Program, OUS and timestamp."""


class Delivered:
    """Tells the delivery status that each of some OUSs is to have."""

    def __init__(
        self,
        known: Evidence,
        metadata: Mapping[str, ProductMetadata],
        ouss: Collection[str],
        is_archived: Callable[[ProductMetadata], bool],
    ) -> None:
        """Take what is known, the metadata as they are now, and who tells whether the archive has a product so."""
        self._known = known
        self._metadata = metadata
        self._is_archived = is_archived
        self._recorded: defaultdict[Run, set[str]] = defaultdict(set)
        self._cached: defaultdict[Run, set[str]] = defaultdict(set)
        for product in metadata.values():
            if product.ous_uid in ouss:
                self._recorded[product.of_run].add(product.id)
        for ous in ouss & known.deliveries.keys():
            self._recorded[known.deliveries[ous].of_run].update(known.deliveries[ous].data_products)
        for cache in known.caches.values():
            for run in cache.runs.values():
                if run.ous in ouss:
                    self._cached[run.of_run].update(known.products(run))
        self._runs: defaultdict[str, set[Run]] = defaultdict(set)
        for each in (*self._recorded, *self._cached):
            self._runs[each[1]].add(each)

    def status(self, ous: str) -> DeliveryStatus | None:
        """Return the delivery status that an OUS is to have, the kept one if that is right; None if nothing proves any.

        It is about the run that the OUS is delivered with, or is to be, else about the latest with anything archived.
        """
        kept = self._known.deliveries.get(ous)
        entity = self._known.entities.get(ous)
        if entity and entity.run and entity.state in evidence.IN_DELIVERY:
            return self._of_run((entity.prog_id, ous, entity.run), kept)
        latest_first = sorted(self._runs[ous], key=lambda run: run[2], reverse=True)
        found = (self._of_run(run, kept) for run in latest_first if kept is None or run[2] >= kept.timestamp)
        return next(filter(None, found), None)

    def _of_run(self, run: Run, kept: DeliveryStatus | None) -> DeliveryStatus | None:
        prog_id, ous, timestamp = run
        recorded = self._recorded[run]
        wanted = recorded | self._cached[run]
        archived = {name for name in wanted if self._has_archived(run, name)}
        if wanted != archived and kept and kept.of_run == run and _holds(kept, archived):
            return kept  # what more a cache has was put there afterwards
        if not (archived or recorded) or not (self._cached[run] or self._is_delivered(ous, timestamp)):
            return None  # nothing is archived, or nobody knows how much of it should be
        return delivery.DeliveryStatus(
            id=names.document_id(ous),
            prog_id=prog_id,
            ous_uid=ous,
            timestamp=timestamp,
            data_products=sorted(archived | recorded),
            complete=wanted == archived,
        )

    def _is_delivered(self, ous: str, timestamp: str) -> bool:
        entity = self._known.entities.get(ous)
        return entity is not None and entity.state == lifecycle.DELIVERED and entity.run == timestamp

    def _has_archived(self, run: Run, name: str) -> bool:
        product = self._metadata.get(name)
        return product is not None and product.of_run == run and self._is_archived(product)


def _holds(kept: DeliveryStatus, archived: Collection[str]) -> bool:
    """Tell whether a delivery status says that a run is whole, and all that it names is archived."""
    return kept.complete and all(name in archived for name in kept.data_products)
