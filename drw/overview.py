"""``drw status``: the whole system on one page, as it is now or as it changes."""

from __future__ import annotations

import shutil
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from drw import ages, arguments, columns, crew, mail, setup
from drw.columns import Line, listed, say
from drw.ous import MOST
from drw.registry import OK
from shared import actor, lifecycle, status
from shared.errors import BadInput, DatabaseAway, DatabaseMissing
from shared.printable import visible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drw.crew import Worker
    from drw.mail import Waiting
    from drw.registry import Commands, Context
    from shared.dbcon import DbConnection
    from shared.settings import Settings

_WATCH_S: Final = 2.0
_LOW: Final = 0.05
_KB: Final = 1024.0


@dataclass(frozen=True)
class Disk:
    """A disk: which of our folders are on it, one of them, and its space (bytes)."""

    what: str
    path: str
    free: int
    size: int

    @property
    def is_low(self) -> bool:
        """Whether less than a twentieth is free."""
        return self.free < self.size * _LOW


@dataclass(frozen=True)
class Stored:
    """A database: how many documents, and the room they take on disk (bytes); None where there is no such database."""

    name: str
    documents: int | None
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The whole system at a moment."""

    url: str
    server: str
    states: dict[str, int]
    all_ous: bool
    """Whether ``states`` counts every OUS: so many of a state are counted at most."""
    selectors: list[Waiting]
    whole: bool
    """Whether ``selectors`` counts every message."""
    actors: list[Worker]
    databases: list[Stored]
    disks: list[Disk]


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "status",
        _status,
        help="the whole system on one page",
        description="Show OUSs by state, messages by selector and state, actors, databases and disks.",
        example="drw status --watch",
    )
    parser.add_argument(
        "--watch",
        nargs="?",
        type=actor.checked(arguments.period_s),
        const=_WATCH_S,
        metavar="SECONDS",
        help=f"show it again every so many seconds, default {_WATCH_S:.0f}, until Ctrl-C",
    )


def read(connection: DbConnection, settings: Settings) -> Overview:
    """Read what there is to know."""
    workers = crew.workers(connection)
    selectors, whole = mail.tally(connection, workers)
    welcome = connection.welcome()
    vendor = welcome.get("vendor", {}).get("name", "")
    states = {state: _count(connection, state) for state in lifecycle.STATES}
    return Overview(
        url=connection.url,
        server=" ".join(filter(None, [str(vendor), str(welcome.get("version", ""))])),
        states=states,
        all_ous=max(states.values()) < MOST,
        selectors=selectors,
        whole=whole,
        actors=[each for each in workers if each.stands != "ended"],
        databases=[_stored(connection, name) for name in setup.DATABASES],
        disks=disks(settings),
    )


def _count(connection: DbConnection, state: str) -> int:
    index = status.STATE_INDEX
    rows = connection.database(status.DATABASE).find(
        {"state": state}, index=index, sort=status.INDEXES[index], limit=MOST, fields=["state"]
    )
    return len(rows)


def _stored(connection: DbConnection, name: str) -> Stored:
    try:
        info: dict[str, Any] = connection.database(name).info()
        documents = connection.database(name).count()
    except DatabaseMissing:
        return Stored(name, None)
    return Stored(name, documents, int(info.get("sizes", {}).get("file", 0)))


def disks(settings: Settings) -> list[Disk]:
    """Return the disks of those of our folders that are on this machine, and their space."""
    folders: list[tuple[str, Path]] = [
        ("DRW_HOME", settings.home),
        ("EU cache", settings.eu_cache_dir()),
        ("JAO cache", settings.jao_cache_dir()),
        ("runs", settings.runs_dir()),
        ("logs", settings.logs_dir()),
    ]
    together: dict[int, list[tuple[str, Path]]] = {}
    for what, path in folders:
        if path.is_dir():
            together.setdefault(path.stat().st_dev, []).append((what, path))
    return [_disk(each) for each in together.values()]


def _disk(folders: Sequence[tuple[str, Path]]) -> Disk:
    path = folders[0][1]
    usage = shutil.disk_usage(path)
    return Disk(listed([what for what, _ in folders]), str(path), usage.free, usage.total)


def amount(size: float) -> str:
    """Return a number of bytes in its largest unit: ``12 kB``, ``3.4 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < _KB:
            return f"{size:.0f} {unit}" if unit in {"B", "kB"} else f"{size:.1f} {unit}"
        size /= _KB
    return f"{size:.1f} TB"


# Printing


def _status(context: Context) -> int:
    if context.args.watch is not None:
        if context.args.json:
            raise BadInput(
                "--watch is for people, --json for programs: leave one of them away; 'drw tail --json' goes on"
            )
        return _watch(context, context.args.watch)
    found = read(context.connection, context.settings)
    if context.args.json:
        return context.print_json(found)
    _print(context, found)
    return OK


def _watch(context: Context, every_s: float) -> int:
    """Show the page again and again; while the database is away, the last one stays, with a line that says so."""
    never, page, console = threading.Event(), Text(), context.console
    with console.screen() if console.is_terminal else nullcontext() as screen:
        while True:
            try:
                with console.capture() as captured:
                    _print(context, read(context.connection, context.settings))
                page = shown = Text.from_ansi(captured.get())
            except DatabaseAway as error:
                shown = Text(f"{visible(str(error))}\n\n", style="red") + page
            if screen:
                screen.update(shown)
            else:
                console.print(shown, soft_wrap=True)
            never.wait(every_s)


def _print(context: Context, found: Overview) -> None:
    console, now = context.console, context.connection.clock.now()
    say(console, f"{found.server} at {found.url}, {now:%Y-%m-%d %H:%M:%S} UTC")
    states = [_state_line(*each) for each in found.states.items() if each[1]]
    _section(context, "OUSs" if states else "OUSs: none yet", ("state", "OUSs"), states)
    say(console)
    say(console, "messages", style="bold cyan")
    mail.print_tally(context, found.selectors, whole=found.whole)
    if found.actors:
        heads = ("actor", "stands", "since", "last sign", "doing")
        _section(context, "actors", heads, [actor_line(each, context) for each in found.actors])
    else:
        _section(context, "actors: none has given a sign of life", (), [])
    stored = [
        Line((each.name, str(each.documents), amount(each.size)))
        if each.documents is not None
        else Line((each.name, "missing", ""), "'drw setup' makes it", "red")
        for each in found.databases
    ]
    _section(context, "databases", ("database", "documents", "on disk"), stored)
    lines = [
        Line((amount(each.free), amount(each.size), each.what), style="red" if each.is_low else "")
        for each in found.disks
    ]
    _section(context, "disk", ("free", "of", "which has"), lines)


def _section(context: Context, title: str, heads: Sequence[str], lines: Sequence[Line]) -> None:
    say(context.console)
    say(context.console, title, style="bold cyan")
    if lines:
        columns.print_table(context.console, heads, lines)


def _state_line(state: str, count: int) -> Line:
    style = "red" if state == lifecycle.PROCESSING_PROBLEM else ""
    return Line((state, f"{count}{' or more' if count >= MOST else ''}"), style=style)


def actor_line(each: Worker, context: Context) -> Line:
    """Return an actor's line of a table: name, how it stands, since when, its last sign of life, what it does."""
    now = context.connection.clock.now()
    style = {"alive": "", "dead": "red"}.get(each.stands, "dim")
    return Line(
        (each.id, each.stands, ages.since(each.since, now), f"{ages.since(each.at, now)} ago", each.doing), "", style
    )
