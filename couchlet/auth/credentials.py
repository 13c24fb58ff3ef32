"""The server administrator's credentials: from the environment, else from a file that is made once."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE: Final = "credentials"
_USER: Final = "COUCHDB_USER"
_PASSWORD: Final = "COUCHDB_PASSWORD"  # noqa: S105 - the name of a variable


class CredentialsError(Exception):
    """The credentials cannot be had; the message says why and what to do."""


def drw_home(environment: Mapping[str, str]) -> Path:
    """Return the directory of what belongs to one user of this machine: `$DRW_HOME`, else `~/.drw`.

    Raises:
        CredentialsError: the user has no home directory, or `$DRW_HOME` is that of a user who does not exist.
    """
    home = environment.get("DRW_HOME")
    try:
        if home:
            return Path(home).expanduser()
        return Path.home() / ".drw"
    except RuntimeError as error:
        raise CredentialsError(
            f"there is no home directory {home or '~'}: set DRW_HOME to a directory of your own."
        ) from error


def load_credentials(environment: Mapping[str, str]) -> tuple[str, str, str]:
    """Name and password of the administrator, and where they are from.

    Raises:
        CredentialsError: one of the variables is set without the other, or is no text; or the file cannot be read or
            made.
    """
    user, password = environment.get(_USER), environment.get(_PASSWORD)
    for name in (_USER, _PASSWORD):
        _refuse_other_encodings(name, environment.get(name, ""))
    if user and password:
        return user, password, "the environment"
    if user or password:
        missing = _PASSWORD if user else _USER
        raise CredentialsError(f"{missing} is not set: set both {_USER} and {_PASSWORD}, or neither.")
    path = drw_home(environment) / _FILE
    try:
        return (*_read_or_make(path), str(path))
    except OSError as error:
        raise CredentialsError(
            f"{path} cannot be used: {error.strerror}; set {_USER} and {_PASSWORD}, or DRW_HOME."
        ) from error


def _refuse_other_encodings(name: str, value: str) -> None:
    """Raise CredentialsError for bytes that are no UTF-8, of which Python makes lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CredentialsError(f"{name} is no text in UTF-8: set it again in a shell whose locale is UTF-8.") from error


def _read_or_make(path: Path) -> tuple[str, str]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _make(path)
    return _parse(path)


def _make(path: Path) -> None:
    """Write fresh credentials whole or not at all: of two that start at once, one wins and both read it."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{_USER}=admin\n{_PASSWORD}={secrets.token_urlsafe(24)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


def _parse(path: Path) -> tuple[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CredentialsError(
            f"{path} is no text in UTF-8: write it anew, or remove the file and start again."
        ) from error
    values = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals:
            values[name.strip()] = value.strip()
    user, password = values.get(_USER), values.get(_PASSWORD)
    if not user or not password:
        raise CredentialsError(
            f"{path} has no lines {_USER}=... and {_PASSWORD}=...: add them, or remove the file and start again."
        )
    return user, password
