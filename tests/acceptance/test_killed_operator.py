"""What the operator asks for is done once and whole, whoever is killed at it: the command, the driver, the notifier.

Here are some of the effects, before and after in turns; ``DRW_KILLED=all`` has all of them, and both moments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLED = Path(__file__).resolve().parents[1] / "killed_operator.py"
SPREAD = [] if os.environ.get("DRW_KILLED") == "all" else ["--each", "once", "--most", "4"]


@pytest.mark.parametrize(
    "scenes",
    [
        ("drw cancel", "drw cancel, running", "drw launch"),
        ("driver, cancelled", "driver, cancelled in its run", "notifier"),
    ],
    ids="; ".join,
)
def test_whoever_is_killed_at_what_the_operator_asks_for(scenes):
    done = subprocess.run(
        [sys.executable, str(KILLED), *scenes, *SPREAD], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-4000:]}"
    assert done.stdout.count(" 0 differences") == len(scenes)
