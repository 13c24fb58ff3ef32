"""What people change in a browser is done once, and is in the audit once, though the dashboard is killed at it.

Each effect is struck, before and after in turns; ``DRW_KILLED=all`` has both moments.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

KILLED = Path(__file__).resolve().parents[1] / "killed_dashboard.py"
EACH = "twice" if os.environ.get("DRW_KILLED") == "all" else "once"


def test_who_does_again_what_was_not_answered_has_done_it_once():
    done = subprocess.run(
        [sys.executable, str(KILLED), "--each", EACH], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-4000:]}"
    assert done.stdout.count(" 0 differences") == 1
