"""The web server: long responses (events) are held by one loop, whatever their number; pages are made by threads.

A browser that watches costs a coroutine and no thread, so however many do, there are threads left for pages. What asks
the database nothing has threads of its own: a database that hangs holds up no look at the board, and no scrape.
"""

from __future__ import annotations

import asyncio
import io
import logging
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from dashboard.protection import HEADERS
from dashboard.stream import encoded
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flask import Flask

    from dashboard.context import Site

_THREADS: Final = 8
_QUICK_THREADS: Final = 2
_NEVER_WAITS: Final = re.compile(r"/static/.*|/health|/metrics")
_FROM_MEMORY: Final = re.compile(r"/|/column/.*|/flow|/api/(|board|ous|flow)")
"""The paths of what asks the database nothing; it waits until what is kept of it has been read for the first time."""

_BODY_BYTES: Final = 4 << 20
"""A form: a message's body (:data:`~dashboard.messages.BODY_SHOWN`), of which each character may take twelve bytes."""

_HEARTBEAT_S: Final = 10.0
_BACKLOG: Final = 256
_RETRY: Final = b"retry: 500\n\n"


class Server:
    """Serves an application and its events; bound at once, so that a port which is taken is known before the start."""

    def __init__(self, app: Flask, site: Site, *, host: str, port: int) -> None:
        """Bind an address; raise BadInput where that cannot be."""
        self._app = app
        self._site = site
        self._live = site.live
        self._sockets = _bound(host, port)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="page")
        self._quick = ThreadPoolExecutor(_QUICK_THREADS, thread_name_prefix="quick page")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._news: asyncio.Event | None = None
        self._ended = threading.Event()

    @property
    def url(self) -> str:
        """The address it listens at; the first one, if a name stands for several."""
        host, port = self._sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def run(self) -> None:
        """Serve until closed."""
        try:
            asyncio.run(self._serve())
        finally:
            self._ended.set()

    def close(self) -> None:
        """Stop listening, and end what is held."""
        if self._loop is not None and self._end is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)
            self._ended.wait(_HEARTBEAT_S)
        for each in self._sockets:
            each.close()
        for pool in (self._pool, self._quick):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        self._loop, self._end, self._news = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._live.stream.on_event(self._wake)
        application = web.Application(client_max_size=_BODY_BYTES, middlewares=[self._known_host])
        application.router.add_get("/events", self._events, allow_head=False)
        application.router.add_route("*", "/{path:.*}", self._page)
        runner = web.AppRunner(
            application, access_log=None, logger=_SERVER_LOG, shutdown_timeout=1.0, handler_cancellation=True
        )
        await runner.setup()
        for each in self._sockets:
            await web.SockSite(runner, each, backlog=_BACKLOG).start()
        await self._end.wait()
        self._ring()
        await runner.cleanup()

    def _wake(self) -> None:
        """Tell the loop, from whichever thread, that there is an event."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        """Wake everybody who waits now; whoever comes later waits for the next event."""
        before, self._news = self._news, asyncio.Event()
        if before is not None:
            before.set()

    @web.middleware
    async def _known_host(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Answer nothing, neither page nor event, to who asks under a name that is not ours."""
        hosts = request.headers.getall("Host", [])
        if len(hosts) == 1 and self._site.origins.serves(hosts[0]):
            return await handler(request)
        asked = ", ".join(hosts)[:100] or "no name"
        words = (
            f"This dashboard is not known as {asked}: open it at {self.url}, or start it with that address in "
            "DRW_DASHBOARD_ORIGIN or after --origin.\n"
        )
        return web.Response(status=HTTPStatus.MISDIRECTED_REQUEST, text=words, headers=HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Send events until the browser goes away: what it missed, then each as it comes."""
        stream = self._live.stream
        position = request.headers.get("Last-Event-ID") or request.query.get("since") or stream.position
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                **HEADERS,
            }
        )
        await response.prepare(request)
        stream.watching += 1
        try:
            await response.write(_RETRY + encoded("state", {"away": self._live.away}))
            while not (self._end is None or self._end.is_set()):
                news = self._news
                events, position = stream.after(position)
                if events:
                    await response.write(b"".join(events))
                elif news is not None and not await _rung(news):
                    await response.write(b": still here\n\n")
        except ConnectionError:
            pass  # the browser went away, which is how every such response ends
        finally:
            stream.watching -= 1
        return response

    def _pool_for(self, path: str) -> ThreadPoolExecutor:
        from_memory = self._live.loaded.is_set() and _FROM_MEMORY.fullmatch(path)
        return self._quick if from_memory or _NEVER_WAITS.fullmatch(path) else self._pool

    async def _page(self, request: web.Request) -> web.StreamResponse:
        """Have the application answer, in a thread."""
        try:
            environ = _environ(request, await request.read())
        except (web.RequestPayloadError, ConnectionError) as error:  # ConnectionError: its sender has left
            words = f"What was sent cannot be read: {error}\n"
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=words, headers=HEADERS)
        except web.HTTPRequestEntityTooLarge:
            words = f"What was sent has more than {_BODY_BYTES} bytes, and nothing was changed.\n"
            return web.Response(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text=words, headers=HEADERS)
        # What has not begun when its sender leaves is not done: a browser that is tired of waiting asks again.
        status, headers, body = await asyncio.get_running_loop().run_in_executor(
            self._pool_for(request.path), _answer, self._app, environ
        )
        response = web.Response(status=status, body=body)
        response.headers.clear()
        for name, value in headers:
            response.headers.add(name, value)
        return response


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell whether what aiohttp logs may be a fault of ours: no request that is none is, and its sender is told."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


_SERVER_LOG: Final = logging.getLogger(f"{__name__}.aiohttp")
_SERVER_LOG.addFilter(_is_ours)


async def _rung(news: asyncio.Event) -> bool:
    try:
        await asyncio.wait_for(news.wait(), _HEARTBEAT_S)
    except TimeoutError:
        return False
    return True


def _environ(request: web.Request, body: bytes) -> dict[str, Any]:
    """Return a request as WSGI (PEP 3333) has it; texts in it are bytes read as Latin-1."""
    local = request.transport.get_extra_info("sockname") if request.transport else ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path.encode("utf-8", "surrogateescape").decode("latin-1"),
        "QUERY_STRING": request.rel_url.raw_query_string,
        "RAW_URI": request.raw_path,
        "REMOTE_ADDR": request.remote or "",
        "SERVER_NAME": str(local[0]),
        "SERVER_PORT": str(local[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name in {each.upper() for each in request.headers} - {"CONTENT-TYPE", "CONTENT-LENGTH"}:
        if "_" not in name:  # X_Y would pass for X-Y
            environ[f"HTTP_{name.replace('-', '_')}"] = ",".join(request.headers.getall(name))
    return environ


def _answer(app: Flask, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return status, headers and body of the application's answer."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:  # noqa: ANN401 (PEP 3333)
        begun[:] = [(status, headers)]
        return _no_write

    pieces: Iterable[bytes] = app(environ, start_response)
    try:
        body = b"".join(pieces)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    status, headers = begun[0]
    return int(status.split(" ", 1)[0]), headers, body


def _no_write(_: bytes) -> None:
    raise NotImplementedError("Flask returns its body and never writes it")


def _bound(host: str, port: int) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # UnicodeError: what no machine can be named
        raise BadInput(f"{host} is no address of this machine: name another with --host") from error
    bound: list[socket.socket] = []
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            made = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        except OSError as error:
            for each in bound:
                each.close()
            raise BadInput(
                f"port {port} on {host} cannot be used ({error.strerror}): choose another with --port"
            ) from error
        bound.append(made)
        if port == 0:
            break
    return bound
