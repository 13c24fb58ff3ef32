"""An independent client replicates into, out of and between couchlets: PouchDB 9, from npm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from couchdb_server import start_couchlet

HERE = Path(__file__).parent / "pouchdb"


def skip_unless_in_ci(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def test_pouchdb_and_two_couchlets_end_alike(tmp_path):
    if shutil.which("node") is None:
        skip_unless_in_ci("PouchDB needs Node, which is not installed")
    if not (HERE / "node_modules").is_dir():
        skip_unless_in_ci("PouchDB is not installed: run `npm ci` in tests/couchlet/pouchdb")
    servers = [start_couchlet(tmp_path / name) for name in ("first", "second")]
    try:
        addresses = []
        for server in servers:
            assert server.ask("PUT", "/replicated").status == 201
            addresses.append(f"http://{server.user}:{server.password}@{server.host}:{server.port}/replicated")
        run = subprocess.run(
            ["node", "replicate.mjs", *addresses], cwd=HERE, capture_output=True, text=True, timeout=120, check=False
        )
        assert run.returncode == 0, run.stderr
        found = json.loads(run.stdout)
    finally:
        for server in servers:
            server.stop()
    assert found == {
        "leaves": 1000 + 100 * 2 + 25,
        "shown": 1000 - 143 + 100,
        "thereEqual": True,
        "backEqual": True,
        "backDiffers": True,
        "writtenAgain": 0,
    }
