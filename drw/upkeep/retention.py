"""What may be removed: the rules of ``drw prune``. Pure.

A run leaves the caches when it is older than its retention, when nothing more will be done with it, and when everything
in it is known elsewhere byte for byte: products and weblog in the archive, the report in the database. The products of
a run that was superseded will never be archived, and may be given up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from drw import ages
from shared import lifecycle, names
from shared.errors import BadInput

if TYPE_CHECKING:
    from datetime import datetime

    from drw.upkeep.evidence import CachedRun, Evidence


@dataclass(frozen=True, kw_only=True)
class Old:
    """A run whose retention is over: ``kept`` is why it stays all the same, empty if it may go once it is confirmed."""

    run: CachedRun
    kept: str = ""


def old_runs(known: Evidence, now: datetime, retention_s: float) -> list[Old]:
    """Return every products directory in a cache whose retention is over, and why some of them stay."""
    horizon = now - timedelta(seconds=retention_s)
    busy = {letter.name for letter in known.letters} | {f"{letter.ous} {letter.run}" for letter in known.letters}
    return [
        Old(run=run, kept=run.problem or _needed(run, known, busy))
        for cache in known.caches_in_order()
        for run in cache.runs.values()
        if names.moment(run.run) < horizon and not _is_young(run, known, now, retention_s)
    ]


def _is_young(run: CachedRun, known: Evidence, now: datetime, retention_s: float) -> bool:
    """Tell whether the OUS that a run is about has changed within the retention: delivered yesterday is young."""
    entity = known.entities.get(run.ous)
    if entity is None or entity.run != run.run:
        return False
    passed_s = ages.passed_s(entity.timestamp, now)
    return passed_s is None or passed_s <= retention_s


def _needed(run: CachedRun, known: Evidence, busy: set[str]) -> str:
    """Return what a run is still needed for, or nothing."""
    entity = known.entities.get(run.ous)
    if not run.ous or entity is None:
        return "no OUS is known that it is of"
    if run.name in busy or names.weblog(run.ous, run.run) in busy or f"{run.ous} {run.run}" in busy:
        return "a message is about it"
    if entity.run == run.run and entity.state != lifecycle.DELIVERED:
        return f"its OUS is {entity.state}"
    if entity.state == lifecycle.PROCESSING:
        return "its OUS is Processing"
    if (run.ous, run.run) not in known.reports:
        return "its report is not stored"
    return ""


def unconfirmed(run: CachedRun, known: Evidence) -> str:
    """Return the first file of a run that is described nowhere else, or nothing; the content is compared afterwards."""
    archived_names = names_in_archive(run, known)
    for path, size in run.files.items():
        if path == run.report():
            continue
        name = archived_names.get(path, path.rpartition("/")[2])
        archived = known.archive.get(name) if path in archived_names else None
        if archived is None:
            return f"{name} is not in the archive"
        if archived.size != size:
            return f"{name} has another size in the archive"
    return ""


def is_superseded(run: CachedRun, known: Evidence) -> bool:
    """Tell whether the OUS of a run has a later one, and no product of this one was ever archived."""
    entity = known.entities.get(run.ous)
    if entity is None or entity.run <= run.run or run.of_run in known.recorded_runs:
        return False
    return not any(name in known.archive for name in known.products(run))


def without_products(run: CachedRun) -> CachedRun:
    """Return a run with nothing but the files that are kept elsewhere though it was superseded: weblog and report."""
    products = {f"{run.folder}/{each}" for each in run.products()}
    return replace(run, files={path: size for path, size in run.files.items() if path not in products})


def names_in_archive(run: CachedRun, known: Evidence) -> dict[str, str]:
    """Return the names that products and weblog of a run have in the archive, or would have, by their paths."""
    weblog = names.weblog(run.ous, run.run)
    return {path: name for name, path in known.products(run).items()} | {f"{run.folder}/{weblog}": weblog}


def run_of_work(name: str) -> str:
    """Return the products directory that a driver's directory of work is for; empty for what is none."""
    try:
        names.split_products_dir(name.removesuffix(".run"))
    except BadInput:
        return ""
    return name.removesuffix(".run") if name.endswith(".run") else ""
