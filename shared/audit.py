"""What people did: one document an action in the database ``audit``, saying who, when, what and why."""

from __future__ import annotations

import getpass
import os
import secrets
from typing import TYPE_CHECKING, Final

from shared.clock import stamp

if TYPE_CHECKING:
    from shared.dbcon import DbConnection

DATABASE: Final = "audit"


def who() -> str:
    """Return the name that the actions of the person at this terminal are signed with."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, say, whose user has a number only
        return f"uid {os.getuid()}"


def record(connection: DbConnection, what: str, subject: str, why: str, *, by: str) -> None:
    """Keep an action: ``what`` was done to ``subject`` (an OUS, a message, …), and ``why``, by whom."""
    at = stamp(connection.clock.now())
    connection.database(DATABASE).put(
        {
            "_id": f"{at}.{secrets.token_hex(4)}",
            "schema": 1,
            "at": at,
            "who": by,
            "what": what,
            "subject": subject,
            "why": why,
        }
    )
