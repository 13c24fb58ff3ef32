"""What a user may do, by a database's `_security` object; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from couchlet.errors import CouchError, forbidden, unauthorized

if TYPE_CHECKING:
    from couchlet.auth.users import User


_GROUPS: Final = ("admins", "members", "readers")


def _group(security: dict[str, Any], name: str) -> tuple[list[str], list[str]]:
    group = security.get(name)
    if not isinstance(group, dict):
        return [], []
    names, roles = group.get("names", []), group.get("roles", [])
    return (names if isinstance(names, list) else []), (roles if isinstance(roles, list) else [])


def _belongs(user: User, names: list[str], roles: list[str]) -> bool:
    return (user.name is not None and user.name in names) or any(role in roles for role in user.roles)


def is_database_admin(user: User, security: dict[str, Any]) -> bool:
    """Whether a user administrates a database: as server administrator, or by its `admins`."""
    return user.is_admin or _belongs(user, *_group(security, "admins"))


def check_member(user: User, security: dict[str, Any]) -> None:
    """Let administrators and members pass; everybody, if no members are named.

    Raises:
        CouchError: 401 for nobody in particular, 403 for a user.
    """
    if is_database_admin(user, security):
        return
    # Databases of old name their members `readers`.
    names, roles = _group(security, "members" if "members" in security else "readers")
    if (names or roles) and not _belongs(user, names, roles):
        if user.name is None:
            raise unauthorized("You are not authorized to access this db.")
        raise forbidden("You are not allowed to access this db.")


def require_server_admin(user: User) -> None:
    """Let server administrators pass.

    Raises:
        CouchError: 401, whoever asks, as CouchDB has it.
    """
    if not user.is_admin:
        raise unauthorized("You are not a server admin.")


def require_database_admin(user: User, security: dict[str, Any]) -> None:
    """Let administrators of the database and of the server pass.

    Raises:
        CouchError: 401, whoever asks, as CouchDB has it.
    """
    if not is_database_admin(user, security):
        raise unauthorized("You are not a server or db admin.")


def require_design_author(user: User, security: dict[str, Any]) -> None:
    """Let pass who may write design documents.

    Raises:
        CouchError: 401 for nobody in particular, 403 for a user.
    """
    if not is_database_admin(user, security):
        raise (unauthorized if user.name is None else forbidden)("You are not a db or server admin.")


def validate_security(security: object) -> dict[str, Any]:
    """Check a `_security` object.

    Raises:
        CouchError: 500 if it is none.
    """
    if isinstance(security, dict) and all(_is_group(security.get(name, {})) for name in _GROUPS):
        return security
    raise no_majority()


def no_majority() -> CouchError:
    """500: in CouchDB each copy of the database refuses the object, so that none is left to agree."""
    return CouchError(500, "error", "no_majority")


def _is_group(group: object) -> bool:
    """Whether this names users and roles, each as a list of text, as far as it does."""
    if not isinstance(group, dict):
        return False
    named = [group.get(kind, []) for kind in ("names", "roles")]
    return all(isinstance(items, list) and all(isinstance(item, str) for item in items) for items in named)
