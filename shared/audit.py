"""What people did: one document an action in the database ``audit``, saying who, when, what and why.

What is written there is never changed. An action that must not go untraced is kept before it is done
(:func:`intend`): who is killed in between, and does it again, is in the audit once.
"""

from __future__ import annotations

import os
import pwd
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from shared.clock import stamp

if TYPE_CHECKING:
    from shared.dbcon import DbConnection, Doc

DATABASE: Final = "audit"
_AGAIN: Final = timedelta(hours=1)
"""An action that is asked for once more within this time is the same one."""

_LATEST: Final = 50
"""Among as many of the latest actions it is looked for."""


def who() -> str:
    """Return the name that the actions of the person at this terminal are signed with.

    It is the system's name for them, not that of the environment, which anybody may set.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, say, whose user has a number only
        return f"uid {os.getuid()}"


def record(connection: DbConnection, what: str, subject: str, why: str, *, by: str) -> None:
    """Keep an action: ``what`` was done to ``subject`` (an OUS, a message, …), and ``why``, by whom."""
    _keep(connection, {"who": by, "what": what, "subject": subject, "why": why})


def intend(connection: DbConnection, what: str, subject: str, why: str, *, by: str, revision: str) -> None:
    """Keep an action that is about to be done to a document at this revision, empty for one that is not there yet.

    Other words may say what is acted on: the id of the message that a launch will send, or which launch is cancelled.

    Where the latest action on ``subject`` is this very one, it was begun before and not ended: it is not kept again.
    """
    action: Doc = {"who": by, "what": what, "subject": subject, "why": why, "revision": revision}
    since = stamp(connection.clock.now() - _AGAIN)
    rows = connection.database(DATABASE).rows(
        startkey="_design", endkey=since, descending=True, limit=_LATEST, include_docs=True
    )
    latest: Doc = next((row["doc"] for row in rows if row.get("doc") and row["doc"].get("subject") == subject), {})
    if any(latest.get(name) != value for name, value in action.items()):
        _keep(connection, action)


def _keep(connection: DbConnection, action: Doc) -> None:
    at = stamp(connection.clock.now())
    connection.database(DATABASE).put({"_id": f"{at}.{secrets.token_hex(4)}", "schema": 1, "at": at, **action})
