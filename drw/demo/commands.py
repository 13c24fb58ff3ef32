"""Running our own commands, as a person would type them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from drw.machine.processes import scripts_dir
from shared.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIME_LIMIT_S: Final = 120.0


class Commands:
    """Runs console scripts of ours in a given environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Take the environment."""
        self._environ = environ

    def run(self, name: str, *args: str, may_fail: bool = False) -> bool:
        """Run a command and tell whether it succeeded; ProgramError with its last words where it must not fail."""
        try:
            done = subprocess.run(  # noqa: S603 (our own program, its arguments one by one)
                [str(scripts_dir() / name), *args],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ProgramError(f"{name} {' '.join(args)} has not ended within {_TIME_LIMIT_S:g} s") from error
        if done.returncode and not may_fail:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise ProgramError(f"{name} {' '.join(args)} ended with {done.returncode}: {words[-1] if words else ''}")
        return done.returncode == 0
