"""What operators did: one document an action in the database ``audit``, saying who, when, what and why."""

from __future__ import annotations

import getpass
import secrets
from typing import TYPE_CHECKING, Final

from shared.clock import stamp

if TYPE_CHECKING:
    from shared.dbcon import DbConnection

DATABASE: Final = "audit"


def who() -> str:
    """Return the name that an operator's actions are signed with."""
    return getpass.getuser()


def record(connection: DbConnection, what: str, subject: str, why: str) -> None:
    """Keep an action: ``what`` was done to ``subject`` (an OUS, a message, …), and ``why``."""
    at = stamp(connection.clock.now())
    connection.database(DATABASE).put(
        {
            "_id": f"{at}.{secrets.token_hex(4)}",
            "schema": 1,
            "at": at,
            "who": who(),
            "what": what,
            "subject": subject,
            "why": why,
        }
    )
