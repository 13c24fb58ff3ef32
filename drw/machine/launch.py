"""``launch-all.sh``: start every actor, one terminal an actor; show what runs; end it."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from drw import command_line, setup
from drw.machine import background, database, ending, heartbeats, ports, processes, showing, starting, tmux
from drw.machine.running import Home, status
from shared import actor
from shared.dbcon import DbConnection
from shared.errors import BadInput, DrwError
from shared.printable import visible
from shared.settings import read_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

    from drw.machine.heartbeats import Living
    from drw.machine.processes import Process
    from shared.settings import Settings

NAME: Final = "launch-all.sh"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    args = _parser().parse_args(arguments)
    return command_line.run(
        NAME, partial(_run, args), interrupted="interrupted; what was started goes on: see --status and --stop"
    )


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


def _run(args: argparse.Namespace) -> int:
    settings = read_settings()
    if args.stop:
        return _stop(settings)
    if args.status:
        return _status(settings)
    return _launch(args, settings)


def _launch(args: argparse.Namespace, settings: Settings) -> int:
    in_tmux = _wants_tmux(args, settings)
    before = status(settings.home)
    background.refuse_other_mode(before, "tmux" if in_tmux else "background")
    starting.refuse_nested_caches(settings)
    database.refuse_the_demos(settings)
    already = {row.process.name for row in before.alive()}
    wanted = processes.actors(settings, prompt=in_tmux, log_format=args.log_format)
    there = _started_by_hand(settings, wanted) if database.answers(settings) else {}
    wanted = tuple(process for process in wanted if process.name in already or process.name not in there)
    _check_ports(settings, [process for process in wanted if process.name not in already])
    try:
        _start(settings, wanted, in_tmux=in_tmux)
    finally:
        showing.show(status(settings.home), already=already)
        for name, each in there.items():
            print(f"{name} already runs by hand ({visible(each.where)}): no second one is started")
    if not wanted:
        print("there is nothing left to start")
        return 0
    if in_tmux:
        print(f"to see them: {tmux.how_to_look()}")
    print(f"to end them: ./{NAME} --stop")
    return 0


def _start(settings: Settings, wanted: Sequence[Process], *, in_tmux: bool) -> None:
    start = starting.starter(settings, starting.environment(settings), in_tmux=in_tmux)
    settings = database.start_database(settings, start)
    setup.ensure(settings)
    for cache in (settings.eu_cache_dir(), settings.jao_cache_dir()):
        background.make_folder(cache)
    if wanted:
        start(wanted)


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


def _started_by_hand(settings: Settings, wanted: Sequence[Process]) -> dict[str, Living]:
    """Return which of the actors live without having been started here."""
    ours: Collection[int] = {row.shown_pid() for row in Home(settings.home).state().rows}
    connection = DbConnection(settings)
    try:
        connection.check_credentials()
        return heartbeats.by_hand(heartbeats.living(connection, ours=ours), wanted)
    finally:
        connection.close()


def _check_ports(settings: Settings, starting_now: Sequence[Process]) -> None:
    try:
        ports.refuse_taken(starting_now)
    except BadInput as error:
        hint = database.demo_runs(settings)
        raise BadInput(f"{error}; {hint}" if hint else str(error)) from error


def _stop(settings: Settings) -> int:
    ended = ending.stop(settings.home)
    print(f"ended {', '.join(ended)}" if ended else "nothing that was started here runs")
    _mention_demo(settings)
    return 0


def _status(settings: Settings) -> int:
    state = status(settings.home)
    if not state.rows:
        print(f"nothing runs that was started here; to start it: ./{NAME}")
        _mention_demo(settings)
        return 1
    showing.show(state)
    missing = _missing(settings, {row.process.name for row in state.rows})
    if missing:
        print(f"not started: {', '.join(missing)}; ./{NAME} starts what is missing")
    _mention_demo(settings)
    return 0 if showing.is_well(state) and not missing else 1


def _missing(settings: Settings, rows: Collection[str]) -> list[str]:
    """Return what was not started here; say of what was started by hand instead that it runs."""
    absent = [process for process in processes.actors(settings) if process.name not in rows]
    if not absent:
        return []
    try:
        there = _started_by_hand(settings, absent)
    except DrwError:  # the database is away, and its row says so
        there = {}
    for name, each in there.items():
        print(f"{name} runs by hand ({visible(each.where)})")
    return [process.name for process in absent if process.name not in there]


def _mention_demo(settings: Settings) -> None:
    if hint := database.demo_runs(settings):
        print(hint)


if __name__ == "__main__":
    sys.exit(main())
