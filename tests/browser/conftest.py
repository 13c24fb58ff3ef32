"""A real browser for the dashboard, and a system behind it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

expect.set_options(timeout=30_000)  # so long a page of a machine with much to do may take: it is no promise
CHROMIUM = Path("/usr/bin/chromium")
_FILE = Path(__file__).resolve().parents[1] / "acceptance" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("acceptance_system", _FILE)
acceptance = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = acceptance
_SPEC.loader.exec_module(acceptance)
system = acceptance.system


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium, started once; it keeps an event loop running, so no longer than its own tests last."""
    if not CHROMIUM.exists():
        reason = f"no browser: {CHROMIUM} is not installed (apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()
