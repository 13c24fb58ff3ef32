"""What contradicts what: the rules of ``drw check``. Pure: evidence goes in, findings come out.

Each rule is a function of the whole evidence, and each finding says what ``--repair`` would do about it, or that a
person has to. A rule never takes for wrong what a message may still put right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drw.columns import counted, listed
from shared import lifecycle, messages, names
from shared.bus import envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drw.letters import Letter
    from drw.upkeep.evidence import CachedRun, Evidence
    from shared.status import StatusEntity

UNREADABLE: Final = "unreadable status"
DEAD: Final = "dead message"
NOBODYS_MESSAGE: Final = "message of no OUS"
NOBODY_PROCESSES: Final = "processed by nobody"
NOBODY_REVIEWS: Final = "reviewed by nobody"
NOBODY_DELIVERS: Final = "delivered by nobody"
NO_REPORT: Final = "no report"
NOT_REPLICATED: Final = "not replicated"
DELIVERY: Final = "delivery status"
NO_METADATA: Final = "no metadata"
NOT_ARCHIVED: Final = "not in the archive"
DIFFERS: Final = "differs from the archive"
CORRUPT: Final = "wrong checksum"
MISDESCRIBED: Final = "not described"
NOBODYS_RECORD: Final = "record of no OUS"
UNKNOWN_DIRECTORY: Final = "unknown directory"
CACHES_DIFFER: Final = "caches differ"
NOT_EXPANDED: Final = "weblog not expanded"

OF_FILES: Final = frozenset({NOT_ARCHIVED, CORRUPT, MISDESCRIBED, DIFFERS})
"""The kinds that are about files in the archive."""

_REVIEWABLE: Final = (lifecycle.READY_FOR_REVIEW, lifecycle.REVIEWING)
_IN_DELIVERY: Final = (lifecycle.VERIFIED, lifecycle.DELIVERY_IN_PROGRESS)
_FILES_SHOWN: Final = 3


@dataclass(frozen=True, order=True)
class Finding:
    """A contradiction: of which kind, about what (``subject``, of which OUS if of one), in words, and what mends it.

    ``repair`` is what ``--repair`` would do, empty where a person has to do what ``advice`` says. ``stamp`` tells one
    change of the OUS from the next: a finding stands only if it is the same at the next look.
    """

    kind: str
    subject: str
    what: str
    ous: str = ""
    repair: str = ""
    advice: str = ""
    stamp: str = ""


def find(evidence: Evidence) -> list[Finding]:
    """Return everything that contradicts something else, by kind."""
    return [finding for rule in RULES for finding in sorted(rule(evidence))]


def standing(first: list[Finding], second: list[Finding]) -> list[Finding]:
    """Return what was found at both looks: the rest was on its way."""
    before = set(first)
    return [finding for finding in second if finding in before]


# Messages and states


def _unreadable(evidence: Evidence) -> Iterator[Finding]:
    for doc_id, why in evidence.unreadable.items():
        advice = "mend the document by hand, or update drw"
        yield Finding(UNREADABLE, doc_id, why, ous=evidence.unread.get(doc_id, ""), advice=advice)
    for entity in evidence.entities.values():
        if entity.state not in lifecycle.STATES:
            what = f"is in state {entity.state}, which the life cycle does not have"
            advice = _anew(entity)
            yield _about(entity, UNREADABLE, what, advice=advice)


def _dead(evidence: Evidence) -> Iterator[Finding]:
    for letter in evidence.letters:
        if letter.state == envelope.DEAD:
            yield Finding(
                DEAD,
                letter.id,
                letter.error or "nobody said why",
                ous=letter.ous or evidence.whose(letter.name),
                advice=f"mend that, then 'drw dead requeue {letter.id}', or 'drw dead discard {letter.id} --reason …'",
                stamp=letter.ended,
            )


def _of_nobody(evidence: Evidence) -> Iterator[Finding]:
    for letter in evidence.letters:
        if (
            letter.ous
            and letter.ous not in evidence.entities
            and letter.state in {envelope.READY, envelope.DELAYED}
            and letter.selector != messages.XTSS
            and letter.ous not in evidence.unread.values()
        ):
            yield Finding(
                NOBODYS_MESSAGE,
                letter.id,
                f"is about {letter.ous}, which does not exist",
                ous=letter.ous,
                repair="it is made dead, to be requeued when the OUS exists, or discarded",
            )


def _processing(evidence: Evidence) -> Iterator[Finding]:
    for entity in _in(evidence, lifecycle.PROCESSING):
        if not _waits(evidence, entity, messages.PROCESS):
            yield _about(
                entity,
                NOBODY_PROCESSES,
                "is Processing, and no message to a pipeline driver is about it",
                repair="it becomes ProcessingProblem, from where it can be launched again",
            )


def _reviewing(evidence: Evidence) -> Iterator[Finding]:
    for entity in _in(evidence, lifecycle.REVIEWING):
        holder = entity.reviewer
        lost = holder is None or holder.session in evidence.lost
        if lost and not _waits(evidence, entity, messages.VERDICT):
            who = f"the program of {holder.name}, who has it, does not live" if holder else "nobody has it"
            yield _about(
                entity, NOBODY_REVIEWS, f"is Reviewing, and {who}", repair="it is given back: ReadyForReview again"
            )


def _delivering(evidence: Evidence) -> Iterator[Finding]:
    for entity in _in(evidence, *_IN_DELIVERY):
        if entity.substate == lifecycle.PRODUCTS_INGESTED and entity.state == lifecycle.DELIVERY_IN_PROGRESS:
            continue  # the data-tracker's, who needs no message
        if _waits(evidence, entity, messages.VERDICT) or _waits(evidence, entity, messages.INGEST):
            continue
        yield _about(
            entity,
            NOBODY_DELIVERS,
            f"is {entity.state}, its products are not ingested, and no message says that they are to be",
            repair=f"run {entity.run} is given to the product ingestor again" if entity.run else "",
            advice="" if entity.run else _anew(entity),
        )


# Runs, reports and caches


def _without_report(evidence: Evidence) -> Iterator[Finding]:
    for entity in _in(evidence, *_REVIEWABLE, *_IN_DELIVERY, lifecycle.DELIVERED):
        if not entity.run or (entity.entity_id, entity.run) in evidence.reports:
            continue
        if _waits(evidence, entity, messages.REPORTS):
            continue
        cached = evidence.run(names.products_dir(entity.prog_id, entity.run))
        yield _about(
            entity,
            NO_REPORT,
            f"is {entity.state}, and its run {entity.run} has no report",
            repair="its report is taken from the cache" if cached and cached.report() else "",
            advice=_anew(entity),
        )


def _not_replicated(evidence: Evidence) -> Iterator[Finding]:
    """Find runs that are to be reviewed or ingested and are not at JAO, though no replicator is told to bring them."""
    jao = evidence.caches.get("JAO")
    if jao is None:
        return
    on_their_way = {letter.name for letter in evidence.letters if letter.selector == messages.cached_selector("JAO")}
    for entity in _in(evidence, *_REVIEWABLE, *_IN_DELIVERY):
        if not entity.run or entity.substate == lifecycle.PRODUCTS_INGESTED:
            continue
        run, weblog = names.products_dir(entity.prog_id, entity.run), names.weblog(entity.entity_id, entity.run)
        for name, here in ((run, jao.runs), (weblog, jao.weblogs)):
            if name in here or name in on_their_way:
                continue
            source = next(
                (each.executive for each in evidence.caches.values() if name in {*each.runs, *each.weblogs}), ""
            )
            yield Finding(
                NOT_REPLICATED,
                name,
                f"is needed by {entity.entity_id}, and is not in the JAO cache",
                ous=entity.entity_id,
                repair=f"the replicator at JAO is told to bring it from {source}" if source else "",
                advice=""
                if source
                else "'drw check --repair' brings it once a cache set here has it; or launch the OUS anew",
                stamp=entity.timestamp,
            )


def _unknown_directories(evidence: Evidence) -> Iterator[Finding]:
    known = {(run, ous) for ous, run in evidence.reports}
    known |= {(entity.run, ous) for ous, entity in evidence.entities.items()}
    announced = {letter.name for letter in evidence.letters}
    begun = {entity.entity_id for entity in _in(evidence, lifecycle.PROCESSING)}
    for cache in evidence.caches.values():
        for run in cache.runs.values():
            path, ous = str(cache.path / run.name), evidence.whose(run.name)
            if run.problem:
                yield Finding(UNKNOWN_DIRECTORY, path, run.problem, ous=ous, advice="look at it, and remove it")
            elif (run.run, run.ous) not in known and run.name not in announced and run.ous not in begun:
                yield _unknown(run, path, ous, is_known=run.ous in evidence.entities)


def _unknown(run: CachedRun, path: str, ous: str, *, is_known: bool) -> Finding:
    can = bool(run.report()) and is_known
    whose = f"of {run.ous}" if run.ous else "of no OUS"
    return Finding(
        UNKNOWN_DIRECTORY,
        path,
        f"is a run {whose} that no report knows",
        ous=ous,
        repair="its report is stored" if can else "",
        advice="" if can else "look at it, and remove it if it is nobody's",
    )


def _caches_differ(evidence: Evidence) -> Iterator[Finding]:
    caches = evidence.caches_in_order()
    if len(caches) < 2:  # noqa: PLR2004 (it takes two to differ)
        return
    jao, other = caches[:2]
    for name in sorted(jao.runs.keys() & other.runs.keys()):
        here, there = jao.runs[name].files, other.runs[name].files
        wrong = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
        if wrong:
            some = listed([path.rpartition("/")[2] for path in wrong[:_FILES_SHOWN]])
            yield Finding(
                CACHES_DIFFER,
                name,
                f"is not alike at {other.executive} and JAO: {counted(len(wrong), 'file')}, {some}",
                ous=evidence.whose(name),
                advice="find out which is right; caches are never merged",
            )


def _not_expanded(evidence: Evidence) -> Iterator[Finding]:
    busy = {letter.name for letter in evidence.letters}
    # A driver brings a weblog into its cache before it tells the replicator.
    begun = tuple(_weblogs_of(entity) for entity in _in(evidence, lifecycle.PROCESSING))
    for cache in evidence.caches.values():
        for name in cache.weblogs:
            if name.removesuffix(".zip") not in cache.expanded and name not in busy and not name.startswith(begun):
                yield Finding(
                    NOT_EXPANDED,
                    str(cache.path / name),
                    "is not expanded, so nobody can read it",
                    ous=evidence.whose(name),
                    repair="it is expanded",
                )


# Records and archive


def _deliveries(evidence: Evidence) -> Iterator[Finding]:
    """Find delivered and ingested OUSs of which the records do not say so, whole."""
    for entity in evidence.entities.values():
        if entity.state != lifecycle.DELIVERED and entity.substate != lifecycle.PRODUCTS_INGESTED:
            continue
        kept = evidence.deliveries.get(entity.entity_id)
        if kept is None or not entity.run or kept.timestamp != entity.run or not kept.complete:
            is_it = "missing" if kept is None else f"that of run {kept.timestamp}" if kept.complete else "not complete"
            what = f"is {entity.state}, and its delivery status is {is_it}"
            yield _about(entity, DELIVERY, what, repair="it is made anew from caches and archive")
            continue
        for name in kept.data_products:
            if name not in evidence.metadata:
                what = f"is a product of the delivered run of {entity.entity_id}, and has no metadata"
                yield _about(entity, NO_METADATA, what, repair="it is made anew from caches and archive", subject=name)
        weblog = names.weblog(entity.entity_id, entity.run)
        is_there = weblog in evidence.archive or weblog in evidence.misdescribed
        if entity.state == lifecycle.DELIVERED and not is_there:
            yield _lost_file(evidence, weblog, entity.entity_id, entity.timestamp)


def _metadata(evidence: Evidence) -> Iterator[Finding]:
    """Find products of which the metadata and the archive do not say the same."""
    for name, product in evidence.metadata.items():
        archived = evidence.archive.get(name)
        if archived is None:
            if name not in evidence.misdescribed:
                yield _lost_file(evidence, name, product.ous_uid, product.timestamp)
        elif (archived.size, archived.sha256) != (product.size, product.sha256):
            yield Finding(
                DIFFERS,
                name,
                f"has {product.size} bytes, sha256 {product.sha256[:12]}… by its metadata and {archived.size} bytes, "
                f"sha256 {archived.sha256[:12]}… by the archive",
                ous=product.ous_uid,
                repair="whichever of the two the caches do not agree with is put right",
            )
    for name, wrong in evidence.corrupt.items():
        yield _bad_file(evidence, CORRUPT, name, wrong.removeprefix(f"{name} "), "launch the OUS anew")
    for name, wrong in evidence.misdescribed.items():
        yield _bad_file(evidence, MISDESCRIBED, name, wrong, "mend or delete the document by hand")


def _unrecorded(evidence: Evidence) -> Iterator[Finding]:
    """Find archived products that no record tells of, unless they are just being ingested."""
    busy = {letter.ous for letter in evidence.letters if letter.selector == messages.INGEST}
    delivered = {name for kept in evidence.deliveries.values() for name in kept.data_products}
    for cache in evidence.caches_in_order()[:1]:
        for run in cache.runs.values():
            for name in evidence.products(run):
                if name not in evidence.archive or name in evidence.metadata or name in delivered:
                    continue  # what is delivered is looked at as such
                if run.ous not in busy:
                    yield Finding(
                        NO_METADATA,
                        name,
                        "is in the archive and has no metadata",
                        ous=run.ous,
                        repair="it is made anew from caches and archive",
                    )


def _records_of_nobody(evidence: Evidence) -> Iterator[Finding]:
    owners = {
        **{f"metadata of {name}": product.ous_uid for name, product in evidence.metadata.items()},
        **{f"delivery status of {ous}": ous for ous in evidence.deliveries},
        **{f"report of run {run} of {ous}": ous for ous, run in evidence.reports},
    }
    for subject, ous in owners.items():
        if ous not in evidence.entities and ous not in evidence.unread.values():
            yield Finding(
                NOBODYS_RECORD,
                subject,
                f"is kept, and {ous} does not exist",
                ous=ous,
                advice="launch that OUS, or delete the document by hand",
            )


def _bad_file(evidence: Evidence, kind: str, name: str, what: str, otherwise: str) -> Finding:
    """Return what is wrong with a file that the archive has, and what to do ``otherwise``, if no cache has it."""
    return Finding(
        kind,
        name,
        what,
        ous=evidence.whose(name),
        repair="it is archived anew from a cache" if name in evidence.located else "",
        advice=f"no cache has it any more: {otherwise}",
    )


def _lost_file(evidence: Evidence, name: str, ous: str, stamp: str) -> Finding:
    can = name in evidence.located
    return Finding(
        NOT_ARCHIVED,
        name,
        "is not in the archive",
        ous=ous,
        repair="it is archived from a cache" if can else "",
        advice="" if can else "no cache has it any more: launch the OUS anew",
        stamp=stamp,
    )


# What the rules ask and say


def _anew(entity: StatusEntity) -> str:
    return f"launch it anew: drw launch --force {entity.entity_id}"


def _in(evidence: Evidence, *states: str) -> Iterator[StatusEntity]:
    return (entity for entity in evidence.entities.values() if entity.state in states)


def _waits(evidence: Evidence, entity: StatusEntity, selector: str) -> list[Letter]:
    """Return the messages to a selector, or to those that begin so, about an OUS; the dead ones, which wait too."""
    return [letter for letter in evidence.by_ous.get(entity.entity_id, ()) if letter.selector.startswith(selector)]


def _about(
    entity: StatusEntity, kind: str, what: str, *, repair: str = "", advice: str = "", subject: str = ""
) -> Finding:
    return Finding(
        kind,
        subject or entity.entity_id,
        what,
        ous=entity.entity_id,
        repair=repair,
        advice="" if repair else advice,
        stamp=entity.timestamp,
    )


def _weblogs_of(entity: StatusEntity) -> str:
    """Return how the names of all weblogs of an OUS begin."""
    return f"weblog-{entity.entity_id.removeprefix('uid://').replace('/', '-')}-"


RULES: Final = (
    _unreadable,
    _dead,
    _of_nobody,
    _processing,
    _reviewing,
    _delivering,
    _without_report,
    _not_replicated,
    _deliveries,
    _metadata,
    _unrecorded,
    _records_of_nobody,
    _unknown_directories,
    _caches_differ,
    _not_expanded,
)
