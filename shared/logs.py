"""Log lines: when (UTC), which actor, how bad, about which OUS and message, what."""

from __future__ import annotations

import json
import logging
import logging.handlers
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shared.clock import elapsed_s
from shared.errors import DatabaseAway, DeadlineExceeded, NotNow, OutcomeUnknown
from shared.printable import visible, visible_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shared.errors import DrwError

_OUS: ContextVar[str] = ContextVar("ous", default="")
_MESSAGE: ContextVar[str] = ContextVar("message", default="")
_FILE_BYTES: Final = 10_000_000
_FILES_KEPT: Final = 5
_CALM_S: Final = 10.0
_SAID_KEPT: Final = 100


@contextmanager
def about(*, ous: str = "", message: str = "") -> Iterator[None]:
    """Have every line logged by this thread meanwhile say which OUS and which message it is about."""
    ous_before, message_before = _OUS.set(ous), _MESSAGE.set(message)
    try:
        yield
    finally:
        _OUS.reset(ous_before)
        _MESSAGE.reset(message_before)


class Trouble:
    """What is tried again and again: each new reason why it fails is said once, but for outages, which others tell."""

    def __init__(self, to: logging.Logger, what: str) -> None:
        """Take where to say it, and what fails, as the beginning of a sentence."""
        self._to, self._what = to, what
        self._said: set[str] = set()
        self._met_s = 0.0
        self._is_over = False

    def met(self, error: DrwError) -> None:
        """Note a failure. That nobody answers is one reason, though each request that it tells of is another."""
        is_unanswered = isinstance(error, DeadlineExceeded)
        reason = type(error).__name__ if is_unanswered else str(error)
        is_told = isinstance(error, DatabaseAway | OutcomeUnknown) and not (is_unanswered or isinstance(error, NotNow))
        if (self._is_over and elapsed_s() > self._met_s + _CALM_S) or len(self._said) > _SAID_KEPT:
            self._said.clear()
        is_news = not is_told and reason not in self._said
        self._to.log(logging.ERROR if is_news else logging.DEBUG, "%s: %s", self._what, error)
        self._said |= {reason} if is_news else set()
        self._met_s, self._is_over = elapsed_s(), False

    def over(self) -> None:
        """Note that it went well. What fails and goes well by turns is one trouble."""
        self._is_over = True


class TextFormatter(logging.Formatter):
    """``2026-11-20T23:40:00.123Z xtss INFO [uid://X1/X1/Xb0 xtss:…] text``."""

    def __init__(self, actor: str) -> None:
        """Take the name of the actor to put into each line."""
        super().__init__()
        self._actor = actor

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line, a traceback below it."""
        subject = " ".join(filter(None, (_OUS.get(), _MESSAGE.get())))
        text = " ".join(filter(None, (_utc(record), self._actor, record.levelname, f"[{subject}]" if subject else "")))
        text += " " + _one_line(record.getMessage())
        return f"{text}\n{visible_lines(self.formatException(record.exc_info))}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the same facts: ``at``, ``actor``, ``level``, ``ous``, ``message``, ``text``."""

    def __init__(self, actor: str) -> None:
        """Take the name of the actor to put into each line."""
        super().__init__()
        self._actor = actor

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one JSON object."""
        line = {
            "at": _utc(record),
            "actor": self._actor,
            "level": record.levelname,
            "ous": _OUS.get(),
            "message": _MESSAGE.get(),
            "text": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(actor: str, *, level: str, form: str, file: Path | None, quiet: bool = False) -> None:
    """Send what is logged to ``file``, which is rotated at 10 MB, five times, and to the terminal.

    Without a file, standard error gets it whatever it is; ``quiet`` keeps from it what is less than a warning.
    """
    formatter = JsonFormatter(actor) if form == "json" else TextFormatter(actor)
    handlers: list[logging.Handler] = []
    if file is None or sys.stderr.isatty():
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[0].setLevel(logging.WARNING if quiet else level)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            logging.handlers.RotatingFileHandler(
                file, maxBytes=_FILE_BYTES, backupCount=_FILES_KEPT, encoding="utf-8", errors="backslashreplace"
            )
        )
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=handlers, force=True)
    for noisy in ("urllib3", "werkzeug", "waitress"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _utc(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _one_line(text: str) -> str:
    """Return text with line ends spelled out, and whatever else would not stand on a terminal as it is."""
    return visible(text.replace("\n", "\\n").replace("\r", "\\r"))
