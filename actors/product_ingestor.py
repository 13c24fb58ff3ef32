"""product-ingestor: puts the data products of a reviewed run into the archive.

It also keeps the products' metadata and the delivery status, whose shapes are in :mod:`shared.delivery`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from shared import actor, delivery, lifecycle, names, ngas
from shared.bus import Dead, Done
from shared.cache import path_of_cache
from shared.errors import ArchiveError, NameTaken, SourceAway, StateRefused
from shared.messages import INGEST, IngestRequest, read
from shared.status import Change

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shared.actor import Actor
    from shared.bus import Delivery, Outcome
    from shared.cache import CacheDirectory
    from shared.messages import FileEntry

_LOG = logging.getLogger(__name__)
_SLOTS: Final = 2


class Ingestor:
    """Ingests one run after another."""

    def __init__(self, me: Actor, cache: CacheDirectory) -> None:
        """Take the actor and the JAO cache to read from."""
        self._me = me
        self._cache = cache
        self._archive = ngas.Archive(me.connection.database(ngas.DATABASE), me.connection.clock)
        self._records = delivery.Records(me.connection)

    def handle(self, message: Delivery) -> Outcome:
        """Archive every product of a run; each step may find that it was done before."""
        request = read(IngestRequest, message.body)
        try:
            with self._me.busy(f"ingests {request.ousUID}"):
                self._take_in(message, request)
        except (StateRefused, ArchiveError) as error:
            return Dead(str(error))
        return Done()

    def _take_in(self, message: Delivery, request: IngestRequest) -> None:
        self._substate(message, request, lifecycle.INGESTION_TRIGGERED)
        self._substate(message, request, lifecycle.ANALYZING_PRODUCTS)
        products = self._products(request)
        self._substate(message, request, lifecycle.INGESTING_PRODUCTS)
        self._ingest(message, request, products)
        self._substate(message, request, lifecycle.PRODUCTS_INGESTED)

    def _substate(self, message: Delivery, request: IngestRequest, substate: str) -> None:
        self._me.state.set(
            request.ousUID,
            Change(substate=substate),
            expected=(lifecycle.VERIFIED, lifecycle.DELIVERY_IN_PROGRESS),
            run=request.timestamp,
            delivery=message,
            name=substate,
        )

    def _products(self, request: IngestRequest) -> tuple[FileEntry, ...]:
        """Return the run's data products as they are in the cache; SourceAway until they have come."""
        prog_id, run = names.split_products_dir(request.productsDir)
        folder = names.products_path(prog_id, run, request.ousUID) + "/"
        found = tuple(
            entry
            for entry in self._cache.manifest(request.productsDir)
            if entry.path.startswith(folder)
            and names.is_product(entry.path.removeprefix(folder), request.ousUID, request.timestamp)
        )
        if not found:
            raise SourceAway(f"{folder} in the cache {self._cache.path} holds no products of run {request.timestamp}")
        return found

    def _ingest(self, message: Delivery, request: IngestRequest, products: Sequence[FileEntry]) -> None:
        ingested: list[str] = []
        for entry in products:
            message.check()
            ingested.append(self._archived(request, entry))
            self._keep_status(request, ingested, complete=False)
            _LOG.info("%s is archived, %d of %d", ingested[-1], len(ingested), len(products))
        self._keep_status(request, ingested, complete=True)

    def _archived(self, request: IngestRequest, entry: FileEntry) -> str:
        """Archive a product under the first of its names that is not another run's, and return that name.

        Whoever does it again comes to the same name: one that is another's stays so, and one that is ours has our
        content, and our metadata or none.
        """
        prog_id, run = names.split_products_dir(request.productsDir)
        folder = names.products_path(prog_id, run, request.ousUID)
        for name in names.product_names(folder, entry.path.removeprefix(f"{folder}/")):
            product = delivery.ProductMetadata(
                id=name, prog_id=prog_id, ous_uid=request.ousUID, timestamp=run, size=entry.size, sha256=entry.sha256
            )
            if self._archived_as(product, self._cache.path / entry.path):
                return name
        raise NameTaken(f"{entry.path} cannot be archived: that name, its run's alone, is taken by another file")

    def _archived_as(self, product: delivery.ProductMetadata, path: Path) -> bool:
        """Archive a product and keep its metadata under its name; return False if the name is another run's.

        The metadata decide between two runs with the same content, and are looked at first as well: what is another's
        and has got lost in the archive must not be replaced by what is ours.
        """
        if self._records.is_of_another_run(product):
            return False
        try:
            self._archive.put(path, product.id, size=product.size, sha256=product.sha256)
        except NameTaken as error:
            _LOG.info("%s", error)
            return False
        return self._records.keep_metadata(product)

    def _keep_status(self, request: IngestRequest, ingested: list[str], *, complete: bool) -> None:
        prog_id, _ = names.split_products_dir(request.productsDir)
        self._records.keep_status(
            delivery.DeliveryStatus(
                id=names.document_id(request.ousUID),
                prog_id=prog_id,
                ous_uid=request.ousUID,
                timestamp=request.timestamp,
                data_products=sorted(ingested),
                complete=complete,
            )
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the product ingestor."""
    parser = actor.parser(
        "product-ingestor",
        "Archive the products of the runs that reviewers passed.",
        "product-ingestor /tmp/jao-cache",
    )
    parser.add_argument(
        "lcache", type=actor.checked(path_of_cache), help="the local replicating cache directory, that of JAO"
    )
    args = parser.parse_args(argv)

    def serve(me: Actor) -> int:
        cache = actor.cache_directory(args.lcache)
        me.bus.listen(INGEST, Ingestor(me, cache).handle, slots=_SLOTS)
        return me.serve(f"listening on {INGEST}, cache {cache.path}")

    return actor.run("product-ingestor", args, serve)
