"""Who lives, by the signs of life in the database ``actors``: also what was started by hand, or on another machine."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drw.machine import pids
from shared.actor import ACTORS_DATABASE
from shared.errors import DatabaseMissing, DrwError
from shared.heartbeats import REVIEWING, standing

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from drw.machine.processes import Process
    from shared.dbcon import DbConnection


@dataclass(frozen=True)
class Living:
    """An actor that lives: what it is, and which process."""

    kind: str
    executive: str
    host: str
    pid: int
    is_reviewers: bool = False
    """Whether it ends when a reviewer leaves, and so makes up for none that stays."""

    @property
    def name(self) -> str:
        """The name that the launcher has for it."""
        return f"{self.kind}-{self.executive}" if self.executive else self.kind

    @property
    def where(self) -> str:
        """Which process, where."""
        return f"pid {self.pid} on {self.host}"


def living(connection: DbConnection, *, ours: Container[int] = ()) -> list[Living]:
    """Return every actor that lives, except those of this machine with the pids ``ours``.

    One of this machine whose process is gone was killed: it does not live, however young its last sign is.
    """
    now, here = connection.clock.now(), socket.gethostname()
    found = []
    try:
        docs = list(connection.database(ACTORS_DATABASE).every())
    except DatabaseMissing:
        return []
    for doc in docs:
        if standing(doc, now) != "alive":
            continue
        pid = doc.get("pid")
        each = Living(
            str(doc.get("kind")),
            str(doc.get("executive") or ""),
            str(doc.get("host")),
            pid if isinstance(pid, int) else 0,  # what no process of ours has said of itself is no number
            str(doc.get("doing") or "").startswith(REVIEWING),
        )
        if each.host != here or (each.pid not in ours and pids.birth(each.pid)):
            found.append(each)
    return found


def by_hand(alive: Sequence[Living], processes: Sequence[Process]) -> dict[str, Living]:
    """Return which of the processes run already, started by hand.

    Neither a dashboard elsewhere makes up for one, nor a prompt for the ``aqua-qa2`` that stays when a reviewer leaves.
    """
    here = socket.gethostname()
    names = {process.name for process in processes}
    stand_in = [each for each in alive if not each.is_reviewers and (each.kind != "dashboard" or each.host == here)]
    return {each.name: each for each in stand_in if each.name in names}


def refuse_living(connection: DbConnection, what: str) -> None:
    """Raise DrwError where an actor lives that works with these databases: ``what`` would take its data away."""
    alive = living(connection)
    if alive:
        named = ", ".join(f"{each.name} ({each.where})" for each in alive)
        raise DrwError(f"these actors are at work at {connection.url}: {named}; end them first, {what}")
