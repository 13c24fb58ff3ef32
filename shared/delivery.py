"""What is kept of ingested products: ``products-metadata`` and ``delivery-status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from shared import names
from shared.errors import BadInput

if TYPE_CHECKING:
    from shared.dbcon import DbConnection, Doc

METADATA_DATABASE: Final = "products-metadata"
STATUS_DATABASE: Final = "delivery-status"
SCHEMA: Final = 1


class ProductMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """One data product, under its name in the archive: whose it is, of which run, its size (bytes) and SHA-256."""

    id: str = msgspec.field(name="_id")
    schema: int = SCHEMA
    prog_id: str = msgspec.field(name="progID")
    ous_uid: str = msgspec.field(name="ousUID")
    timestamp: str
    size: int
    sha256: str

    @property
    def of_run(self) -> tuple[str, str, str]:
        """Whose it is: program, OUS and timestamp of its run."""
        return self.prog_id, self.ous_uid, self.timestamp


class DeliveryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What of an OUS is in the archive, under the id of the OUS; ``complete`` when all of that run is.

    ``data_products`` are the products' names in the archive.
    """

    id: str = msgspec.field(name="_id")
    schema: int = SCHEMA
    prog_id: str = msgspec.field(name="progID")
    ous_uid: str = msgspec.field(name="ousUID")
    timestamp: str
    data_products: list[str] = msgspec.field(name="dataProducts")
    complete: bool

    @property
    def of_run(self) -> tuple[str, str, str]:
        """Which run it is about: its program, OUS and timestamp."""
        return self.prog_id, self.ous_uid, self.timestamp


Kind = TypeVar("Kind", ProductMetadata, DeliveryStatus)


class Records:
    """Keeps and reads both."""

    def __init__(self, connection: DbConnection) -> None:
        """Take the server."""
        self._metadata = connection.database(METADATA_DATABASE)
        self._status = connection.database(STATUS_DATABASE)

    def is_of_another_run(self, product: ProductMetadata) -> bool:
        """Tell whether the metadata kept under the name of a product are those of a product of another run."""
        return _is_of_another(self._metadata.get(product.id), product)

    def keep_metadata(self, product: ProductMetadata) -> bool:
        """Keep the metadata of a product, unless a product of another run has its name: then return False."""
        wanted: Doc = msgspec.to_builtins(product)

        def change(doc: Doc | None) -> Doc | None:
            return None if _is_of_another(doc, product) else _unless_same(doc, wanted)

        return not _is_of_another(self._metadata.mutate(product.id, change), product)

    def metadata(self, name: str) -> ProductMetadata | None:
        """Return the metadata of a product, or None."""
        doc = self._metadata.get(name)
        return _read(doc, ProductMetadata) if doc else None

    def keep_status(self, status: DeliveryStatus) -> None:
        """Keep the delivery status of an OUS; that of a later run, or a more complete one of this run, stays.

        So an ingestor that was stopped in the middle and wakes up late cannot undo what another did meanwhile.
        """
        wanted: Doc = msgspec.to_builtins(status)

        def change(doc: Doc | None) -> Doc | None:
            if doc and _progress(doc) >= _progress(wanted):
                return None
            return _unless_same(doc, wanted)

        self._status.mutate(status.id, change)

    def status(self, doc_id: str) -> DeliveryStatus | None:
        """Return the delivery status of an OUS by its document id, or None."""
        doc = self._status.get(doc_id)
        return _read(doc, DeliveryStatus) if doc else None


def _is_of_another(doc: Doc | None, product: ProductMetadata) -> bool:
    """Tell whether a document has the metadata of another run's product; what is no metadata is nobody's."""
    if doc is None:
        return False
    try:
        return _read(doc, ProductMetadata).of_run != product.of_run
    except BadInput:
        return False


def _progress(doc: Doc) -> tuple[str, bool, int]:
    """Return how far a delivery is: its run, whether it is whole, how many products; no delivery status is nothing."""
    try:
        kept = _read(doc, DeliveryStatus)
        return names.timestamp(kept.timestamp), kept.complete, len(kept.data_products)
    except BadInput:
        return "", False, 0


def _unless_same(doc: Doc | None, wanted: Doc) -> Doc | None:
    if doc is None:
        return wanted
    after = doc | wanted
    return None if after == doc else after


def _read(doc: Doc, kind: type[Kind]) -> Kind:
    try:
        return msgspec.convert(doc, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"document {doc.get('_id')} is no {kind.__name__}: {error}") from error
