"""What all requests of a server share."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from couchlet.auth.authenticator import Authenticator
    from couchlet.storage.catalog import Catalog

DEFAULT_MAX_REQUEST_BYTES: Final = 128 * 1024 * 1024
"""The largest body that is taken at once; attachments that come alone have no limit, they are stored in pieces."""


class ServerSettings(msgspec.Struct, frozen=True):
    """How the server was started. `hosts` are the names it answers to; empty for any.

    With `auth_lockout`, accounts are locked for a while after several wrong passwords.
    """

    host: str
    port: int
    max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES
    hosts: frozenset[str] = frozenset()
    auth_lockout: bool = False


class UuidMaker:
    """Document ids that sort by time: 26 random digits and a counter of six, as CouchDB makes them."""

    _STEP: Final = 0xFFE
    _LAST: Final = 0xFFF000

    def __init__(self) -> None:
        """Start afresh."""
        self._prefix = secrets.token_hex(13)
        self._count = 0

    def next(self) -> str:
        """Return the next id."""
        self._count += 1 + secrets.randbelow(self._STEP)
        if self._count > self._LAST:
            self._prefix = secrets.token_hex(13)
            self._count = secrets.randbelow(self._STEP)
        return f"{self._prefix}{self._count:06x}"


class ServerContext:
    """The databases, the users, and the server's own facts."""

    def __init__(self, settings: ServerSettings, catalog: Catalog, authenticator: Authenticator) -> None:
        """Keep them; `stopping` is set when the server ends, so that nobody waits any longer."""
        self.settings = settings
        self.catalog = catalog
        self.authenticator = authenticator
        self.stopping = asyncio.Event()
        self.uuids = UuidMaker()
