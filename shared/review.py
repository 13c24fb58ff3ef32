"""What reviewers said of the runs of an OUS, as its history keeps it. Pure.

A verdict is a note in the history: the flag, the code of a reason where there is one, and a comment, as in
``Fail: [imaging] the beam is twice as wide as asked for``. :func:`remark` writes what follows the flag, and
:func:`of_history` reads all of it back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from shared import lifecycle, names
from shared.errors import BadInput
from shared.printable import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.status import HistoryEntry

REASONS: Final = {
    "dataset": "the observed data",
    "flagging": "too much or too little is flagged",
    "calibration": "the calibration",
    "imaging": "the images",
    "pipeline": "the pipeline itself went wrong",
    "other": "something else, as the comment says",
}
"""Why a run may fail its review, by code: a topic of the report, the pipeline, or something else."""

COMMENT_LENGTH: Final = 2000
_NOTE: Final = re.compile(rf"(Pass|Semipass|Fail)(?:: (?:\[({'|'.join(REASONS)})\] ?)?(.*))?", re.DOTALL)
_RUN: Final = "run "
_AFTER: Final = {
    "Pass": lifecycle.VERIFIED,
    "Semipass": lifecycle.VERIFIED,
    "Fail": lifecycle.READY_FOR_PROCESSING,
}


class Review(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A verdict on a run: the flag, why (a code of :data:`REASONS`, or none), in words, by whom, when (UTC)."""

    run: str
    flag: str
    reason: str = ""
    comment: str = ""
    reviewer: str
    at: str


def reason(text: str) -> str:
    """Return the code that a text names, in full or by its beginning; raise BadInput with what there is."""
    wanted = text.strip().lower()
    found = [code for code in REASONS if code.startswith(wanted)] if wanted else []
    if len(found) != 1:
        raise BadInput(f"{names.shown(text)} is not the code of a reason: it is one of {', '.join(REASONS)}")
    return found[0]


def comment(text: str) -> str:
    """Return a comment as it is kept: one line of plain characters; raise BadInput for one that is too long."""
    cleaned = visible(text).strip()
    if len(cleaned) > COMMENT_LENGTH:
        raise BadInput(f"the comment has {len(cleaned)} characters: write {COMMENT_LENGTH} at most")
    return cleaned


def remark(reason_: str, comment_: str) -> str:
    """Return what stands behind the flag in the history: the reason's code, and the comment."""
    return " ".join(filter(None, [f"[{reason_}]" if reason_ else "", comment_]))


def of_history(history: Sequence[HistoryEntry]) -> list[Review]:
    """Return the verdicts on all runs of an OUS, oldest first."""
    found: list[Review] = []
    run, before = "", ""
    for entry in history:
        run = _run_of(entry) or run
        said = _NOTE.fullmatch(entry.note)
        if before == lifecycle.REVIEWING and said and entry.state == _AFTER[said[1]]:
            review = Review(
                run=run,
                flag=said[1],
                reason=said[2] or "",
                comment=said[3] or "",
                reviewer=entry.by,
                at=entry.at,
            )
            found.append(review)
        before = entry.state
    return found


def for_next_run(history: Sequence[HistoryEntry]) -> dict[str, str]:
    """Return what the reviewer of the run before said, for the message that asks for the next; empty for nothing."""
    reviews = of_history(history)
    return msgspec.to_builtins(reviews[-1]) if reviews else {}


def waiting_since(history: Sequence[HistoryEntry]) -> str:
    """Return when the run that is to be reviewed was first ready for it (UTC); empty where none is.

    A review that was given back does not make an OUS younger.
    """
    since = ""
    for entry in history:
        if entry.state == lifecycle.READY_FOR_REVIEW:
            since = since or entry.at
        elif entry.state != lifecycle.REVIEWING:
            since = ""
    return since


def _run_of(entry: HistoryEntry) -> str:
    """Return the run that a driver has finished with this change, or nothing."""
    if entry.state != lifecycle.READY_FOR_REVIEW or not entry.note.startswith(_RUN):
        return ""
    try:
        return names.split_products_dir(entry.note.removeprefix(_RUN))[1]
    except BadInput:
        return ""  # somebody's own words, which happen to begin so
