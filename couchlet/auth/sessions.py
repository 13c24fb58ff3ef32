"""Session cookies: a name and a time, signed with the server's secret; nothing is kept on the server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from typing import Final

from couchlet.errors import bad_request

LIFETIME_S: Final = 600
"""How long a cookie is good for; one that is used is renewed."""

COOKIE: Final = "AuthSession"


def _signature(secret: str, salt: str, name: str, stamp: str) -> str:
    return hmac.new((secret + salt).encode(), f"{name}:{stamp}".encode(), hashlib.sha256).hexdigest()


def make_cookie(secret: str, salt: str, name: str, now_s: float | None = None) -> str:
    """Make the value of a fresh cookie; `salt` belongs to the user's password: a new password ends sessions."""
    stamp = f"{int(time.time() if now_s is None else now_s):X}"
    text = f"{name}:{stamp}:{_signature(secret, salt, name, stamp)}"
    return base64.urlsafe_b64encode(text.encode()).decode("ascii").rstrip("=")


def cookie_name(value: str) -> str:
    """Return the user's name in a cookie, not verified yet.

    Raises:
        CouchError: 400 `bad_request` for what has not the form of a cookie.
    """
    return _parts(value)[0]


def _parts(value: str) -> tuple[str, str, str]:
    try:
        text = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True).decode()
        name, stamp, signature = text.rsplit(":", 2)
    except (binascii.Error, ValueError) as error:
        raise bad_request("Malformed AuthSession cookie. Please clear your cookies.") from error
    return name, stamp, signature


def verify_cookie(secret: str, salt: str, value: str, now_s: float | None = None) -> float | None:
    """Seconds that a cookie is still good for; None if it is not, or not genuine.

    Raises:
        CouchError: 400 `bad_request` for what has not the form of a cookie.
    """
    name, stamp, signature = _parts(value)
    if not hmac.compare_digest(_signature(secret, salt, name, stamp).encode(), signature.encode()):
        return None
    left = int(stamp, 16) + LIFETIME_S - (time.time() if now_s is None else now_s)
    return left if left > 0 else None


def cookie_header(value: str) -> str:
    """Return the `Set-Cookie` header for a cookie's value; an empty value ends the session."""
    if not value:
        return f"{COOKIE}=; Version=1; Path=/; HttpOnly; Max-Age=0"
    return f"{COOKIE}={value}; Version=1; Max-Age={LIFETIME_S}; Path=/; HttpOnly; SameSite=Strict"
