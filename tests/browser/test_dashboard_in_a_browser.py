"""The dashboard in a real browser: an OUS's life, search, server and database lost and back, accessibility."""

from __future__ import annotations

import base64
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from shared.people import People

AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
DOC_ID = "uid___X1_X1_Xb0"
PASSWORD = "countess of lovelace"
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
RUN = "2018-07-19T07:10:03.781"
MARK = (
    """document.getElementById("board").insertAdjacentHTML("beforebegin", "<template class='notice old'></template>")"""
)
RELOAD = "import('/static/live.js').then(({ events }) => events.dispatchEvent(new Event('reload')))"
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


def put_dead(system, number, body=None, what="the disk is full"):
    system.connection.database("msgq").put(
        {
            "_id": f"ingest.JAO:{number}:abc",
            "schema": 1,
            "selector": "ingest.JAO",
            "state": "dead",
            "priority": 5,
            "creationTimestamp": f"2026-11-20T10:00:00.{number:06}",
            "doneAt": f"2026-11-20T11:00:00.{number:06}",
            "sender": "test",
            "body": body or {"ousUID": "uid://X1/X1/Xb0"},
            "digest": "",
            "attempts": 8,
            "errors": [{"at": "2026-11-20T11:00:00.000000", "by": "product-ingestor@here:1", "what": what}],
        }
    )


def message(system, number):
    return system.connection.database("msgq").get(f"ingest.JAO:{number}:abc")


def log_in(system, page, url):
    People(system.home / "people").add("ada", PASSWORD)
    page.goto(url + "login?next=/dead")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("main").get_by_role("button", name="Log in").click()
    expect(page.locator("#person")).to_contain_text("ada")


def report(reasons):
    """Return a pipeline report of thirty stages, in BASE64, with a subscore for each reason in each of them."""
    score = (
        '<{tag} Score="{value}" Reason="{reason}"><Metric Name="flagged" Value="0.1" Units="%"/>'
        "<DataSelection/></{tag}>"
    )
    subscores = "".join(score.format(tag="SubScore", value=0.5, reason=each) for each in reasons)
    stages = "".join(
        f'<Stage Number="{number}" Name="hifa_stage{number}">'
        f"{score.format(tag='RepresentativeScore', value=number / 30, reason='because')}{subscores}</Stage>"
        for number in range(1, 31)
    )
    text = (
        "<PipelineAquaReport><ProjectStructure ProposalCode='2015.1.00657.S' ProcessingRequestEntityId='uid://A/B/C' "
        "ProcessingProcedure='PipelineCalibration'/><QaSummary ReportDate='2026-11-20 10:00:00' "
        "ProcessingTime='7:10:03' CasaVersion='6.6.1' PipelineVersion='2025.1' FinalScore='0.03'/>"
        f"<QaPerStage>{stages}</QaPerStage><QaPerTopic><Dataset Score='0.5'/><Flagging Score='0.5'/>"
        "<Calibration Score='0.5'/><Imaging Score='0.5'/></QaPerTopic></PipelineAquaReport>"
    )
    return base64.b64encode(text.encode()).decode()


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


def forty(system, page, url, state="Delivered"):
    """Show a board with forty OUSs in one state, of which the greatest number is the latest; return their column."""
    for number in range(40):
        put_ous(system, state, doc_id=f"uid___X1_X1_X{number:02}", minute=number)
    page.goto(url)
    is_live(page)
    column = page.locator(f'.column[data-state="{state}"]')
    expect(column.locator(".count")).to_have_text("40")
    return column


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
    for number in range(40):
        put_ous(system, "ReadyForReview" if number < 3 else "Delivered", doc_id=f"uid___X1_X1_X{number:02}")
    page.goto(url)
    expect(page.locator("#needs")).to_have_text("3")
    column = page.locator('.column[data-state="Delivered"]')
    expect(column.locator(".count")).to_have_text("37")
    column.locator(".more").click()
    expect(column.locator(".card")).to_have_count(37)
    page.evaluate(MARK)
    page.evaluate(RELOAD)
    expect(page.locator(".old")).to_have_count(0)  # fetched anew, and as long as it was
    expect(column.locator(".card")).to_have_count(37)
    page.get_by_label("Search").fill("x1/x07")
    page.get_by_label("Search").press("Enter")
    expect(page.locator(".card")).to_have_count(1)
    assert page.said == []


def test_what_moves_while_the_board_is_still_loading_is_shown(system, page, url):
    put_ous(system, "Processing")

    def move(route):
        """Answer late, when the dashboard has told of a move to whoever listens by now."""
        put_ous(system, "Delivered", minute=1)
        time.sleep(1.0)
        route.continue_()

    page.route("**/static/board.js", move)
    page.goto(url)
    expect(page.locator(f'.column[data-state="Delivered"] [data-id="{DOC_ID}"]')).to_be_visible()


def test_what_moved_at_one_moment_is_shown_in_one_order_however_it_was_told(system, page, url):
    page.goto(url)
    is_live(page)
    column = page.locator('.column[data-state="Delivered"]')
    for number in reversed(range(40)):
        put_ous(system, "Delivered", doc_id=f"uid___X1_X1_X{number:02}")
    expect(column.locator(".count")).to_have_text("40")
    column.locator(".more").click()
    cards = column.locator(".card")
    expect(cards).to_have_count(40)
    shown = cards.evaluate_all("cards => cards.map((card) => card.dataset.id)")
    assert shown == [f"uid___X1_X1_X{number:02}" for number in reversed(range(40))]


def test_a_press_on_more_is_not_lost_while_the_board_is_fetched_anew(system, page, url):
    column = forty(system, page, url)
    column.locator(".more").hover()
    page.mouse.down()
    page.evaluate(MARK)
    page.evaluate(RELOAD)
    expect(page.locator(".old")).to_have_count(0)
    page.mouse.up()
    expect(column.locator(".card")).to_have_count(40)


@pytest.mark.parametrize("what", ["the board", "more of a column"])
def test_what_moves_while_it_is_being_fetched_is_shown_where_it_is_now(system, page, url, what):
    delivered = forty(system, page, url)
    problem = page.locator('.column[data-state="ProcessingProblem"]')

    def answer_late(route):
        """Answer with what was true before a move that the page has heard of by now."""
        answer = route.fetch()
        put_ous(system, "ProcessingProblem", doc_id="uid___X1_X1_X05", minute=1)
        expect(problem.locator(".count")).to_have_text("1")
        route.fulfill(response=answer)

    page.evaluate(MARK)
    page.route(url if what == "the board" else "**/column/**", answer_late)
    if what == "the board":
        page.evaluate(RELOAD)
        expect(page.locator(".old")).to_have_count(0)
    else:
        delivered.locator(".more").click()
        expect(delivered.locator(".card")).to_have_count(39)
    expect(delivered.locator(".count")).to_have_text("39")
    expect(problem.locator(".count")).to_have_text("1")
    expect(page.locator('[data-id="uid___X1_X1_X05"]')).to_have_count(1)
    expect(problem.locator(".card")).to_have_count(1)


HIDE = (
    "window.held = []; window.draw = window.requestAnimationFrame; window.requestAnimationFrame = (f) => held.push(f)"
)
SHOW = "window.requestAnimationFrame = window.draw; held.forEach((each) => typeof each === 'function' && each())"


def shown_in(column):
    return column.locator(".card").evaluate_all("cards => cards.map((card) => card.dataset.id.slice(-2))")


def test_what_a_hidden_page_has_not_drawn_does_not_come_over_a_newer_board(system, page, url):
    put_ous(system, "Processing")
    page.goto(url)
    is_live(page)
    delivered = page.locator('.column[data-state="Delivered"]')
    page.evaluate(HIDE)  # a browser draws nothing of a page that nobody sees
    put_ous(system, "ReadyForReview", minute=1)
    page.wait_for_function("held.length > 0")
    system.running[-1].stop()
    put_ous(system, "Delivered", minute=2)
    system.start("dashboard", "--port", url.rstrip("/").rpartition(":")[2])
    expect(delivered.locator(".card")).to_have_count(1)
    page.evaluate(SHOW)
    expect(page.locator(".card")).to_have_count(1)
    expect(delivered.locator(".count")).to_have_text("1")
    expect(page.locator('.column[data-state="ReadyForReview"] .count')).to_have_text("0")


def test_more_leaves_out_no_card_when_one_far_behind_has_changed(system, page, url):
    column = forty(system, page, url, "Processing")
    for number in range(35, 40):
        put_ous(system, "Delivered", doc_id=f"uid___X1_X1_X{number:02}", minute=50)
    expect(column.locator(".card")).to_have_count(19)
    entities = system.connection.database("status-entities")
    for number in (3, 34):
        entities.mutate(f"uid___X1_X1_X{number:02}", lambda doc: doc | {"substate": "calibrating"})
    expect(column.locator(".detail", has_text="calibrating")).to_have_count(1)
    column.locator(".more").click()
    expect(column.locator(".more")).to_be_hidden()
    assert shown_in(column) == [f"{number:02}" for number in reversed(range(35))]


def test_an_ous_stands_once_on_the_board_though_a_page_is_newer_than_the_events(system, page, url):
    for number in range(40):
        put_ous(system, "Delivered", doc_id=f"uid___X1_X1_X{number:02}", minute=number)
    put_ous(system, "Processing", doc_id="uid___X1_X1_Xa0", minute=1)
    page.add_init_script(
        "const Line = EventSource; window.EventSource = class extends Line { addEventListener(kind, hear) { "
        "super.addEventListener(kind, kind === 'moves' ? (event) => setTimeout(() => hear(event), 1500) : hear); } }"
    )
    page.goto(url)
    is_live(page)
    moved = page.locator('[data-id="uid___X1_X1_Xa0"]')
    put_ous(system, "Delivered", doc_id="uid___X1_X1_Xa0", minute=2)
    column = page.locator('.column[data-state="Delivered"]')
    column.locator(".more").click()
    expect(column.locator(".count")).to_have_text("41")
    expect(column.locator(moved)).to_have_count(1)
    expect(moved).to_have_count(1)


def test_a_press_on_a_card_is_not_lost_while_a_search_is_made_anew(system, page, url):
    column = forty(system, page, url + "?q=x1")
    column.locator(".more").click()
    expect(column.locator(".card")).to_have_count(40)
    page.locator(".card a").nth(30).hover()
    page.mouse.down()
    put_ous(system, "Processing", doc_id="uid___X1_X2_Xff")
    expect(page.locator('.column[data-state="Processing"] .card')).to_have_count(1)
    page.mouse.up()
    expect(page).to_have_url(re.compile("/ous/uid___X1_X1_X09"))


def test_a_notice_of_an_outage_goes_when_it_is_over(system, page, url):
    put_ous(system, "Processing")
    page.goto(url)
    is_live(page)
    system.couchlet.kill()
    expect(page.locator("#freshness")).to_have_text("database away", timeout=20_000)
    page.reload()
    expect(page.locator("main .notice")).to_contain_text("cannot be read")
    system.couchlet.start()
    is_live(page)
    expect(page.locator("main .notice")).to_have_count(0)


class BadGateway(BaseHTTPRequestHandler):
    """A proxy whose dashboard is away."""

    def do_GET(self):
        self.send_error(502)

    def log_message(self, *_):
        self.server.asked.set()


def test_a_page_goes_on_after_the_answers_of_a_proxy_whose_dashboard_was_away(system, page, url):
    put_ous(system, "Processing")
    page.goto(url)
    is_live(page)
    system.running[-1].stop()
    port = url.rstrip("/").rpartition(":")[2]
    proxy = ThreadingHTTPServer(("127.0.0.1", int(port)), BadGateway)
    proxy.asked = threading.Event()
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    assert proxy.asked.wait(20)
    proxy.shutdown()
    proxy.server_close()
    put_ous(system, "Delivered", minute=5)
    system.start("dashboard", "--port", port)
    is_live(page)
    expect(page.locator(f'.column[data-state="Delivered"] [data-id="{DOC_ID}"]')).to_be_visible()


def test_a_page_that_asks_for_a_change_in_an_outage_stays_and_says_what_may_be(system, page, url):
    log_in(system, page, url)
    page.goto(url + "messages")
    is_live(page)
    pauses = page.locator("#pauses")
    pauses.get_by_label("Selector").fill("ingest.*")
    pauses.get_by_label("Reason").fill("the disk is full")
    system.couchlet.kill()
    pauses.get_by_role("button", name="Pause").click()
    expect(page.locator("main")).to_contain_text("may have been done")
    system.couchlet.start()
    is_live(page)
    expect(page.locator("main")).to_contain_text("may have been done")


def test_an_older_page_does_not_come_over_a_newer_one(system, page, url):
    page.goto(url + "messages")
    is_live(page)
    held = []

    def hold(route):
        """Keep the first answer back, and let the others pass."""
        if held:
            return route.continue_()
        return held.append((route, route.fetch()))

    page.route("**/messages", hold)
    put_dead(system, 1)
    page.wait_for_timeout(0)
    while not held:
        page.wait_for_timeout(20)
    put_dead(system, 2)
    page.wait_for_timeout(1500)  # in which it would be fetched anew, were it not for the answer that is due
    held[0][0].fulfill(response=held[0][1])
    expect(page.locator(".needs b")).to_have_text("2")
    page.wait_for_timeout(1500)
    expect(page.locator(".needs b")).to_have_text("2")


def test_a_press_in_a_table_stops_no_news_and_a_field_in_use_says_that_it_does(system, page, url):
    put_dead(system, 1)
    page.goto(url + "messages")
    is_live(page)
    page.locator("#selectors tbody td").nth(4).click()
    put_dead(system, 2)
    expect(page.locator(".needs b")).to_have_text("2")
    assert page.evaluate("document.activeElement.className") == "wide"
    page.locator(".needs a").focus()
    put_dead(system, 3)
    expect(page.locator("#freshness")).to_have_text("live, held while you are at it")
    page.evaluate("document.activeElement.blur()")
    expect(page.locator(".needs b")).to_have_text("3")
    expect(page.locator("#freshness")).to_have_text("live")


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


def test_what_is_shown_of_messages_stays_while_the_database_is_away_and_then_goes_on(system, page, url):
    put_dead(system, 1)
    page.goto(url + "messages")
    is_live(page)
    expect(page.locator("tfoot")).to_contain_text("1")
    system.couchlet.kill()
    expect(page.locator("#freshness")).to_have_text("database away", timeout=20_000)
    expect(page.locator("#selectors tbody th")).to_have_text("ingest.JAO")
    system.couchlet.start()
    put_dead(system, 2)
    is_live(page)
    expect(page.locator(".needs b")).to_have_text("2", timeout=20_000)


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


def test_dead_letters_are_requeued_edited_and_discarded_by_who_is_logged_in(system, page, url):
    for number in range(5):
        put_dead(system, number)
    page.goto(url + "dead")
    expect(page.locator(".letter")).to_have_count(5)
    expect(page.get_by_role("button", name="Requeue")).to_have_count(0)
    log_in(system, page, url)
    expect(page).to_have_url(url + "dead")

    for number in (0, 1):
        page.get_by_label(f"choose ingest.JAO:{number}:abc").check()
    page.get_by_role("button", name="Requeue the chosen").click()
    expect(page.locator("h1")).to_have_text("Requeue 2 dead messages?")
    page.get_by_label("Reason").fill("there is room again")
    page.get_by_role("button", name="Requeue", exact=True).click()
    expect(page.locator(".said")).to_contain_text("2 of 2 messages requeued")
    expect(page.locator(".letter")).to_have_count(3)
    assert message(system, 0)["state"] == message(system, 1)["state"] == "ready"

    page.get_by_role("link", name="ingest.JAO:2:abc").click()
    page.get_by_label("Body, to be changed").fill('{"ousUID": "uid://X1/X1/Xb9"}')
    page.get_by_label("Yes, make it ready").check()
    page.get_by_role("button", name="Requeue").click()
    expect(page.locator(".said")).to_contain_text("1 of 1 messages requeued")
    assert message(system, 2)["body"] == {"ousUID": "uid://X1/X1/Xb9"}
    assert message(system, 2)["epoch"] == 1

    page.get_by_role("button", name="Discard all 2").click()
    page.get_by_label("Reason").fill("sent by mistake")
    page.get_by_role("button", name="Discard", exact=True).click()
    expect(page.locator("#empty")).to_be_visible()
    assert message(system, 3)["state"] == message(system, 4)["state"] == "consumed"

    done = [(each["who"], each["what"], each["why"]) for each in system.connection.database("audit").every()]
    assert done == [
        *[("ada", "requeue", "there is room again")] * 2,
        ("ada", "requeue, edited", ""),
        *[("ada", "discard", "sent by mistake")] * 2,
    ]
    assert page.said == []


def test_a_selector_is_paused_and_resumed_and_the_page_shows_it(system, page, url):
    put_dead(system, 1)
    log_in(system, page, url)
    page.goto(url + "messages")
    pauses = page.locator("#pauses")
    pauses.get_by_label("Selector").fill("ingest.*")
    pauses.get_by_label("Reason").fill("the disk is full")
    pauses.get_by_role("button", name="Pause").click()
    expect(page.locator(".said")).to_contain_text("ingest.* is paused")
    expect(page.locator("#selectors tbody")).to_contain_text("paused")
    (kept,) = [each for each in system.connection.database("msgq").every() if each["_id"].startswith("control:pause")]
    assert (kept["by"], kept["reason"]) == ("ada", "the disk is full")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".said")).to_contain_text("ingest.* goes on")
    assert [each["what"] for each in system.connection.database("audit").every()] == ["pause", "resume"]
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#person")).to_have_text("Log in")
    assert page.said == []


def test_what_is_typed_while_the_page_is_fetched_anew_stays(system, page, url):
    log_in(system, page, url)
    page.goto(url + "messages")
    is_live(page)
    held = []

    def hold(route):
        if held:
            route.continue_()
        else:
            held.append(route)

    page.route("**/messages", hold)  # what it asks for of itself hangs
    put_dead(system, 1)
    deadline = time.monotonic() + 20
    while not held:
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    field = page.locator("#pauses").get_by_label("Selector")
    field.fill("ingest.*")
    with page.expect_response("**/messages"):
        held[0].continue_()
    page.wait_for_timeout(100)  # nothing tells that a page stays as it is
    assert field.input_value() == "ingest.*"


def test_messages_are_counted_live(system, page, url):
    page.goto(url + "messages")
    is_live(page)
    expect(page.locator("#empty")).to_be_visible()
    put_dead(system, 1)
    expect(page.locator("#selectors tbody th")).to_have_text("ingest.JAO")
    system.connection.database("msgq").mutate("ingest.JAO:1:abc", lambda doc: doc | {"state": "ready", "doneAt": None})
    expect(page.locator("#selectors tbody td").first).to_have_text("1 ready for ingest.JAO")
    assert page.said == []


def test_five_hundred_changes_and_a_report_of_two_megabytes_with_markup_are_text(system, page, url):
    evil = EVIL.replace("<", "&lt;").replace(">", "&gt;")
    put_ous(system, "Processing")
    history = [
        {
            "at": f"2026-11-{minute // 60 + 1:02}T10:{minute % 60:02}:00.000000",
            "by": EVIL,
            "state": "Verified",
            "substate": str(minute),
            "note": EVIL,
        }
        for minute in range(1, 500)
    ]
    database = system.connection.database("status-entities")
    database.mutate(DOC_ID, lambda doc: doc | {"history": doc["history"] + history, "progID": EVIL, "run": RUN})
    encoded = report([f"{evil} {'x' * 250}"] * 160)
    assert len(encoded) > 2_000_000
    system.connection.database("pipeline-reports").put(
        {
            "_id": f"{RUN}.{DOC_ID}",
            "schema": 1,
            "ousUID": "uid://X1/X1/Xb0",
            "timestamp": RUN,
            "source": EVIL,
            "encodedReport": encoded,
        }
    )
    put_dead(system, 1, body={"ousUID": "uid://X1/X1/Xb0", "report": encoded}, what=EVIL)
    page.on("dialog", lambda dialog: page.said.append(dialog.message))
    page.goto(url + f"ous/{DOC_ID}")
    is_live(page)
    expect(page.locator("#history tbody tr")).to_have_count(500)
    expect(page.locator("#history h2")).to_contain_text("500")
    expect(page.locator("#messages tbody tr")).to_have_count(1)
    expect(page.get_by_text("The 8 worst of 30 stages.")).to_be_visible()
    page.get_by_role("link", name="The whole report").click()
    expect(page.locator("details.stage")).to_have_count(30)
    page.locator("details.stage").first.click()
    expect(page.get_by_text("The 100 worst of 160 subscores").first).to_be_visible()
    expect(page.locator("details.stage[open]").get_by_text(EVIL).first).to_be_visible()
    page.goto(url + "message/ingest.JAO:1:abc")
    expect(page.get_by_text("only its beginning is shown")).to_be_visible()
    for path in ("", "tables", "dead", "messages/list"):
        page.goto(url + path)
        expect(page.get_by_text(EVIL).first).to_be_visible()
    assert page.said == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_pages_are_accessible_and_fit(system, chromium, url, width, scheme):
    if not AXE.exists():
        reason = "axe-core is not installed: run `npm ci` in tests/browser/axe"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    for number, state in enumerate(("ReadyForReview", "ProcessingProblem", "Delivered")):
        put_ous(system, state, doc_id=f"uid___X1_X1_X{number}")
    put_dead(system, 1)
    # What does not hang on colours is the same in both.
    rules = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    # The check itself is a script of others, which the pages' policy forbids.
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    log_in(system, page, url)
    ous = ["", "ous/uid___X1_X1_X0", "flow", "actors", "tables", "table/ous", "nowhere", "api/"]
    letters = ["messages", "messages/list", "message/ingest.JAO:1:abc", "dead", "dead/confirm?do=discard&id=a", "login"]
    for path in (*ous, *letters):
        page.goto(url + path)
        is_live(page)
        page.add_script_tag(path=str(AXE))
        found = page.evaluate(
            "(rules) => axe.run(rules).then((all) => all.violations.map((each) => [each.id, each.nodes[0].html]))",
            rules,
        )
        assert found == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    context.close()
