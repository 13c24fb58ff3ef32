"""Expanding a weblog's zip file beside nothing but itself: what a stranger packed may not leave its folder.

Refused with BadInput that names the member: names that leave the folder or that
:func:`shared.names.file_name` refuses, links and special files, encryption, duplicates, members that share their bytes,
and whatever unpacks to more than :class:`Limits` allows. A file that is no zip, or half a one, is BadInput too.
"""

from __future__ import annotations

import os
import secrets
import stat
import struct
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared import manifest, names
from shared.cache import private_folder
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_DEPTH: Final = 32
_ENCRYPTED: Final = 0x1
_UNIX: Final = 3
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_END_RECORD: Final = struct.Struct("<4s4H2LH")
_END_RECORD_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_IN_64: Final = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a weblog may hold: real ones have thousands of members, some GB, and compress tenfold."""

    members: int = 100_000
    total_bytes: int = 50 * 1024**3
    ratio: int = 200
    ratio_from_bytes: int = 64 * 1024**2
    """Below this size a weblog may compress as well as it likes: it fits anywhere."""

    directory_bytes: int = 64 * 1024**2
    """Of the zip's own table of contents, which has to be read into memory."""


DEFAULT_LIMITS: Final = Limits()


def expand(zip_path: Path, into: Path, *, limits: Limits = DEFAULT_LIMITS) -> Path:
    """Expand ``zip_path`` into the folder ``into/<its name without .zip>`` and return that.

    It is expanded beside, hidden, and renamed, so that the folder is whole or not there; if it is there already,
    nothing is done. Several processes may do this at once. BadInput for what is wrong with the zip, SourceAway if it
    is not there, CacheError for the disk.
    """
    final = into / names.file_name(zip_path.name).removesuffix(".zip")
    if final.name == zip_path.name or not final.name:
        raise BadInput(f"{names.shown(zip_path.name)} is not the name of a weblog: it ends in .zip")
    with manifest.disk_errors("expanding a weblog", into):
        if final.is_dir():
            return final
    _refuse_folder(zip_path)
    with private_folder(into, f".{final.name}", secrets.token_hex(8)) as folder:
        content = folder / final.name
        with manifest.disk_errors("expanding a weblog", into):
            content.mkdir()
        _unpack(zip_path, content, limits)
        manifest.sync_directories(content)
        with manifest.disk_errors("expanding a weblog", into):
            try:
                content.rename(final)
            except OSError:
                # Another process was first; its content comes from the same zip.
                if not final.is_dir():
                    raise
    manifest.sync_directory(into)
    return final


def check(zip_path: Path, *, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse what :func:`expand` would, as far as that is seen without unpacking it; raises as that does."""
    _refuse_folder(zip_path)
    with _opened(zip_path, limits):
        pass


def _refuse_folder(zip_path: Path) -> None:
    if not stat.S_ISREG(manifest.plain_mode(zip_path)):
        raise BadInput(f"{zip_path} is a directory, not a zip file")


def _unpack(zip_path: Path, content: Path, limits: Limits) -> None:
    with _opened(zip_path, limits) as weblog:
        for member in weblog.infolist():
            _unpack_member(weblog, member, content)


@contextmanager
def _opened(zip_path: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """Give a weblog whose members may all be expanded; BadInput for another, and for one that is found damaged."""
    try:
        _check_directory(zip_path, limits)
        with zipfile.ZipFile(zip_path) as weblog:
            _check_members(zip_path, weblog.infolist(), limits)
            yield weblog
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, OverflowError) as error:
        raise BadInput(f"{zip_path.name} is not a whole zip file: {error}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{zip_path.name} has a member whose name is not UTF-8") from error


def _check_directory(zip_path: Path, limits: Limits) -> None:
    """Refuse a table of contents that is too large, before zipfile reads it into memory."""
    with manifest.disk_errors("reading a weblog", zip_path), zip_path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _END_RECORD.size - 0xFFFF - _LOCATOR_64.size)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise zipfile.BadZipFile("it has no table of contents; it may have been cut off")
        directory_bytes = _END_RECORD.unpack_from(tail, at)[5]
        locator = tail[max(0, at - _LOCATOR_64.size) : at]
        if locator.startswith(b"PK\x06\x07"):
            # Where zipfile looks for it, whatever the locator says: of two, another one would be checked than is read.
            record_at = start + at - _LOCATOR_64.size - _END_RECORD_64.size
            if _LOCATOR_64.unpack(locator)[2] != record_at:
                raise zipfile.BadZipFile("its ZIP64 end record is not where its locator says")
            file.seek(record_at)
            directory_bytes = max(directory_bytes % _IN_64, _END_RECORD_64.unpack(file.read(_END_RECORD_64.size))[8])
    if directory_bytes > limits.directory_bytes:
        raise BadInput(f"{zip_path.name} lists more than {limits.members} members")


def _check_members(zip_path: Path, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(members) > limits.members:
        raise BadInput(f"{zip_path.name} has {len(members)} members: more than {limits.members} are not expanded")
    folders: set[str] = set()
    files: set[str] = set()
    for member in members:
        path = _checked_path(zip_path, member)
        parents = path.split("/")[:-1]
        folders.update("/".join(parents[: depth + 1]) for depth in range(len(parents)))
        known = folders if member.is_dir() else files
        if path in files or (path in folders and not member.is_dir()):
            raise BadInput(f"{zip_path.name}: member {names.shown(path)} is there twice")
        known.add(path)
    both = folders & files
    if both:
        raise BadInput(f"{zip_path.name}: member {names.shown(min(both))} is a file and a folder")
    _check_sizes(zip_path, members, limits)


def _check_sizes(zip_path: Path, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    """Check the sizes that the zip claims; zipfile unpacks no more of a member than it claims."""
    packed = zip_path.stat().st_size
    total = sum(member.file_size for member in members)
    if sum(member.compress_size for member in members) > packed:
        raise BadInput(f"{zip_path.name}: its members share their bytes, as in a zip bomb")
    if total > limits.total_bytes:
        raise BadInput(f"{zip_path.name} expands to {total} bytes: more than {limits.total_bytes} are not expanded")
    if total > max(limits.ratio_from_bytes, limits.ratio * packed):
        raise BadInput(f"{zip_path.name} expands from {packed} to {total} bytes, as a zip bomb would")


def _checked_path(zip_path: Path, member: zipfile.ZipInfo) -> str:
    """Return the path of a member, which is one that may be expanded."""
    shown = f"{zip_path.name}: member {names.shown(member.orig_filename)}"
    try:
        path = names.relative_path(member.orig_filename.removesuffix("/"))
    except BadInput as error:
        raise BadInput(f"{shown} may not be expanded: {error}") from error
    if member.filename != member.orig_filename:
        raise BadInput(f"{shown} may not be expanded: it has a second name, {names.shown(member.filename)}")
    if "\\" in path or path.count("/") >= MAX_DEPTH:
        raise BadInput(f"{shown} may not be expanded: it holds a backslash or is more than {MAX_DEPTH} folders deep")
    if member.flag_bits & _ENCRYPTED:
        raise BadInput(f"{shown} is encrypted")
    if member.compress_type not in _METHODS:
        raise BadInput(f"{shown} is packed by a method other than deflate")
    if member.header_offset < 0:
        raise BadInput(f"{shown} begins before the file does: the zip's end record is wrong")
    kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system == _UNIX else 0
    if kind not in {0, stat.S_IFDIR if member.is_dir() else stat.S_IFREG}:
        raise BadInput(f"{shown} is a link or special file")
    return path


def _unpack_member(weblog: zipfile.ZipFile, member: zipfile.ZipInfo, content: Path) -> None:
    target = content / member.filename
    with manifest.disk_errors("expanding a weblog", content.parent):
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as writing:
            try:
                with weblog.open(member) as reading:
                    while chunk := reading.read(manifest.CHUNK_BYTES):
                        writing.write(chunk)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise BadInput(f"member {names.shown(member.filename)} cannot be unpacked: {error}") from error
            writing.flush()
            os.fsync(writing.fileno())
