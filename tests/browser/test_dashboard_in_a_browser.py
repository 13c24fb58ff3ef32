"""The dashboard in a real browser: an OUS's life, search, server and database lost and back, accessibility."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
DOC_ID = "uid___X1_X1_Xb0"
LIFE = ("ReadyForProcessing", "Processing", "ReadyForReview", "Reviewing", "Verified", "Delivered")

pytestmark = pytest.mark.xdist_group("chromium")


def put_ous(system, state, doc_id=DOC_ID, minute=0):
    at = f"2026-11-20T10:{minute:02}:00.000000"
    entry = {"at": at, "by": "xtss", "state": state, "substate": "", "note": ""}

    def change(doc):
        history = [*(doc or {}).get("history", []), entry]
        return {
            **(doc or {}),
            "schema": 1,
            "entityId": "uid://" + "/".join(doc_id.split("_")[3:]),
            "progID": "2015.1.00657.S",
            "recipe": "PipelineCalibration",
            "state": state,
            "substate": "",
            "executive": "EU",
            "timestamp": at,
            "history": history,
        }

    system.connection.database("status-entities").mutate(doc_id, change)


@pytest.fixture
def url(system):
    return re.search(r"http://\S+", system.start("dashboard", "--port", "0").text)[0]


@pytest.fixture
def page(chromium, url):
    """A page at 1280 pixels that must say nothing wrong on its console."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    made = context.new_page()
    made.said = []
    made.on("console", lambda message: made.said.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: made.said.append(str(error)))
    yield made
    context.close()


def is_live(page):
    expect(page.locator("#freshness")).to_have_text("live", timeout=20_000)


def test_an_ous_moves_through_its_life_while_one_watches(system, page, url):
    page.goto(url)
    is_live(page)
    expect(page.locator("#empty")).to_be_visible()
    for minute, state in enumerate(LIFE):
        put_ous(system, state, minute=minute)
        column = page.locator(f'.column[data-state="{state}"]')
        expect(column.locator(f'[data-id="{DOC_ID}"]')).to_be_visible()
        expect(column.locator(".count")).to_have_text("1")
        expect(page.locator(".card")).to_have_count(1)
    page.locator(".card a").click()
    expect(page.locator("#history tbody tr")).to_have_count(len(LIFE))
    assert page.said == []


def test_search_finds_and_what_needs_a_human_is_counted(system, page, url):
    for number in range(60):
        put_ous(system, "ReadyForReview" if number < 3 else "Delivered", doc_id=f"uid___X1_X1_X{number:02}")
    page.goto(url)
    expect(page.locator("#needs")).to_have_text("3")
    column = page.locator('.column[data-state="Delivered"]')
    expect(column.locator(".count")).to_have_text("57")
    column.locator(".more").click()
    expect(column.locator(".card")).to_have_count(57)
    page.get_by_label("Search").fill("x1/x07")
    page.get_by_label("Search").press("Enter")
    expect(page.locator(".card")).to_have_count(1)
    assert page.said == []


def test_a_database_that_is_lost_is_said_and_the_page_goes_on_by_itself(system, page, url):
    put_ous(system, "Processing")
    page.goto(url)
    is_live(page)
    system.couchlet.kill()
    expect(page.locator("#freshness")).to_have_text("database away", timeout=20_000)
    expect(page.locator("#trouble")).to_contain_text("goes on by itself")
    system.couchlet.start()
    is_live(page)
    put_ous(system, "Verified", minute=5)
    expect(page.locator(f'.column[data-state="Verified"] [data-id="{DOC_ID}"]')).to_be_visible()


def test_a_server_that_is_lost_is_said_and_the_page_catches_up(system, page, url):
    put_ous(system, "Processing")
    page.goto(url)
    is_live(page)
    system.running[-1].stop()
    expect(page.locator("#freshness")).to_have_text("reconnecting")
    put_ous(system, "Delivered", minute=5)
    system.start("dashboard", "--port", url.rstrip("/").rpartition(":")[2])
    is_live(page)
    expect(page.locator(f'.column[data-state="Delivered"] [data-id="{DOC_ID}"]')).to_be_visible(timeout=20_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_pages_are_accessible_and_fit(system, chromium, url, scheme, width):
    if not AXE.exists():
        reason = "axe-core is not installed: run `npm ci` in tests/browser/axe"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    for number, state in enumerate(("ReadyForReview", "ProcessingProblem", "Delivered")):
        put_ous(system, state, doc_id=f"uid___X1_X1_X{number}")
    # The check itself is a script of others, which the pages' policy forbids.
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    for path in ("", "ous/uid___X1_X1_X0", "actors", "flow", "tables", "table/ous", "nowhere"):
        page.goto(url + path)
        is_live(page)
        page.add_script_tag(path=str(AXE))
        found = page.evaluate(
            "axe.run().then((result) => result.violations.map((each) => [each.id, each.nodes[0].html]))"
        )
        assert found == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    context.close()
