"""What every page of the dashboard stands on: the database, the settings, and what is known from the feeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import current_app

if TYPE_CHECKING:
    from dashboard.live import Live
    from shared.dbcon import DbConnection
    from shared.settings import Settings

EXTENSION: Final = "drw"


@dataclass(frozen=True)
class Site:
    """The server's connection, its settings, and the model that the feeds keep."""

    connection: DbConnection
    settings: Settings
    live: Live

    @property
    def weblog_url(self) -> str:
        """Where browsers find weblogs; never the dashboard's own origin."""
        return self.settings.weblog_url


def site() -> Site:
    """Return the site of the application that answers this request."""
    found: Site = current_app.extensions[EXTENSION]
    return found
