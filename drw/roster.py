"""``drw actors`` and ``drw logs``: who runs where, and what it says."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from drw import arguments, columns, crew, drain, near, overview
from drw.columns import Line, counted, say
from drw.machine import tails
from drw.registry import OK
from shared import actor
from shared.errors import BadInput
from shared.printable import visible, visible_lines

if TYPE_CHECKING:
    from pathlib import Path

    from drw.crew import Worker
    from drw.drain import Drained
    from drw.registry import Commands, Context

_HEADS: Final = ("actor", "stands", "since", "last sign", "listens to", "doing")
_LOOK_S: Final = 0.3
_SUFFIX: Final = ".log"


def register(commands: Commands) -> None:
    """Make both commands known."""
    listing = commands.add(
        "actors",
        _actors,
        help="who runs where, since when, and what it does",
        description="List the actors that live, and those that died without a word.",
        example="drw actors --all",
    )
    listing.add_argument("--all", action="store_true", help="also those that ended well")
    logs = commands.add(
        "logs",
        _logs,
        help="what an actor says",
        description="Print the end of an actor's log file, one of those in DRW_LOG_DIR that ./launch-all.sh makes.",
        example="drw logs pipeline-driver-EU -f",
        needs_database=False,
    )
    logs.add_argument("actor", help="its name, like pipeline-driver-EU")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    logs.add_argument(
        "-n",
        "--lines",
        type=actor.checked(arguments.number_or_none),
        default=20,
        help="how many of the last lines, default 20",
    )


def _actors(context: Context) -> int:
    found = [each for each in crew.workers(context.connection) if context.args.all or each.stands != "ended"]
    drained = {each.actor: each for each in drain.in_force(context, found)}
    if context.args.json:
        return context.print_json([{**asdict(each), "drained": drained.get(each.id)} for each in found])
    columns.print_table(context.console, _HEADS, [_line(each, drained.get(each.id), context) for each in found])
    alive = sum(each.stands == "alive" for each in found)
    dead = sum(each.stands == "dead" for each in found)
    say(context.console, f"{counted(alive, 'actor')} alive, {dead} dead")
    return OK


def _line(each: Worker, drained: Drained | None, context: Context) -> Line:
    """Return an actor's line: what there is in the overview, with what it listens to, and below who drained it."""
    line = overview.actor_line(each, context)
    *cells, doing = line.cells
    style = "yellow" if drained else line.style
    return Line((*cells, " ".join(each.listens), doing), drain.sentence(drained) if drained else "", style)


def _logs(context: Context) -> int:
    if context.args.follow and context.args.json:
        raise BadInput("--follow is for people, --json for programs: leave one of them away")
    folder = context.settings.logs_dir()
    path = log_file(folder, context.args.actor)
    end = tails.size(path)
    lines = tails.end_of(path, context.args.lines) if context.args.lines > 0 else []
    if context.args.json:
        return context.print_json({"actor": path.stem, "file": str(path), "lines": lines})
    for line in lines:
        print(visible(line))
    return _follow(path, end) if context.args.follow else OK


def log_file(folder: Path, name: str) -> Path:
    """Return the log file of an actor, by the launcher's name for it or by its id in ``drw actors``."""
    known = sorted(path.stem for path in folder.glob(f"*{_SUFFIX}"))
    wanted = name.partition("@")[0].replace(".", "-")
    if wanted in known:
        return folder / f"{wanted}{_SUFFIX}"
    if not known:
        raise BadInput(
            f"there are no log files in DRW_LOG_DIR, {folder}: ./launch-all.sh makes them; an actor in a terminal of "
            "its own says there what it does"
        )
    raise near.unknown("log of an actor", name, known, f"there are those of {columns.listed(known)} in {folder}")


def _follow(path: Path, start: int) -> int:
    """Print what a file gets, from byte ``start`` on, until Ctrl-C; it may be rotated meanwhile."""
    never = threading.Event()
    while True:
        end = tails.size(path)
        if end != start:
            written = tails.between(path, start if start <= end else 0, end)
            print(visible_lines(written), end="", flush=True)
            start = end
        never.wait(_LOOK_S)
