"""What a tmux window is started with: ``python -m drw.window HOME NAME`` becomes the process of that name.

It takes the environment from ``HOME/wanted.json``, because a tmux server has one of its own, and a command line can be
read by everybody.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

from drw.running import Home

_KEPT: Final = ("TMUX", "TMUX_PANE", "TERM", "COLORTERM")
"""What the window knows better than the terminal that the launcher was called from."""


def main() -> int:
    """Prepare the window, then become the process."""
    home, name = sys.argv[1:]
    wanted = Home(Path(home)).wanted()
    process = next(each for each in wanted.processes if each.name == name)
    _tmux("set-option", "-w", "remain-on-exit", "on")
    if not process.writes_log:
        _tmux("pipe-pane", f"cat >> {shlex.quote(str(process.log))}")
    environ = {**wanted.environ, **{key: os.environ[key] for key in _KEPT if key in os.environ}}
    try:
        os.execvpe(process.argv[0], process.argv, environ)  # noqa: S606 (that is what this is for)
    except OSError as error:
        print(f"{process.argv[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 1


def _tmux(command: str, *arguments: str) -> None:
    # The command's name comes first, then the window that this runs in.
    subprocess.run(["tmux", command, "-t", os.environ["TMUX_PANE"], *arguments], check=False)  # noqa: S603, S607


if __name__ == "__main__":
    sys.exit(main())
