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
from shared import actor, names, report
from shared.errors import BadInput, DrwError

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

    def run(self, stopping: threading.Event, take_over: str | None = None) -> None:
        """Let the reviewer take OUSs until he leaves, beginning with one that is taken over from somebody else."""
        try:
            if take_over:
                self._attempt(take_over, over=True)
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
        for head in ("executive", "run", "score", "since (UTC)"):
            table.add_column(head, no_wrap=True)
        for each in waiting:
            table.add_row(*self._row(each))
        self._console.print(table)

    def _row(self, each: StatusEntity) -> tuple[str, ...]:
        since = each.timestamp[:19]
        if each.reviewer:
            since += f" (left by {each.reviewer.name})"
        return each.entity_id, each.executive, each.run, self._desk.final_score(each), since

    def _attempt(self, chosen: str, *, over: bool = False) -> None:
        try:
            self.review(names.uid(chosen), over=over)
        except DrwError as error:
            self._console.print(str(error), style="red", markup=False)

    def review(self, ous_uid: str, *, over: bool = False) -> None:
        """Review one OUS; a reviewer who leaves before a verdict gives it back."""
        taken, stored = self._desk.take(ous_uid, over=over)
        try:
            self._show(taken, stored)
            flag, comment = self._ask_verdict()
        except (_Left, KeyboardInterrupt):
            self._console.print(f"\nno verdict: {ous_uid} is given back", markup=False)
            self._give_back(taken, "the reviewer left")
            raise
        if flag is None:
            self._give_back(taken, "cancelled")
            return
        after = self._desk.give_verdict(taken, stored, flag, comment)
        self._console.print(f"{flag}: {ous_uid} is {after.state}", markup=False)

    def _give_back(self, taken: StatusEntity, why: str) -> None:
        try:
            self._desk.give_back(taken, why)
        except DrwError as error:
            self._console.print(f"{error}; others can review it once this program has ended", markup=False)
        else:
            self._console.print(f"{taken.entity_id} is ReadyForReview again", markup=False)

    def _show(self, taken: StatusEntity, stored: StoredReport) -> None:
        weblog = names.weblog(taken.entity_id, stored.timestamp).removesuffix(".zip")
        self._console.print(stored.xml().decode("utf-8", "replace"), markup=False, highlight=False, soft_wrap=True)
        for line in summary(stored.xml()):
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._console.print(f"Weblog: {self._weblog_url}/{weblog}", markup=False, soft_wrap=True)

    def _ask_verdict(self) -> tuple[Flag | None, str]:
        """Return flag and comment; no flag for Cancel."""
        while True:
            letter = self._ask(_VERDICT).strip().upper()[:1]
            if letter == "C":
                return None, ""
            if letter in FLAGS:
                return FLAGS[letter], self._ask("Comment (optional): ").strip()


def summary(xml: bytes) -> list[str]:
    """Return what a reviewer wants to know of a report first: the final score, the topics', and the worst stage's."""
    try:
        parsed = report.parse(xml)
    except BadInput as error:
        return [f"The report cannot be summed up: {error}"]
    final = parsed.summary.final_score
    lines = [f"Final score: {final if final is not None else 'none'} ({report.band(final).value})"]
    lines += [f"  {topic.name}: {topic.score} ({report.band(topic.score).value})" for topic in parsed.topics]
    worst = report.lowest(parsed)
    if worst:
        score = worst.representative
        lines.append(f"Lowest: stage {worst.number} {worst.name}, {score.score}: {score.reason}")
    return lines


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
    parser.add_argument(
        "--take-over",
        metavar="UID",
        type=actor.checked(names.uid),
        help="begin with this OUS, even if somebody else reviews it",
    )
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
        return _serve_with_prompt(me, prompt, args.take_over)

    return actor.run("aqua-qa2", args, serve, log=args.listen)


def _serve_with_prompt(me: Actor, prompt: Prompt, take_over: str | None) -> int:
    """Work in the background while the prompt, in the main thread, waits for the reviewer."""
    status: list[int] = []
    background = threading.Thread(target=lambda: status.append(me.serve("storing reports and carrying out verdicts")))
    background.start()
    # A reviewer who is asked something leaves at once on a signal, also when the terminal is closed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        prompt.run(me.stopping, take_over)
    finally:
        me.stopping.set()
        background.join()
    return status[0] if status else 1
