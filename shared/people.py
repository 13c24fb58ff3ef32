"""The people who may change something from a browser: a file of names and hashed passwords, of mode 0600.

Passwords are hashed with scrypt (RFC 7914), each with a salt of its own. ``drw people`` writes the file, the dashboard
reads it anew at every login, so a change needs no restart.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHORTEST: Final = 8
LONGEST: Final = 200
_SCHEMA: Final = 1
_MODE: Final = 0o600
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_SALT_BYTES: Final = 16
_COST: Final = 1 << 15
_MOST_COST: Final = 1 << 20
_BLOCK: Final = 8


class Person(msgspec.Struct, frozen=True):
    """What is kept of a person: salt and hash of the password (hex), and the cost that it was hashed with."""

    salt: str
    hash: str
    cost: int = _COST


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    people: dict[str, Person] = {}
    schema: int = _SCHEMA


_NOBODY: Final = Person(salt="00" * _SALT_BYTES, hash="")
"""Whose password is hashed where a name is unknown, so that time does not tell which names are known."""


def check_length(password: str) -> None:
    """Raise BadInput for a password that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise BadInput(f"a password has {SHORTEST} to {LONGEST} characters, and this one has {len(password)}")


class People:
    """The file of people."""

    def __init__(self, path: Path) -> None:
        """Take the file; it need not exist."""
        self.path = path

    def names(self) -> list[str]:
        """Return the names of all people, in order."""
        return sorted(self._read().people)

    def mark(self, name: str) -> str:
        """Return what is another after each change of a person's password; empty for who is not known."""
        found = self._read().people.get(name)
        return found.salt if found else ""

    def check(self, name: str, password: str) -> bool:
        """Tell whether this is a person's password; that takes as long where there is no such person."""
        found = self._read().people.get(name)
        return _is_password_of(found or _NOBODY, password) and found is not None

    def add(self, name: str, password: str) -> bool:
        """Keep a person, or a new password of one; return whether the name is new.

        Raises BadInput for a name or password that cannot be used.
        """
        if not _NAME.fullmatch(name):
            raise BadInput(f"{shown(name)} is no name: it begins with a letter and has letters, digits, '.', '_', '-'")
        check_length(password)
        salt = secrets.token_bytes(_SALT_BYTES)
        made = Person(salt.hex(), _hashed(password, salt, _COST), _COST)
        before = self._change(lambda people: {**people, name: made})
        return name not in before

    def remove(self, name: str) -> bool:
        """Forget a person; return False where there was none."""
        before = self._change(lambda people: {each: kept for each, kept in people.items() if each != name})
        return name in before

    def _change(self, change: Callable[[dict[str, Person]], dict[str, Person]]) -> dict[str, Person]:
        """Write the file anew, whole or not at all, one process at a time; return the people before."""
        with self._alone():
            before = self._read().people
            content = msgspec.json.format(msgspec.json.encode(_File(change(before))))
            fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
            try:
                with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE), "wb") as file:
                    file.write(content + b"\n")
                    file.flush()
                    os.fsync(file.fileno())
                fresh.replace(self.path)
            except OSError as error:
                fresh.unlink(missing_ok=True)
                raise BadInput(f"the people cannot be kept in {self.path}: {error.strerror}") from error
            return before

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, which needs no file of its own."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise BadInput(f"the folder of {self.path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _read(self) -> _File:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read()
        except FileNotFoundError:
            return _File()
        except OSError as error:
            raise BadInput(f"the people in {self.path} cannot be read: {error.strerror}") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise BadInput(f"others may read or write {self.path}, which has passwords: chmod 600 {self.path}")
        try:
            return msgspec.json.decode(content, type=_File)
        except msgspec.DecodeError as error:
            raise BadInput(
                f"{self.path} is no file of people ({error}): move it away and add them again with 'drw people add'"
            ) from error


def _is_password_of(person: Person, password: str) -> bool:
    try:
        salt = bytes.fromhex(person.salt)
    except ValueError:
        return False
    cost = person.cost if 1 < person.cost <= _MOST_COST and person.cost & (person.cost - 1) == 0 else _COST
    return hmac.compare_digest(_hashed(password[:LONGEST], salt, cost).encode(), person.hash.encode())


def _hashed(password: str, salt: bytes, cost: int) -> str:
    """Return the hash (hex) of a password, however its characters were composed when it was typed."""
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    memory_bytes = 128 * _BLOCK * cost * 2
    return hashlib.scrypt(text, salt=salt, n=cost, r=_BLOCK, p=1, maxmem=memory_bytes).hex()
