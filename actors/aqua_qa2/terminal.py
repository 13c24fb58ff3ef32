"""The reviewer's terminal: one that can be drawn on, and one that can only be written to, line after line."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import math
import os
import select
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.shortcuts import CompleteStyle
from rich.console import Console
from rich.text import Text

from actors.aqua_qa2.listing import listed
from actors.aqua_qa2.styled import STYLES, Line, line, plain, wrapped

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from prompt_toolkit.application import Application
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.history import History

    from actors.aqua_qa2.board import Board
    from shared.clock import Clock

COMMANDS: Final = ("over", "list", "help", "quit")
_CHOICE: Final = "Please enter the UID of the OUS to review (? for help): "
_MORE: Final = "-- {left} more lines: Return shows them, q does not: "
_DUMB: Final = frozenset({"", "dumb", "unknown"})
_REDRAWN_S: Final = 1.0
_KEPT_LINES: Final = 5
"""Of the terminal's height, for what is typed and what was said before."""


class Left(Exception):
    """The reviewer has left: end of input, Ctrl-C, or the terminal is gone."""


class Terminal(Protocol):
    """Where a reviewer reads and types."""

    blocks: bool

    @property
    def width(self) -> int:
        """How many characters a line has."""

    def show(self, *lines: Line) -> None:
        """Print lines, broken between words where they are longer than the terminal is wide."""

    def page(self, lines: Sequence[Line], *, as_they_are: bool = False) -> None:
        """Print lines, a screenful at a time; ``as_they_are`` leaves it to the terminal to break them."""

    def ask(self, question: str) -> str:
        """Ask, and return what was typed; raise Left."""

    def choose(self, board: Board) -> str:
        """Show what waits, ask which to review, and return what was typed; raise Left."""


class Plain:
    """A terminal that is only written to: a dumb one, or a pipe."""

    def __init__(self, clock: Clock) -> None:
        """Take the database's time, for ages."""
        self._clock = clock
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # a key that is no text must not end a review
        self._console = Console(markup=False, emoji=False, highlight=False)
        self.blocks = self._console.encoding.startswith("utf") and not self._console.is_dumb_terminal

    @property
    def width(self) -> int:
        """How many characters a line has; a pipe has the usual number."""
        return shutil.get_terminal_size().columns

    def show(self, *lines: Line) -> None:
        """Print lines, broken between words where they are longer than the terminal is wide."""
        self._print(self._wrapped(lines))

    def _wrapped(self, lines: Iterable[Line]) -> list[Line]:
        """Return lines as this terminal has room for them; a pipe has room for all."""
        if not self._console.is_terminal:
            return list(lines)
        width = self.width
        return [each for line_ in lines for each in wrapped(line_, width)]

    def _print(self, lines: Iterable[Line]) -> None:
        for each in lines:
            text = Text.assemble(*((text, STYLES.get(style, "")) for style, text in each))
            self._console.print(text, soft_wrap=True)

    def page(self, lines: Sequence[Line], *, as_they_are: bool = False) -> None:
        """Print lines, a screenful at a time where somebody sits in front."""
        rest = list(lines) if as_they_are else self._wrapped(lines)
        while rest:
            count = self._fitting(rest) if self._console.is_terminal else len(rest)
            self._print(rest[:count])
            rest = rest[count:]
            if rest and self.ask(_MORE.format(left=len(rest))).strip().lower() in {"q", "quit"}:
                return

    def _fitting(self, lines: Sequence[Line]) -> int:
        """Return how many lines fill a screen; one that is longer than the screen is wide takes several rows of it."""
        size = shutil.get_terminal_size()
        room = max(size.lines - 2, 1)
        for count, each in enumerate(lines):
            room -= max(math.ceil(len(plain(each)) / max(size.columns, 1)), 1)
            if room < 0:
                return max(count, 1)
        return len(lines)

    def ask(self, question: str) -> str:
        """Ask, and return what was typed; raise Left."""
        *above, last = self._wrapped([line(question)])
        self._print(above)
        try:
            print(plain(last), end="", flush=True)
            if sys.stdin.isatty():
                _wait_for_a_line()
            return input()
        except (EOFError, KeyboardInterrupt) as error:
            raise Left from error

    def choose(self, board: Board) -> str:
        """Look what waits, print it, and ask which to review."""
        board.look()
        self.show(*_board_lines(board, self._clock, self.width))
        return self.ask(_CHOICE)


def _wait_for_a_line() -> None:
    """Wait until something was typed, or a signal came, whose handler then runs.

    A signal that comes between the moment when Python last looked for one and the read would be heard of only after
    the next line (CPython's issue 112585).
    """
    heard, wrote = os.pipe()
    os.set_blocking(wrote, False)
    before = signal.set_wakeup_fd(wrote)
    try:
        select.select([sys.stdin, heard], [], [])
    finally:
        signal.set_wakeup_fd(before)
        os.close(heard)
        os.close(wrote)


class Live(Plain):
    """A terminal that can be drawn on: the list above the prompt is kept up to date while the reviewer types."""

    def __init__(self, clock: Clock, home: Path, stopping: threading.Event) -> None:
        """Take the database's time, where the history of the prompt is kept, and what ends every question."""
        super().__init__(clock)
        self._stopping = stopping
        self._choosing: PromptSession[str] = PromptSession(
            history=_history(home / "aqua-qa2-history"),
            complete_style=CompleteStyle.READLINE_LIKE,
            refresh_interval=_REDRAWN_S,
            erase_when_done=True,
        )
        self._asking: PromptSession[str] = PromptSession()

    def ask(self, question: str) -> str:
        """Ask, and return what was typed; raise Left."""
        return self._prompt(self._asking, "\n".join(map(plain, self._wrapped([line(question)]))))

    def choose(self, board: Board) -> str:
        """Show what waits, again whenever it changes, and ask which to review."""

        def drawn() -> StyleAndTextTuples:
            size = get_app().output.get_size()
            *question, last = wrapped(line(_CHOICE), size.columns)
            most = size.rows - _KEPT_LINES - len(question)
            lines = [*_board_lines(board, self._clock, size.columns, most), *question]
            pieces = [(STYLES.get(style, ""), text) for each in lines for style, text in (*each, ("", "\n"))]
            return [*((_drawn_style(style), text) for style, text in pieces), *last]

        board.look()
        self._choosing.completer = _Completer(board)
        return self._prompt(self._choosing, drawn)

    def _prompt(self, session: PromptSession[str], message: object) -> str:
        with _Signals() as signals:

            def when_it_runs() -> None:
                get_app().create_background_task(_left_when(self._stopping))
                signals.end(get_app(), asyncio.get_running_loop())

            try:
                with patch_stdout(), _log_above_the_prompt():
                    typed = session.prompt(message, pre_run=when_it_runs)  # type: ignore[arg-type]
            except (EOFError, KeyboardInterrupt) as error:
                raise Left from error
        if signals.came:
            raise Left
        return typed


class _Signals:
    """Has signals to leave end a question through its event loop.

    An exception that a handler raises can come anywhere in a loop and its tasks, which are not made for that.
    """

    def __init__(self) -> None:
        self.came: set[int] = set()
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def end(self, app: Application[Any], loop: asyncio.AbstractEventLoop) -> None:
        """Have the signals end what is asked in this loop."""

        def leave(number: int, frame: object) -> None:
            del frame
            self.came.add(number)
            if not loop.is_closed():
                loop.call_soon_threadsafe(_left, app)

        for number in self._before:
            signal.signal(number, leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Put back what the signals did before; one that came says nothing new when it comes again."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_IGN if number in self.came else handler)


async def _left_when(stopping: threading.Event) -> None:
    while not stopping.is_set():  # noqa: ASYNC110 (the event is that of other threads)
        await asyncio.sleep(_REDRAWN_S)
    _left(get_app())


def _left(app: Application[Any]) -> None:
    if app.is_running and not app.is_done:
        app.exit(exception=Left())


@contextlib.contextmanager
def _log_above_the_prompt() -> Iterator[None]:
    """Have warnings go where they do not meet what is being typed: the stream that stands for standard error now."""
    handlers = [
        each
        for each in logging.getLogger().handlers
        if isinstance(each, logging.StreamHandler) and each.stream is sys.__stderr__
    ]
    for each in handlers:
        each.setStream(sys.stderr)
    try:
        yield
    finally:
        for each in handlers:
            each.setStream(sys.__stderr__)


class _Completer(Completer):
    """Completes UIDs, also from the beginning of their last part, and commands."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        del complete_event
        word = document.get_word_before_cursor(WORD=True)
        uids = [uid for uid in self._board.uids().values() if uid.startswith(word) or word in _endings(uid, len(word))]
        for each in [*uids, *(command for command in COMMANDS if command.startswith(word))]:
            yield Completion(each, start_position=-len(word))


def _endings(uid: str, length: int) -> tuple[str, ...]:
    """Return with what the parts of a UID begin, so many characters of each."""
    return tuple(part[:length] for part in uid.removeprefix("uid://").split("/"))


def _history(path: Path) -> History:
    """Return the history of the prompt, kept for this user alone; where it cannot be kept, that of this session."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _board_lines(board: Board, clock: Clock, width: int, most: int | None = None) -> list[Line]:
    lines = listed(board.rows(), clock.now(), width, most)
    return [*lines, *wrapped(line(("wrong", board.problem)), width)] if board.problem else lines


def _drawn_style(style: str) -> str:
    """Return a style of rich's in the words of what draws the prompt."""
    return style if style in {"", "bold", "dim"} else f"ansi{style}"


def terminal(clock: Clock, home: Path, stopping: threading.Event) -> Terminal:
    """Return the terminal that this process has."""
    can_draw = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "") not in _DUMB
    return Live(clock, home, stopping) if can_draw else Plain(clock)
