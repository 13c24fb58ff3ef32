"""What is wrong with a run whose program has ended: looked at before anything of it goes anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared import manifest, names, report, weblog
from shared.errors import BadInput, CacheAway, CacheError

if TYPE_CHECKING:
    from actors.pipeline_driver.runs import Run
    from shared.program import Ended

_REPORT_BYTES: Final = 5_000_000


def problem_of(run: Run, ended: Ended) -> str:
    """Return what is wrong with a run, or nothing; raise CacheAway while nobody can tell."""
    if not ended.succeeded:
        return f"the pipeline {ended.sentence()}"
    if not run.products.is_dir():
        return (
            f"the pipeline ended well but made no folder {run.products.relative_to(run.directory)}: "
            "it must take the time from DRW_RUN_TIMESTAMP"
        )
    # Before anything is read: links and pipes have no place among products, and a report must not fill the memory.
    try:
        sizes = dict(manifest.files_of(run.directory / run.products_dir))
    except CacheAway:
        raise
    except CacheError as error:
        return f"what the pipeline made cannot be kept: {error}"
    return _report_problem(run, sizes) or _weblog_problem(run)


def _report_problem(run: Run, sizes: dict[str, int]) -> str:
    name = names.report(run.request.ousUID, run.timestamp)
    path = run.products / name
    size = sizes.get(str(path.relative_to(run.directory)), 0)
    if size > _REPORT_BYTES:
        return f"the pipeline report has {size} bytes, more than the {_REPORT_BYTES} that a message can carry"
    try:
        report.parse(path.read_bytes())
    except (OSError, BadInput) as error:
        return f"the pipeline report {name} is missing or bad: {error}"
    return ""


def _weblog_problem(run: Run) -> str:
    name = names.weblog(run.request.ousUID, run.timestamp)
    try:
        weblog.check(run.products / name)
    except CacheAway:
        raise
    except (BadInput, CacheError) as error:
        return f"the weblog {name} is missing or cannot be expanded: {error}"
    return ""
