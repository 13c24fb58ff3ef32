"""What ``drw check UID`` and ``drw rebuild UID`` are asked about: of all that is known, what is of some OUSs. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from drw import near

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from drw.upkeep.evidence import Evidence


def refuse_unknown(ouss: Iterable[str], known: Evidence) -> None:
    """Raise BadInput for an OUS of which there is nothing: no status, and no message, record, file or run either.

    One that has no status may well be asked about: that is what a lost database leaves.
    """
    named = set(_named(known))
    for each in ouss:
        if each not in named and not any(is_of(name, (each,), known) for name in known.archive):
            raise near.unknown("OUS", each, sorted(named), "'drw ous' lists those that there are")


def _named(known: Evidence) -> Iterator[str]:
    """Yield the OUSs that anything names, some of them repeatedly."""
    yield from known.entities
    yield from known.unread.values()
    yield from (ous for ous, _ in known.reports)
    yield from known.deliveries
    yield from (product.ous_uid for product in known.metadata.values())
    yield from filter(None, (letter.ous for letter in known.letters))
    yield from filter(None, (run.ous for cache in known.caches.values() for run in cache.runs.values()))


def narrowed(known: Evidence, ouss: Collection[str]) -> Evidence:
    """Return what is known of some OUSs; all of it where none is named."""
    if not ouss:
        return known
    return replace(
        known,
        entities={uid: each for uid, each in known.entities.items() if uid in ouss},
        letters=[each for each in known.letters if each.ous in ouss or is_of(each.name, ouss, known)],
        reports=frozenset(each for each in known.reports if each[0] in ouss),
        metadata={name: each for name, each in known.metadata.items() if each.ous_uid in ouss},
        archive={name: each for name, each in known.archive.items() if is_of(name, ouss, known)},
        caches={
            executive: replace(cache, runs={name: run for name, run in cache.runs.items() if known.whose(name) in ouss})
            for executive, cache in known.caches.items()
        },
    )


def is_of(name: str, ouss: Collection[str], known: Evidence) -> bool:
    """Tell whether a file of the archive, a weblog or a products directory is of one of some OUSs."""
    whose = known.whose(name)
    if whose:
        return whose in ouss
    return any(f"-{each.removeprefix('uid://').replace('/', '-')}-" in name for each in ouss)
