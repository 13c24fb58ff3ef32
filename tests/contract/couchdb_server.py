"""A server to test: the one at DRW_TEST_COUCHDB_URL, or a couchlet of our own on a free port."""

from __future__ import annotations

import base64
import http.client
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

ADMIN, PASSWORD = "admin", "secret"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Server:
    """Where a server is, and its administrator."""

    host: str
    port: int
    user: str = ADMIN
    password: str = PASSWORD
    process: subprocess.Popen[str] | None = field(default=None, compare=False)

    @property
    def authorization(self) -> str:
        return basic(self.user, self.password)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def connect(self, timeout_s: float = 60.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | bool | None = True,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """Send one request. Text and bytes go as they are, anything else as JSON; `auth` True is the administrator."""
        every = {"Accept": "application/json", **(headers or {})}
        if auth is True:
            every.setdefault("Authorization", self.authorization)
        elif auth:
            every["Authorization"] = basic(*auth)
        if body is not None and not isinstance(body, bytes):
            every.setdefault("Content-Type", "application/json")
            body = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
        own = connection or self.connect()
        began = time.perf_counter()
        try:
            own.request(method, quote(path, safe="/?&=%:+;,@!$'()*~"), body, every)
            response = own.getresponse()
            text = response.read()
        finally:
            if connection is None:
                own.close()
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, got, text, time.perf_counter() - began)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            assert self.process.stdout is not None
            self.process.stdout.close()


def start_couchlet(
    data: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    **popen: Any,
) -> Server:
    """Start a couchlet and wait for the line that says where it listens."""
    variables = {**os.environ, "COUCHDB_USER": ADMIN, "COUCHDB_PASSWORD": PASSWORD, **(environment or {})}
    process = subprocess.Popen(
        [sys.executable, "-m", "couchlet", "--port", "0", "--data", str(data), "--log-level", "warning", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=variables,
        **popen,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.match(r"couchlet listening on http://(\S+):(\d+) data ", line)
    if match is None:
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"couchlet did not start: {line!r}")
    return Server(match[1].strip("[]"), int(match[2]), process=process)


def server_under_test(data: Path) -> Server:
    """The server that DRW_TEST_COUCHDB_URL names, or a couchlet of our own."""
    url = os.environ.get("DRW_TEST_COUCHDB_URL")
    if not url:
        return start_couchlet(data)
    parts = urlsplit(url)
    return Server(
        parts.hostname or "127.0.0.1",
        parts.port or 5984,
        unquote(parts.username or ADMIN),
        unquote(parts.password or PASSWORD),
    )
