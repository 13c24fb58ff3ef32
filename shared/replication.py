"""Bringing a file or directory from another cache: a directory of this machine, or ``user@host:dir`` through rsync.

rsync runs as a program of :mod:`shared.program`, so it ends with us; its argument list is made here and meets no shell,
here or there. What it has brought when the line breaks is kept, and the next try goes on with it, however often that
takes. Links and special files are not transferred, and finding one is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared import manifest, names, program
from shared.errors import BadInput, CacheAway, CacheError, DiskFull, SourceAway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.cache import CacheDirectory
    from shared.manifest import Progress
    from shared.messages import FileEntry

IDLE_S: Final = 60
"""After how long without any data rsync gives up."""

CONNECT_S: Final = 20
TIME_LIMIT_S: Final = 6 * 3600.0
_TOLD_S: Final = 1.0
_LOG_BYTES: Final = 100_000

_REMOTE = re.compile(
    r"(?P<host>(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\])):(?P<folder>[^:].*)"
)
_OURS: Final = ("DRW_", "COUCHDB_")
_WILDCARDS: Final = frozenset("*?[\\")
_AWAY_CODES: Final = {5, 10, 12, 24, 30, 35, 255}
"""rsync's and ssh's exit codes for a connection that failed, broke or was silent, and for files that vanished."""
_TAKES_NOTHING: Final = ("Stale file handle", "Read-only file system", "Transport endpoint is not connected")
_FULL: Final = ("No space left on device", "Disk quota exceeded", "File too large")


@dataclass(frozen=True)
class Source:
    """Where a cache lies: ``folder`` on this machine, or on ``host`` (``user@host``) unless that is empty."""

    host: str
    folder: str

    @classmethod
    def parse(cls, text: str) -> Source:
        """Take ``user@host:dir`` or ``dir`` apart; BadInput for anything else, above all what looks like an option."""
        wanted = "give a directory, or user@host:directory"
        if not text or not text.isprintable() or text.startswith("-"):
            raise BadInput(f"{names.shown(text)} is not the place of a cache: {wanted}")
        host = re.sub(r"\[[^]/]*\]", "", text).partition("/")[0]
        if "://" in text or "::" in host:
            raise BadInput(f"{names.shown(text)} would need an rsync daemon, which is not supported: {wanted}")
        if ":" not in host:
            try:
                return cls("", str(Path(text).expanduser().absolute()))
            except RuntimeError as error:
                raise BadInput(f"{names.shown(text)} begins with a home that nobody has: {wanted}") from error
        found = _REMOTE.fullmatch(text)
        if not found or found["folder"].startswith("-"):
            raise BadInput(f"{names.shown(text)} is not the place of a cache: {wanted}")
        return cls(found["host"], found["folder"])

    def __str__(self) -> str:
        """Return it as the operator wrote it."""
        return f"{self.host}:{self.folder}" if self.host else self.folder


@dataclass(frozen=True, kw_only=True)
class Rsync:
    """How to run rsync: its path, empty where there is none, its environment and its limits in seconds."""

    path: str
    environ: Mapping[str, str]
    time_limit_s: float = TIME_LIMIT_S
    idle_s: int = IDLE_S

    @classmethod
    def found(cls, environ: Mapping[str, str]) -> Rsync:
        """Return the rsync on the path of ``environ``, which it gets too, but for what is ours alone."""
        path = shutil.which("rsync", path=environ.get("PATH")) or ""
        passed = {name: value for name, value in environ.items() if not name.startswith(_OURS)}
        return cls(path=path, environ=passed)

    def command(self, source: Source, name: str, into: Path, *, compare: bool = False) -> list[str]:
        """Return the argument list that brings ``name`` from ``source``, or that only compares by content."""
        origin = f"{source.folder.rstrip('/')}/{name}"
        return [
            self.path,
            "--recursive",
            "--times",
            # What arrives has its name at once, so that whatever ends rsync, and however, its successor can go on.
            "--inplace",
            "--protect-args",
            f"--timeout={self.idle_s}",
            # Nobody is there to type a password.
            f"--rsh=ssh -o BatchMode=yes -o ConnectTimeout={CONNECT_S}",
            *(("--checksum", "--dry-run", "--itemize-changes") if compare else ()),
            "--",
            f"{source.host}:{origin}" if source.host else origin,
            f"{into}/",
        ]


def fetch(
    source: Source,
    name: str,
    into: Path,
    files: Sequence[FileEntry] | None = None,
    *,
    rsync: Rsync | None = None,
    progress: Progress | None = None,
) -> tuple[FileEntry, ...]:
    """Bring the file or directory ``name`` from ``source`` into the folder ``into``; return what it must hold there.

    That is ``files`` where it is given (nothing is hashed then), else both ends are compared by content and the
    source's manifest is returned. From a directory of this machine without rsync it is copied by ourselves; ``rsync``
    is by default the one on the path. ``progress`` is called about once a second (the bytes in all are 0 where they
    are unknown); what it raises ends the copying. SourceAway if it is not there or the host cannot be reached, DiskFull
    if there is no room for it, CacheError for anything else, above all links and special files.
    """
    names.file_name(name)
    rsync = rsync or Rsync.found(os.environ)
    if source.host and not rsync.path:
        raise CacheError(f"{source} is on another machine, which needs rsync: install it here and there, with ssh")
    if source.host and _WILDCARDS & set(name):
        raise BadInput(f"{names.shown(name)} holds a character that rsync would take for a wildcard")
    total = 0 if source.host else sum(size for _, size in manifest.files_of(Path(source.folder) / name))
    if not source.host and not rsync.path:
        copied = manifest.copy(Path(source.folder) / name, into, progress)
        return tuple(files) if files is not None else copied
    _run(rsync, rsync.command(source, name, into), into / name, total, progress)
    manifest.plain_mode(into / name)
    return tuple(files) if files is not None else _compared(source, name, into / name, rsync)


def replicate(
    cache: CacheDirectory,
    source: Source,
    name: str,
    token: str,
    files: Sequence[FileEntry] | None,
    *,
    rsync: Rsync | None = None,
    progress: Progress | None = None,
) -> tuple[FileEntry, ...]:
    """Bring ``name`` from ``source`` into ``cache``, whole and verified, and return its manifest.

    ``files`` is what it must hold: if the cache holds it already, nothing is done. Without it both ends are compared by
    content, which takes a copy of the whole. Errors as of :func:`fetch` and :meth:`shared.cache.CacheDirectory.admit`.
    """
    if files is not None and cache.holds(name, files):
        cache.forget_partial(name)
        return tuple(files)
    rsync = rsync or Rsync.found(os.environ)
    # Only rsync can go on with what is there.
    with cache.resuming(name, token) if rsync.path else cache.incoming(name, token) as folder:
        expected = fetch(source, name, folder, files, rsync=rsync, progress=progress)
        cache.admit(folder / name, expected)
    return expected


def _compared(source: Source, name: str, arrived: Path, rsync: Rsync) -> tuple[FileEntry, ...]:
    """Return the manifest of the source, from hashing it here or from letting rsync compare both ends."""
    if not source.host:
        return manifest.manifest_of(Path(source.folder) / name)
    said = _run(rsync, rsync.command(source, name, arrived.parent, compare=True), arrived, 0, None)
    # A second column of f with an arrow before it is a file that would be transferred again.
    changed = [line for line in said.splitlines() if re.match(r"[<>c]f", line)]
    if changed:
        raise CacheError(f"{name} did not arrive as it is at {source}: {names.shown(changed[0])}")
    return manifest.manifest_of(arrived)


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Give a folder for rsync's log and record; DiskFull where there is no room even for these."""
    with ExitStack() as stack:
        with manifest.disk_errors("running rsync", parent):
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".rsync-", dir=parent)))
            # A log that has begun has its first block: in there rsync can still say that the disk is full.
            (scratch / "log").write_text("\n")
        yield scratch


def _run(rsync: Rsync, command: list[str], arriving: Path, total: int, progress: Progress | None) -> str:
    """Run rsync to its end and return what it wrote; its failures become our errors."""
    # Beside what arrives: there it is cleared away too when this process is killed.
    with _scratch(arriving.parent) as scratch:
        log = scratch / "log"
        running = program.start(
            command,
            directory=scratch,
            environ={**rsync.environ, "LC_ALL": "C"},
            log=log,
            record=scratch / "record",
            time_limit_s=rsync.time_limit_s,
        )
        try:
            while (ended := running.wait(_TOLD_S)) is None:
                if progress is not None:
                    progress(_arrived_bytes(arriving), total)
        except BaseException:
            running.cancel(0)
            running.wait()
            raise
        with log.open("rb") as file:
            said = file.read(_LOG_BYTES).decode(errors="replace")
    _check(ended, said, command[-2])
    return said


def _arrived_bytes(arriving: Path) -> int:
    """Return the size of what has arrived so far; it is only for showing, and files come and go meanwhile."""
    total = 0
    for path in (arriving, *arriving.rglob("*")):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total


def _check(ended: program.Ended, said: str, origin: str) -> None:
    """Raise what rsync's end means; nothing if it has brought everything."""
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    skipped = re.search(r"skipping non-regular file .*", said)
    if skipped:
        raise CacheError(f"{origin} holds a link or special file: {names.shown(skipped[0])}")
    if ended.succeeded:
        return
    if any(each in said for each in _FULL):
        raise DiskFull(f"copying {origin} failed: the disk is full; free some space there")
    if any(each in said for each in _TAKES_NOTHING):
        raise CacheAway(f"copying {origin} failed: {_cause(said) or last}")
    if ended.timed_out:
        raise SourceAway(f"copying {origin} takes long: rsync {ended.sentence()}; the next try goes on from there")
    if ended.code in _AWAY_CODES or (ended.code in {3, 23} and "No such file or directory" in said):
        raise SourceAway(f"{origin} is not there or cannot be reached: {_cause(said) or last}")
    raise CacheError(f"copying {origin} failed, rsync {ended.sentence()}: {_cause(said) or last}")


def _cause(said: str) -> str:
    """Return the line that tells the cause: what follows are its consequences, and rsync's summing up."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith(("rsync error:", "Warning:"))), "")
