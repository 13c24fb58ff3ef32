"""What the operators' commands share: every foreseen failure is one line on standard error and an exit status."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from shared import actor, streams
from shared.errors import DrwError

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED: Final = 130


def run(name: str, command: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """Run a command and return its exit status; ``interrupted`` is what to say when Ctrl-C ends it."""
    try:
        status = command()
        sys.stdout.flush()
    except DrwError as error:
        return _fail(name, str(error), actor.status_of(error))
    except OSError as error:
        return _fail(name, streams.sentence(error), actor.FAILURE)
    except KeyboardInterrupt:
        return _fail(name, interrupted, INTERRUPTED)
    return status


def _fail(name: str, sentence: str, status: int) -> int:
    streams.complain(name, sentence)
    return status
