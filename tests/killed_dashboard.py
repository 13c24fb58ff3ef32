"""What people change in a browser, under the kills of killed.py: once, and in the audit once, whoever answers or not.

python tests/killed_dashboard.py --effects
"""

from __future__ import annotations

import http.client
import re
import sys
import urllib.parse
from collections import Counter
from datetime import UTC, datetime
from http import HTTPStatus

import killed
import msgspec
from killed_place import LONG_AGO, Case, Place
from killed_scenes import SCENES, Scene
from ports import free_port

from dashboard import server
from shared import audit
from shared.bus import envelope, pauses, queue
from shared.people import People

PORT = free_port()
PASSWORD = "countess of lovelace"
DEAD = ("ingest.JAO:1:dead", "ingest.JAO:2:dead")
ACTIONS = (
    ("/dead/requeue", {"id": DEAD[0], "reason": "there is room again"}),
    ("/dead/discard", {"id": DEAD[1], "reason": "sent by mistake"}),
    ("/pauses", {"selector": "cached.*", "reason": "the disk is full"}),
    ("/pauses", {"selector": "ingest.JAO", "reason": "the archive is away"}),
    ("/pauses/resume", {"selector": "cached.*"}),
)
"""What somebody does in a browser, one after the other; what is not answered is done again."""

_answered: Counter[str] = Counter()
"""How many of the actions were answered, by the OUS of the case."""


def _dead_letters(place: Place, _: Case) -> None:
    for message_id in DEAD:
        made = envelope.new(message_id, {"name": message_id}, created=datetime.now(UTC), sender="test")
        failed = {"state": envelope.DEAD, "doneAt": LONG_AGO, "attempts": 8}
        place.put(queue.DATABASE, msgspec.to_builtins(made) | failed)
    people = People(place.home / "people")
    if not people.names():
        people.add("ada", PASSWORD)


class Browser:
    """A person at a browser, who has logged in; OSError or HTTPException where the dashboard does not answer."""

    def __init__(self) -> None:
        self._cookie = self._token = ""
        self._token = _token(self._send("GET", "/login")[2], "/login")
        status, self._cookie, _ = self._send("POST", "/login", name="ada", password=PASSWORD, next="/flow")
        assert status == HTTPStatus.SEE_OTHER, status
        self._token = _token(self._send("GET", "/flow")[2], "/logout")

    def do(self, path: str, fields: dict[str, str]) -> None:
        status, _, text = self._send("POST", path, **fields)
        assert status == HTTPStatus.SEE_OTHER, (path, status, text)

    def _send(self, method: str, path: str, **fields: str) -> tuple[int, str, str]:
        """Return status, cookie and text of an answer."""
        headers = {"Cookie": self._cookie, "Origin": f"http://127.0.0.1:{PORT}"}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        line = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        try:
            line.request(method, path, urllib.parse.urlencode({"token": self._token, **fields}), headers)
            answer = line.getresponse()
            return answer.status, answer.headers.get("Set-Cookie", "").partition(";")[0], answer.read().decode()
        finally:
            line.close()


def _token(page: str, form: str) -> str:
    return re.search(rf'action="{form}">\s*<input type="hidden" name="token" value="([^"]*)"', page)[1]


def _all_done(_: Place, case: Case) -> bool:
    """Do what is left to do, if the dashboard is there; tell whether all was answered."""
    try:
        browser = Browser()
        for path, fields in ACTIONS[_answered[case.ous] :]:
            browser.do(path, fields)
            _answered[case.ous] += 1
    except (OSError, http.client.HTTPException):
        return False  # it has not started yet, or was killed
    return True


def _left(place: Place) -> list[str]:
    """Return the pauses and the audit, a line each."""
    held = pauses.current(place.connection.database(queue.DATABASE), datetime.now(UTC))
    docs = place.connection.database(audit.DATABASE).every()
    return sorted(
        [f"paused: {each.pattern} by {each.by}: {each.reason}" for each in held]
        + [f"audit: {doc['who']} {doc['what']} {doc['subject']}: {doc['why']}" for doc in docs]
    )


DASHBOARD = {
    "dashboard": Scene(_dead_letters, server.main, lambda *_: ["--port", PORT], _all_done, aides=(), left=_left)
}


def main() -> int:
    """As killed.py, for this scene."""
    SCENES.clear()
    SCENES.update(DASHBOARD)
    return killed.main()


if __name__ == "__main__":
    sys.exit(main())
