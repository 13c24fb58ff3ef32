"""What the operators' commands share: every foreseen failure is one line on standard error and an exit status."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from shared import actor
from shared.errors import DrwError

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED: Final = 130
_OUTPUT_FAULTS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def run(name: str, command: Callable[[], int], *, interrupted: str = "interrupted") -> int:
    """Run a command and return its exit status; ``interrupted`` is what to say when Ctrl-C ends it."""
    _stand_in_for_closed_streams()
    try:
        status = command()
        sys.stdout.flush()
    except DrwError as error:
        return _fail(name, str(error), actor.status_of(error))
    except BrokenPipeError:
        _drop_output()  # whoever read it has seen enough, as with: | head
        return actor.FAILURE
    except OSError as error:
        return _fail(name, _sentence(error), actor.FAILURE)
    except KeyboardInterrupt:
        return _fail(name, interrupted, INTERRUPTED)
    return status


def _fail(name: str, sentence: str, status: int) -> int:
    print(f"{name}: {sentence}", file=sys.stderr)
    return status


def _sentence(error: OSError) -> str:
    """Return what went wrong, in words; where it is the output, what was to be printed is dropped."""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if error.errno not in _OUTPUT_FAULTS:
        return str(error)
    _drop_output()
    return f"what there is to say cannot be written: {error.strerror}"


def _stand_in_for_closed_streams() -> None:
    """Have standard output and error where they are closed (``>&-``), so that what is printed goes to no other file.

    What is printed then cannot be written, which the command says at its end as of a disk that is full.
    """
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _drop_output() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
