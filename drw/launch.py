"""``launch-all.sh``: start every actor, one terminal an actor; show what runs; end it."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

import httpx
from rich.console import Console
from rich.table import Table

from drw import background, ending, processes, setup, tmux
from drw.running import Home, status
from shared import actor
from shared.errors import BadInput, DrwError
from shared.settings import read_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from drw.background import Started
    from drw.processes import Process
    from drw.running import Row, State
    from shared.settings import Settings

    Start = Callable[[Sequence[Process]], Started]

NAME: Final = "launch-all.sh"
_PROBE_S: Final = 5.0
_UNAUTHORIZED: Final = 401
_INTERRUPTED: Final = 130
_PHASES: Final = {
    "starting": "starting",
    "ready": "[green]runs[/]",
    "waiting": "[yellow]is started again[/]",
    "failed": "[red]ended[/]",
    "gone": "[red]gone[/]",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    args = _parser().parse_args(arguments)
    try:
        settings = read_settings()
        if args.stop:
            return _stop(settings)
        if args.status:
            return _status(settings)
        return _launch(args, settings)
    except BadInput as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return actor.USAGE_ERROR
    except (DrwError, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return actor.FAILURE
    except KeyboardInterrupt:
        print(f"{NAME}: interrupted; what was started goes on: see --status and --stop", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    made = actor.OneLineParser(
        prog=NAME,
        description="Start every actor and the dashboard, show what runs, or end it.",
        epilog=f"example:  ./{NAME} --background",
    )
    what = made.add_mutually_exclusive_group()
    what.add_argument("--status", action="store_true", help="show what runs where; exit status 1 unless all of it runs")
    what.add_argument("--stop", action="store_true", help="end what was started here, gracefully, then hard")
    what.add_argument("--tmux", action="store_true", help="use tmux even if standard output is no terminal")
    what.add_argument("--background", action="store_true", help="do not use tmux")
    made.add_argument("--log-format", default="text", choices=["text", "json"], help="how log lines look, default text")
    return made


def _launch(args: argparse.Namespace, settings: Settings) -> int:
    in_tmux = _wants_tmux(args, settings)
    environ = environment(settings)
    start = starter(settings, environ, in_tmux=in_tmux)
    already = {row.process.name for row in status(settings.home).alive()}
    try:
        settings = start_database(settings, start)
        setup.ensure(settings)
        for cache in (settings.eu_cache_dir(), settings.jao_cache_dir()):
            background.make_folder(cache)
        start(processes.actors(settings, prompt=in_tmux, log_format=args.log_format))
    finally:
        _show(status(settings.home), already)
    if in_tmux:
        print(f"to see them: tmux attach -t {tmux.SESSION}")
    print(f"to end them: ./{NAME} --stop")
    return 0


def _wants_tmux(args: argparse.Namespace, settings: Settings) -> bool:
    """Tell whether to use tmux: as asked for, else as what runs already was started, else where it can be seen."""
    if args.tmux and not tmux.is_there():
        raise BadInput("--tmux: tmux is not installed; install it, or leave the option away")
    if args.tmux or args.background:
        return bool(args.tmux)
    before = Home(settings.home).state()
    if before.alive():
        return before.mode == "tmux"
    return tmux.is_there() and sys.stdout.isatty()


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment for the actors: this one, its folders made absolute, because they start elsewhere."""
    folders = {
        "DRW_HOME": settings.home,
        "DRW_EU_CACHE": settings.eu_cache,
        "DRW_JAO_CACHE": settings.jao_cache,
        "DRW_WORK_DIR": settings.work_dir,
        "DRW_LOG_DIR": settings.log_dir,
    }
    return {**os.environ, **{name: str(path) for name, path in folders.items() if path}}


def starter(settings: Settings, environ: Mapping[str, str], *, in_tmux: bool = False) -> Start:
    """Return what starts processes with these settings, in the background or under tmux."""
    way = tmux.start if in_tmux else background.start

    def start(wanted: Sequence[Process]) -> Started:
        return way(
            wanted,
            environ=environ,
            home=settings.home,
            logs=settings.logs_dir(),
            # What ends well within its own grace must have a moment to leave.
            grace_s=settings.grace_s + 2.0,
        )

    return start


def start_database(settings: Settings, start: Start) -> Settings:
    """Start couchlet unless a CouchDB answers; return the settings with the credentials that there are now."""
    ours = any(row.process.name == processes.COUCHLET for row in status(settings.home).rows)
    if answers(settings) and not ours:
        return settings
    couchlet = processes.couchlet(settings)
    if not ours:
        print(f"no CouchDB answers at {settings.couchdb_url}: couchlet is started there, in its place")
    start([couchlet])
    return read_settings()


def answers(settings: Settings) -> bool:
    """Tell whether a CouchDB answers at ``DRW_COUCHDB_URL``; DrwError if something else does."""
    loopback = processes.is_loopback(httpx.URL(settings.couchdb_url).host)
    try:
        # A proxy would look for the address of this machine on its own.
        reply = httpx.get(f"{settings.couchdb_url}/", timeout=_PROBE_S, trust_env=not loopback)
    except httpx.TransportError:
        return False
    if reply.status_code == _UNAUTHORIZED or '"couchdb"' in reply.text:
        return True
    raise DrwError(
        f"what answers at DRW_COUCHDB_URL, {settings.couchdb_url}, is no CouchDB: stop it, or name another address"
    )


def _stop(settings: Settings) -> int:
    ended = ending.stop(settings.home)
    print(f"ended {', '.join(ended)}" if ended else "nothing that was started here runs")
    return 0


def _status(settings: Settings) -> int:
    state = status(settings.home)
    if not state.rows:
        print(f"nothing runs that was started here; to start it: ./{NAME}")
        return 1
    _show(state, set())
    return 0 if all(row.phase == "ready" for row in state.rows) else 1


def _show(state: State, already: set[str]) -> None:
    """Print what runs where."""
    if not state.rows:
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("actor", "state", "pid", "since (UTC)", "restarts", "open", "log"):
        table.add_column(heading, overflow="fold")
    for row in state.rows:
        table.add_row(*_cells(row, row.process.name in already))
    console = Console()
    if not console.is_terminal:
        # A log or a pipe has no width to keep to.
        console = Console(width=max(console.width, 200))
    console.print(table, highlight=False)


def _cells(row: Row, already: bool) -> tuple[str, ...]:
    phase = _PHASES[row.phase]
    if row.phase in {"waiting", "failed"} and row.ending:
        phase += f": {row.ending}"
    elif already:
        phase += " already"
    log = shlex.quote(str(row.process.log))
    return (row.process.name, phase, str(row.pid), row.since, str(row.restarts), row.process.address, log)


if __name__ == "__main__":
    sys.exit(main())
