"""What strangers send and leave is refused with a clear error, message by message, and the actors live on."""

from __future__ import annotations

import base64
import http.client
import io
import re
import struct
import sys
import zipfile
from dataclasses import replace

import pytest
import standing
from ports import free_port

from drw.machine import heartbeats
from shared import names, news
from shared.bus import Bus
from shared.cache import MARKER
from shared.clock import stamp
from shared.errors import DrwError
from shared.launching import Launching
from shared.messages import ProcessRequest
from shared.state import StateClient

OUS, RUN = "uid://X1/X1/Xa1", "2018-07-19T07:10:03.781"
PROGRAM = "2015.1.00657.S"
PRODUCTS_DIR = names.products_dir(PROGRAM, RUN)
DEEP = 10_000 if standing.ADDRESS else 990
"""CouchDB stores what is nested as deep as anybody likes; couchlet, a thousand levels."""


def test_a_cache_is_served_to_nobody_who_asks_under_a_name_of_others(system):
    system.environ |= {
        "DRW_CACHE_ORIGIN": "http://jao-cache:8001",
        "DRW_WEBLOG_URL": "https://logs.example.org/weblogs",
    }
    cache = system.start(
        "replicated-cache",
        "-e",
        "JAO",
        "-lc",
        system.jao,
        "-p",
        "0",
        "--host",
        "localhost",
        "--origin",
        "https://drw.example.org",
    )
    port = int(re.search(r"http://localhost:(\d+)", cache.wait_for(" ready"))[1])

    def ask(host):
        line = http.client.HTTPConnection("localhost", port, timeout=20)
        line.request("GET", "/", headers={"Host": host})
        status = line.getresponse().status
        line.close()
        return status

    for host in (f"localhost:{port}", "jao-cache:8001", "logs.example.org", "drw.example.org"):
        assert ask(host) == 200, host
    assert ask("evil.example") == 421


# Messages

NO_UID = "Expected `str`, got|is not an OUS UID"
RAW = {
    "nested deep": b"[" * DEEP + b"]" * DEEP,
    "a huge number": b"1" + b"0" * 308,
    "a tiny number": b"1e-99999",
    "its key twice": b'"uid://X1/X1/X1", "ousUID": "-rf"',
    "4,096 letters": b'"' + b"x" * 4096 + b'"',
    "NUL": rb'"uid://X1/X1/X1\u0000"',
}


def test_messages_that_our_own_bus_would_not_send_harm_themselves_only(system):
    """A stranger writes them into the database: each is dead with its reason, and the next message is handled."""
    aqua = system.start("aqua-qa2", "--listen")
    for number, (kind, text) in enumerate(RAW.items()):
        head = (
            '{"selector":"pipeline.report.JAO","state":"ready","priority":0,"sender":"stranger","schema":1,"digest":""'
        )
        made = f',"creationTimestamp":"2026-01-01T00:00:0{number}.000000","body":{{"timestamp":"{RUN}","source":"EU",'
        rest = f'"report":"","productsDir":"{PRODUCTS_DIR}","ousUID":'
        row = system.connection.database("msgq").put_row(
            f"pipeline.report.JAO:1:{number}", (head + made + rest).encode() + text + b"}}"
        )
        assert not row.error, (kind, row.reason)
    for number, kind in enumerate(RAW):
        dead = system.wait_for_message(f"pipeline.report.JAO:1:{number}", "dead")
        assert dead["attempts"] == 1
        assert re.search(NO_UID, dead["errors"][-1]["what"]), kind
    assert aqua.process.poll() is None
    assert "Traceback" not in aqua.text


def test_a_sign_of_life_that_no_actor_gives_keeps_no_lost_one_from_being_told(system):
    system.environ["DRW_WEBHOOK_URL"] = f"http://127.0.0.1:{free_port()}/"
    notifier = system.start("notifier")
    actors = system.connection.database("actors")
    sign = {"schema": 1, "kind": "xtss", "at": stamp(system.connection.clock.now()), "ended": False}
    for name, every in (("a@h:1", "abc"), ("b@h:2", None), ("c@h:3", [1]), ("xtss@h:4", 0.1)):
        actors.put({"_id": name, **sign, "every": every})

    def told():
        return [doc["body"]["subject"] for doc in system.messages(news.SELECTOR)]

    system.wait_until(told, database="msgq")
    assert told() == ["xtss@h:4"]
    assert notifier.stop() == 0
    assert "Traceback" not in notifier.text


@pytest.mark.parametrize("pid", ["none", [1], None, 1.5])
def test_a_sign_of_life_without_a_pid_is_one_all_the_same(system, pid):
    sign = {"schema": 1, "kind": "xtss", "host": "elsewhere", "at": stamp(system.connection.clock.now()), "every": 60}
    system.connection.database("actors").put({"_id": "xtss@elsewhere:1", **sign, "pid": pid})
    (living,) = heartbeats.living(system.connection)
    assert (living.kind, living.pid) == ("xtss", 0)


@pytest.mark.parametrize("since", [None, "soon", 7, "9999-12-31T23:59:59.999999"])
def test_news_begin_anew_where_nobody_can_tell_since_when_there_are_some(system, since):
    begun = {"_id": "control:notifier:begun", "schema": 1, "since": since}
    system.connection.database("msgq").put(begun)
    system.environ["DRW_WEBHOOK_URL"] = f"http://127.0.0.1:{free_port()}/"
    notifier = system.start("notifier")
    notifier.wait_for("WARNING.*control:notifier:begun has .*, which is no time that is past")
    sign = {"schema": 1, "kind": "xtss", "at": stamp(system.connection.clock.now()), "ended": False, "every": 0.1}
    system.connection.database("actors").put({"_id": "xtss@h:4", **sign})
    system.wait_until(lambda: system.messages(news.SELECTOR), database="msgq")
    assert notifier.stop() == 0


NO_DOCUMENTS = [b"NaN", b"1e999", b"1" + b"0" * 4000, b"x" * 50_000_000, b'"\xff"', b"{"]


def test_what_is_no_document_does_not_even_come_into_the_database(system):
    database = system.connection.database("msgq")
    for text in NO_DOCUMENTS:
        assert database.put_row("work.EU:1:odd", b'{"body":{"x":' + text + b"}}").error == "refused", text[:20]
    assert database.get("work.EU:1:odd") is None


# Caches


def packed(*members, size=0):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as weblog:
        for member in members:
            weblog.writestr(member, b"\0" * size)
    return file.getvalue()


def encrypted():
    content = bytearray(packed("index.html"))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def claims_too_much():
    """Return a small zip that says it expands to 4 GB."""
    content = bytearray(packed("index.html", size=1000))
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, 0xFFFFFFFE)
    return bytes(content)


WEBLOGS = {
    "leaves its folder": (packed("../../out"), "may not be expanded"),
    "a path from the root": (packed("/etc/passwd"), "may not be expanded"),
    "a bomb": (packed("a", size=100_000_000), "as a zip bomb would"),
    "a bomb by what it says": (claims_too_much(), "as a zip bomb would"),
    "encrypted": (encrypted(), "is encrypted"),
    "truncated": (packed("index.html", size=1000)[:-30], "not a whole zip file"),
    "no zip": (b"hello", "not a whole zip file"),
    "a link": (None, "symbolic link"),
}


def test_hostile_weblogs_and_products_do_not_come_in_and_the_next_good_one_does(system):
    system.environ["DRW_ATTEMPTS"] = "2"
    cache = system.start("replicated-cache", "-e", "JAO", "-lc", system.jao, "-euc", system.eu, "-p", "0")
    sent = {}
    with Bus(system.connection, system.settings, me="test") as bus:

        def announce(kind, name, says):
            sent[bus.send("cached.JAO", {"fileType": kind, "cachedAt": "EU", "name": name})] = says

        for number, (content, says) in enumerate(WEBLOGS.values()):
            path = system.eu / names.weblog(f"uid://X1/X1/Xb{number}", RUN)
            path.write_bytes(content) if content is not None else path.symlink_to("/etc/passwd")
            announce("weblog", path.name, says)
        for number, target in enumerate(("/etc/passwd", "..", "/dev/zero")):
            run = names.products_dir(PROGRAM, RUN.replace("781", f"78{number}"))
            (system.eu / run / "SOUS").mkdir(parents=True)
            (system.eu / run / "SOUS" / "innocent.data").symlink_to(target)
            announce("productsdir", run, "link")
        (system.eu / names.weblog(OUS, RUN)).write_bytes(packed("index.html"))
        good = bus.send("cached.JAO", {"fileType": "weblog", "cachedAt": "EU", "name": names.weblog(OUS, RUN)})
        for message_id, says in sent.items():
            assert says in system.wait_for_message(message_id, "dead")["errors"][-1]["what"]
        system.wait_for_message(good, "consumed")
    assert [path.name for path in (system.jao / "weblogs").iterdir()] == [names.weblog(OUS, RUN).removesuffix(".zip")]
    assert list((system.jao / MARKER / "incoming").iterdir()) == []
    assert not [path for path in system.jao.rglob("*") if path.is_symlink()]
    assert sorted(path.name for path in system.jao.parent.iterdir() if path.name == "out") == []
    assert cache.process.poll() is None
    assert "Traceback" not in cache.text


# What pipelines leave

LEAVES = {
    "Xc0": ("an external entity", "declares a document type or entities"),
    "Xc1": ("a million nested elements", "nested more than 100 deep"),
    "Xc2": ("not UTF-8", "is not UTF-8"),
    "Xc3": ("50 MB", "bytes"),
    "Xc4": ("a report that is a link to a device", "symbolic link"),
    "Xc5": ("a report that is a pipe", "special file"),
    "Xc6": ("a weblog that is a link", "symbolic link"),
    "Xc7": ("a product that is a link", "symbolic link"),
    "Xc8": ("products elsewhere", "symbolic link"),
    "Xc9": ("no XML", "not well-formed XML"),
}
KINDS = {key: kind for key, (kind, _) in LEAVES.items()}
HOSTILE_PIPELINE = f"""
import os, sys
from actors import pipeline

program, ous, executive = sys.argv[1:]
kind = {KINDS!r}[ous.rpartition("/")[2]]
status = pipeline.main([program, ous, executive, "--failure-rate", "0"])
run = os.environ["DRW_RUN_TIMESTAMP"]
stem = ous.removeprefix("uid://").replace("/", "-") + "-" + run
folder = os.path.join(program + "_" + run.replace("-", "_").replace(":", "_"), "SOUS/GOUS",
                      ous.replace(":", "_").replace("/", "_"), "products")
report, weblog = os.path.join(folder, "pl-report-" + stem + ".xml"), os.path.join(folder, "weblog-" + stem + ".zip")
content = open(report, "rb").read()
def put(content):
    os.unlink(report)
    open(report, "xb").write(content)
if kind == "an external entity":
    put(b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + content)
elif kind == "a million nested elements":
    put(b"<a>" * 1000000)
elif kind == "not UTF-8":
    put(content.replace(b"Pipeline", b"Pipel\\xefne", 1))
elif kind == "50 MB":
    put(content + b" " * 50000000)
elif kind == "no XML":
    put(b"hello")
elif kind == "a report that is a link to a device":
    os.unlink(report); os.symlink("/dev/zero", report)
elif kind == "a report that is a pipe":
    os.unlink(report); os.mkfifo(report)
elif kind == "a weblog that is a link":
    os.rename(weblog, "elsewhere.zip"); os.symlink(os.path.abspath("elsewhere.zip"), weblog)
elif kind == "a product that is a link":
    os.symlink("/etc/passwd", os.path.join(folder, "product-9-" + stem + ".data"))
elif kind == "products elsewhere":
    os.rename(folder, "elsewhere"); os.symlink(os.path.abspath("elsewhere"), folder)
sys.exit(status)
"""


def test_what_hostile_pipelines_leave_ends_in_a_problem_with_its_reason(system, tmp_path):
    program = tmp_path / "hostile.py"
    program.write_text(HOSTILE_PIPELINE)
    command = f"{sys.executable} {program} {{progID}} {{ousUID}} {{executive}}"
    system.start("xtss", "--strict")
    driver = system.start("pipeline-driver", "-mr", "3", "--attempts", "1", "--command", command, "EU", system.eu)
    with Bus(system.connection, system.settings, me="test") as bus:
        state = StateClient(bus, deadline_s=20)
        launching = Launching(system.connection, bus, state, by="test")
        for key in LEAVES:
            request = ProcessRequest(progID=PROGRAM, ousUID=f"uid://X1/X1/{key}", recipe=names.DEFAULT_RECIPE)
            launching.launch(request, "EU")
    for key, (kind, says) in LEAVES.items():
        problem = system.wait_for_state(f"uid://X1/X1/{key}", "ProcessingProblem")
        assert says in problem.history[-1].note, kind
    for message in system.messages("pipeline.process.EU"):
        system.wait_for_message(message["_id"], "consumed")
    assert [path.name for path in system.eu.iterdir() if path.name not in {MARKER, "weblogs"}] == []
    assert driver.process.poll() is None
    assert "Traceback" not in driver.text


REPORTS = {"no XML": b"hello", "not UTF-8": b"\xff\xfe", "entities": b"<!DOCTYPE x><PipelineAquaReport/>"}


def test_reports_that_are_none_are_refused_by_aqua(system):
    aqua = system.start("aqua-qa2", "--listen")
    with Bus(system.connection, replace(system.settings, attempts=2), me="test") as bus:
        for number, content in enumerate(REPORTS.values()):
            body = {
                "ousUID": f"uid://X1/X1/Xd{number}",
                "source": "EU",
                "report": base64.b64encode(content).decode(),
                "timestamp": RUN,
                "productsDir": PRODUCTS_DIR,
            }
            dead = system.wait_for_message(bus.send("pipeline.report.JAO", body), "dead")
            assert "pipeline report" in dead["errors"][-1]["what"]
        with pytest.raises(DrwError, match="more than the 6800000"):
            bus.send("pipeline.report.JAO", body | {"report": "A" * 50_000_000})
    assert list(system.connection.database("pipeline-reports").every()) == []
    assert aqua.process.poll() is None
    assert "Traceback" not in aqua.text
