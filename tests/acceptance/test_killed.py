"""Each actor alone: killed around its effects and started again, it leaves what it would have left.

Here are some of its effects, before and after in turns; ``DRW_KILLED=all`` has all of them, and both moments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLED = Path(__file__).resolve().parents[1] / "killed.py"
SPREAD = [] if os.environ.get("DRW_KILLED") == "all" else ["--each", "once", "--most", "4"]


@pytest.mark.parametrize(
    "scenes",
    [
        ("xtss creates", "xtss changes", "launcher", "tracker"),
        ("aqua, report", "aqua, pass", "aqua, fail", "reviewer"),
        ("driver", "driver fails"),
        ("cache, products", "cache, weblog"),
        ("ingestor", "ingestor, taken names", "notifier", "janitor"),
    ],
    ids="; ".join,
)
def test_whoever_is_killed_and_started_again_leaves_what_it_would_have_left(scenes):
    done = subprocess.run(
        [sys.executable, str(KILLED), *scenes, *SPREAD], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-4000:]}"
    assert done.stdout.count(" 0 differences") == len(scenes)
