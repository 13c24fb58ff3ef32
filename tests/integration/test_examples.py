"""The examples of the documentation do what they say."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def run(place, name, **options):
    environ = {**os.environ, **place.environ}
    return subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"send", "listen", "call", "batch", "group"}


def test_send(place):
    done = run(place, "send")
    assert (done.returncode, done.stderr) == (0, "")
    docs = {doc["body"]["name"]: doc for doc in place.database.every() if doc["_id"].startswith("greet.EU:")}
    assert set(docs) == {"Ada", "Grace", "Emmy", "Lise"}
    assert docs["Grace"]["priority"] == 0
    assert docs["Emmy"]["state"] == "delayed"
    assert done.stdout == f"sent {docs['Ada']['_id']}\n"


def test_listen(place):
    sender = place.bus("sender")
    ids = {name: sender.send("greet.EU", {"name": name}) for name in ("Ada", "Godot", "Echo")}
    ids["nobody"] = sender.send("greet.NA", {})
    environ = {**os.environ, **place.environ}
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "listen.py"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        place.wait_for_state(ids["Ada"], "consumed")
        assert place.wait_for_state(ids["Godot"], "delayed")["waits"] == "Godot is not here yet"
        assert place.wait_for_state(ids["Echo"], "dead")["attempts"] == 3
        assert place.wait_for_state(ids["nobody"], "dead")["errors"][0]["what"] == "a greeting needs a name"
        out, _ = process.communicate("\n", timeout=30)
    assert "hello Ada" in out
    assert [doc["body"] for doc in place.database.every(start="greeted.EU:", end="greeted.EU;")] == [{"name": "Ada"}]


def test_call(place):
    done = run(place, "call")
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert (first, second) == ("2 + 3 = 5", "refused: KeyError")
    assert "it was not begun and is withdrawn" in third


def test_batch(place):
    done = run(place, "batch")
    assert done.stdout == "sent 100 messages\n", done.stderr
    assert sum(doc["_id"].startswith("tile.EU:") for doc in place.database.every()) == 100


def test_group(place):
    done = run(place, "group")
    assert sorted(done.stdout.splitlines()) == [
        "schedule heard of an observation",
        "weather heard of an observation",
    ], done.stderr
