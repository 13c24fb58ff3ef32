"""``drw rebuild``: metadata, reports and delivery status made anew from what the caches and the archive hold.

Only what is proved is written: a product has metadata if the archive has it as the cache does; a run is delivered whole
if all products that anything knows of it are archived. What is right already stays as it is, so that it can be run at
any time, twice too.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from drw import columns
from drw.columns import Line, counted, say
from drw.registry import FAILURE, OK
from drw.upkeep import asked, evidence
from drw.upkeep.delivered import Delivered
from shared import actor, audit, delivery, lifecycle, manifest, names, ngas, report, reports
from shared.errors import BadInput, CacheError, DrwError
from shared.messages import PipelineReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drw.registry import Commands, Context
    from drw.upkeep.evidence import CachedRun, Evidence
    from shared.dbcon import DbConnection, Doc
    from shared.delivery import DeliveryStatus, ProductMetadata
    from shared.ngas import ArchivedFile
    from shared.status import StatusEntity

_HEADS: Final = ("what", "of", "and")
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
        made += _audited(context, rebuilder.rebuild(run))
    made += _audited(context, rebuilder.conclude(args.ousUID))
    if args.json:
        return context.print_json({"made": made, "problems": rebuilder.problems}, FAILURE if rebuilder.problems else OK)
    if made:
        columns.print_table(context.console, _HEADS, [Line((each.what, each.subject, each.why)) for each in made])
    for problem in rebuilder.problems:
        say(context.console, problem, style="red")
    done = "would be made anew" if args.dry_run else "made anew"
    say(context.console, f"{counted(len(made), 'record')} {done}" if made else "nothing had to be made anew")
    return FAILURE if rebuilder.problems else OK


def _audited(context: Context, made: list[Made]) -> list[Made]:
    """Keep what was made of one run at once, so that it is in the audit if the command ends before the others."""
    for each in made if not context.args.dry_run else ():
        why = f"{each.what} {each.subject}: {each.why}"
        audit.record(context.connection, "rebuild", each.ous, why, by=audit.who())
    return made


def runs_of(known: Evidence, ouss: Sequence[str] = ()) -> list[CachedRun]:
    """Return the runs in the caches, of some OUSs or of all, oldest first, from JAO's cache where that has them."""
    found: dict[str, CachedRun] = {}
    for cache in known.caches_in_order():
        for name, run in cache.runs.items():
            if run.ous in (ouss or known.entities):
                found.setdefault(name, run)
    return sorted(found.values(), key=lambda run: run.run)


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
        self._metadata = dict(known.metadata)
        self.problems: list[str] = []

    def rebuild(self, run: CachedRun) -> list[Made]:
        """Make report and metadata of one run anew where they are missing or wrong, and return what was made.

        What cannot be read is in ``problems``. Once all runs of an OUS are through, :meth:`conclude`.
        """
        made: list[Made] = []
        for make in (self.report, self._products):
            try:
                made += make(run)
            except (DrwError, OSError) as error:
                self.problems.append(f"run {run.name}: {error}")
        return made

    def conclude(self, ouss: Sequence[str] = ()) -> list[Made]:
        """Make what the caches have nothing to say of, then the delivery status, which goes by all the metadata."""
        made = self._from_archive_alone(ouss)
        wanted = set(ouss or self._known.entities)
        delivered = Delivered(self._known, self._metadata, wanted, self._is_archived)
        for ous in sorted(wanted):
            try:
                made += self._status(ous, delivered.status(ous))
            except DrwError as error:
                self.problems.append(f"delivery status of {ous}: {error}")
        return made

    def report(self, run: CachedRun) -> Iterator[Made]:
        """Store the report of a run that has none."""
        if (run.ous, run.run) in self._known.reports or not run.report():
            return
        if not self._dry_run:
            self._reports.keep(_report(run))
        yield Made(REPORT, run.run, run.ous, "it was missing")

    def _products(self, run: CachedRun) -> Iterator[Made]:
        """Record the products of a run that are in the archive as they are in the first cache that has them."""
        products = {
            name: copy.cache / path
            for copy in reversed(self._known.copies(run.name))
            for name, path in self._known.products(copy).items()
        }
        for name, path in products.items():
            found = self._archive.describe(name)
            if found is None:
                continue
            entry = manifest.entry(path, name)
            if (entry.size, entry.sha256) != (found.size, found.sha256):
                self.problems.append(
                    f"product {name} is not alike in cache and archive: 'drw check {run.ous}' tells more"
                )
                continue
            yield from self._record(_metadata(name, run.of_run, found))

    def _record(self, wanted: ProductMetadata) -> Iterator[Made]:
        kept = self._metadata.get(wanted.id)
        if kept == wanted:
            return
        if not self._dry_run:
            self._records.keep_metadata(wanted)
        self._metadata[wanted.id] = wanted
        yield Made(METADATA, wanted.id, wanted.ous_uid, "it was missing" if kept is None else "it said something else")

    def _is_archived(self, product: ProductMetadata) -> bool:
        """Tell whether the archive has a product as its metadata say; it may have been mended since the look at it."""
        seen = self._known.archive.get(product.id)
        return _is_alike(product, seen) or _is_alike(product, self._archive.describe(product.id))

    def _status(self, ous: str, wanted: DeliveryStatus | None) -> Iterator[Made]:
        """Record what of an OUS is delivered."""
        kept = self._known.deliveries.get(ous)
        if wanted is None or kept == wanted:
            return
        if not self._dry_run:
            self._put_right(wanted, kept)
        products = counted(len(kept.data_products), "product") if kept else ""
        why = f"it was that of run {kept.timestamp} with {products}" if kept else "it was missing"
        yield Made(STATUS, wanted.timestamp, ous, why)

    def _put_right(self, wanted: DeliveryStatus, seen: DeliveryStatus | None) -> None:
        """Write a delivery status over the one that was seen; what an ingestor has written since stays."""
        fields: Doc = msgspec.to_builtins(wanted)

        def change(doc: Doc | None) -> Doc | None:
            now = evidence.converted(doc, delivery.DeliveryStatus) if doc else None
            return {**(doc or {}), **fields} if now == seen else None

        self._connection.database(delivery.STATUS_DATABASE).mutate(wanted.id, change)

    def _from_archive_alone(self, ouss: Sequence[str]) -> list[Made]:
        """Make the metadata of delivered runs anew whose caches were pruned, by the names of the archived files.

        Which OUS and run one is of is told by its name, if that is a path in a cache or of the pipeline's own form.
        """
        made: list[Made] = []
        for name, archived in self._known.archive.items():
            if name in self._metadata or name in self._known.located:
                continue
            entity = self._owner(name)
            if entity is None or (ouss and entity.entity_id not in ouss):
                continue
            made += self._record(_metadata(name, (entity.prog_id, entity.entity_id, entity.run), archived))
        return made

    def _owner(self, name: str) -> StatusEntity | None:
        """Return the delivered OUS whose run a file of the archive is a product of."""
        ous, run = _run_of(name)
        entity = self._known.entities.get(ous)
        if entity is None or entity.state != lifecycle.DELIVERED or entity.run != run:
            return None
        return entity if names.is_product(name, entity.entity_id, entity.run) else None


def _metadata(name: str, of_run: tuple[str, str, str], archived: ArchivedFile) -> ProductMetadata:
    """Return the metadata of a product of a run (program, OUS and timestamp) that the archive has."""
    prog_id, ous, run = of_run
    return delivery.ProductMetadata(
        id=name, prog_id=prog_id, ous_uid=ous, timestamp=run, size=archived.size, sha256=archived.sha256
    )


def _is_alike(product: ProductMetadata, archived: ArchivedFile | None) -> bool:
    return archived is not None and (archived.size, archived.sha256) == (product.size, product.sha256)


def _run_of(name: str) -> tuple[str, str]:
    """Return OUS and run of a file by its name, a path in a cache or of the pipeline's own form; empty for others."""
    if "/" not in name:
        return evidence.ous_and_run(name)
    try:
        _, run = names.split_products_dir(name.partition("/")[0])
    except BadInput:
        return "", ""
    return evidence.ous_of([name]), run


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
