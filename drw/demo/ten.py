"""The ten OUSs of the demo: launching them, reviewing what is ready, launching again what failed, and watching."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

from drw.columns import counted, say
from drw.demo import commands
from shared import errors, lifecycle, names, status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from shared.dbcon import DbConnection
    from shared.status import StatusEntity

PROGRAM: Final = "2015.1.00657.S"
OUSS: Final = tuple(f"uid://X1/X1/Xb{ending}" for ending in "012345678a")
"""The ten OUSs that the seed names."""

_FAILED_ONCE: Final = OUSS[2]
_SEMIPASSED: Final = OUSS[1::3]
_LAUNCHES: Final = 25
_LOOK_S: Final = 0.2
_STUCK_S: Final = 180.0


class Ten:
    """The launches and the reviews of the ten OUSs."""

    def __init__(self, connection: DbConnection, environ: Mapping[str, str], console: Console) -> None:
        """Take the server, the environment of the commands, and where to print."""
        self._entities = connection.database(status.DATABASE)
        self._commands = commands.Commands(environ)
        self._view = _View(console)
        self._launches: Counter[str] = Counter()
        self._launched_at: dict[str, int] = {}
        self._flags: list[str] = []

    def run(self) -> None:
        """Launch all, review what is ready, launch again what failed, until all ten are Delivered."""
        with self._view:
            for ous in OUSS:
                self._launch(ous)
                self._view.update(self._read(), self._caption())
            self._watch()

    def _watch(self) -> None:
        last_move, before = time.monotonic(), Counter[str]()
        while True:
            entities = self._read()
            self._view.update(entities, self._caption())
            now = Counter(f"{each.entity_id} {len(each.history)}" for each in entities.values())
            last_move = time.monotonic() if now != before else last_move
            before = now
            if [each.state for each in entities.values()] == [lifecycle.DELIVERED] * len(OUSS):
                return
            if time.monotonic() - last_move > _STUCK_S:
                raise errors.DrwError(f"nothing has moved for {_STUCK_S:.0f} s: see the actors' logs")
            if not self._act(entities):
                time.sleep(_LOOK_S)

    def _read(self) -> dict[str, StatusEntity]:
        docs = self._entities.fetch([names.document_id(ous) for ous in OUSS])
        found = (status.read(doc) for doc in docs if doc)
        return {each.entity_id: each for each in found}

    def _act(self, entities: Mapping[str, StatusEntity]) -> bool:
        """Do the next thing that a person would do; tell whether there was one."""
        for ous, entity in entities.items():
            if entity.state == lifecycle.READY_FOR_REVIEW:
                self._review(ous)
                return True
            if self._waits_for_launch(entity):
                self._launched_at[ous] = len(entity.history)
                self._launch(ous)
                return True
        return False

    def _waits_for_launch(self, entity: StatusEntity) -> bool:
        """Tell whether an OUS failed and was not launched since: its history shows that only once it is taken."""
        failed = entity.state == lifecycle.PROCESSING_PROBLEM or _was_failed(entity)
        return failed and self._launched_at.get(entity.entity_id) != len(entity.history)

    def _launch(self, ous: str) -> None:
        self._launches[ous] += 1
        if self._launches[ous] > _LAUNCHES:
            raise errors.DrwError(f"{ous} was launched {_LAUNCHES} times and never got through")
        self._commands.run("launcher", PROGRAM, ous, names.DEFAULT_RECIPE, "EU")

    def _review(self, ous: str) -> None:
        flag, comment = ("S", "good enough") if ous in _SEMIPASSED else ("P", "as it should be")
        if ous == _FAILED_ONCE and "F" not in self._flags:
            flag, comment = "F", "once more, please"
        review = ("--reviewer", "demo", "--ous", ous, "--flag", flag, "--comment", comment)
        if self._commands.run("aqua-qa2", *review, may_fail=True):
            self._flags.append(flag)

    def _caption(self) -> str:
        launches, failed = sum(self._launches.values()), self._flags.count("F")
        return f"{counted(launches, 'launch', 'launches')}, {counted(len(self._flags), 'verdict')}, {failed} failed"

    def summary(self) -> str:
        """Return in one sentence what was shown, as the histories have it."""
        history = [entry for each in self._read().values() for entry in each.history]
        problems = sum(entry.state == lifecycle.PROCESSING_PROBLEM for entry in history)
        fails = sum(entry.state == lifecycle.READY_FOR_PROCESSING and _is_fail(entry.note) for entry in history)
        what = [f"{len(OUSS)} OUSs went from {lifecycle.READY_FOR_PROCESSING} to {lifecycle.DELIVERED}"]
        if problems:
            what.append(f"{_number(problems)} met a processing problem and {_were(problems)} launched again")
        if fails:
            what.append(f"{_number(fails)} {_were(fails)} failed by the reviewer and launched again")
        return "; ".join(what)


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _number(count: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six")
    return f"{words[count] if count < len(words) else count} {'run' if count == 1 else 'runs'}"


def _was_failed(entity: StatusEntity) -> bool:
    last = entity.history[-1].note if entity.history else ""
    return entity.state == lifecycle.READY_FOR_PROCESSING and _is_fail(last)


def _is_fail(note: str) -> bool:
    return note.startswith("Fail")


class _View:
    """The OUSs by state: a table that lives on a terminal, else a line whenever the counts change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._begun = time.monotonic()
        self._said = ""

    def __enter__(self) -> None:
        if self._live:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, entities: Mapping[str, StatusEntity], caption: str) -> None:
        """Show how the OUSs are distributed now."""
        if self._live:
            self._live.update(_table(entities, caption))
            return
        counts = Counter(each.state for each in entities.values())
        said = ", ".join(f"{counts[state]} {state}" for state in lifecycle.STATES if counts[state])
        if said != self._said:
            self._said = said
            say(self._console, f"{time.monotonic() - self._begun:6.1f} s  {said}")


def _table(entities: Mapping[str, StatusEntity], caption: str) -> Table:
    counts = Counter(each.state for each in entities.values())
    table = Table(
        title=f"{len(OUSS)} OUSs of {PROGRAM}",
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("state", no_wrap=True, min_width=max(map(len, lifecycle.STATES)))
    table.add_column("OUSs", justify="right", no_wrap=True)
    table.add_column("which")
    for state in lifecycle.STATES:
        here = [each.entity_id.rpartition("/")[2] for each in entities.values() if each.state == state]
        table.add_row(state, str(counts[state]), " ".join(here))
    return table
