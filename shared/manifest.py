"""What a file or a directory holds: its manifest, how two of them differ, and copying in constant memory.

A manifest is a tuple of :class:`shared.messages.FileEntry`, sorted by path; every path begins with the name of what it
is the manifest of, so it is the path below the cache directory.

Only plain files and directories are content. Symbolic links, devices, pipes and sockets, and names that
:func:`shared.names.file_name` refuses, are refused with CacheError wherever they are met, and never followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared import names
from shared.errors import BadInput, CacheAway, CacheError, DiskFull, SourceAway
from shared.messages import FileEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Progress = Callable[[int, int], None]
    """Called with the bytes done and the bytes in all; what it raises ends the copying."""

CHUNK_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 64
"""How deep directories may be nested: far beyond any products directory, far below what recursion bears."""

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AWAY: Final = {
    *(errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EREMOTEIO),
}
"""What a disk says that has gone, or is on a network that has. One that cannot read a file (EIO) may be damaged."""

_TAKES_NOTHING: Final = {*_AWAY, errno.EIO, errno.EROFS, errno.ENOENT}
"""What one says besides that is to be written: it failed, and was mounted read-only for that, or is not mounted."""


@contextmanager
def disk_errors(doing: str, where: Path) -> Iterator[None]:
    """Turn an OSError of ``doing`` something in ``where`` into a CacheError that says what to do.

    It is DiskFull or CacheAway where that passes; that something is missing there means that its disk is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"{doing} in {where} failed: the disk is full; free some space there") from error
        kind = CacheAway if error.errno in _TAKES_NOTHING else CacheError
        raise kind(f"{doing} in {where} failed: {error.strerror}") from error


def _unreadable(path: Path, error: OSError, what: str = "read") -> CacheError:
    kind = CacheAway if error.errno in _AWAY else CacheError
    return kind(f"{path} cannot be {what}: {error.strerror}")


def plain_mode(path: Path) -> int:
    """Return the mode of a plain file or directory, links not followed; CacheError for others, SourceAway for none."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceAway(f"{path} is not there") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISLNK(mode):
        raise CacheError(f"{path} is a symbolic link: caches hold plain files and directories only")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise CacheError(f"{path} is a special file: caches hold plain files and directories only")
    return mode


def _walk(path: Path, relative: str, depth: int) -> Iterator[tuple[str, int]]:
    if not stat.S_ISDIR(plain_mode(path)):
        yield relative, path.lstat().st_size
        return
    if depth >= MAX_DEPTH:
        raise CacheError(f"{path} is nested more than {MAX_DEPTH} directories deep")
    try:
        children = sorted(child.name for child in path.iterdir())
    except OSError as error:
        raise _unreadable(path, error, "listed") from error
    for child in children:
        try:
            names.file_name(child)
        except BadInput as error:
            raise CacheError(f"{path} cannot be kept in a cache: {error}") from error
        yield from _walk(path / child, f"{relative}/{child}", depth + 1)


def files_of(path: Path) -> list[tuple[str, int]]:
    """Return path (beginning with the name of ``path`` itself) and size of every file in it, sorted."""
    return sorted(_walk(path, path.name, 0))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a plain file for reading, without following a link that was put there in the meantime."""
    try:
        # Not to hang where a named pipe has taken the file's place.
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise SourceAway(f"{path} is not there any more") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise CacheError(f"{path} is not a plain file any more")
        yield file
    finally:
        os.close(file)


def _chunks(file: int, path: Path) -> Iterator[bytes]:
    while True:
        try:
            chunk = os.read(file, CHUNK_BYTES)
        except OSError as error:
            raise _unreadable(path, error) from error
        if not chunk:
            return
        yield chunk


def entry(path: Path, relative: str) -> FileEntry:
    """Return the manifest's entry of one file, from reading it once."""
    digest = hashlib.sha256()
    size = 0
    with _opened(path) as file:
        for chunk in _chunks(file, path):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(relative, size, digest.hexdigest())


def manifest_of(path: Path) -> tuple[FileEntry, ...]:
    """Return what the file or directory ``path`` holds, sorted by path; every path begins with its name.

    SourceAway if it is not there, CacheError for whatever is neither a plain file nor a directory.
    """
    return tuple(entry(path.parent / relative, relative) for relative, _ in files_of(path))


def differences(path: Path, files: Sequence[FileEntry]) -> tuple[str, ...]:
    """Return in what ``path`` differs from the manifest ``files``, a phrase each; nothing if they are alike.

    Files are read only where path and size agree, so a difference is found without reading gigabytes.
    """
    wanted = {each.path: each for each in files}
    found = dict(files_of(path))
    missing = [f"{relative} is missing" for relative in sorted(wanted.keys() - found.keys())]
    unknown = [f"{relative} is unexpected" for relative in sorted(found.keys() - wanted.keys())]
    changed = []
    for relative in sorted(wanted.keys() & found.keys()):
        expected = wanted[relative]
        if found[relative] != expected.size:
            changed.append(f"{relative} has {found[relative]} bytes instead of {expected.size}")
        elif entry(path.parent / relative, relative).sha256 != expected.sha256:
            changed.append(f"{relative} has another content")
    return (*missing, *unknown, *changed)


def _write_all(file: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]


def _copy_file(source: Path, target: Path, told: Callable[[int], None]) -> str:
    """Copy one file to a new name, durably, and return the SHA-256 of what was read."""
    digest = hashlib.sha256()
    with _opened(source) as reading:
        with disk_errors("writing", target.parent):
            writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            for chunk in _chunks(reading, source):
                with disk_errors("writing", target.parent):
                    _write_all(writing, chunk)
                digest.update(chunk)
                told(len(chunk))
            times = os.fstat(reading)
            with disk_errors("writing", target.parent):
                os.utime(writing, ns=(times.st_atime_ns, times.st_mtime_ns))
                os.fsync(writing)
        finally:
            os.close(writing)
    return digest.hexdigest()


def copy(source: Path, folder: Path, progress: Progress | None = None) -> tuple[FileEntry, ...]:
    """Copy the file or directory ``source`` into ``folder`` and return the manifest of what was read.

    Content is on disk when this returns, the directories' entries only after :func:`sync_directories`. SourceAway if
    ``source`` is not there, CacheError if it holds what is no content or the disk is full.
    """
    files = files_of(source)
    total = sum(size for _, size in files)
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    copied = []
    # Nothing for a file; for a directory every one in it, the empty ones too.
    for directory, _, _ in os.walk(source):
        with disk_errors("writing", folder):
            (folder / Path(directory).relative_to(source.parent)).mkdir()
    for relative, _ in files:
        before = done
        sha256 = _copy_file(source.parent / relative, folder / relative, told)
        copied.append(FileEntry(relative, done - before, sha256))
    return tuple(copied)


def sync_directory(path: Path) -> None:
    """Bring the entries of one directory to disk."""
    with disk_errors("writing", path):
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def sync_directories(path: Path) -> None:
    """Bring the entries of ``path`` and all directories in it to disk, the bottommost first."""
    if not path.is_dir():
        return
    for directory, _, _ in os.walk(path, topdown=False):
        sync_directory(Path(directory))


def sync_files(path: Path) -> None:
    """Bring the content of every file in ``path`` to disk, for what another program has written."""
    for relative, _ in files_of(path):
        with _opened(path.parent / relative) as file, disk_errors("writing", path):
            os.fsync(file)
