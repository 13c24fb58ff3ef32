"""docs/tutorial.md does what it says: its commands are run as they stand, on free ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ports import free_port

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
SCRIPTS = Path(sys.executable).parent
PORTS = ("5994", "8010", "8011", "8012")
LIMIT_S = 240
QUICK = {"DRW_POLL_S": "0.2", "DRW_POLL_MAX_S": "2", "DRW_HEARTBEAT_S": "1"}


def commands(text):
    """Return the tutorial's commands as one script, each port replaced by a free one."""
    free = {port: str(free_port()) for port in PORTS}
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: free[found[1]], script).replace("sleep 1", "sleep 0.5")


def test_the_tutorial_does_what_it_says(tmp_path):
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("DRW_", "COUCHDB_"))}
    environ |= {**QUICK, "PATH": f"{SCRIPTS}:{environ['PATH']}"}
    tutorial = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", commands(TUTORIAL.read_text())],
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = tutorial.communicate(timeout=LIMIT_S)
    finally:
        with suppress(ProcessLookupError):  # nothing is left
            os.killpg(tutorial.pid, signal.SIGTERM)
    assert tutorial.returncode == 0, said + "".join(path.read_text() for path in tmp_path.glob("*/*.log"))
    for line in (
        "uid://X1/X1/Xb1  launched  PipelineCalibration at EU",
        "uid://X1/X1/Xb0 is ReadyForReview: it has waited for a reviewer",
        "the pipeline exited with code 3",
        "launched: the calibrator was found",
        "uid://X1/X1/Xc0  launched  PipelineCalibration at NA",
    ):
        assert line in said
    assert said.count("nothing contradicts anything") == 2, said
    assert not (tmp_path / "drw-tutorial").exists()
