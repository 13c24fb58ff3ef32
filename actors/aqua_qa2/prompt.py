"""The reviewer's prompt and the command line of aqua-qa2."""

from __future__ import annotations

import getpass
import signal
import threading
from typing import TYPE_CHECKING, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from actors.aqua_qa2.background import Background
from actors.aqua_qa2.desk import FLAGS, Desk
from shared import actor, names
from shared.errors import DrwError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from shared.actor import Actor
    from shared.messages import Flag
    from shared.reports import StoredReport
    from shared.status import StatusEntity

_VERDICT: Final = "QA2 flag: [P]ass, [S]emipass, [F]ail, [C]ancel? "
_CHOICE: Final = "Please enter the UID of the OUS to review (Return lists again, q quits): "


class _Left(Exception):
    """The reviewer has left: end of input, or Ctrl-C."""


class Prompt:
    """A text-based interface for one reviewer after another."""

    def __init__(self, desk: Desk, weblog_url: str, console: Console, ask: Callable[[str], str]) -> None:
        """Take the desk, where weblogs are served, where to print and how to ask."""
        self._desk = desk
        self._weblog_url = weblog_url
        self._console = console
        self._ask = ask

    def run(self, stopping: threading.Event) -> None:
        """Let the reviewer take OUSs until he leaves."""
        try:
            while not stopping.is_set():
                self.list()
                chosen = self._ask(_CHOICE).strip()
                if chosen.lower() in {"q", "quit", "exit"}:
                    return
                if chosen:
                    self._attempt(chosen)
        except (_Left, KeyboardInterrupt):
            self._console.print()

    def list(self) -> None:
        """Print what waits for review."""
        try:
            waiting = self._desk.waiting()
        except DrwError as error:
            self._console.print(str(error), style="red", markup=False)
            return
        table = Table(title=f"OUSs ready to be reviewed: {len(waiting)}", title_justify="left", box=SIMPLE_HEAD)
        # The UID is there to be copied: it is never folded.
        table.add_column("OUS", no_wrap=True, min_width=max((len(each.entity_id) for each in waiting), default=0))
        for head in ("program", "executive", "run", "since (UTC)"):
            table.add_column(head, overflow="fold")
        for each in waiting:
            table.add_row(each.entity_id, each.prog_id, each.executive, each.run, each.timestamp[:19])
        self._console.print(table)

    def _attempt(self, chosen: str) -> None:
        try:
            self.review(names.uid(chosen))
        except DrwError as error:
            self._console.print(str(error), style="red", markup=False)

    def review(self, ous_uid: str) -> None:
        """Review one OUS; a reviewer who leaves before a verdict gives it back."""
        taken, report = self._desk.take(ous_uid)
        try:
            self._show(taken, report)
            flag, comment = self._ask_verdict()
        except (_Left, KeyboardInterrupt):
            self._desk.give_back(taken, "the reviewer left")
            raise
        if flag is None:
            self._desk.give_back(taken, "cancelled")
            self._console.print(f"{ous_uid} is ReadyForReview again", markup=False)
            return
        after = self._desk.give_verdict(taken, report, flag, comment)
        self._console.print(f"{flag}: {ous_uid} is {after.state}", markup=False)

    def _show(self, taken: StatusEntity, report: StoredReport) -> None:
        weblog = names.weblog(taken.entity_id, report.timestamp).removesuffix(".zip")
        self._console.print(report.xml().decode("utf-8", "replace"), markup=False, highlight=False, soft_wrap=True)
        self._console.print(f"Weblog: {self._weblog_url}/{weblog}", markup=False, soft_wrap=True)

    def _ask_verdict(self) -> tuple[Flag | None, str]:
        """Return flag and comment; no flag for Cancel."""
        while True:
            letter = self._ask(_VERDICT).strip().upper()[:1]
            if letter == "C":
                return None, ""
            if letter in FLAGS:
                return FLAGS[letter], self._ask("Comment (optional): ").strip()


def _ask(question: str) -> str:
    """Ask on the terminal; an end of the input or Ctrl-C means that the reviewer leaves."""
    try:
        return input(question)
    except (EOFError, KeyboardInterrupt) as error:
        raise _Left from error


def _parser() -> argparse.ArgumentParser:
    parser = actor.parser(
        "aqua-qa2",
        "Store pipeline reports and carry out verdicts in the background; review OUSs at a prompt.",
        "aqua-qa2 --ous uid://X1/X1/Xb0 --flag P --comment 'looks fine'",
    )
    parser.add_argument("--listen", action="store_true", help="no prompt: only work in the background")
    parser.add_argument("--reviewer", default=getpass.getuser(), help="whose name goes into the history, default yours")
    parser.add_argument("--ous", metavar="UID", type=actor.checked(names.uid), help="review this OUS, without a prompt")
    parser.add_argument("--flag", type=str.upper, choices=[*FLAGS], help="with --ous: P, S or F")
    parser.add_argument("--comment", default="", help="with --ous: goes into the history")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run AQUA QA2."""
    parser = _parser()
    args = parser.parse_args(argv)
    if bool(args.ous) != bool(args.flag):
        parser.error("--ous and --flag go together")

    def serve(me: Actor) -> int:
        Background(me)
        if args.listen:
            return me.serve("storing reports and carrying out verdicts")
        console = Console()
        desk = Desk(me, args.reviewer)
        if args.ous:
            with me.bus:
                taken, report = desk.take(args.ous)
                after = desk.give_verdict(taken, report, FLAGS[args.flag], args.comment)
            console.print(f"{FLAGS[args.flag]}: {args.ous} is {after.state}", markup=False)
            return 0
        prompt = Prompt(desk, me.settings.weblog_url, console, _ask)
        return _serve_with_prompt(me, prompt)

    return actor.run("aqua-qa2", args, serve, log=args.listen)


def _serve_with_prompt(me: Actor, prompt: Prompt) -> int:
    """Work in the background while the prompt, in the main thread, waits for the reviewer."""
    status: list[int] = []
    background = threading.Thread(target=lambda: status.append(me.serve("storing reports and carrying out verdicts")))
    background.start()
    # A reviewer who is asked something leaves at once on a signal, also when the terminal is closed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        prompt.run(me.stopping)
    finally:
        me.stopping.set()
        background.join()
    return status[0] if status else 1
