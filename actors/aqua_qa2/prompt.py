"""The command line of aqua-qa2: the prompt, the background, and what scripts use."""

from __future__ import annotations

import json
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from actors.aqua_qa2.background import Background
from actors.aqua_qa2.board import Board
from actors.aqua_qa2.desk import FLAGS, Desk, given
from actors.aqua_qa2.holding import Returns
from actors.aqua_qa2.listing import listed
from actors.aqua_qa2.session import Session
from actors.aqua_qa2.terminal import Plain, terminal
from shared import actor, audit, names, review, streams
from shared.errors import DeadlineExceeded, DrwError
from shared.heartbeats import REVIEWING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from shared.actor import Actor

_WORK = "storing reports and carrying out verdicts"


def _parser() -> argparse.ArgumentParser:
    parser = actor.parser(
        "aqua-qa2",
        "Store pipeline reports and carry out verdicts in the background;\nreview OUSs at a prompt.",
        "aqua-qa2 --ous uid://X1/X1/Xb0 --flag F --reason imaging --comment 'the beam is too wide'",
    )
    parser.add_argument("--listen", action="store_true", help="no prompt: only work in the background")
    parser.add_argument("--list", action="store_true", help="print what waits for review, and end")
    parser.add_argument("--json", action="store_true", help="with --list: print JSON, for programs")
    parser.add_argument(
        "--reviewer",
        default=audit.who(),
        type=actor.checked(review.comment),
        help="whose name goes into the history, default yours",
    )
    parser.add_argument(
        "--take-over",
        metavar="UID",
        type=actor.checked(names.uid),
        help="begin with this OUS, even if somebody else reviews it",
    )
    parser.add_argument("--ous", metavar="UID", type=actor.checked(names.uid), help="begin with this OUS")
    parser.add_argument(
        "--flag", type=str.upper, choices=[*FLAGS], help="with --ous: P, S or F, given without a prompt"
    )
    parser.add_argument(
        "--reason",
        type=actor.checked(review.reason),
        metavar="CODE",
        help=f"with --flag F: {', '.join(review.REASONS)} (the default)",
    )
    parser.add_argument(
        "--comment",
        default="",
        type=actor.checked(review.comment),
        help="with --ous: goes into the history and to the next run; S and F need one",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run AQUA QA2."""
    parser = _parser()
    args = parser.parse_args(argv)
    wrong = _contradiction(args)
    if wrong:
        parser.error(wrong)

    def serve(me: Actor) -> int:
        desk = Desk(me, args.reviewer)
        if args.list:
            return _print_list(me, desk, as_json=args.json)
        _look_after(me)
        if args.listen:
            return me.serve(_WORK)
        if args.flag:
            return _while_serving(me, lambda: _review(desk, args))
        return _while_serving(me, lambda: _prompt(me, desk, args.take_over or args.ous, over=bool(args.take_over)))

    return actor.run("aqua-qa2", args, serve, log=args.listen)


def _contradiction(args: argparse.Namespace) -> str:
    """Return which arguments do not go together, or nothing."""
    needs_comment = args.flag in {"S", "F"} and not args.comment
    wrong = {
        "--flag goes with --ous: which OUS?": args.flag and not args.ous,
        "--ous goes with none of --take-over, --listen and --list": args.ous
        and (args.take_over or args.listen or args.list),
        "--reason goes with --flag F": args.reason and args.flag != "F",
        f"--flag {args.flag} needs a --comment: whoever processes or uses the OUS will read it": needs_comment,
        "--comment goes with --ous and --flag": args.comment and not args.flag,
        "--json goes with --list": args.json and not args.list,
    }
    return next((said for said, is_so in wrong.items() if is_so), "")


def _look_after(me: Actor) -> None:
    """Have the background done: reports, verdicts, and the return of reviews whose reviewer is gone."""
    Background(me)
    returning = threading.Thread(target=Returns(me).run, name="returns", daemon=True)
    returning.start()
    me.part("returns of reviews", returning.is_alive)


def _while_serving(me: Actor, do: Callable[[], None]) -> int:
    """Do something in the main thread while the background is served, and give signs of life meanwhile."""
    status: list[int] = []
    background = threading.Thread(target=lambda: status.append(me.serve(_WORK)))
    with me.busy(REVIEWING):
        background.start()
        try:
            do()
        finally:
            me.stopping.set()
            background.join()
    return status[0] if status else actor.FAILURE


def _review(desk: Desk, args: argparse.Namespace) -> None:
    """Review one OUS as a script says."""
    flag = FLAGS[args.flag]
    reason = (args.reason or "other") if flag == "Fail" else ""
    try:
        taken, stored = desk.take(args.ous)
        try:
            after = desk.give_verdict(taken, stored, flag, args.comment, reason)
        except DeadlineExceeded:
            streams.tell(given(flag, args.ous))
        else:
            streams.tell(f"{flag}: {args.ous} is {after.state}")
    except DrwError:
        with suppress(DrwError):  # what went wrong first is what counts
            desk.leave("the verdict was not given")
        raise


def _prompt(me: Actor, desk: Desk, first: str | None, *, over: bool) -> None:
    # A reviewer who is asked something leaves at once on a signal, also when the terminal is closed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    board = Board(me, desk)
    following = threading.Thread(target=board.follow, name="board", daemon=True)
    following.start()
    me.part("list of what waits", following.is_alive)
    where = terminal(me.connection.clock, me.settings.home, me.stopping)
    Session(desk, board, where, me.settings.weblog_url).run(me.stopping, first, over=over)


def _leave(number: int, frame: object) -> NoReturn:
    """Interrupt the main thread, as Ctrl-C does; a terminal that is closed says so twice, which cuts nothing off."""
    del frame
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _print_list(me: Actor, desk: Desk, *, as_json: bool) -> int:
    rows = desk.rows()
    now = me.connection.clock.now()
    if as_json:
        json.dump([row.json(now, me.settings.weblog_url) for row in rows], sys.stdout, indent=2)
        print()
        return 0
    where = Plain(me.connection.clock)
    width = where.width if sys.stdout.isatty() else None
    where.show(*listed(dict(enumerate(rows, 1)), now, width))
    return 0
