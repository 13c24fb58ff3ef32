"""Session cookies: a name and a time, signed with the server's secret; nothing is kept on the server."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from email.utils import formatdate
from typing import Final

from couchlet.errors import bad_request

LIFETIME_S: Final = 600
"""How long a cookie is good for; one that is used is renewed when a tenth of that is over."""

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


def is_due(left_s: float) -> bool:
    """Whether a cookie that is good for so long is to be renewed when it is used."""
    return left_s < LIFETIME_S * 0.9


def cookie_header(value: str, now_s: float | None = None) -> str:
    """Return the `Set-Cookie` header for a cookie's value; an empty value ends the session."""
    if not value:
        return f"{COOKIE}=; Version=1; Path=/; HttpOnly; Max-Age=0"
    ends_s = (time.time() if now_s is None else now_s) + LIFETIME_S
    date, clock, _ = formatdate(ends_s, usegmt=True).rsplit(" ", 2)
    # CouchDB writes the date with hyphens, as cookies had it first.
    day, numbers = date.split(" ", 1)
    expires = f"{day} {numbers.replace(' ', '-')} {clock} GMT"
    attributes = f"Version=1; Expires={expires}; Max-Age={LIFETIME_S}; Path=/; HttpOnly; SameSite=Strict"
    return f"{COOKIE}={value}; {attributes}"
