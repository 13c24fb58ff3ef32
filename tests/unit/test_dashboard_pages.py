"""The dashboard's pages by Flask's client, with no database behind them: logging in, and what is refused."""

from __future__ import annotations

import itertools
import re

import pytest

from dashboard.context import Site
from dashboard.follower import Follower
from dashboard.live import Live
from dashboard.metrics import OTHERS, SELECTORS
from dashboard.server import create_app
from dashboard.web import Server
from shared import people
from shared.dbcon import Database, DbConnection
from shared.errors import DatabaseAway
from shared.origins import Origins
from shared.people import People
from shared.settings import read_settings

PASSWORD = "countess of lovelace"
URL = "http://localhost:5000"
OWN = {"Origin": URL}
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(people, "_COST", 16)  # what a guess costs is not at issue here
        made = tmp_path_factory.mktemp("home")
        People(made / "people").add("ada", PASSWORD)
        yield made


@pytest.fixture
def site(home):
    settings = read_settings({"DRW_HOME": str(home), "DRW_COUCHDB_URL": "http://127.0.0.1:9"})
    connection = DbConnection(settings)
    live = Live(connection)
    live.loaded.set()
    live.post_loaded.set()
    yield Site(connection, settings, live, Origins(["https://drw.example.org"]))
    connection.close()


@pytest.fixture
def app(site):
    return create_app(site)


@pytest.fixture
def browser(app):
    return app.test_client()


def token(answer, form="/logout"):
    return re.search(rf'action="{form}">\s*<input type="hidden" name="token" value="([^"]*)"', answer.text)[1]


def log_in(browser, password=PASSWORD, name="ada", *, url=URL, headers=None, following="/dead"):
    form = browser.get("/login", base_url=url)
    data = {"token": token(form, "/login"), "name": name, "password": password, "next": following}
    return browser.post("/login", base_url=url, data=data, headers=OWN if headers is None else headers)


def logged_in(browser):
    assert log_in(browser).status_code == 303
    return token(browser.get("/flow", base_url=URL))


def post(browser, path, headers=None, **data):
    return browser.post(path, base_url=URL, data=data, headers=OWN if headers is None else headers)


# Logging in and out


def test_one_logs_in_is_named_and_logs_out(browser):
    answer = log_in(browser)
    assert (answer.status_code, answer.location) == (303, "/dead")
    page = browser.get("/flow", base_url=URL)
    assert "ada" in page.text
    assert "Log out" in page.text
    out = post(browser, "/logout", token=token(page))
    assert out.status_code == 303
    assert "Log out" not in browser.get("/flow", base_url=URL).text


def test_the_cookie_is_for_this_port_out_of_reach_of_scripts_and_says_nothing(browser):
    cookie = log_in(browser).headers["Set-Cookie"]
    assert re.match(r"drw-session-5000=[\w-]{43}; ", cookie)
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    assert token(browser.get("/flow", base_url=URL)) not in cookie


def test_behind_a_proxy_that_speaks_https_the_cookie_is_for_https(browser):
    url = "https://drw.example.org"
    assert "; Secure" in log_in(browser, url=url, headers={"Origin": url}).headers["Set-Cookie"]


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong password"), ("bob", PASSWORD), ("", ""), (EVIL, EVIL)])
def test_wrong_names_and_passwords_are_told_apart_by_nothing(browser, caplog, name, password):
    answer = log_in(browser, password, name)
    assert answer.status_code == 401
    assert "Name or password is wrong" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert EVIL not in answer.text
    assert f"a login as {name!r} from 127.0.0.1 was refused" in caplog.text
    assert password not in caplog.text or password in {"", name}


def test_attempts_are_slowed_down_even_with_the_right_password(browser):
    for _ in range(4):
        assert "wrong" in log_in(browser, "wrong password").text
    answer = log_in(browser)
    assert answer.status_code == 401
    assert "try again in" in answer.text


def test_after_logging_in_one_stays_here(browser):
    for following in ("//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"):
        assert log_in(browser, following=following).location == "/"


def test_a_session_ends_with_the_persons_password(browser, home):
    kept = logged_in(browser)
    People(home / "people").add("ada", PASSWORD)
    answer = post(browser, "/pauses", token=kept, selector="xtss", reason="x")
    assert answer.status_code == 403
    assert "not logged in" in answer.text
    assert "Log out" not in browser.get("/flow", base_url=URL).text


def test_a_cookie_that_somebody_made_up_is_none(browser):
    browser.set_cookie("drw-session-5000", "made-up", domain="localhost")
    assert "Log out" not in browser.get("/flow", base_url=URL).text
    assert post(browser, "/logout", token="").status_code == 403


# What is refused

CHANGES = ["/dead/requeue", "/dead/discard", "/pauses", "/pauses/resume", "/logout"]


def test_without_a_login_nothing_can_be_changed(browser):
    for path in CHANGES:
        answer = post(browser, path, id="a", selector="xtss", reason="x", token="")
        assert answer.status_code == 403, path
        assert "not logged in" in answer.text


FOREIGN = [
    {},
    {"Origin": "null"},
    {"Origin": "http://localhost:8001"},
    {"Origin": "http://evil.example"},
    {"Origin": URL, "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
]


def test_a_page_of_somebody_else_can_change_nothing_even_with_cookie_and_token(browser):
    kept = logged_in(browser)
    for path, headers in itertools.product(CHANGES, FOREIGN):
        answer = post(browser, path, headers=headers, token=kept, id="a", selector="xtss", reason="x")
        assert answer.status_code == 403, (path, headers)
        assert "only pages of this dashboard may change something" in answer.text
    assert "Log out" in browser.get("/flow", base_url=URL).text


def test_without_the_sessions_own_token_nothing_can_be_changed(app, browser):
    logged_in(browser)
    cookie = browser.get_cookie("drw-session-5000", domain="localhost").value
    of_a_login_form = token(app.test_client().get("/login", base_url=URL), "/login")
    of_another = logged_in(app.test_client())
    for path, wrong in itertools.product(CHANGES, ("", "x", cookie, of_a_login_form, of_another)):
        answer = post(browser, path, token=wrong, id="a", selector="xtss", reason="x")
        assert answer.status_code == 403, (path, wrong)
        assert "not of this session" in answer.text


def test_a_login_needs_a_form_of_ours_and_our_origin(browser):
    good = token(browser.get("/login", base_url=URL), "/login")
    for headers, made in ((OWN, ""), (OWN, "9999999999.abc"), ({"Origin": "http://localhost:8001"}, good)):
        data = {"token": made, "name": "ada", "password": PASSWORD}
        assert browser.post("/login", base_url=URL, data=data, headers=headers).status_code == 403


def test_pages_allow_nothing_of_others(browser):
    for path in ("/flow", "/api/board", "/nowhere", "/static/live.js", "/health"):
        with browser.get(path, base_url=URL) as answer:
            headers = answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_no_page_has_script_or_style_in_it(browser, site):
    site.live.board.put("a", {"_id": "a", "entityId": EVIL, "state": "Processing", "progID": EVIL, "substate": EVIL})
    site.live.post.put("a:1:b", {"_id": "a:1:b", "selector": EVIL, "state": "dead", "errors": [{"what": EVIL}]})
    logged_in(browser)
    for path in (
        "/",
        "/dead",
        "/messages/list",
        "/flow",
        "/login",
        "/api/",
        f"/?q={EVIL}",
        f"/dead/confirm?do=requeue&id={EVIL}",
    ):
        text = browser.get(path, base_url=URL).text
        assert EVIL not in text
        assert not re.search(r"<script(?! src=)|<style| style=| on[a-z]+=", text), path


# No database, and mistakes


@pytest.mark.parametrize("path", ["/tables", "/ous/uid___X1_X1_X1", "/messages", "/message/a:1:b", "/table/ous"])
def test_pages_say_that_the_database_is_away_and_what_to_do(browser, path):
    answer = browser.get(path, base_url=URL)
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert "drw doctor" in answer.text


def test_what_is_known_is_shown_though_the_database_is_away(browser, site):
    site.live.away = "CouchDB does not answer"
    for path in ("/", "/actors", "/flow", "/dead", "/api/board", "/api/dead", "/api/messages", "/metrics"):
        assert browser.get(path, base_url=URL).status_code == 200, path
    assert "The database cannot be read" in browser.get("/", base_url=URL).text
    assert browser.get("/api/board", base_url=URL).json["away"] == "CouchDB does not answer"


def test_an_empty_board_and_an_empty_queue_say_what_to_do(browser):
    assert "launcher 2015.1.00657.S" in browser.get("/", base_url=URL).text
    assert "No dead letter" in browser.get("/dead", base_url=URL).text


def test_changes_while_the_database_is_away_are_said_not_to_have_been_made(browser):
    kept = logged_in(browser)
    assert post(browser, "/dead/requeue", token=kept, id="a:1:b", reason="x").status_code == 303
    said = browser.get("/flow", base_url=URL).text
    assert "0 of 1 messages requeued" in said
    assert "does not answer" in said
    assert post(browser, "/pauses", token=kept, selector="xtss", reason="x").status_code == 503


def test_pausing_needs_a_selector_and_a_reason(browser):
    kept = logged_in(browser)
    assert post(browser, "/pauses", token=kept, selector="No Selector", reason="x").status_code == 303
    page = browser.get("/flow", base_url=URL).text
    assert "Nothing was paused: " in page
    assert "Nothing was paused: " not in browser.get("/flow", base_url=URL).text


def test_discarding_needs_a_reason_and_editing_a_json_object(browser):
    kept = logged_in(browser)
    post(browser, "/dead/discard", token=kept, id="a:1:b", reason=" ")
    assert "needs a reason" in browser.get("/flow", base_url=URL).text
    for body in ("{", "[1]", '"x"', ""):
        post(browser, "/dead/requeue", token=kept, id="a:1:b", body=body)
        assert "is no JSON object" in browser.get("/flow", base_url=URL).text
    for body, said in (
        ('{"a":' + "[" * 5000 + "]" * 5000 + "}", "nested too deep"),
        ('{"a":' + "9" * 5000 + "}", "the body "),
        ('{"a":"\\ud800"}', "is no JSON object"),
        ('{"a":"' + "x" * 7_000_000 + '"}', "more than the 6800000"),
    ):
        answer = post(browser, "/dead/requeue", token=kept, id="a:1:b", body=body)
        assert answer.status_code == 303
        page = browser.get("/flow", base_url=URL).text
        assert "Nothing was changed: " in page
        assert said in page


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/ous?limit=x", 400, "must be a number"),
        ("/api/ous?limit=1001", 400, "at most 1000"),
        ("/api/ous?start=-1", 400, "must be a number"),
        pytest.param(f"/api/ous?start={'0' * 4400}", 400, "must be a number", id="start of very many digits"),
        pytest.param(f"/api/ous?limit={'0' * 4400}", 400, "must be a number", id="limit of very many digits"),
        ("/api/ous?limit=000000000000999999", 400, "at most 1000"),
        ("/api/messages/xtss?state=gone", 400, "is no state of a message"),
        ("/api/flow?by=year", 400, "by hour or by day"),
        ("/api/ous?state=delivered", 400, "'delivered' is no state of an OUS: it is one of ReadyForProcessing, "),
        ("/api/ous?need=yes", 400, "need is 'yes'"),
        ("/api/ous/nothing", 400, "nothing"),
        ("/api/nothing", 404, "/api/ lists those that there are"),
        ("/api/tables/nothing", 404, "there is no table 'nothing': it is one of "),
        ("/api/tables", 503, "does not answer"),
    ],
)
def test_mistakes_are_said_in_json(browser, path, status, said):
    answer = browser.get(path, base_url=URL)
    assert answer.status_code == status
    assert said in answer.json["error"]


def test_who_needs_no_human_is_not_left_out_where_nobody_asked_for_that(browser, site):
    site.live.board.put("a", {"_id": "a", "state": "Delivered", "timestamp": "2026-11-20"})
    totals = [browser.get(f"/api/ous?need={need}", base_url=URL).json["total"] for need in ("", "0", "1")]
    assert totals == [1, 1, 0]


def test_the_page_of_an_ous_is_found_by_its_uid_too(browser):
    answer = browser.get("/ous/uid://A003/X1/X1b", base_url=URL)
    assert (answer.status_code, answer.location) == (302, "/ous/uid___A003_X1_X1b")


def test_a_fault_of_the_dashboard_is_said_to_be_one_and_told_to_nobody_else(app, browser, site, monkeypatch):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setattr(type(site.live.board), "counts", lambda _: 1 / 0)
    answer = browser.get("/", base_url=URL)
    assert answer.status_code == 500
    assert "a fault of the dashboard" in answer.text
    assert "ZeroDivision" not in answer.text
    assert browser.get("/api/board", base_url=URL).status_code == 500


def test_lists_are_paged_under_their_true_total(browser, site):
    for number in range(5):
        site.live.board.put(f"a{number}", {"_id": f"a{number}", "state": "Verified", "timestamp": f"2026-11-2{number}"})
    first = browser.get("/api/ous?limit=2&state=Verified", base_url=URL).json
    assert (first["total"], [card["id"] for card in first["items"]]) == (5, ["a4", "a3"])
    second = browser.get(first["next"], base_url=URL).json
    assert [card["id"] for card in second["items"]] == ["a2", "a1"]
    third = browser.get(second["next"], base_url=URL).json
    assert (third["next"], [card["id"] for card in third["items"]]) == (None, ["a0"])


def test_every_address_of_the_api_is_documented(app, browser):
    text = browser.get("/api/", base_url=URL).text
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("api."):
            assert rule.rule.replace("<path:", "&lt;").replace("<", "&lt;").replace(">", "&gt;") in text, rule


# Watching the watcher


def test_moves_of_a_reading_that_breaks_off_are_told(site, monkeypatch):
    live = site.live
    docs = [{"_id": f"uid___X1_X1_X{number}", "state": "Processing"} for number in range(4)]

    def every(_, **__):
        yield from docs[:2]
        raise DatabaseAway("away")

    with monkeypatch.context() as patched:
        patched.setattr(Database, "every", every)
        with pytest.raises(DatabaseAway):
            live._load()
    monkeypatch.setattr(Database, "every", lambda _, **__: iter(docs))
    live._load()
    told = b"".join(live.stream.after(f"{live.stream.position.partition('-')[0]}-0")[0]).decode()
    assert sorted(re.findall(r'"id":"(uid___X1_X1_X\d)","card"', told)) == [doc["_id"] for doc in docs]


def test_what_was_fetched_before_a_whole_reading_is_not_taken_in_after_it(site, monkeypatch):
    taken = []
    follower = Follower(site.connection.database("msgq"), load=lambda: None, apply=taken.append, stands=lambda _: None)

    def fetch(_, ids):
        follower._reading += not taken  # a reading begins while the first answer is on its way
        taken.append(len(taken))
        return [{"_id": each} for each in ids]

    monkeypatch.setattr(Database, "fetch", fetch)
    assert not follower._take_in(["a"])
    assert follower._take_in(["a"])
    assert taken == [0, 1, {"a": {"_id": "a"}}]


def test_what_was_fetched_before_the_place_that_the_feed_goes_on_from_is_not_taken_in(site, monkeypatch):
    shown = []
    follower = Follower(
        site.connection.database("msgq"),
        load=lambda: shown.append("whole"),
        apply=lambda _: shown.append("older"),
        stands=lambda _: None,
    )

    def last_seq(_):
        monkeypatch.setattr(Database, "fetch", lambda _, ids: [{"_id": each} for each in ids])
        fetched.append(follower._reading)  # fetched before the place, and taken in after the reading
        return "5"

    fetched = []
    monkeypatch.setattr(Database, "last_seq", last_seq)
    monkeypatch.setattr(Database, "feed", lambda *_, **__: follower._stopping.set() or iter(()))
    follower._hear()
    assert shown == ["whole"]
    assert fetched[0] != follower._reading


def test_what_waits_for_a_first_reading_holds_up_nobody_who_asks_for_health(app, site):
    server = Server(app, site, host="127.0.0.1", port=0)
    assert server._pool_for("/") is server._pool_for("/health") is server._pool_for("/static/live.js")
    assert server._pool_for("/ous/a") is not server._pool_for("/health")
    site.live.loaded.clear()
    assert server._pool_for("/") is server._pool_for("/ous/a")
    server.close()


def test_a_change_that_the_database_did_not_answer_is_not_said_to_be_undone(browser):
    form = logged_in(browser)
    for path, data in (
        ("/pauses", {"selector": "ingest.*", "reason": "full"}),
        ("/pauses/resume", {"selector": "xtss"}),
    ):
        answer = browser.post(path, base_url=URL, data={"token": form, **data}, headers=OWN)
        assert answer.status_code == 503
        assert "may have been done" in answer.text
        assert 'data-watch=""' in answer.text  # who would fetch it anew would ask for a page that is none


def test_health_says_in_words_what_is_wrong(browser, site, monkeypatch):
    monkeypatch.setattr(Live, "is_alive", lambda _: True)
    assert browser.get("/health").status_code == 200
    site.live.away = "CouchDB does not answer"
    answer = browser.get("/health")
    assert answer.status_code == 503
    assert "CouchDB does not answer" in answer.text
    site.live.away = ""
    site.live.post_away = "an index is missing"
    assert "the messages cannot be read: an index is missing" in browser.get("/health").text
    site.live.post_away = ""
    site.live.post_loaded.clear()
    assert "still being read" in browser.get("/health").text
    monkeypatch.setattr(Live, "is_alive", lambda _: False)
    assert "has died" in browser.get("/health").text


def samples(browser):
    lines = browser.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_metrics_count_what_there_is(browser, site):
    site.live.board.put("a", {"_id": "a", "state": "ReadyForReview"})
    site.live.post.put(
        "xtss:1:b", {"_id": "xtss:1:b", "selector": "xtss", "state": "ready", "creationTimestamp": "noon"}
    )
    site.live.crew.put("a", {"_id": "a", "kind": "xtss", "ended": True})
    found = samples(browser)
    assert found['drw_ouss{state="ReadyForReview"}'] == "1.0"
    assert found['drw_ouss_needing_a_human{state="ReadyForReview"}'] == "1.0"
    assert found['drw_messages{selector="xtss",state="ready"}'] == "1.0"
    assert found['drw_actors{kind="xtss",stands="ended"}'] == "1.0"
    assert found["drw_database_up"] == "1.0"


def test_nobody_can_make_series_without_end(browser, site):
    for number in range(SELECTORS + 50):
        name = f"s{number}"
        site.live.post.put(f"{name}:1:b", {"_id": f"{name}:1:b", "selector": name, "state": "ready"})
        browser.get(f"/nowhere/{number}")
        browser.open(f"/flow?x={number}", method=f"M{number}")
    found = samples(browser)
    assert found[f'drw_messages{{selector="{OTHERS}",state="ready"}}'] == "50.0"
    assert len([each for each in found if each.startswith("drw_messages{")]) == 4 * (SELECTORS + 1)
    assert len([each for each in found if each.startswith("drw_dashboard_request_seconds_count")]) < 10
