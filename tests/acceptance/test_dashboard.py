"""The dashboard: a real process, asked over HTTP, on databases that hold what each of its tables must show."""

from __future__ import annotations

import html
import http.client
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
import troubles
from proxy import Proxy
from waiting import until

from shared import cancels
from shared.clock import stamp

CHECKOUT = Path(__file__).resolve().parents[2]
OUS = "uid://X1/X1/Xb0"
DOC_ID = "uid___X1_X1_Xb0"
RUN = "2018-07-19T07:10:03.781"
EVIL = "<script>alert(1)</script>"


class Site:
    """A running dashboard."""

    def __init__(self, system):
        self.system = system
        self.process = system.start("dashboard", "--port", "0")
        self.url = re.search(r"http://127\.0\.0\.1:\d+", self.process.wait_for(" ready")).group()
        self.lines = []

    def close(self):
        """Close the lines of events: one that is left to itself, by a test that is skipped midway, is others' error."""
        for line in self.lines:
            line.close()

    def get(self, path="/"):
        """Return status, headers and text of a page, its markup taken apart from its text."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=20) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def until(self, condition):
        """Wait until something is so; it is looked at again after every event."""
        line = Events(self)
        while not (found := condition()):
            line.wait_for("changed")
        return found

    def rows(self, key, path="/tables"):
        """Return the rows of a table, the text of each cell."""
        section = self.get(path)[2].partition(f'<section id="{key}">')[2].partition("</section>")[0]
        return [
            [html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"<td.*?</td>", row)]
            for row in re.findall(r"<tr><td.*?</tr>", section)
        ]


@pytest.fixture
def site(system):
    made = Site(system)
    yield made
    made.close()


def put(system, database, **doc):
    system.connection.database(database).put({"schema": 1, **doc})


def put_ous(system, state, note="", doc_id=DOC_ID, **more):
    entry = {"at": "2026-11-20T10:00:00.123456", "by": "ada", "state": state, "note": note}
    put(
        system,
        "status-entities",
        _id=doc_id,
        entityId="uid://" + "/".join(doc_id.split("_")[3:]),
        progID="2015.1.00657.S",
        recipe="PipelineCalibration",
        state=state,
        substate="",
        executive="EU",
        timestamp="2026-11-20T10:00:00.123456",
        history=[entry],
        **more,
    )


def put_message(system, number, state, *, selector="xtss", body=None, **more):
    put(
        system,
        "msgq",
        _id=f"{selector}:{number}:abc",
        selector=selector,
        state=state,
        priority=5,
        creationTimestamp="2026-11-20T10:00:00.000001",
        sender="test",
        body=body or {},
        digest="",
        attempts=2,
        **more,
    )


def test_ouss_say_what_one_should_know_of_them_and_lead_to_their_page_and_weblog(system, site):
    put_ous(system, "ProcessingProblem", note=f"the pipeline died {EVIL}", run=RUN)
    put_ous(system, "Reviewing", doc_id="uid___X1_X1_Xb1", reviewer={"name": "ada", "until": ""})
    put_ous(system, "ReadyForProcessing", note="Fail: bad", doc_id="uid___X1_X1_Xb2")
    first, second, third = site.rows("ous")
    assert first[0] == OUS
    assert first[5] == "2026-11-20 10:00:00"
    assert first[-1] == f"the pipeline died {EVIL}"
    assert second[-1] == "reviewed by ada"
    assert third[-1] == "Fail: bad; waits for a launch"
    put_message(system, 1, "ready", selector="pipeline.process.EU", body={"ousUID": "uid://X1/X1/Xb2"})
    site.until(lambda: site.rows("ous")[2][-1] == "Fail: bad; launched again")
    text = site.get("/tables")[2]
    assert EVIL not in text
    assert f'href="/ous/{DOC_ID}"' in text
    assert f'href="http://localhost:8001/weblogs/weblog-X1-X1-Xb0-{RUN.replace(":", "%3A")}/"' in text


def test_the_page_of_an_ous_has_its_history_and_its_runs(system, site):
    put_ous(system, "ReadyForReview", note="run 1", run=RUN)
    put(
        system,
        "pipeline-reports",
        _id=f"{RUN}.{DOC_ID}",
        ousUID=OUS,
        timestamp=RUN,
        source="EU",
        productsDir="2015.1.00657.S_2018_07_19T07_10_03.781",
        encodedReport="",
    )
    path = f"/ous/{DOC_ID}"
    assert site.rows("history", path) == [["2026-11-20 10:00:00", "ReadyForReview", "", "ada", "run 1", "until now"]]
    assert site.rows("runs", path)[0][:2] == [RUN, "EU"]
    assert site.get("/ous/uid___X1_X1_Xbf")[0] == 404
    assert site.get("/table/nothing")[0] == 404


def test_the_page_of_an_ous_says_who_took_its_launch_back(system, site):
    put_ous(system, "ReadyForProcessing", note="launched")
    assert "taken" not in site.get(f"/ous/{DOC_ID}")[2]
    cancels.cancel(
        system.connection.database("msgq"),
        OUS,
        ["pipeline.process.EU:1:a"],
        by="bob",
        reason="the wrong executive",
        now=system.connection.clock.now(),
    )
    page = site.get(f"/ous/{DOC_ID}")[2]
    assert re.search("its launch, by bob at .{19} UTC: the wrong executive", page)
    assert "launched; waits" not in page


def test_messages_say_why_they_wait_or_are_dead(system, site):
    failed = {"at": "2026-11-20T10:00:01.000000", "by": "xtss@here:1", "what": f"no such thing {EVIL}"}
    put_message(system, 1, "ready")
    put_message(system, 2, "delayed", due="2026-11-20T11:00:00.000001", waits="the products are not here yet")
    put_message(system, 3, "delayed", due="2026-11-20T12:00:00.000001", errors=[failed])
    put_message(system, 4, "dead", doneAt="2026-11-20T10:00:01.000000", errors=[failed])
    rows = site.until(lambda: len(found := site.rows("unread")) == 3 and site.rows("dead") and found)
    assert sorted(row[1] for row in rows) == ["delayed", "delayed", "ready"]
    assert rows[1][3] == "2026-11-20 11:00:00"
    assert [row[5] for row in rows] == ["", "waits: the products are not here yet", f"failed: {failed['what']}"]
    assert site.rows("dead") == [["xtss", "2026-11-20 10:00:01", "2", failed["what"], "xtss:4:abc"]]
    assert EVIL not in site.get("/tables")[2]


def test_actors_are_alive_dead_or_ended(system, site):
    now = system.connection.clock.now()
    for name, age_s, ended in (("fresh", 0, False), ("silent", 40, False), ("done", 40, True)):
        put(
            system,
            "actors",
            _id=name,
            kind=name,
            executive="EU",
            host="elsewhere",
            pid=1,
            since=stamp(now),
            at=stamp(now - timedelta(seconds=age_s)),
            every=10.0,
            doing="",
            ended=ended,
        )
    stands = {row[0]: row[2] for row in site.rows("actors")}
    assert {name: stands[name] for name in ("fresh", "silent", "done")} == {
        "fresh": "alive",
        "silent": "dead",
        "done": "ended",
    }


@pytest.mark.parametrize("key", ["dead", "ous"])
def test_a_long_table_has_its_total_and_a_next_page_and_can_be_turned(system, site, key):
    for number in range(30):
        if key == "dead":
            put_message(system, number, "dead", doneAt=f"2026-11-20T10:00:{number:02}.000000")
        else:
            put_ous(system, "Delivered", doc_id=f"uid___X1_X1_X{number:02}")
    text = site.until(lambda: "25 of 30 shown" in (found := site.get("/tables")[2]) and found)
    onward = html.unescape(re.search(rf'href="(/table/{key}\?after=[^"]+)"', text).group(1))
    assert len(site.rows(key)) == 25
    assert len(site.rows(key, onward)) == 5
    last = site.rows(key, f"/table/{key}?order=down")[0]
    assert (last[-1] if key == "dead" else last[0]) in {"xtss:9:abc", "uid://X1/X1/X29"}


def test_checksums_are_short_and_whole_where_one_points(system, site):
    put(system, "ngas", _id="product-0.data", size=3, sha256="a" * 64, writeTimestamp="2026-11-20T10:00:00.123456")
    assert site.rows("ngas") == [["product-0.data", "3", "a" * 12 + "…", "2026-11-20 10:00:00"]]
    assert f'title="{"a" * 64}"' in site.get("/tables")[2]


def test_strange_documents_do_not_break_a_page(system, site):
    for database in ("status-entities", "pipeline-reports", "ngas", "products-metadata", "delivery-status", "actors"):
        system.connection.database(database).put(
            {"_id": "strange", "entityId": [1], "history": "x", "state": {}, "timestamp": 7, "at": 3, "sha256": 1}
            | {"dataProducts": 7, "ousUID": {}, "progID": [], "size": {}, "kind": {}, "every": [], "doing": 1}
        )
    oddities = {
        "waits": {"entityId": ["x"], "state": "ReadyForProcessing", "history": {"note": "x"}},
        "failed": {"entityId": {}, "state": "ProcessingProblem", "history": 7},
        "short": {
            "entityId": "x",
            "state": "Processing",
            "history": [{"state": "Processing", "at": "20991120T234000"}],
        },
    }
    for doc_id, doc in oddities.items():
        system.connection.database("status-entities").put({"_id": doc_id, **doc})
    for number, state in enumerate(("ready", "delayed", "claimed", "dead", {}, 7)):
        system.connection.database("msgq").put(
            {"_id": f"xtss:{number}:x", "state": state, "selector": "xtss", "doneAt": {}, "due": [], "errors": "x"}
            | {"claim": 7, "body": [1], "attempts": [], "priority": {}, "creationTimestamp": 1, "waits": {}}
        )
    site.until(lambda: "xtss:3:x" in site.get("/dead")[2])
    letters = (
        "/messages",
        "/messages/list",
        "/messages/list?sort=attempts",
        "/table/unread?sort=due&order=down",
        "/dead",
    )
    for path in (*letters, "/message/xtss:3:x", "/message/xtss:5:x", "/metrics", "/api/messages/xtss", "/api/dead"):
        assert site.get(path)[0] == 200, path
    for path in (
        "/api/actors",
        "/api/tables/delivery",
        "/api/tables/ous",
        "/table/ous?sort=state",
        "/table/actors?sort=doing",
    ):
        assert site.get(path)[0] == 200, path
    for path in ("/", "/tables", "/actors", "/flow", "/flow?by=day", "/column/nothing", "/?q=x&need=1"):
        assert site.get(path)[0] == 200, path
    for doc_id in ("strange", *oddities):
        assert site.get(f"/ous/{doc_id}")[0] == 200, doc_id
    assert site.get("/table/dead?after=-7")[0] == 200
    assert site.get("/table/dead?after=x")[0] == 200


def test_pages_run_no_script_of_others(site):
    headers = site.get()[1]
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_who_asks_under_a_name_of_others_gets_neither_pages_nor_events(system):
    system.environ["DRW_DASHBOARD_ORIGIN"] = "https://drw.intern:8443 https://drw.example.com"
    process = system.start("dashboard", "--port", "0", "--origin", "https://drw.example.org")
    port = int(re.search(r"http://127\.0\.0\.1:(\d+)", process.wait_for(" ready"))[1])

    def ask(path, *hosts):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        line.putrequest("GET", path, skip_host=True)
        for host in hosts:
            line.putheader("Host", host)
        line.endheaders()
        answer = line.getresponse()
        status, beginning = answer.status, answer.read1(2000).decode()
        line.close()
        return status, beginning

    for path in ("/", "/events", "/api/board", "/metrics", "/health", "/static/live.js", "/nowhere"):
        for hosts in (("evil.example",), ("evil.example", "localhost"), ()):
            status, text = ask(path, *hosts)
            assert status in {400, 421}, (path, hosts)
            assert "Reduction" not in text
            assert "event:" not in text
    assert "in DRW_DASHBOARD_ORIGIN or after --origin" in ask("/", "evil.example")[1]
    for host in ("localhost", "drw.example.org", "drw.intern:8443", "drw.example.com"):
        assert ask("/", host)[0] == 200, host
    assert ask("/events", f"127.0.0.1:{port}")[0] == 200


HEAD = "HTTP/1.1\r\nHost: localhost\r\n"
NO_REQUESTS = [
    ("hello\r\n\r\n", " 400 "),
    (f"GET /?q=ü {HEAD}\r\n", " 400 "),
    (f"GET / {HEAD}Content-Length: x\r\n\r\n", " 400 "),
    (f"POST /login {HEAD}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", " 400 "),
    (f"POST /login {HEAD}Content-Length: 10\r\n\r\nabc", ""),
]


@pytest.mark.parametrize(("sent", "answered"), NO_REQUESTS)
def test_what_is_no_request_is_refused_and_not_logged(site, sent, answered):
    address = urllib.parse.urlsplit(site.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as asking:
        asking.sendall(sent.encode())
        if not answered:  # who leaves in the middle hears nothing
            asking.shutdown(socket.SHUT_WR)
        assert answered in asking.makefile("rb").readline().decode()
    assert site.process.stop() == 0
    assert "Traceback" not in site.process.text
    assert " ERROR " not in site.process.text


def test_a_database_that_is_away_is_said(system, site):
    until(lambda: site.get("/health")[0] == 200, 20.0)  # the messages are still being read
    system.couchlet.kill()
    Events(site).wait_for("state", "does not answer")
    for path in ("/tables", "/messages", "/health", "/api/tables"):
        status, _, text = site.get(path)
        assert status == 503, path
        assert "does not answer" in text
    assert site.get()[0] == 200
    system.couchlet.start()


class Events:
    """A line of events, as a browser holds one."""

    def __init__(self, site, since=""):
        headers = {"Last-Event-ID": since} if since else {}
        self._line = urllib.request.urlopen(urllib.request.Request(site.url + "/events", headers=headers), timeout=20)
        site.lines.append(self._line)
        self._deadline = time.monotonic() + 60

    def wait_for(self, event, said=""):
        """Return the id of the next event of a kind that says something."""
        found = {}
        for line in self._line:
            assert time.monotonic() < self._deadline, f"no event {event} that says {said!r}"
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                found[name] = value
            elif found.get("event") == event and said in found.get("data", ""):
                return found.get("id", "")
            else:
                found = {}
        raise AssertionError(f"no event {event} came")


def test_a_move_is_told_and_one_who_was_away_gets_what_was_missed(system, site):
    site.get()
    line = Events(site)
    line.wait_for("state")
    put_ous(system, "Processing")
    seen = line.wait_for("moves", DOC_ID)
    put_ous(system, "Reviewing", doc_id="uid___X1_X1_Xb1")
    line.wait_for("moves", "uid___X1_X1_Xb1")
    Events(site, since=seen).wait_for("moves", "uid___X1_X1_Xb1")
    Events(site, since="elsewhere-1").wait_for("reload")


def test_the_database_is_said_to_be_away_and_back_and_the_board_has_what_changed(system, site):
    line = Events(site)
    line.wait_for("state", '"away":""')
    system.couchlet.kill()
    line.wait_for("state", "does not answer")
    system.couchlet.start()
    line.wait_for("state", '"away":""')
    put_ous(system, "Processing")
    line.wait_for("moves", DOC_ID)
    put_message(system, 1, "ready")
    site.until(lambda: len(site.rows("unread")) == 1)


def test_lines_of_many_browsers_leave_room_for_pages(system, site):
    lines = [Events(site) for _ in range(60)]
    assert site.get()[0] == 200
    put_ous(system, "Verified")
    for line in lines:
        line.wait_for("moves", DOC_ID)


def test_a_database_that_hangs_holds_up_no_look_at_what_is_known(system):
    with Proxy(system.couchlet.url) as proxy:
        system.environ |= {"DRW_COUCHDB_URL": proxy.url}
        site = Site(system)
        until(lambda: site.get("/health")[0] == 200)  # the messages are still being read
        proxy.rule(lambda request: request.method == "GET" and "nothing" in request.path, troubles.hang)
        asking = [socket.create_connection(("127.0.0.1", int(site.url.rpartition(":")[2]))) for _ in range(12)]
        for each in asking:
            each.sendall(
                b"GET /message/nothing:1:a HTTP/1.1\r\nHost: " + site.url.partition("//")[2].encode() + b"\r\n\r\n"
            )
        proxy.wait_until(lambda: len(proxy.requests(lambda request: "nothing" in request.path)) == 8)
        for path in ("/", "/health", "/metrics", "/column/Delivered", "/static/live.js"):
            assert site.get(path)[0] == 200, path
        for each in asking:
            each.close()


def test_what_is_too_large_for_a_form_and_the_head_of_the_events_are_answered(site):
    line = http.client.HTTPConnection(site.url.partition("//")[2], timeout=20)
    line.request("POST", "/dead/requeue", b"x" * (5 << 20))
    answer = line.getresponse()
    assert (answer.status, "nothing was changed" in answer.read().decode()) == (413, True)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    line.close()
    line.request("HEAD", "/events")
    assert line.getresponse().status == 404
    line.close()


def test_a_column_of_many_has_its_total_and_can_be_searched(system, site):
    for number in range(50):
        put_ous(system, "Delivered", doc_id=f"uid___X1_X1_X{number:02}")
    Events(site, since="elsewhere-1").wait_for("reload")
    text = site.get("/?q=X1/X07")[2]
    assert 'data-state="Delivered" data-total="1"' in text
    assert 'data-total="0"' in site.get("/column/Delivered?q=nothing")[2]
    column = site.get("/column/Delivered?limit=1&since=2026-11-20T10:00:00.123456&id=uid___X1_X1_X08")[2]
    assert re.findall(r'data-id="(\w+)"', column) == ["uid___X1_X1_X07"]


def test_a_report_that_is_none_says_why(system, site):
    put_ous(system, "ReadyForReview", run=RUN)
    put(system, "pipeline-reports", _id=f"{RUN}.{DOC_ID}", ousUID=OUS, timestamp=RUN, encodedReport="PGE+")
    text = site.get(f"/ous/{DOC_ID}/runs?a={RUN}")[2]
    assert "This report cannot be read: the pipeline report is not well-formed XML" in text
    assert site.get(f"/ous/{DOC_ID}/runs?a=never")[0] == 404


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "70000"), "is no port: give a number from 0"),
        (("--port", "-1"), "is no port"),
        (("--host", "nowhere.invalid", "--port", "0"), "nowhere.invalid is no address of this machine"),
        (("--host", "x" * 64, "--port", "0"), "is no address of this machine"),
    ],
)
def test_bad_addresses_are_one_line_and_status_2(system, arguments, said):
    done = system.run("dashboard", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_starts_as_the_seed_has_it_without_the_environment_being_active():
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    done = subprocess.run(
        [base, "-s", "./server.py", "-h"],
        cwd=CHECKOUT / "dashboard",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Show the whole system" in done.stdout
