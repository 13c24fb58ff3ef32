"""What the operator changes, under the kills of killed.py: launches, cancellations, and telling people elsewhere.

python tests/killed_operator.py "drw cancel" --effects
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import killed
from killed_place import LONG_AGO, PROCESSING, PROGRAM, Case, Place
from killed_scenes import SCENES, Scene

from actors import notifier
from actors.pipeline_driver import driver
from drw import cli
from shared import cancels, lifecycle, messages, names, news
from shared.bus import envelope, queue
from shared.status import Change

Find = Callable[[Place, Case], None]


def _launched(*changes: Change) -> Find:
    def find(place: Place, case: Case) -> None:
        place.entity(case, *changes)
        request = messages.ProcessRequest(progID=PROGRAM, ousUID=case.ous, recipe=names.DEFAULT_RECIPE)
        place.message(messages.process_selector("EU"), request)

    return find


def _taken_back(*changes: Change) -> Find:
    def find(place: Place, case: Case) -> None:
        _launched(*changes)(place, case)
        launches = [doc["_id"] for doc in place.messages() if doc["selector"].startswith(messages.PROCESS)]
        database = place.connection.database(queue.DATABASE)
        cancels.cancel(database, case.ous, launches, by="ada", reason="not yet", now=datetime.now(UTC))

    return find


def _failed(place: Place, case: Case) -> None:
    place.entity(case, Change(state=PROCESSING), Change(state=lifecycle.PROCESSING_PROBLEM))
    database = place.connection.database(queue.DATABASE)
    database.put({"_id": "control:notifier:begun", "schema": 1, "since": LONG_AGO})


def _over(place: Place, _: Case) -> bool:
    return all(doc["state"] in envelope.TERMINAL_STATES for doc in place.messages())


def _told(place: Place, _: Case) -> bool:
    return any(doc["selector"] == news.SELECTOR and doc["state"] == envelope.CONSUMED for doc in place.messages())


def _driver(place: Place, _: Case) -> Sequence[object]:
    return ["--failure-rate", "0", "EU", place.eu]


def _cancel(_: Place, case: Case) -> Sequence[object]:
    return ["cancel", case.ous, "--reason", "not yet"]


OPERATOR = {
    "driver, cancelled": Scene(_taken_back(), driver.main, _driver, _over),
    "driver, cancelled in its run": Scene(_taken_back(Change(state=PROCESSING)), driver.main, _driver, _over),
    "drw cancel": Scene(_launched(), cli.main, _cancel),
    "drw cancel, running": Scene(_launched(Change(state=PROCESSING)), cli.main, _cancel),
    "drw launch": Scene(lambda *_: None, cli.main, lambda _, case: ["launch", "--program", PROGRAM, case.ous]),
    "notifier": Scene(_failed, notifier.main, lambda *_: [], _told, aides=()),
}


class _Post(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> int:
    """As killed.py, for these scenes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Post)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    killed.TIMES["DRW_WEBHOOK_URL"] = f"http://127.0.0.1:{server.server_port}/told"
    SCENES.clear()
    SCENES.update(OPERATOR)
    return killed.main()


if __name__ == "__main__":
    sys.exit(main())
