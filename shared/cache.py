"""One cache directory: what it holds, and how something comes into it whole or not at all.

::

    2015.1.00657.S_2018_07_19T07_10_03.781/           products directories
    weblog-X1-X1-Xa1-2018-07-19T07:10:03.781.zip      weblogs, packed
    weblogs/weblog-X1-X1-Xa1-2018-07-19T07:10:03.781/ weblogs, expanded
    .drw-cache/                                       the marker: never served, never compared
        incoming/                                     what is on its way in, on the same file system
        partial/                                      what was cut off on its way, for the next try
        runs/                                         the names of runs that have been given away
        placing                                       the lock under which a name is taken

What arrives is written below ``incoming``, verified, brought to disk and renamed. Processes that take the same name at
once both end well: one renames, the other finds the same content there. So it is with what was cut off: one gets it,
the other begins anew.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared import manifest, names
from shared.errors import BadInput, CacheError, ContentDiffers, NoCache, SourceAway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.manifest import Progress
    from shared.messages import FileEntry

MARKER: Final = ".drw-cache"
WEBLOGS: Final = "weblogs"
_OF_THE_FILE_SYSTEM: Final = "lost+found"
_SHOWN_DIFFERENCES: Final = 3
_PARTIAL_S: Final = 7 * 86400.0
"""For so long what was cut off waits for somebody to go on with it."""

_LOCK_TRIES: Final = 50
_LOCK_PAUSE_S: Final = 0.01


def _lock(path: Path) -> int | None:
    """Open the directory ``path`` and lock it; None if it is gone or a living process has locked it."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever removes a leftover locks it first; what was removed before our lock is another directory now.
        ours = os.path.samestat(os.fstat(folder), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        ours = False
    except OSError:
        os.close(folder)
        raise
    if not ours:
        os.close(folder)
    return folder if ours else None


def remove_leftovers(parent: Path, prefix: str, *, is_ours: Callable[[Path], bool] = lambda _: True) -> None:
    """Remove the private folders in ``parent`` that begin with ``prefix`` and whose process does not live any more.

    Where others may have folders too, ``is_ours`` tells which are meant.
    """
    with manifest.disk_errors("removing leftovers", parent):
        for path in sorted(parent.iterdir()):
            folder = _lock(path) if path.name.startswith(prefix) and is_ours(path) else None
            if folder is not None:
                # Two removers may meet; what counts is that it is gone.
                shutil.rmtree(path, ignore_errors=True)
                os.close(folder)


def _made_and_locked(path: Path) -> int | None:
    for _ in range(_LOCK_TRIES):
        # Between making and locking it, somebody who cleans up may take it for a leftover: then it is made again.
        with manifest.disk_errors("making a folder", path.parent):
            with suppress(FileExistsError):
                path.mkdir()
            folder = _lock(path)
        if folder is not None:
            return folder
        time.sleep(_LOCK_PAUSE_S)
    return None


@contextmanager
def private_folder(parent: Path, name: str, token: str) -> Iterator[Path]:
    """Give a new folder ``<name>.<token>`` in ``parent`` that ends with the block, or with the process.

    What a process that died has left under ``name`` is removed first. CacheError if the folder cannot be made, or
    another living process uses the same token.
    """
    names.file_name(name.removeprefix("."))
    path = parent / f"{name}.{names.file_name(token)}"
    remove_leftovers(parent, f"{name}.")
    folder = _made_and_locked(path)
    if folder is None:
        raise CacheError(f"{path} is in use by another process: try again when it has ended")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(folder)


class CacheDirectory:
    """A cache directory that can be read and written."""

    def __init__(self, path: Path) -> None:
        """Take a directory as it is; :meth:`open` checks and prepares it."""
        self.path = path
        self.weblogs = path / WEBLOGS
        self._incoming = path / MARKER / "incoming"
        self._partial = path / MARKER / "partial"
        self._runs = path / MARKER / "runs"

    @classmethod
    def open(cls, path: Path) -> CacheDirectory:
        """Check that ``path`` is a directory that can be written, make what is missing in it, clean up in it.

        CacheError says what is wrong and what to do; NoCache that it will be so until somebody does it.
        """
        with manifest.disk_errors("looking at the cache", path):
            is_directory = path.is_dir()
        if not is_directory:
            wrong = "is not a directory" if os.path.lexists(path) else "does not exist"
            raise NoCache(f"the cache directory {path} {wrong}: is its disk mounted? mkdir -p makes a new one")
        cache = cls(path.resolve())
        with manifest.disk_errors("looking at the cache", path):
            is_read_only = bool(os.statvfs(cache.path).f_flag & os.ST_RDONLY)
        if is_read_only:  # as a disk is on which a write has failed
            raise CacheError(
                f"the cache directory {path} is on a disk that is read-only: have it mounted to be written"
            )
        if not os.access(cache.path, os.W_OK | os.X_OK):
            raise NoCache(f"the cache directory {path} is not writable: change its owner or mode, or name another")
        if not (cache.path / MARKER).is_dir() and (strange := foreign_entries(cache.path)):
            raise NoCache(
                f"{path} is no cache yet, and holds what does not belong into one ({_some(strange)}): "
                "name a directory of its own for the cache"
            )
        with manifest.disk_errors("preparing the cache", path):
            for folder in (cache.path / MARKER, cache._incoming, cache._partial, cache._runs, cache.weblogs):
                folder.mkdir(exist_ok=True)
                if folder.is_symlink():
                    raise NoCache(f"{folder} is a symbolic link: make it a plain directory")
        remove_leftovers(cache._incoming, "")
        remove_leftovers(cache.weblogs, ".", is_ours=_belongs_in_weblogs)
        cache._forget_old_partial()
        return cache

    def reserve_run(self, name: str) -> bool:
        """Take the name of a products directory for a new run; False if it is taken.

        The name is made by exclusive creation, so that of two who ask at once one gets it. It stays taken for good.
        """
        names.split_products_dir(name)
        if os.path.lexists(self.path / name):
            return False
        with manifest.disk_errors("reserving a run", self.path):
            try:
                (self._runs / name).mkdir()
            except FileExistsError:
                return False
            manifest.sync_directory(self._runs)
        return True

    def manifest(self, name: str) -> tuple[FileEntry, ...]:
        """Return what the file or directory ``name`` of this cache holds, as :func:`shared.manifest.manifest_of`."""
        return manifest.manifest_of(self.path / names.file_name(name))

    @contextmanager
    def incoming(self, name: str, token: str) -> Iterator[Path]:
        """Give a private folder on the cache's file system, for :meth:`admit`; it is removed with the block.

        ``token`` tells apart those who may bring the same name at the same time.
        """
        with private_folder(self._incoming, names.file_name(name), token) as folder:
            yield folder

    @contextmanager
    def resuming(self, name: str, token: str) -> Iterator[Path]:
        """As :meth:`incoming`, with what an earlier try brought of ``name``; what this one has is kept for the next.

        Nothing is kept of what ends with a CacheError other than SourceAway: its content may be wrong, the disk full,
        or what it took not on it.
        """
        self._forget_old_partial()
        partial = self._partial / names.file_name(name)
        with self.incoming(name, token) as folder:
            with manifest.disk_errors("going on with what was cut off", self.path), suppress(FileNotFoundError):
                partial.rename(folder / name)
            try:
                yield folder
            except BaseException as error:
                if isinstance(error, SourceAway) or not isinstance(error, CacheError):
                    # Nothing may have come, or another process has kept as much: all that is lost is time.
                    with suppress(OSError):
                        (folder / name).rename(partial)
                raise

    def forget_partial(self, name: str) -> None:
        """Remove what was cut off of ``name``, which is here whole."""
        with manifest.disk_errors("removing what was cut off", self.path), suppress(FileNotFoundError):
            self._remove_partial(self._partial / names.file_name(name))

    def _forget_old_partial(self) -> None:
        """Remove what was cut off and nobody has gone on with for a week."""
        with manifest.disk_errors("removing what was cut off", self.path):
            for path in self._partial.iterdir():
                with suppress(FileNotFoundError):  # somebody goes on with it, or has removed it
                    # Its place changed when it was kept, or kept again.
                    if time.time() - path.lstat().st_ctime > _PARTIAL_S:
                        self._remove_partial(path)

    def _remove_partial(self, path: Path) -> None:
        path.lstat()
        aside = self._incoming / secrets.token_hex(8)
        aside.mkdir()
        path.rename(aside / path.name)
        shutil.rmtree(aside, ignore_errors=True)

    def holds(self, name: str, files: Sequence[FileEntry]) -> bool:
        """Tell whether ``name`` is here already with this content, and for good; ContentDiffers if with another."""
        final = self.path / names.file_name(name)
        if not os.path.lexists(final):
            return False
        found = manifest.differences(final, files)
        if found:
            raise ContentDiffers(f"{name} is in the cache {self.path} with another content: {_some(found)}")
        manifest.sync_directory(self.path)  # who placed it may have died before that
        return True

    def admit(self, arrived: Path, files: Sequence[FileEntry]) -> None:
        """Verify what has ``arrived`` in an incoming folder, bring it to disk and give it its name in the cache.

        ContentDiffers if the name is taken by another content; nothing happens if it is taken by the same. CacheError
        if what arrived is not what ``files`` says.
        """
        found = manifest.differences(arrived, files)
        if found:
            raise CacheError(f"{arrived.name} did not arrive as it was sent: {_some(found)}")
        manifest.sync_files(arrived)
        manifest.sync_directories(arrived)
        if not self._place(arrived):
            self.holds(arrived.name, files)

    def take(
        self,
        source: Path,
        name: str,
        token: str,
        files: Sequence[FileEntry] | None = None,
        progress: Progress | None = None,
    ) -> tuple[FileEntry, ...]:
        """Copy the file or directory ``source/name`` into this cache and return its manifest.

        ``files`` is what it must hold; without it both ends are hashed and compared. SourceAway if it is not there,
        ContentDiffers if the cache has another content under that name, CacheError for a full disk and the like. In
        constant memory; nothing is left behind unless it is whole.
        """
        origin = source / names.file_name(name)
        if os.path.lexists(self.path / name):
            expected = tuple(files) if files is not None else manifest.manifest_of(origin)
            self.holds(name, expected)
            return expected
        with self.incoming(name, token) as folder:
            copied = manifest.copy(origin, folder, progress)
            expected = tuple(files) if files is not None else copied
            self.admit(folder / name, expected)
        return expected

    def _place(self, arrived: Path) -> bool:
        """Rename ``arrived`` into the cache unless its name is taken; rename alone would replace a file silently."""
        final = self.path / arrived.name
        with manifest.disk_errors("placing", self.path), self._placing():
            if os.path.lexists(final):
                return False
            arrived.rename(final)
        manifest.sync_directory(self.path)
        return True

    @contextmanager
    def _placing(self) -> Iterator[None]:
        with (self.path / MARKER / "placing").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _some(found: Sequence[str]) -> str:
    more = f", and {len(found) - _SHOWN_DIFFERENCES} more" if len(found) > _SHOWN_DIFFERENCES else ""
    return ", ".join(found[:_SHOWN_DIFFERENCES]) + more


def path_of_cache(text: str) -> Path:
    """Return the directory that is named for a cache; raise BadInput for none, as from a variable that is not set."""
    if not text:
        raise BadInput("an empty text names no cache directory: is a variable not set?")
    return Path(text)


def _belongs(path: Path) -> bool:
    """Tell whether an entry of a cache's root is of the kind that caches hold."""
    mode = path.lstat().st_mode
    with suppress(BadInput):
        if stat.S_ISDIR(mode):
            return path.name in {MARKER, WEBLOGS, _OF_THE_FILE_SYSTEM} or bool(names.split_products_dir(path.name))
        return stat.S_ISREG(mode) and bool(names.weblog_name(path.name))
    return False


def _belongs_in_weblogs(path: Path) -> bool:
    """Tell whether an entry of ``weblogs`` is an expanded weblog, or hidden one that is being expanded."""
    weblog = path.name[1:].rpartition(".")[0] if path.name.startswith(".") else path.name
    with suppress(BadInput):
        return stat.S_ISDIR(path.lstat().st_mode) and bool(names.weblog_name(f"{weblog}.zip"))
    return False


def foreign_entries(path: Path) -> tuple[str, ...]:
    """Return, relative to ``path`` and sorted, what does not belong into a cache; nothing if it is missing."""
    if not os.path.lexists(path):
        return ()
    if not path.is_dir():
        return (path.name,)
    with manifest.disk_errors("listing", path):
        found = [entry for entry in path.iterdir() if not _belongs(entry)]
        weblogs = path / WEBLOGS
        if weblogs.is_dir() and not weblogs.is_symlink():
            found += [entry for entry in weblogs.iterdir() if not _belongs_in_weblogs(entry)]
    return tuple(sorted(str(entry.relative_to(path)) for entry in found))


def refuse_unless_clearable(path: Path, *, protected: Sequence[Path] = ()) -> None:
    """Raise CacheError if :func:`clear` would refuse ``path``.

    That is if it is ``/``, the home, one of ``protected`` or above one of these, or if it holds anything that does not
    belong into a cache.
    """
    full = path.resolve()
    homes = []
    with suppress(RuntimeError):  # a user of a container may have none
        homes = [Path.home()]
    for kept in (Path("/"), *homes, *protected):
        if kept.resolve().is_relative_to(full):
            raise CacheError(
                f"{path} is not cleared because {kept} is in it: name a directory of its own for the cache"
            )
    foreign = foreign_entries(full)
    if foreign:
        raise CacheError(f"{path} is not cleared because it holds what is not of a cache: {_some(foreign)}")


def clear(path: Path, *, protected: Sequence[Path] = ()) -> CacheDirectory:
    """Empty the cache directory ``path``, making it if it is missing, and return it.

    CacheError, and nothing is touched, as :func:`refuse_unless_clearable` says.
    """
    refuse_unless_clearable(path, protected=protected)
    full = path.resolve()
    with manifest.disk_errors("clearing the cache", path):
        full.mkdir(parents=True, exist_ok=True)
        for entry in full.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return CacheDirectory.open(full)
