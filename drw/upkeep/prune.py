"""``drw prune``: removes what is past its retention: settled messages, the drivers' old runs, runs in the caches.

Nothing leaves a cache that the archive has not confirmed byte for byte: every file is read there and read back from
the archive, the report from the database, before the directory is moved away and removed. Only who says so gives up the
products of superseded runs, which nobody will archive.
"""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from drw import ages, columns
from drw.columns import Line, counted, say
from drw.registry import FAILURE, OK
from drw.upkeep import evidence, retention, work
from shared import actor, audit, manifest, names, ngas, reports
from shared.bus import janitor, queue
from shared.cache import MARKER, WEBLOGS
from shared.errors import DrwError, Forbidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from drw.registry import Commands, Context
    from drw.upkeep.evidence import CachedRun, Evidence

_HEADS: Final = ("what", "where", "bytes")
RUN, SUPERSEDED, WORK = "run", "superseded run", "work directory"


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be, or ``kept`` because of something: what it is, where, how big (bytes)."""

    what: str
    where: str
    size: int = 0
    kept: str = ""


@dataclass
class Round:
    """What one round of pruning did."""

    pruned: list[Pruned] = field(default_factory=list)
    messages: int = 0
    problems: list[str] = field(default_factory=list)


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "prune",
        _prune,
        help="remove what is past its retention: messages, old runs, cached runs that the archive has",
        description=(
            "Remove settled messages (as 'drw janitor --once' does), the drivers' directories of runs that are over, "
            "and the runs in the caches on this machine, past their retention (DRW_RETENTION_S). Nothing leaves a "
            "cache that the archive has not confirmed byte for byte, but with --superseded the products of runs that "
            "were never delivered and are followed by another."
        ),
        example="drw prune --dry-run --older-than 30d",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed, and how much that is")
    parser.add_argument(
        "--superseded",
        action="store_true",
        help="also runs whose products were never archived, once their OUS has a later run; the products are lost",
    )
    parser.add_argument(
        "--older-than",
        type=actor.checked(ages.seconds),
        metavar="SPAN",
        help="of runs, like 30d; default DRW_RETENTION_S",
    )


def _prune(context: Context) -> int:
    args = context.args
    retention_s = context.settings.retention_s if args.older_than is None else args.older_than
    pruner = Pruner(context, retention_s, superseded=args.superseded, dry_run=args.dry_run)
    try:
        pruner.prune()
    except BaseException:
        if pruner.done.pruned:  # what is gone is said, whatever became of the rest
            _tell(context, pruner.done)
        raise
    _tell(context, pruner.done)
    return FAILURE if pruner.done.problems else OK


def _tell(context: Context, done: Round) -> None:
    if context.args.json:
        context.print_json(done)
    else:
        _show(context, done)


def _show(context: Context, done: Round) -> None:
    lines = [
        Line(
            (each.what, each.where, str(each.size)),
            f"kept: {each.kept}" if each.kept else "",
            "yellow" if each.kept else "",
        )
        for each in done.pruned
    ]
    if lines:
        columns.print_table(context.console, _HEADS, lines)
    for problem in done.problems:
        say(context.console, problem, style="red")
    gone = [each for each in done.pruned if not each.kept]
    kept = len(done.pruned) - len(gone)
    verb = "would be removed" if context.args.dry_run else "removed"
    what = f"{counted(done.messages, 'message')}, {counted(len(gone), 'directory', 'directories')}"
    size = sum(each.size for each in gone)
    say(context.console, f"{what} of {counted(size, 'byte')} {verb}{f', {kept} kept' if kept else ''}")


class Pruner:
    """Removes what is past its retention."""

    def __init__(self, context: Context, retention_s: float, *, superseded: bool, dry_run: bool) -> None:
        """Take where to ask, how long runs are kept (seconds), and whether superseded ones, or any, are removed."""
        self._context = context
        self._connection = context.connection
        self._retention_s = retention_s
        self._superseded = superseded
        self._dry_run = dry_run
        self._archive = ngas.Archive(self._connection.database(ngas.DATABASE), self._connection.clock)
        self._reports = reports.Reports(self._connection.database(reports.DATABASE))
        self.done = Round()

    def prune(self) -> None:
        """Remove everything that may be; what goes wrong with one thing leaves the others alone."""
        known = evidence.gather(self._connection, self._context.settings)
        now = self._connection.clock.now()
        old = retention.old_runs(known, now, self._retention_s)
        for each in self._context.track(old, "comparing with the archive", total=len(old)):
            given_up = self._superseded and retention.is_superseded(each.run, known)
            to_confirm = retention.without_products(each.run) if given_up else each.run
            kept = each.kept or retention.unconfirmed(to_confirm, known) or self._difference(to_confirm, known)
            if kept or self._dry_run or self._remove_run(each.run):
                what, where = SUPERSEDED if given_up else RUN, each.run.cache / each.run.name
                self._note(Pruned(what, str(where), sum(each.run.files.values()), kept))
        old_work = work.OldWork(self._connection, self._context.settings.runs_dir())
        horizon = now - timedelta(seconds=self._retention_s)
        for path in old_work.over(known, horizon):
            self._is_gone(lambda path: self._remove_work(old_work, path), path)
        for path in old_work.half_written(horizon) if not self._dry_run else ():
            self._is_gone(Path.unlink, path)
        self._messages()

    def _note(self, thing: Pruned) -> None:
        """Take down what became of a thing, and audit at once what is gone: nobody could tell it later."""
        self.done.pruned.append(thing)
        if not (thing.kept or self._dry_run):
            self._audit(thing.where, f"{thing.what}, {thing.size} bytes")

    def _audit(self, where: str, why: str) -> None:
        audit.record(self._connection, "prune", where, why, by=audit.who())

    # Caches

    def _difference(self, run: CachedRun, known: Evidence) -> str:
        """Return in what a run differs from the archive and from its stored report, both read whole, or nothing."""
        archived_names = retention.names_in_archive(run, known)
        try:
            for path in run.files:
                entry = manifest.entry(run.cache / path, path)
                if path == run.report():
                    stored = self._reports.of_run(run.ous, run.run)
                    wrong = (
                        ""
                        if stored and stored.xml() == (run.cache / path).read_bytes()
                        else f"{path} is not what is stored"
                    )
                else:
                    wrong = self._archive.check(archived_names[path], size=entry.size, sha256=entry.sha256)
                if wrong:
                    return wrong
            return self._difference_of_weblog(run)
        except (DrwError, OSError) as error:
            return str(error)

    def _difference_of_weblog(self, run: CachedRun) -> str:
        name = names.weblog(run.ous, run.run)
        if not (run.cache / name).exists():
            return ""
        entry = manifest.entry(run.cache / name, name)
        return self._archive.check(name, size=entry.size, sha256=entry.sha256)

    def _remove_run(self, run: CachedRun) -> bool:
        """Remove a run, its weblog and the expanded one; tell whether all of it is gone.

        The products directory is the last, and stays where anything else does: what is left is found by it.
        """
        name = names.weblog(run.ous, run.run)
        aside = run.cache / MARKER / "incoming"
        return all(
            self._is_gone(lambda path: _remove(path, aside / f"{path.name}.{secrets.token_hex(8)}"), path)
            for path in (run.cache / WEBLOGS / name.removesuffix(".zip"), run.cache / name, run.cache / run.name)
        )

    def _remove_work(self, old_work: work.OldWork, path: Path) -> None:
        size = work.size(path)
        if not self._dry_run:
            old_work.remove(path)
        self._note(Pruned(WORK, str(path), size))

    def _is_gone(self, remove: Callable[[Path], None], path: Path) -> bool:
        """Remove something, and tell whether it is gone; what cannot be removed is said."""
        try:
            remove(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                return True  # by somebody else's hand
            met = "" if str(error.filename) == str(path) else f", at {error.filename}"
            self.done.problems.append(f"{path} could not be removed: {error.strerror}{met}")
            return False
        return True

    # Messages

    def _messages(self) -> None:
        """Purge settled messages past their retention, as the janitor does; a dry run only counts them."""
        settings = self._context.settings
        kept_s = janitor.retention_s(settings.retention_s, settings.lease_s)
        tidying = janitor.Janitor(self._connection.database(queue.DATABASE), kept_s=kept_s)
        if self._dry_run:
            self.done.messages = sum(map(len, tidying.over()))
            return
        try:
            self.done.messages = tidying.tidy().purged
        except Forbidden as error:
            self.done.problems.append(f"messages are not purged: {error}; that needs a server administrator")
        if self.done.messages:
            self._audit(queue.DATABASE, f"{self.done.messages} settled messages past their retention")


def _remove(path: Path, aside: Path) -> None:
    """Remove a file, or a directory all at once: it is moved to where every opening of the cache cleans up."""
    if path.is_dir():
        aside.parent.mkdir(exist_ok=True)
        path.rename(aside)
        try:
            shutil.rmtree(aside)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(aside)) from error  # that is where the rest of it is
    else:
        path.unlink()
