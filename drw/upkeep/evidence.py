"""What there is, everywhere: states, messages, records, archive and caches, as the rules of ``drw check`` need it.

It is read in an order that a living system cannot belie for long: messages before the states that they change, records
before the files that they are about. What is still not right at a second look was not right.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

from drw import letters
from shared import delivery, heartbeats, lifecycle, manifest, names, ngas, reports, status
from shared.actor import ACTORS_DATABASE
from shared.bus import envelope, queue
from shared.cache import MARKER, WEBLOGS
from shared.clock import stamp
from shared.errors import ArchiveError, BadInput, CacheError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from drw.letters import Letter
    from shared.dbcon import DbConnection
    from shared.delivery import DeliveryStatus, ProductMetadata
    from shared.ngas import ArchivedFile
    from shared.settings import Settings
    from shared.status import StatusEntity

IN_DELIVERY: Final = (lifecycle.VERIFIED, lifecycle.DELIVERY_IN_PROGRESS, lifecycle.DELIVERED)
"""The states in which an OUS is about the run that is delivered, or is to be."""

_STEM: Final = re.compile(
    r"-([A-Za-z0-9]+)-([A-Za-z0-9]+)-([A-Za-z0-9]+)-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\.[^.]+$"
)
"""How the names of the pipeline's files end: UID and run."""

_FILE_DEPTH: Final = 5
"""Products directory, SOUS, GOUS, member OUS, products: the file is below."""


@dataclass(frozen=True, kw_only=True)
class CachedRun:
    """A products directory: of which program, run and OUS (empty if it holds none), in which cache, and its files.

    ``files`` has the size (bytes) of each by its path below the cache; ``problem`` is why it cannot be read.
    """

    name: str
    prog_id: str
    run: str
    cache: Path
    ous: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def folder(self) -> str:
        """The path of the folder that has the files of the run; empty if there is none."""
        return names.products_path(self.prog_id, self.run, self.ous) if self.ous else ""

    @property
    def of_run(self) -> tuple[str, str, str]:
        """Program, OUS and timestamp of the run."""
        return self.prog_id, self.ous, self.run

    def products(self) -> list[str]:
        """Return the data products, by their paths in the folder of the run."""
        start = f"{self.folder}/"
        inside = [path.removeprefix(start) for path in self.files if self.ous and path.startswith(start)]
        return [each for each in inside if names.is_product(each, self.ous, self.run)]

    def report(self) -> str:
        """Return the path of the pipeline report; empty if there is none."""
        path = f"{self.folder}/{self.report_name()}" if self.ous else ""
        return path if path in self.files else ""

    def report_name(self) -> str:
        """Return the name that the pipeline report of this run has."""
        return names.report(self.ous, self.run) if self.ous else ""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A cache on this machine: its products directories by name, its packed weblogs (bytes) and its expanded ones."""

    executive: str
    path: Path
    runs: Mapping[str, CachedRun] = field(default_factory=dict)
    weblogs: Mapping[str, int] = field(default_factory=dict)
    expanded: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known at one look. OUSs are named by UID, files by name, reports by UID and run."""

    entities: Mapping[str, StatusEntity] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    letters: Sequence[Letter] = ()
    lost: frozenset[str] = frozenset()
    """The processes of reviewers that do not live."""
    reports: frozenset[tuple[str, str]] = frozenset()
    metadata: Mapping[str, ProductMetadata] = field(default_factory=dict)
    deliveries: Mapping[str, DeliveryStatus] = field(default_factory=dict)
    archive: Mapping[str, ArchivedFile] = field(default_factory=dict)
    misdescribed: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with the documents of files of the archive that do not describe them."""
    corrupt: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with files of the archive that were read back."""
    caches: Mapping[str, Cache] = field(default_factory=dict)

    @cached_property
    def unread(self) -> dict[str, str]:
        """The OUSs of the documents that cannot be read, by document; those of somebody else's are of none."""
        found = {}
        for doc_id in self.unreadable:
            with suppress(BadInput):
                found[doc_id] = names.uid_of_document(doc_id)
        return found

    @cached_property
    def by_ous(self) -> dict[str, list[Letter]]:
        """The messages that are about each OUS."""
        found: dict[str, list[Letter]] = {}
        for letter in self.letters:
            found.setdefault(letter.ous, []).append(letter)
        return found

    @cached_property
    def located(self) -> dict[str, list[Path]]:
        """Where the caches have each file that can be archived, by its name, JAO's first."""
        found: dict[str, list[Path]] = {}
        for cache in self.caches_in_order():
            for name in cache.weblogs:
                found.setdefault(name, []).append(cache.path / name)
            for run in cache.runs.values():
                for name, path in self.products(run).items():
                    found.setdefault(name, []).append(cache.path / path)
        return found

    def products(self, run: CachedRun) -> dict[str, str]:
        """Return the paths of a run's products by the names that they have in the archive, or would have."""
        return {self._archived_name(run, each): f"{run.folder}/{each}" for each in run.products()}

    def _archived_name(self, run: CachedRun, product: str) -> str:
        """Return the name that the product ingestor gave to a product, or would give."""
        *plain, path = names.product_names(run.folder, product)
        if not plain or path in self.metadata or path in self.archive:
            return path
        return plain[0] if self._owners.get(plain[0], run.of_run) == run.of_run else path

    @cached_property
    def _owners(self) -> dict[str, tuple[str, str, str]]:
        """Which run each plain name is a product of, as far as it is told, by the metadata above all.

        Where neither these nor a delivery status have it, it is the run that an OUS is delivered with.
        """
        delivered = [run for run in self._cached_runs() if self._is_delivered_with(run)]
        cached = {
            product: run.of_run
            for run in delivered
            for product in run.products()
            if names.product_names(run.folder, product)[-1] not in self.archive
        }
        listed = {name: kept.of_run for kept in self.deliveries.values() for name in kept.data_products}
        return cached | listed | {name: product.of_run for name, product in self.metadata.items()}

    @cached_property
    def recorded_runs(self) -> frozenset[tuple[str, str, str]]:
        """The runs of which metadata or a delivery status say that something was archived."""
        listed = {kept.of_run for kept in self.deliveries.values()}
        return frozenset(listed | {product.of_run for product in self.metadata.values()})

    def _is_delivered_with(self, run: CachedRun) -> bool:
        entity = self.entities.get(run.ous)
        return entity is not None and entity.run == run.run and entity.state in IN_DELIVERY

    def _cached_runs(self) -> Iterator[CachedRun]:
        for cache in self.caches_in_order():
            yield from cache.runs.values()

    def run(self, name: str) -> CachedRun | None:
        """Return a products directory from whichever cache has it, that of JAO first."""
        return next(iter(self.copies(name)), None)

    def copies(self, name: str) -> list[CachedRun]:
        """Return a products directory as each cache has it, that of JAO first."""
        return [cache.runs[name] for cache in self.caches_in_order() if name in cache.runs]

    def whose(self, name: str) -> str:
        """Return the OUS that a file of the archive, a weblog or a products directory is of; empty if nothing tells."""
        product = self.metadata.get(name)
        if product:
            return product.ous_uid
        folder, _, path = name.partition("/")
        inside = ous_of([name]) if path else self._cached_products.get(name, "")
        return inside or self._ous_of_run(folder) or ous_and_run(name)[0]

    def _ous_of_run(self, name: str) -> str:
        """Return the OUS of a products directory by what any cache has in it, else by status and reports."""
        try:
            recorded = self._known_runs.get(names.split_products_dir(name), "")
        except BadInput:
            return ""
        return next((run.ous for run in self.copies(name) if run.ous), recorded)

    @cached_property
    def _known_runs(self) -> dict[tuple[str, str], str]:
        """The OUSs of program and timestamp of each run that a report, or the status of an OUS, is about."""
        runs = [*self.reports, *((ous, entity.run) for ous, entity in self.entities.items())]
        return {(self.entities[ous].prog_id, run): ous for ous, run in runs if ous in self.entities}

    @cached_property
    def _cached_products(self) -> dict[str, str]:
        """The OUSs of the products in the caches, by the names that they have in the archive, or would have."""
        return {name: run.ous for run in self._cached_runs() for name in self.products(run)}

    def caches_in_order(self) -> list[Cache]:
        """Return the caches, that of JAO first."""
        return sorted(self.caches.values(), key=lambda cache: cache.executive != "JAO")


def gather(connection: DbConnection, settings: Settings) -> Evidence:
    """Look at everything once; the content of files is not read."""
    database = connection.database(queue.DATABASE)
    post = [
        # Twice, because a message may go from the index that is read last to the one that was read first.
        *letters.every(lambda most: letters.at_work(database, most=most)),
        *letters.every(lambda most: letters.at_work(database, most=most)),
        *letters.every(lambda most: letters.ended(database, envelope.DEAD, most=most)),
    ]
    entities, unreadable = _entities(connection)
    records = _records(connection)
    archive, misdescribed = _archived(connection)
    return Evidence(
        entities=entities,
        unreadable=unreadable,
        letters=list({each.id: each for each in post}.values()),
        lost=_lost(connection, entities.values(), settings.lease_s),
        reports=frozenset(_reports(connection)),
        metadata=records.metadata,
        deliveries=records.deliveries,
        archive=archive,
        misdescribed=misdescribed,
        caches=caches(settings),
    )


def _entities(connection: DbConnection) -> tuple[dict[str, StatusEntity], dict[str, str]]:
    found, unreadable = {}, {}
    for doc in connection.database(status.DATABASE).every():
        try:
            entity = status.read(doc)
            found[entity.entity_id] = entity
        except BadInput as error:
            unreadable[doc["_id"]] = str(error)
    return found, unreadable


def _lost(connection: DbConnection, entities: Iterable[StatusEntity], lease_s: float) -> frozenset[str]:
    """Return the processes that have held an OUS for review for longer than a lease and do not live."""
    now = connection.clock.now()
    horizon = stamp(now - timedelta(seconds=lease_s))
    held = [each for each in entities if each.reviewer and each.reviewer.session and each.timestamp < horizon]
    wanted = sorted({each.reviewer.session for each in held if each.reviewer})
    signs = connection.database(ACTORS_DATABASE).fetch(wanted) if wanted else []
    return frozenset(session for session, sign in zip(wanted, signs, strict=True) if not heartbeats.is_alive(sign, now))


def _reports(connection: DbConnection) -> Iterator[tuple[str, str]]:
    """Yield UID and run of every stored report, by their ids: the reports themselves have megabytes."""
    for doc_id in ids(connection, reports.DATABASE):
        run, _, ous = doc_id.rpartition(".")
        try:
            yield names.uid_of_document(ous), names.timestamp(run)
        except BadInput:
            continue  # not made by any aqua-qa2, and in nobody's way


def ids(connection: DbConnection, name: str, *, page: int = 1000) -> Iterator[str]:
    """Yield the ids of a database's documents, page by page, without reading the documents."""
    database, start = connection.database(name), ""
    while True:
        rows = database.rows(startkey=start, limit=page)
        yield from (row["id"] for row in rows if not row["id"].startswith("_design/"))
        if len(rows) < page:
            return
        start = rows[-1]["id"] + "\x00"


@dataclass
class _Records:
    metadata: dict[str, ProductMetadata] = field(default_factory=dict)
    deliveries: dict[str, DeliveryStatus] = field(default_factory=dict)


def _records(connection: DbConnection) -> _Records:
    """Read metadata and delivery status; documents that are neither stand for nothing, and so are found missing."""
    found = _Records()
    for doc in connection.database(delivery.METADATA_DATABASE).every():
        product = converted(doc, delivery.ProductMetadata)
        if product:
            found.metadata[product.id] = product
    for doc in connection.database(delivery.STATUS_DATABASE).every():
        kept = converted(doc, delivery.DeliveryStatus)
        if kept:
            found.deliveries[kept.ous_uid] = kept
    return found


def converted(doc: dict[str, object], kind: type[delivery.Kind]) -> delivery.Kind | None:
    """Return a document as a record, or None where it is none."""
    try:
        return msgspec.convert(doc, kind)
    except msgspec.ValidationError:
        return None


def _archived(connection: DbConnection) -> tuple[dict[str, ArchivedFile], dict[str, str]]:
    """Return what the archive says of its files, and what is wrong where it says nothing that can be read."""
    found, misdescribed = {}, {}
    for doc in connection.database(ngas.DATABASE).every():
        try:
            file = ngas.described(doc)
        except ArchiveError as error:
            misdescribed[doc["_id"]] = str(error)
            continue
        if file:
            found[file.name] = file
    return found, misdescribed


def read_back(archive: ngas.Archive, files: Iterable[ArchivedFile]) -> dict[str, str]:
    """Read files of the archive whole, and return what is wrong with those that are not what they are described as."""
    corrupt = {}
    for each in files:
        wrong = archive.check(each.name, size=each.size, sha256=each.sha256)
        if wrong:
            corrupt[each.name] = wrong
    return corrupt


def caches(settings: Settings) -> dict[str, Cache]:
    """Return the caches that are on this machine."""
    paths = {"EU": settings.eu_cache_dir(), "JAO": settings.jao_cache_dir()}
    return {executive: _cache(executive, path) for executive, path in paths.items() if (path / MARKER).is_dir()}


def _cache(executive: str, path: Path) -> Cache:
    runs, weblogs = {}, {}
    for entry in sorted(path.iterdir()):
        try:
            if entry.name.endswith(".zip"):
                weblogs[names.weblog_name(entry.name)] = entry.lstat().st_size
            else:
                prog_id, run = names.split_products_dir(entry.name)
                runs[entry.name] = _cached_run(entry, prog_id, run)
        except (BadInput, FileNotFoundError):
            continue  # the marker, the weblogs, what 'drw doctor' calls foreign, or what is being removed
    expanded = path / WEBLOGS
    found = frozenset(each.name for each in expanded.iterdir()) if expanded.is_dir() else frozenset()
    return Cache(executive=executive, path=path, runs=runs, weblogs=weblogs, expanded=found)


def _cached_run(path: Path, prog_id: str, run: str) -> CachedRun:
    try:
        files = dict(manifest.files_of(path))
    except CacheError as error:
        return CachedRun(name=path.name, prog_id=prog_id, run=run, cache=path.parent, problem=str(error))
    return CachedRun(name=path.name, prog_id=prog_id, run=run, cache=path.parent, ous=ous_of(files), files=files)


def ous_of(files: Iterable[str]) -> str:
    """Return the OUS whose folder the files of a products directory are in."""
    for path in files:
        parts = path.split("/")
        if len(parts) > _FILE_DEPTH:
            try:
                return names.uid_of_document(parts[3])
            except BadInput:
                continue
    return ""


def ous_and_run(name: str) -> tuple[str, str]:
    """Return OUS and run by a name of the pipeline's own form, as weblogs have it; empty for others."""
    found = _STEM.search(name)
    return ("uid://" + "/".join(found.groups()[:3]), found[4]) if found else ("", "")
