"""Who is logged in: sessions that live in the server and end by themselves, and how often one may try to get in.

The browser has a random name of its session in a cookie and nothing else. Cookies are shared by all ports of a machine,
and a weblog server is next door: so the token that every form carries is kept here, with the session, and cannot be
made from the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

IDLE_S: Final = 2 * 3600.0
"""A session that is not used for so long is over (seconds)."""

LONGEST_S: Final = 12 * 3600.0
"""A session is over after so long, used or not (seconds)."""

FORM_S: Final = 3600.0
"""How long a login form can be sent (seconds)."""

_MOST: Final = 10_000


@dataclass
class Session:
    """A person who is logged in: the token of the forms, the password's mark, what to say on the next page."""

    name: str
    mark: str
    begun_s: float
    used_s: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    said: list[str] = field(default_factory=list)

    def is_over(self, now_s: float) -> bool:
        """Tell whether it has ended by itself."""
        return now_s - self.used_s > IDLE_S or now_s - self.begun_s > LONGEST_S


class Sessions:
    """All sessions. Every method may be called from any thread; ``now_s`` tells the time in seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        """Begin with nobody logged in; a restart of the server ends every session."""
        self._now_s = now_s
        self._sessions: dict[bytes, Session] = {}
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)

    def begin(self, name: str, mark: str) -> str:
        """Begin a session, always one that is new; return the text for the cookie."""
        cookie, now_s = secrets.token_urlsafe(32), self._now_s()
        with self._lock:
            self._sessions = {key: each for key, each in self._sessions.items() if not each.is_over(now_s)}
            while len(self._sessions) >= _MOST:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[_key(cookie)] = Session(name, mark, now_s, now_s)
        return cookie

    def find(self, cookie: str, *, is_use: bool = True) -> Session | None:
        """Return the session of a cookie, None where there is none, or it is over.

        It counts as a use unless it is a page that fetches itself anew, which nobody needs to look at.
        """
        now_s = self._now_s()
        with self._lock:
            found = self._sessions.get(_key(cookie))
            if found is None or found.is_over(now_s):
                self._sessions.pop(_key(cookie), None)
                return None
            if is_use:
                found.used_s = now_s
            return found

    def end(self, cookie: str) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(_key(cookie), None)

    def form_token(self) -> str:
        """Return a token for the login form, which nobody has a session for yet; it is good for an hour."""
        until = f"{self._now_s() + FORM_S:.0f}"
        return f"{until}.{self._signed(until)}"

    def is_form_token(self, token: str) -> bool:
        """Tell whether a token was made by :meth:`form_token`, and not too long ago."""
        until, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signed(until).encode()):
            return False
        return float(until) >= self._now_s()

    def _signed(self, text: str) -> str:
        return hmac.new(self._secret, f"login {text}".encode(), hashlib.sha256).hexdigest()


def _key(cookie: str) -> bytes:
    """Return under what a session is kept: not the cookie itself, so that looking it up takes the same time always."""
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()


class Attempts:
    """Failed logins: after a few, the next is taken only after a wait that doubles each time."""

    LONGEST_S: Final = 60.0

    def __init__(self, now_s: Callable[[], float], free: int) -> None:
        """Begin without any; so many are taken without a wait."""
        self._now_s = now_s
        self._free = free
        self._failed: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, *who: str) -> float:
        """Return how long it is until somebody (a name at an address) may try again; 0 for at once."""
        with self._lock:
            count, last_s = self._failed.get(_whose(who), (0, 0.0))
        if count < self._free:
            return 0.0
        pause_s = min(2.0 ** min(count - self._free, 16), self.LONGEST_S)
        return max(last_s + pause_s - self._now_s(), 0.0)

    def begin(self, *who: str) -> None:
        """Note an attempt, which counts as failed until it has :meth:`passed`; the oldest are forgotten."""
        with self._lock:
            count, _ = self._failed.pop(_whose(who), (0, 0.0))
            self._failed[_whose(who)] = (count + 1, self._now_s())
            while len(self._failed) > _MOST:
                self._failed.popitem(last=False)

    def passed(self, *who: str) -> None:
        """Forget the failures of somebody who got in."""
        with self._lock:
            self._failed.pop(_whose(who), None)


def _whose(who: tuple[str, ...]) -> bytes:
    """Return under what somebody's attempts are kept, always as long: a name may be as long as a form."""
    return hashlib.sha256(repr(who).encode("ascii", "backslashreplace")).digest()
