"""A reviewer at the prompt: choosing an OUS, reading about its run, and giving a verdict."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from actors.aqua_qa2 import listing, reading
from actors.aqua_qa2.desk import FLAGS, given
from actors.aqua_qa2.styled import line, said
from actors.aqua_qa2.terminal import Left
from shared import review
from shared.errors import BadInput, DeadlineExceeded, DrwError, OutcomeUnknown, RemoteError
from shared.names import shown

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from actors.aqua_qa2.board import Board
    from actors.aqua_qa2.desk import Desk
    from actors.aqua_qa2.styled import Line
    from actors.aqua_qa2.terminal import Terminal
    from shared.messages import Flag
    from shared.reports import StoredReport
    from shared.status import StatusEntity

VERDICT: Final = "QA2 flag: [P]ass, [S]emipass, [F]ail, [C]ancel? "
_CANCEL: Final = "Cancel"
_LEFT: Final = "the reviewer left"
_HELP: Final = (
    "  3              review what has this number in the list; it keeps its number",
    "  uid://A/B/Xb0  review this OUS; its ending will do if no other has it: Xb0",
    "  over 3         take it over from whoever reviews it, who is told at his verdict",
    "  list           the whole list; Return looks again",
    "  quit           leave (as Ctrl-C and Ctrl-D do)",
    "  Tab completes, the arrow keys bring back what was typed before",
)
_ONE_WORD: Final = "type one number or UID at a time; '?' tells what can be typed"
_VERDICT_HELP: Final = "to read more: report, xml, history; Ctrl-C gives it back and leaves"
_INTERRUPTIONS: Final = 3
_FLAG_WORDS: Final = (*FLAGS.values(), _CANCEL)


class Session:
    """One reviewer, one OUS after another."""

    def __init__(self, desk: Desk, board: Board, terminal: Terminal, weblog_url: str) -> None:
        """Take the desk, what waits, where to read and type, and where weblogs are served."""
        self._desk = desk
        self._board = board
        self._terminal = terminal
        self._weblog_url = weblog_url

    def run(self, stopping: threading.Event, first: str | None = None, *, over: bool = False) -> None:
        """Let the reviewer review until he leaves, beginning with the ``first`` OUS, which may be taken ``over``.

        However he leaves, what he has then is given back.
        """
        steps = [lambda: self._review_all(stopping, first, over=over), self._leave]
        for _ in range(_INTERRUPTIONS):
            # A terminal that is closed ends the input first, and only then says so by a signal: wherever that comes,
            # leaving is begun anew.
            try:
                while steps:
                    steps[0]()
                    del steps[0]
            except KeyboardInterrupt:
                steps = steps[-1:]
            except BaseException:
                if len(steps) > 1:
                    self._leave()
                raise
            else:
                return

    def _review_all(self, stopping: threading.Event, first: str | None, *, over: bool) -> None:
        try:
            if first:
                self._attempt(first, over=over)
            while not stopping.is_set() and self._next():
                pass
        except (Left, OSError):
            pass  # OSError: the terminal is gone

    def _next(self) -> bool:
        """Do what the reviewer types; False when he quits."""
        words = self._terminal.choose(self._board).split()
        match [words[0].lower(), *words[1:]] if words else []:
            case []:
                return True
            case ["q" | "quit" | "exit"]:
                return False
            case ["?" | "h" | "help"]:
                self._terminal.show(*map(line, _HELP))
            case ["l" | "list"]:
                self._list()
            case ["over", which]:
                self._attempt(which, over=True)
            case [_]:
                self._attempt(words[0])
            case _:
                self._say(f"{shown(' '.join(words))} is more than one word: {_ONE_WORD}", "wrong")
        return True

    def _list(self) -> None:
        rows = self._board.rows()
        self._terminal.page(listing.listed(rows, self._desk.now(), self._terminal.width))

    def _attempt(self, which: str, *, over: bool = False) -> None:
        try:
            self._review(listing.chosen(which, self._board.uids(), self._board.gone()), over=over)
        except DrwError as error:
            self._terminal.show(line(said(str(error), "wrong")))

    def _review(self, ous_uid: str, *, over: bool) -> None:
        taken, stored = self._desk.take(ous_uid, over=over)
        self._present(taken, stored)
        while True:
            flag, reason, comment = self._ask_verdict(taken, stored)
            if flag is None:
                self._give_back(taken, "cancelled")
                return
            if self._give(taken, stored, flag, reason, comment):
                return

    def _give(self, taken: StatusEntity, stored: StoredReport, flag: Flag, reason: str, comment: str) -> bool:
        """Give a verdict and say what came of it; False where it is to be asked for again."""
        ous = taken.entity_id
        try:
            after = self._desk.give_verdict(taken, stored, flag, comment, reason)
        except DeadlineExceeded:
            self._say(given(flag, ous))
        except OutcomeUnknown as error:
            self._say(f"{error}; give the same verdict again, which is safe", "wrong")
            return False
        except RemoteError as error:
            self._say(f"the verdict on {ous} could not be carried out: {error}", "wrong")
            self._give_back(taken, "the verdict could not be carried out")
        else:
            self._say(f"{flag}: {ous} is {after.state}")
        return True

    def _give_back(self, taken: StatusEntity, why: str) -> None:
        try:
            self._desk.give_back(taken, why)
        except RemoteError as error:
            self._say(str(error))  # another has it, or it is elsewhere in its life
        except DrwError as error:
            self._say(f"{error}; others can review {taken.entity_id} when this program has ended", "wrong")
        else:
            self._say(f"{taken.entity_id} is ReadyForReview again")

    def _leave(self) -> None:
        """Give back what this reviewer still has; the terminal may be gone by now."""
        try:
            words = [f"{ous} is given back: it is ReadyForReview again" for ous in self._desk.leave(_LEFT)]
        except DrwError as error:
            words = [f"{error}; others can review what you had when this program has ended"]
        try:
            self._terminal.show(line(), *map(line, words))
        except OSError:
            _without_terminal()

    # Reading

    def _present(self, taken: StatusEntity, stored: StoredReport) -> None:
        terminal = self._terminal
        about = f"{taken.entity_id}, program {taken.prog_id}, run {stored.timestamp} at {taken.executive}"
        terminal.page(
            [
                line(),
                line(("bold", "Reviewing "), said(about, "bold")),
                *self._read(stored, partial(reading.overview, width=terminal.width, blocks=terminal.blocks)),
                line(),
                *self._earlier(taken),
                line(),
            ]
        )
        weblog = listing.weblog(self._weblog_url, taken.entity_id, stored.timestamp)
        terminal.show(line(f"Weblog: {weblog}"), line(("dim", _VERDICT_HELP)))

    def _read(self, stored: StoredReport, show: Callable[[bytes], list[Line]]) -> list[Line]:
        """Return a report as it is shown; one that cannot be read says so, and its run can be failed for it."""
        try:
            return show(stored.xml())
        except BadInput as error:
            return reading.unreadable(error, self._terminal.width)

    def _earlier(self, taken: StatusEntity) -> list[Line]:
        try:
            scores = self._desk.earlier(taken)
        except DrwError as error:
            return [line(said(f"earlier runs cannot be shown now: {error}", "wrong"))]
        return reading.earlier([*scores], review.of_history(taken.history), scores, self._terminal.width)

    def _read_more(self, word: str, taken: StatusEntity, stored: StoredReport) -> bool:
        """Show what the reviewer asks to read; False if it is nothing of that."""
        width, blocks = self._terminal.width, self._terminal.blocks
        more: dict[str, Callable[[], list[Line]]] = {
            "report": lambda: self._read(stored, partial(reading.whole, width=width, blocks=blocks)),
            "xml": lambda: self._read(stored, reading.raw),
            "history": lambda: self._earlier(taken),
            "help": lambda: [line(("dim", _VERDICT_HELP))],
            "?": lambda: [line(("dim", _VERDICT_HELP))],
        }
        wanted = [read for name, read in more.items() if word and name.startswith(word)]
        if len(wanted) != 1:
            return False
        self._terminal.page(wanted[0](), as_they_are=wanted[0] is more["xml"])
        return True

    # Asking

    def _ask_verdict(self, taken: StatusEntity, stored: StoredReport) -> tuple[Flag | None, str, str]:
        """Return flag, reason and comment; no flag for Cancel."""
        while True:
            word = self._terminal.ask(VERDICT).strip().lower()
            found = [each for each in _FLAG_WORDS if word and each.lower().startswith(word)]
            if found == [_CANCEL]:
                return None, "", ""
            if len(found) == 1:
                flag = FLAGS[found[0][0]]
                reason = self._ask_reason() if flag == "Fail" else ""
                if reason is not None:
                    return flag, reason, self._ask_comment(needed=flag != "Pass")
            elif not self._read_more(word, taken, stored):
                self._say("please type p, s, f or c; or report, xml or history to read more", "dim")

    def _ask_reason(self) -> str | None:
        """Return the code of a reason; None for a reviewer who thinks again."""
        numbers = {str(number): code for number, code in enumerate(review.REASONS, 1)}
        self._terminal.show(*(line(f"  {number} {code:12}", review.REASONS[code]) for number, code in numbers.items()))
        while True:
            typed = self._terminal.ask("Reason (a number or a word; Return goes back to the flag): ").strip()
            if not typed:
                return None
            try:
                return numbers.get(typed) or review.reason(typed)
            except BadInput as error:
                self._say(str(error), "wrong")

    def _ask_comment(self, *, needed: bool) -> str:
        question = "Comment: " if needed else "Comment (optional): "
        while True:
            try:
                comment = review.comment(self._terminal.ask(question))
            except BadInput as error:
                self._say(str(error), "wrong")
                continue
            if comment or not needed:
                return comment
            self._say("please write a comment: whoever processes or uses this will read it")

    def _say(self, text: str, style: str = "") -> None:
        self._terminal.show(line(said(text, style)))


def _without_terminal() -> None:
    """Have what is still written go nowhere, because the terminal is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
