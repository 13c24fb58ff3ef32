"""``drw rebuild``: metadata, reports and delivery status made anew from what the caches and the archive hold.

Only what is proved is written: a product has metadata if the archive has it as the cache does; a run is delivered whole
if all of its products are archived. What is right already stays as it is, so that it can be run at any time, twice too.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from drw import columns
from drw.columns import Line, counted, say
from drw.registry import FAILURE, OK
from drw.upkeep import asked, evidence
from shared import actor, audit, delivery, lifecycle, manifest, names, ngas, report, reports
from shared.errors import BadInput, CacheError, DrwError
from shared.messages import PipelineReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drw.registry import Commands, Context
    from drw.upkeep.evidence import CachedRun, Evidence
    from shared.dbcon import DbConnection, Doc
    from shared.delivery import DeliveryStatus, ProductMetadata
    from shared.status import StatusEntity

_HEADS: Final = ("what", "of", "and")
_STEM: Final = re.compile(
    r"-([A-Za-z0-9]+)-([A-Za-z0-9]+)-([A-Za-z0-9]+)-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\.[^.]+$"
)
"""How the names of the pipeline's files end: UID and run."""

REPORT, METADATA, STATUS = "report", "metadata", "delivery status"


@dataclass(frozen=True)
class Made:
    """A record that was made anew, or would be: what, of which run or product, and what was wrong with it."""

    what: str
    subject: str
    ous: str
    why: str


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "rebuild",
        _rebuild,
        help="make metadata, reports and delivery status anew from caches and archive",
        description=(
            "Make what is missing or wrong of products-metadata, pipeline-reports and delivery-status anew, from the "
            "caches on this machine and from the archive. Nothing is written that these do not prove; safe on a "
            "living system, and to be repeated."
        ),
        example="drw rebuild --dry-run",
    )
    parser.add_argument("ousUID", nargs="*", type=actor.checked(names.uid), help="default: every OUS")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")


def _rebuild(context: Context) -> int:
    args = context.args
    known = evidence.gather(context.connection, context.settings)
    asked.refuse_unknown(args.ousUID, known)
    rebuilder = Rebuilder(context.connection, known, dry_run=args.dry_run)
    runs = runs_of(known, args.ousUID)
    made: list[Made] = []
    for run in context.track(runs, "rebuilding", total=len(runs)):
        made += rebuilder.rebuild(run)
    made += rebuilder.from_archive_alone(args.ousUID)
    if not args.dry_run:
        for each in made:
            audit.record(
                context.connection, "rebuild", each.ous, f"{each.what} {each.subject}: {each.why}", by=audit.who()
            )
    if args.json:
        return context.print_json({"made": made, "problems": rebuilder.problems}, FAILURE if rebuilder.problems else OK)
    if made:
        columns.print_table(context.console, _HEADS, [Line((each.what, each.subject, each.why)) for each in made])
    for problem in rebuilder.problems:
        say(context.console, problem, style="red")
    done = "would be made anew" if args.dry_run else "made anew"
    say(context.console, f"{counted(len(made), 'record')} {done}" if made else "nothing had to be made anew")
    return FAILURE if rebuilder.problems else OK


def runs_of(known: Evidence, ouss: Sequence[str] = ()) -> list[CachedRun]:
    """Return the runs in the caches, of some OUSs or of all, oldest first, from JAO's cache where that has them."""
    found: dict[str, CachedRun] = {}
    for cache in known.caches_in_order():
        for name, run in cache.runs.items():
            found.setdefault(name, run)
    return sorted((run for run in found.values() if run.ous in (ouss or known.entities)), key=lambda run: run.run)


class Rebuilder:
    """Makes the records of runs anew."""

    def __init__(self, connection: DbConnection, known: Evidence, *, dry_run: bool = False) -> None:
        """Take the server, what is known, and whether anything is written."""
        self._connection = connection
        self._known = known
        self._dry_run = dry_run
        self._reports = reports.Reports(connection.database(reports.DATABASE))
        self._archive = ngas.Archive(connection.database(ngas.DATABASE), connection.clock)
        self._records = delivery.Records(connection)
        self._deliveries = dict(known.deliveries)
        self.problems: list[str] = []

    def rebuild(self, run: CachedRun) -> list[Made]:
        """Make what is missing or wrong of one run anew, and return it; what cannot be read is in ``problems``."""
        made: list[Made] = []
        for make in (self.report, self._products):
            try:
                made += make(run)
            except (DrwError, OSError) as error:
                self.problems.append(f"run {run.name}: {error}")
        return made

    def report(self, run: CachedRun) -> Iterator[Made]:
        """Store the report of a run that has none."""
        if (run.ous, run.run) in self._known.reports or not run.report():
            return
        if not self._dry_run:
            self._reports.keep(_report(run))
        yield Made(REPORT, run.run, run.ous, "it was missing")

    def _products(self, run: CachedRun) -> Iterator[Made]:
        """Record the products of a run that are in the archive as they are in the cache."""
        archived: list[str] = []
        products = self._known.products(run)
        for name, path in products.items():
            found = self._archive.describe(name)
            if found is None:
                continue
            entry = manifest.entry(run.cache / path, path)
            if (entry.size, entry.sha256) != (found.size, found.sha256):
                self.problems.append(
                    f"product {name} is not alike in cache and archive: 'drw check {run.ous}' tells more"
                )
                continue
            archived.append(name)
            yield from self._metadata(
                delivery.ProductMetadata(
                    id=name,
                    prog_id=run.prog_id,
                    ous_uid=run.ous,
                    timestamp=run.run,
                    size=found.size,
                    sha256=found.sha256,
                )
            )
        if archived:
            whole = len(archived) == len(products)
            yield from self._status(_delivery(run.prog_id, run.ous, run.run, sorted(archived), complete=whole))

    def _metadata(self, wanted: ProductMetadata) -> Iterator[Made]:
        kept = self._known.metadata.get(wanted.id)
        if kept == wanted:
            return
        if not self._dry_run:
            self._records.keep_metadata(wanted)
        yield Made(METADATA, wanted.id, wanted.ous_uid, "it was missing" if kept is None else "it said something else")

    def _status(self, wanted: DeliveryStatus) -> Iterator[Made]:
        """Record what of a run is delivered, unless the OUS is about another."""
        ous = wanted.ous_uid
        kept = self._deliveries.get(ous)
        if kept == wanted or not self._is_the_one(wanted, kept):
            return
        if not self._dry_run:
            self._put_right(wanted, kept)
        self._deliveries[ous] = wanted
        products = counted(len(kept.data_products), "product") if kept else ""
        why = f"it was that of run {kept.timestamp} with {products}" if kept else "it was missing"
        yield Made(STATUS, wanted.timestamp, ous, why)

    def _is_the_one(self, wanted: DeliveryStatus, kept: DeliveryStatus | None) -> bool:
        """Tell whether a delivery status is to be about this run: the one that the OUS is about, else the latest."""
        entity = self._known.entities.get(wanted.ous_uid)
        if entity and entity.run and entity.state in evidence.IN_DELIVERY:
            return wanted.timestamp == entity.run
        return kept is None or wanted.timestamp >= kept.timestamp

    def _put_right(self, wanted: DeliveryStatus, seen: DeliveryStatus | None) -> None:
        """Write a delivery status over the one that was seen; what an ingestor has written since stays."""
        fields: Doc = msgspec.to_builtins(wanted)

        def change(doc: Doc | None) -> Doc | None:
            now = evidence.converted(doc, delivery.DeliveryStatus) if doc else None
            return {**(doc or {}), **fields} if now == seen else None

        self._connection.database(delivery.STATUS_DATABASE).mutate(wanted.id, change)

    def from_archive_alone(self, ouss: Sequence[str] = ()) -> list[Made]:
        """Make the records of delivered runs anew whose caches were pruned, by the names of the archived files.

        Which OUS and run a product is of is told by its metadata, else by its name, if that is a path in a cache or of
        the pipeline's own form.
        """
        cached = {name for run in runs_of(self._known) for name in self._known.products(run)}
        made: list[Made] = []
        products: dict[str, list[str]] = {}
        for name, archived in self._known.archive.items():
            entity = self._owner(name)
            if entity is None or name in cached or (ouss and entity.entity_id not in ouss):
                continue
            products.setdefault(entity.entity_id, []).append(name)
            metadata = delivery.ProductMetadata(
                id=name,
                prog_id=entity.prog_id,
                ous_uid=entity.entity_id,
                timestamp=entity.run,
                size=archived.size,
                sha256=archived.sha256,
            )
            made += self._metadata(metadata) if name not in self._known.metadata else ()
        for ous, found in products.items():
            if ous not in self._deliveries:
                entity = self._known.entities[ous]
                made += self._status(_delivery(entity.prog_id, ous, entity.run, sorted(found), complete=True))
        return made

    def _owner(self, name: str) -> StatusEntity | None:
        """Return the delivered OUS whose run a file of the archive is a product of."""
        ous, run = self._run_of(name)
        entity = self._known.entities.get(ous)
        if entity is None or entity.state != lifecycle.DELIVERED or entity.run != run:
            return None
        return entity if names.is_product(name, entity.entity_id, entity.run) else None

    def _run_of(self, name: str) -> tuple[str, str]:
        """Return OUS and run that a file of the archive is of; empty if nothing tells."""
        kept = self._known.metadata.get(name)
        if kept:
            return kept.ous_uid, kept.timestamp
        if "/" in name:
            return _run_of_path(name)
        found = _STEM.search(name)
        return ("uid://" + "/".join(found.groups()[:3]), found[4]) if found else ("", "")


def _run_of_path(path: str) -> tuple[str, str]:
    """Return OUS and run of a file by its path in a cache; empty if it is none."""
    try:
        _, run = names.split_products_dir(path.partition("/")[0])
    except BadInput:
        return "", ""
    return evidence.ous_of([path]), run


def _delivery(prog_id: str, ous: str, run: str, products: list[str], *, complete: bool) -> DeliveryStatus:
    return delivery.DeliveryStatus(
        id=names.document_id(ous),
        prog_id=prog_id,
        ous_uid=ous,
        timestamp=run,
        data_products=products,
        complete=complete,
    )


def _report(run: CachedRun) -> PipelineReport:
    """Return the report of a run as its driver would have sent it."""
    path = run.cache / run.report()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CacheError(f"{path} cannot be read: {error.strerror}") from error
    report.parse(text)
    return PipelineReport(
        ousUID=run.ous,
        source=_source(run.run),
        report=b64encode(text).decode("ascii"),
        timestamp=run.run,
        productsDir=run.name,
    )


def _source(run: str) -> str:
    """Return the executive at which a run was made: each uses milliseconds of its own, by their remainder."""
    return names.EXECUTIVES[int(run[-3:]) % len(names.EXECUTIVES)]
