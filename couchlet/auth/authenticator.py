"""Finding out who asks: from a session cookie or from a name and a password."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from couchlet.auth.sessions import cookie_name, is_due, make_cookie, verify_cookie
from couchlet.auth.users import NOBODY, User, roles_of, verify_password, wrong_password
from couchlet.errors import bad_request

if TYPE_CHECKING:
    from couchlet.auth.lockout import Lockout

_REMEMBERED: Final = 1000

LookUp = Callable[[str], dict[str, Any] | None]
"""Finds a user's document by name, as it is now; None if there is none."""


class Authenticator:
    """Knows the server's administrator and where users are; remembers passwords that fitted, by a keyed digest."""

    def __init__(self, *, admin: str, password: str, secret: str, look_up: LookUp, lockout: Lockout) -> None:
        """Take the administrator's credentials, the secret for cookies, access to users, and the count of failures."""
        self._admin = admin
        self._key = secrets.token_bytes(32)
        self._password = self._digest(admin, password)
        self._admin_salt = hashlib.sha256(password.encode()).hexdigest()
        self._secret = secret
        self._look_up = look_up
        self._lockout = lockout
        self._fitted: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        self._checks: dict[str, asyncio.Lock] = {}

    def _digest(self, name: str, password: str) -> bytes:
        return hmac.digest(self._key, f"{name}\x00{password}".encode(), "sha256")

    async def from_headers(self, authorization: str | None, cookie: str | None, peer: str) -> User:
        """Who sends these headers from an address; nobody in particular if they name nobody.

        Raises:
            CouchError: 401 for a wrong name or password, 403 if there were too many, 400 for what is no valid header.
        """
        if cookie:
            user = self.from_cookie(cookie)
            if user is not None:
                return user
        if authorization and authorization[:6].lower() == "basic ":
            name, colon, password = _parse_basic(authorization[6:]).partition(":")
            # `_:_` is how a browser is made to forget who it was.
            if colon and (name, password) != ("_", "_"):
                return await self.from_password(name, password, peer)
        return NOBODY

    def from_cookie(self, value: str) -> User | None:
        """Who a session cookie belongs to, if it is good.

        Raises:
            CouchError: 400 for what is no cookie at all.
        """
        name = cookie_name(value)
        salt = self._salt(name)
        left_s = None if salt is None else verify_cookie(self._secret, salt, value)
        return None if left_s is None else User(name, self._roles(name), "cookie", is_due(left_s))

    def cookie_for(self, name: str) -> str:
        """Return a fresh session cookie for a user who was just authenticated."""
        return make_cookie(self._secret, self._salt(name) or "", name)

    async def from_password(self, name: str, password: str, peer: str, *, are_strangers_counted: bool = False) -> User:
        """Who has this name and password; `peer` is the address that they come from.

        Names of nobody can be locked too.

        Raises:
            CouchError: 401 if they do not fit, 403 if they did not too often.
        """
        salt = self._salt(name)
        if salt is None and not are_strangers_counted:
            raise wrong_password()
        salt = salt or ""
        self._lockout.check(peer, name, salt)
        if name == self._admin:
            fits = hmac.compare_digest(self._digest(name, password), self._password)
        else:
            document = self._look_up(name)
            fits = document is not None and await self._fits(name, password, document)
        if not fits:
            self._lockout.count_failure(peer, name, salt)
            raise wrong_password()
        return User(name, self._roles(name), "default")

    async def _fits(self, name: str, password: str, document: dict[str, Any]) -> bool:
        """Whether the password is the user's; the expensive check is made once for each password that fits."""
        stored = f"{document.get('salt')} {document.get('derived_key')} {document.get('password_sha')}"
        digest = self._digest(name, password)
        lock = self._checks.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                known = self._fitted.get(name)
                if known and known[0] == stored and hmac.compare_digest(known[1], digest):
                    self._fitted.move_to_end(name)
                    return True
                if not await asyncio.to_thread(verify_password, document, password):
                    return False
                self._fitted[name] = (stored, digest)
                while len(self._fitted) > _REMEMBERED:
                    self._fitted.popitem(last=False)
                return True
        finally:
            if not lock.locked():
                self._checks.pop(name, None)

    def _salt(self, name: str) -> str | None:
        if name == self._admin:
            return self._admin_salt
        document = self._look_up(name)
        return str(document.get("salt")) if document else None

    def _roles(self, name: str) -> tuple[str, ...]:
        if name == self._admin:
            return ("_admin",)
        document = self._look_up(name)
        return roles_of(document) if document else ()


def _parse_basic(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise bad_request("Authorization header has invalid base64 value") from error
