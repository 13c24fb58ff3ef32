"""Which process a pid means: together with when it was born it cannot be mistaken for a later one of the same pid."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

_STATE, _START_TICKS = 0, 19
"""Fields of ``/proc/PID/stat``, counted from behind the program's name, which may hold anything."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def birth(pid: int) -> str:
    """Return when the process of this pid was born, in words that only compare; empty if there is none (any more).

    One that has ended but was not yet collected by its parent counts as none.
    """
    if pid <= 0:
        return ""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        boot = _BOOT.read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        # Either the process is gone, or this system has no /proc.
        return "" if Path("/proc/self/stat").exists() else _birth_by_ps(pid)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[_STATE] in {"Z", "X"} else f"{boot} {fields[_START_TICKS]}"


def _birth_by_ps(pid: int) -> str:
    asked = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    state, _, started = said.partition(" ")
    return "" if state.startswith("Z") else started.strip()


def is_alive(pid: int, born: str) -> bool:
    """Tell whether the very process lives that had this pid and this birth."""
    return bool(born) and birth(pid) == born


def terminate(pid: int, born: str) -> None:
    """Ask a process to end, if it is still the one that was meant."""
    if is_alive(pid, born):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def kill(pid: int, born: str) -> None:
    """End a process at once, if it is still the one that was meant."""
    if is_alive(pid, born):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def kill_group(pid: int, born: str) -> None:
    """End a process that leads its group, and all of that group, at once; nothing if it is not the one meant."""
    if is_alive(pid, born):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
