"""``drw completion``: what a shell needs to complete ``drw``'s commands, options and choices."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import shtab

from drw.registry import OK

if TYPE_CHECKING:
    from drw.registry import Commands, Context


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "completion",
        _completion,
        help="print what lets bash or zsh complete this command",
        example='eval "$(drw completion bash)"',
        json=False,
        needs_database=False,
    )
    parser.add_argument("shell", choices=["bash", "zsh"])


def _completion(context: Context) -> int:
    sys.stdout.write(shtab.complete(context.args.whole, shell=context.args.shell))
    return OK
