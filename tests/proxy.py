"""A proxy between processes and CouchDB that does what networks do: loses answers, hangs, cuts, stalls.

::

    with Proxy(couchlet.url) as proxy:
        rule = proxy.rule(writes("claim"), lose_answer, times=1)
        ...                            # a bus at proxy.url works
        rule.wait()                    # until it has struck

Requests are relayed one by one, each on a connection of its own; continuous feeds are relayed piece by piece. What is
to go wrong is said by rules: which requests (a predicate), what happens to them (an action), after how many that pass,
and how often. Of several rules the first that applies counts. Predicates and actions are in troubles.py. Every request
is recorded.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PIECE: Final = 1 << 16
_UPSTREAM_S: Final = 60.0
_NOT_RELAYED: Final = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass
class Request:
    """One request as it came, when (``time.monotonic``), and the status that the client was answered with."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)
    status: int | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def is_feed(self) -> bool:
        return self.query.get("feed") == "continuous"

    @property
    def docs(self) -> list[dict]:
        """The documents that this writes, one by one or together."""
        if self.path.endswith("/_bulk_docs"):
            return self.json["docs"]
        return [self.json] if self.method == "PUT" and self.path.count("/") == 2 and self.body[:1] == b"{" else []

    @property
    def ops(self) -> set[str]:
        """Which transitions of messages this writes: ``send``, ``claim``, ``renew``, ``done``, …"""
        return {doc["last"]["op"] for doc in self.docs if "last" in doc}

    @property
    def target(self) -> str:
        """Path and query, to be sent on."""
        return self.path + ("?" + urlencode(self.query) if self.query else "")


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Rule:
    """What happens to some requests. ``skip`` of them pass before, ``times`` are struck (None: all that come)."""

    def __init__(
        self, when: Callable[[Request], bool], action: Callable[[Exchange], None], *, times: int | None, skip: int
    ) -> None:
        self._when = when
        self.action = action
        self._left = times
        self._skip = skip
        self._changed = threading.Condition()
        self.struck = 0
        """How often this has happened."""

    def take(self, request: Request) -> bool:
        """Tell whether this is for a request, and count it."""
        if not self._when(request):
            return False
        with self._changed:
            if self._skip or self._left == 0:
                self._skip = max(self._skip - 1, 0)
                return False
            if self._left is not None:
                self._left -= 1
            return True

    def note(self) -> None:
        with self._changed:
            self.struck += 1
            self._changed.notify_all()

    def lift(self) -> None:
        """Have it strike no more."""
        with self._changed:
            self._left = 0

    def wait(self, count: int = 1, timeout: float = 20.0) -> None:
        """Wait until it has struck so often."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.struck >= count, timeout), f"struck {self.struck} times only"


class Exchange:
    """One request in the proxy's hands, for actions to play with."""

    def __init__(self, proxy: Proxy, handler: _Handler, request: Request, rule: Rule | None) -> None:
        self.proxy = proxy
        self.request = request
        self._rule = rule
        self._handler = handler
        self._upstream: socket.socket | None = None

    def forward(self) -> Answer:
        """Have the request carried out and return the whole answer, of which the client has heard nothing yet.

        ConnectionError for a feed, whose answer never is whole; its line is to be cut.
        """
        if self.request.is_feed:
            raise ConnectionAbortedError("a feed has no whole answer")
        with self._asked() as response:
            return Answer(response.status, response.getheaders(), response.read())

    def reply(self, answer: Answer, *, cut_at: float = 1.0) -> None:
        """Answer the client; with ``cut_at`` below 1 the line is cut after that share of the body."""
        self._head(answer.status, answer.headers, ("Content-Length", str(len(answer.body))))
        if self.request.method != "HEAD":
            self._handler.wfile.write(answer.body[: int(len(answer.body) * cut_at)])
        self._handler.wfile.flush()
        if cut_at < 1.0:
            self.cut()

    def fail(self, status: int) -> None:
        """Answer the client with an error of the proxy's own."""
        body = json.dumps({"error": "proxy", "reason": "so the test wants it"}).encode()
        self.reply(Answer(status, [("Content-Type", "application/json")], body))

    def relay(self) -> None:
        """Carry the request there and the answer back."""
        if not self.request.is_feed:
            self.reply(self.forward())
            return
        with self._asked() as response, self.proxy.streaming(self):
            self._head(response.status, response.getheaders(), ("Transfer-Encoding", "chunked"))
            self.struck()
            while piece := response.read1(_PIECE):
                self.proxy.wait_while_stalled()
                self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self._handler.wfile.flush()
            self._handler.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Cut the line to the client, and that to CouchDB where one is open."""
        self._handler.close_connection = True
        for connection in (self._handler.connection, self._upstream):
            if connection:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Wait until the client hangs up or the proxy is closed."""
        self.struck()
        with contextlib.suppress(OSError):
            self._handler.connection.recv(1)
        self.cut()

    def struck(self) -> None:
        """Tell the rule, once, that what it wants has happened."""
        rule, self._rule = self._rule, None
        if rule:
            rule.note()

    @contextlib.contextmanager
    def _asked(self) -> Iterator[http.client.HTTPResponse]:
        request = self.request
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_RELAYED}
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=_UPSTREAM_S)
        try:
            connection.request(request.method, request.target, request.body, headers | {"Connection": "close"})
            self._upstream = connection.sock
            with connection.getresponse() as response:
                yield response
        finally:
            self._upstream = None
            connection.close()

    def _head(self, status: int, headers: list[tuple[str, str]], length: tuple[str, str]) -> None:
        self.request.status = status
        self._handler.send_response_only(status)
        for name, value in [*((name, value) for name, value in headers if name.lower() not in _NOT_RELAYED), length]:
            self._handler.send_header(name, value)
        self._handler.end_headers()


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def handle(self) -> None:
        proxy = self.server.proxy
        with proxy.connected(self.connection), contextlib.suppress(OSError):  # the other side may go at any moment
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def _exchange(self) -> None:
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.command, target.path, dict(parse_qsl(target.query)), dict(self.headers), body)
        rule = self.server.proxy.admit(request)
        exchange = Exchange(self.server.proxy, self, request, rule)
        try:
            (rule.action if rule else Exchange.relay)(exchange)
        except (OSError, http.client.HTTPException):  # one of the two sides is gone: so is the line to the other
            exchange.cut()
        exchange.struck()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _exchange  # noqa: N815 (the names that the base class looks for)

    def log_message(self, *_: object) -> None:
        """Say nothing: requests are recorded."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    proxy: Proxy


class Proxy:
    """Stands between processes and the CouchDB at ``upstream_url``; :attr:`url` is where to reach it."""

    def __init__(self, upstream_url: str) -> None:
        self.upstream = urlsplit(upstream_url).netloc
        self.closed = threading.Event()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._rules: list[Rule] = []
        self._requests: list[Request] = []
        self._connections: set[socket.socket] = set()
        self._feeds: set[Exchange] = set()
        self._moving = threading.Event()
        self._moving.set()
        self.most_feeds = 0
        """How many feeds were open at once, at most."""
        self._server: _Server | None = None
        self._port = 0
        self.open()
        self.url = f"http://127.0.0.1:{self._port}"

    def rule(
        self,
        when: Callable[[Request], bool],
        action: Callable[[Exchange], None],
        *,
        times: int | None = None,
        skip: int = 0,
    ) -> Rule:
        """Have something happen to some requests from now on."""
        made = Rule(when, action, times=times, skip=skip)
        with self._lock:
            self._rules.append(made)
        return made

    def admit(self, request: Request) -> Rule | None:
        """Record a request and return the rule that is for it."""
        with self._lock:
            self._requests.append(request)
            self._changed.notify_all()
            rules = list(self._rules)
        return next((rule for rule in rules if rule.take(request)), None)

    def requests(self, when: Callable[[Request], bool] = lambda _: True, *, since: float = 0.0) -> list[Request]:
        """Return the requests so far, in the order in which they came; ``since`` is one of ``time.monotonic``."""
        with self._lock:
            return [each for each in self._requests if each.at >= since and when(each)]

    def wait_until(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """Wait until something is true of the requests so far; it is asked again after each."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), [each.target for each in self._requests[-20:]]

    def wait_for_quiet(self, seconds: float, timeout: float = 20.0) -> None:
        """Wait until nobody has asked for anything for so long."""
        until = time.monotonic() + timeout
        with self._changed:
            while self._changed.wait(seconds):
                assert time.monotonic() < until, [each.target for each in self._requests[-20:]]

    # Feeds

    def stall_feeds(self) -> None:
        """Let every feed, now and later, go silent with its line open: not even its heartbeats come through."""
        self._moving.clear()

    def release_feeds(self) -> None:
        """Let the feeds go on, with what came meanwhile."""
        self._moving.set()

    def close_feeds(self) -> None:
        """Cut the lines of the feeds that are open now."""
        with self._lock:
            feeds = list(self._feeds)
        for each in feeds:
            each.cut()

    def wait_for_feed(self, timeout: float = 20.0) -> None:
        """Wait until a feed is open, whose client then hears of every change."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._feeds, timeout), "nobody follows the feed"

    def wait_while_stalled(self) -> None:
        self._moving.wait()

    @contextlib.contextmanager
    def streaming(self, exchange: Exchange) -> Iterator[None]:
        with self._lock:
            self._feeds.add(exchange)
            self.most_feeds = max(self.most_feeds, len(self._feeds))
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._lock:
                self._feeds.discard(exchange)

    # Being there and being away

    def open(self) -> None:
        """Listen, at the same port every time."""
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.proxy = self
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="proxy").start()

    def refuse(self) -> None:
        """Cut every line and refuse connections, until :meth:`open`."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.socket.close()
        with self._lock:
            connections, feeds = list(self._connections), list(self._feeds)
        for each in feeds:
            each.cut()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()

    def close(self) -> None:
        """End everything."""
        self.closed.set()
        self.release_feeds()
        self.refuse()

    @contextlib.contextmanager
    def connected(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
