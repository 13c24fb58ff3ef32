"""What every page of the dashboard stands on: the database, the settings, and what is known from the feeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flask import current_app, request

from dashboard.cells import Order
from dashboard.sessions import Attempts, Sessions
from shared.clock import elapsed_s
from shared.origins import Origins

if TYPE_CHECKING:
    from dashboard.live import Live
    from shared.dbcon import DbConnection
    from shared.settings import Settings

EXTENSION: Final = "drw"


@dataclass(frozen=True)
class Site:
    """The server's connection, its settings, the model that the feeds keep, and who may come in, and is in."""

    connection: DbConnection
    settings: Settings
    live: Live
    origins: Origins = field(default_factory=Origins)
    sessions: Sessions = field(default_factory=lambda: Sessions(elapsed_s))
    by_name: Attempts = field(default_factory=lambda: Attempts(elapsed_s, free=4))
    """The attempts to log in with a name from an address."""
    by_address: Attempts = field(default_factory=lambda: Attempts(elapsed_s, free=40))
    """The attempts to log in from an address, which may be a proxy that stands for many people."""

    @property
    def weblog_url(self) -> str:
        """Where browsers find weblogs; never the dashboard's own origin."""
        return self.settings.weblog_url


def natural(text: str) -> int:
    """Return the number in a query, 0 for a negative one."""
    return max(int(text), 0)


def order() -> Order:
    """Return the order that an address asks for."""
    return Order(request.args.get("sort", ""), request.args.get("order") == "down")


def site() -> Site:
    """Return the site of the application that answers this request."""
    found: Site = current_app.extensions[EXTENSION]
    return found
