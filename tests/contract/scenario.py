"""Replaying a recorded scenario against a server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from comparison import Difference, Names, compare
from couchdb_server import Answer, Server, basic

RECORDINGS = Path(__file__).parent / "recordings"
ETAG_OF_CONTENT = re.compile(r'"(\d+-\w+|[0-9A-Za-z+/]{22}==)"')
"""The revision of a document or the sum of an attachment; what else there is names the server too."""

STACK = "{{"
"""What a reason begins with that is a stack of Erlang's."""


def load(name: str) -> list[dict[str, Any]]:
    return msgspec.json.decode((RECORDINGS / f"{name}.json").read_bytes())["exchanges"]


def scenarios() -> list[str]:
    return sorted(path.stem for path in RECORDINGS.glob("*.json"))


class Replay:
    """All exchanges of one scenario, sent in order; what differed is kept for each."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._names = Names(basic("admin", "secret"), server.authorization)
        self._names.admin = ("admin", server.user)
        self.exchanges = load(name)
        self.failures: dict[int, str] = {}
        self._remove_databases()
        for place, exchange in enumerate(self.exchanges):
            try:
                self._replay(exchange)
            except Difference as difference:
                self.failures[place] = str(difference)

    def _remove_databases(self) -> None:
        paths = [exchange["request"]["path"] for exchange in self.exchanges]
        for path in sorted(set(re.findall(r"^/rec_\w+", "\n".join(paths), re.MULTILINE))):
            self._server.ask("DELETE", path)

    def _replay(self, exchange: dict[str, Any]) -> None:
        recorded = exchange["response"]
        answer = self._send(exchange["request"])
        if answer.status != recorded["status"]:
            raise Difference(f"status is {answer.status}, recorded is {recorded['status']}: {answer.body[:300]!r}")
        if recorded["took_s"] > 0.3 and answer.took_s < recorded["took_s"] * 0.8:
            raise Difference(f"answered after {answer.took_s:.2f} s, recorded are {recorded['took_s']} s")
        self._compare_headers(recorded["headers"], answer.headers)
        self._compare_body(recorded, answer)

    def _send(self, request: dict[str, Any]) -> Answer:
        translate = self._names.translate
        body = self._log_in(request) if request["path"] == "/_session" else request["body"]
        if isinstance(body, str):
            body = translate(body)
        elif body is not None:
            body = translate(msgspec.json.encode(body).decode())
        headers = {name: translate(value) for name, value in request["headers"].items()}
        path = translate(request["path"])
        if request["method"] == "PUT" and re.fullmatch(r"/rec_\w+", path):
            path += "?q=1"  # as where it was recorded: with more shards the changes have no one order
        return self._server.ask(request["method"], path, body, headers=headers, auth=not request["anonymous"])

    def _log_in(self, request: dict[str, Any]) -> Any:
        """Put the administrator of this server into a recorded log-in."""
        body = request["body"]
        if isinstance(body, str):
            return body.replace("admin", quote(self._server.user)).replace("secret", quote(self._server.password))
        if body and body["password"] == "secret":
            return {"name": self._server.user, "password": self._server.password}
        return body

    def _compare_headers(self, recorded: dict[str, str], ours: dict[str, str]) -> None:
        for name in ("content-type", "allow"):
            if name in recorded and recorded[name].split(";")[0] != ours.get(name, "").split(";")[0]:
                raise Difference(f"{name} is {ours.get(name)}, recorded is {recorded[name]}")
        for name in ("etag", "location"):
            if name in recorded and name not in ours:
                raise Difference(f"there is no {name}")
        etag = recorded.get("etag", "")
        if ETAG_OF_CONTENT.fullmatch(etag) and etag != ours["etag"]:
            raise Difference(f"etag is {ours['etag']}, recorded is {etag}")
        if "location" in recorded:
            left, right = (text.split("/", 3)[3] for text in (recorded["location"], ours["location"]))
            if left != right:
                raise Difference(f"location is {right}, recorded is {left}")

    def _compare_body(self, recorded: dict[str, Any], answer: Answer) -> None:
        body = recorded["body"]
        if recorded["status"] >= 400 and isinstance(body, dict):
            ours = answer.json()
            is_alike = ours.get("reason") == body["reason"] or body["reason"].startswith(STACK)
            if ours.get("error") != body["error"] or not is_alike:
                raise Difference(f"error is {answer.json()}, recorded is {body}")
        elif body is None:
            if answer.body:
                raise Difference(f"there is a body: {answer.body[:100]!r}")
        elif recorded["body_kind"] == "json":
            compare(body, answer.json(), self._names)
        elif body.startswith("{"):
            left, right = ([line for line in text.splitlines() if line] for text in (body, answer.body.decode()))
            compare([msgspec.json.decode(x) for x in left], [msgspec.json.decode(x) for x in right], self._names)
        elif answer.body.decode() != body:
            raise Difference(f"body is {answer.body!r}, recorded is {body!r}")
