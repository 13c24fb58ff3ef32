"""Pausing and resuming by a person, which the audit keeps before it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared import audit
from shared.bus import pauses, queue

if TYPE_CHECKING:
    from datetime import datetime

    from shared.bus.pauses import Pause
    from shared.dbcon import DbConnection


def pause(connection: DbConnection, pattern: str, *, by: str, reason: str, until: datetime | None) -> Pause:
    """Pause a selector or a range; return the pause in force, which may be the same that somebody asks for once more.

    Raises BadInput for what is no selector, without a reason, or with an end that is past.
    """
    database, now = connection.database(queue.DATABASE), connection.clock.now()
    made = pauses.new(pattern, by=by, reason=reason, now=now, until=until)
    revision, before = pauses.held(database, made.pattern)
    if before and not before.is_over(now) and _asked(before) == _asked(made):
        return before
    audit.intend(connection, "pause", made.pattern, reason, by=by, revision=revision)
    pauses.keep(database, made)
    return made


def _asked(each: Pause) -> tuple[str, str, str | None]:
    """Return what somebody asks for; since when it is so comes by itself."""
    return each.by, each.reason, each.until


def resume(connection: DbConnection, pattern: str, *, by: str, reason: str) -> bool:
    """Lift the pause of exactly this pattern; False where there is none. Raises BadInput for what is no selector."""
    database = connection.database(queue.DATABASE)
    revision, _ = pauses.held(database, pattern)
    if not revision:
        return False
    audit.intend(connection, "resume", pattern, reason, by=by, revision=revision)
    return pauses.resume(database, pattern)
