"""Users, as the `_users` database keeps them, and their roles."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Final

import msgspec

from couchlet.errors import CouchError, forbidden, unknown_error
from couchlet.mango.erlang_text import erlang_term

USER_PREFIX: Final = "org.couchdb.user:"
PBKDF2_ITERATIONS: Final = 600_000
"""Rounds for new passwords, as CouchDB 3.5 and OWASP have it for SHA-256."""

_HASHES: Final = {"sha": "sha1", "sha1": "sha1", "sha224": "sha224", "sha256": "sha256", "sha384": "sha384"}
_MOST_ITERATIONS: Final = 10_000_000
_PASSWORD_FIELDS: Final = frozenset(
    (
        "password",
        "password_scheme",
        "pbkdf2_prf",
        "iterations",
        "salt",
        "preserve_salt",
        "derived_key",
        "password_sha",
    )
)


class User(msgspec.Struct, frozen=True):
    """Who a request comes from; nobody has no name and no roles. `handler` is how it was found out.

    `has_old_cookie` says that it was a session cookie, which is to be renewed.
    """

    name: str | None = None
    roles: tuple[str, ...] = ()
    handler: str | None = None
    has_old_cookie: bool = False

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator of the server."""
        return "_admin" in self.roles


NOBODY: Final = User()


def with_password_hashed(body: dict[str, Any]) -> dict[str, Any]:
    """Return a user's document with a hash in place of its password; takes a good part of a second.

    Raises:
        CouchError: 403 `forbidden` for a password, or a salt to keep, that is no text; 500, as from CouchDB
            (`couch_users_db:save_doc`), if what says whether to keep the salt is no boolean.
    """
    salt = _salt(body)
    password = body.get("password")
    if password is None:
        return body
    if not isinstance(password, str):
        raise forbidden(f"Password value of '{erlang_term(password)}' is invalid.")
    if not isinstance(salt, str):
        raise forbidden(f"Salt value of '{erlang_term(salt)}' is invalid.")
    derived = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), PBKDF2_ITERATIONS)
    hashed = {
        "password_scheme": "pbkdf2",
        "pbkdf2_prf": "sha256",
        "salt": salt,
        "iterations": PBKDF2_ITERATIONS,
        "derived_key": derived.hex(),
    }
    # In CouchDB's order, which counts for the revision.
    return hashed | {name: value for name, value in body.items() if name not in _PASSWORD_FIELDS}


def _salt(body: dict[str, Any]) -> object:
    """Return a new salt, or, as CouchDB does it, what the document has for one if that is to be preserved."""
    preserves = body.get("preserve_salt", False)
    if preserves is None:
        raise unknown_error("case_clause")
    if not isinstance(preserves, bool):
        # To Erlang an empty list is text as well.
        shown = "" if preserves == [] else preserves
        raise CouchError(500, "case_clause", shown if isinstance(shown, str) else erlang_term(shown))
    fresh = secrets.token_hex(16)
    return body.get("salt", fresh) if preserves else fresh


def check_user_document(id_: str, body: dict[str, Any]) -> None:
    """Check a user's document whose password is hashed.

    Raises:
        CouchError: 403 `forbidden` with what is wrong, as CouchDB's own check of these documents says it.
    """
    name = body.get("name")
    if body.get("type") != "user":
        raise forbidden("doc.type must be user")
    if not name:
        raise forbidden("doc.name is required")
    _check_roles(body.get("roles"))
    if not isinstance(name, str) or id_ != USER_PREFIX + name:
        raise forbidden("Doc ID must be of the form org.couchdb.user:name")
    if name.startswith("_"):
        raise forbidden("Username may not start with underscore.")
    if ":" in name:
        raise forbidden("Character `:` is not allowed in usernames.")
    _check_hash(body)


def _check_roles(roles: object) -> None:
    if roles in (None, False, 0, ""):
        # What JavaScript takes for nothing.
        raise forbidden("doc.roles must exist")
    if not isinstance(roles, list):
        raise forbidden("doc.roles must be an array")
    if not all(isinstance(role, str) for role in roles):
        raise forbidden("doc.roles can only contain strings")
    if any(role.startswith("_") and role != "_metrics" for role in roles):
        raise forbidden("No system roles (starting with underscore) in users db.")


def _check_hash(body: dict[str, Any]) -> None:
    """Check what a document says of its hash."""
    if body.get("password_sha") and not body.get("salt"):
        raise forbidden("Users with password_sha must have a salt.See /_utils/script/couch.js for example code.")
    scheme, iterations = body.get("password_scheme"), body.get("iterations")
    if not scheme:
        return
    if scheme != "pbkdf2":
        if scheme != "simple":
            raise forbidden(f"Password scheme `{scheme}` not supported.")
        raise forbidden("couchlet knows the password scheme pbkdf2 only; set `password` and it makes the hash.")
    if not isinstance(iterations, int | float) or isinstance(iterations, bool):
        raise forbidden("iterations must be a number.")
    if not isinstance(body.get("derived_key"), str):
        raise forbidden("derived_key must be a string.")
    if not 0 < iterations <= _MOST_ITERATIONS:
        raise forbidden(f"couchlet takes no more than {_MOST_ITERATIONS} iterations.")


def verify_password(body: dict[str, Any], password: str) -> bool:
    """Whether a password fits a user's document; takes a good part of a second."""
    hash_name = _HASHES.get(str(body.get("pbkdf2_prf", "sha")))
    derived, salt, iterations = body.get("derived_key"), body.get("salt"), body.get("iterations")
    if hash_name is None or not isinstance(derived, str) or not isinstance(salt, str):
        return False
    if not isinstance(iterations, int) or not 0 < iterations <= _MOST_ITERATIONS:
        return False
    length = max(len(derived) // 2, 1)
    computed = hashlib.pbkdf2_hmac(hash_name, password.encode(), salt.encode(), iterations, dklen=length)
    return hmac.compare_digest(computed.hex(), derived.lower())


def roles_of(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the roles in a user's document."""
    roles = body.get("roles")
    return tuple(role for role in roles if isinstance(role, str)) if isinstance(roles, list) else ()


def wrong_password() -> CouchError:
    """401 for a name or a password that does not fit: it does not say which."""
    return CouchError(401, "unauthorized", "Name or password is incorrect.")
