"""Making CouchDB's users for our actors, each with a password of its own in a file of mode 0600."""

from __future__ import annotations

import base64
import os
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from drw import rights
from shared.errors import BadInput, DatabaseMissing, NotFound, Refused, WrongPassword
from shared.settings import PASSWORD_VARIABLE, USER_VARIABLE, read_credentials

if TYPE_CHECKING:
    from pathlib import Path

    from shared.dbcon import DbConnection, Doc

DATABASE: Final = "_users"
_PREFIX: Final = "org.couchdb.user:"
_PASSWORD_BYTES: Final = 24
_NO_JAVASCRIPT: Final = "runs no JavaScript"


def are_there(connection: DbConnection) -> bool:
    """Tell whether the users of our actors were made on this server."""
    try:
        return connection.database(DATABASE).get(_PREFIX + rights.role_of("xtss")) is not None
    except DatabaseMissing:
        return False


def make(connection: DbConnection, folder: Path, *, anew: bool = False) -> list[str]:
    """Make the users that are missing, with their files in ``folder``; return whose file was written.

    A file that is there stays, and its password is the user's; ``anew`` gives every user another one. Needs a server
    administrator. Raises BadInput for a folder that cannot be used.
    """
    connection.create_database(DATABASE)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return [kind for kind in rights.DATABASES_OF if _make(connection, folder / kind, kind, anew=anew)]
    except OSError as error:
        raise BadInput(f"the users' files cannot be kept in {folder}: {error.strerror}; name another folder") from error


def _make(connection: DbConnection, path: Path, kind: str, *, anew: bool) -> bool:
    """Make one user; tell whether its file was written. The user comes first: a file without one would mislead."""
    name = rights.role_of(kind)
    _, kept = ("", "") if anew else read_credentials(path)
    password = kept or secrets.token_urlsafe(_PASSWORD_BYTES)

    def change(before: Doc | None) -> Doc | None:
        wanted: dict[str, Any] = {"name": name, "type": "user", "roles": [name]}
        if before and kept and before.get("roles") == wanted["roles"] and _logs_in(connection, name, kept):
            return None
        return (before or {}) | wanted | {"password": password}

    connection.database(DATABASE).mutate(_PREFIX + name, change)
    if not kept:
        _write(path, name, password)
    return not kept


def _logs_in(connection: DbConnection, name: str, password: str) -> bool:
    """Tell whether a password is a user's: a database that was restored may know another."""
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    try:
        connection.send("GET", "/_session", headers={"Authorization": f"Basic {token}"})
    except WrongPassword:
        return False
    return True


def _write(path: Path, name: str, password: str) -> None:
    """Write a file of credentials whole, for nobody else's eyes from its first moment on."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{USER_VARIABLE}={name}\n{PASSWORD_VARIABLE}={password}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def secure(connection: DbConnection, databases: list[str]) -> str:
    """Give databases to the roles that need them; return what the server cannot do, or nothing.

    Needs a server administrator.
    """
    cannot = ""
    for name in databases:
        database = connection.database(name)
        connection.call("PUT", database.path("_security"), content=msgspec.json.encode(rights.security(name)))
        wanted = rights.writers(name)
        if wanted is None or cannot:
            continue
        try:
            _keep(connection, database.path("_design", rights.WRITERS), wanted)
        except Refused as error:
            if _NO_JAVASCRIPT not in str(error):
                raise
            cannot = str(error)
    return cannot


def _keep(connection: DbConnection, path: str, wanted: Doc) -> None:
    """Write a design document unless it is there as wanted."""
    try:
        found: Doc = connection.call("GET", path)
    except NotFound:
        found = {}
    after = found | wanted
    if after != found:
        connection.call("PUT", path, content=msgspec.json.encode(after))
