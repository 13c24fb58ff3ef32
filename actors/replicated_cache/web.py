"""The read-only web server of a cache directory.

The root and every folder are listed; a folder of an expanded weblog is its ``index.html``. Nothing outside the cache
can be reached: each part of a path is opened below the one before it, without following links, and hidden names do
not exist. Everything is served in a sandbox without scripts, because weblogs are written by programs of others. Who
asks under a name that is not ours gets nothing (:mod:`shared.origins`).
"""

from __future__ import annotations

import errno
import mimetypes
import os
import socket
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from flask import Flask, Response, render_template_string, request
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wsgi import FileWrapper

from shared import names
from shared.cache import WEBLOGS
from shared.errors import BadInput
from shared.origins import Origins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

THREADS: Final = 8
CONNECTIONS: Final = 100
IDLE_S: Final = 30
"""After how long without a byte in either direction a connection is closed, unless its request waits for a thread."""

REQUEST_S: Final = 20
"""How long a request may take to arrive, however steadily it drips."""

HEADER_BYTES: Final = 16 * 1024
_PATIENCE: Final = 10
_BUFFER_BYTES: Final = 64 * 1024
_CLEANUP_S: Final = 5
_STOP_S: Final = 5
_PORTS: Final = 65536
_HOST_SHOWN: Final = 100
_INDEX: Final = "index.html"
_TYPES: Final = mimetypes.MimeTypes()

# No Cross-Origin-Resource-Policy: a sandboxed page is of no origin, and would not get its own images.
HEADERS: Final = {
    "Content-Security-Policy": "sandbox allow-downloads; default-src 'none'; img-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

LISTING: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title><style>
body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
h1 { font-size: 1.2rem; overflow-wrap: anywhere } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
</style></head><body><h1>{{ title }}</h1>
{% if parent is not none %}<p><a href="{{ parent }}">Up</a></p>{% endif %}
{% if entries %}<table><tr><th>Name</th><th class="number">Bytes</th><th class="number">Changed (UTC)</th></tr>
{% for entry in entries %}<tr><td><a href="{{ entry.href }}">{{ entry.name }}{{ "/" if entry.is_folder }}</a></td>
<td class="number">{{ "" if entry.is_folder else "{:,}".format(entry.size) }}</td>
<td class="number">{{ entry.changed.strftime("%Y-%m-%d %H:%M:%S") }}</td></tr>
{% endfor %}</table>{% else %}<p>There is nothing here yet.</p>{% endif %}
</body></html>
"""


@dataclass(frozen=True)
class Entry:
    """A line of a listing: a file or folder, its address, its size in bytes and when it changed (UTC)."""

    name: str
    href: str
    is_folder: bool
    size: int
    changed: datetime


def _parts(path: str) -> list[str]:
    """Return the parts of a decoded path; NotFound for what can never be a file of a cache."""
    try:
        return [names.file_name(part) for part in path.split("/") if path]
    except BadInput as error:
        raise NotFound from error


def _open(root: Path, parts: list[str]) -> int:
    """Open a file or folder below ``root``, part by part and never through a link; NotFound if there is none."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for part in parts:
            below = os.open(part, flags, dir_fd=file)
            os.close(file)
            file = below
    except OSError as error:
        os.close(file)
        raise NotFound from error
    return file


def _href(parts: list[str], *, is_folder: bool) -> str:
    """Return an absolute address: relative ones would read the colons of weblogs' names as a scheme."""
    return "/" + "/".join(quote(part, safe="") for part in parts) + ("/" if is_folder and parts else "")


def _entries(folder: int, parts: list[str]) -> Iterator[Entry]:
    """Yield what may be seen of a folder: plain files and folders with good names, folders first."""
    seen = []
    for name in os.listdir(folder):
        with suppress(BadInput, FileNotFoundError):
            found = os.stat(names.file_name(name), dir_fd=folder, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode):
                seen.append((not stat.S_ISDIR(found.st_mode), name, found))
    for is_file, name, found in sorted(seen, key=lambda each: each[:2]):
        href = _href([*parts, name], is_folder=not is_file)
        yield Entry(name, href, not is_file, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _listing(folder: int, parts: list[str]) -> Response:
    page = render_template_string(
        LISTING,
        title="/".join(["Cache", *parts]),
        parent=_href(parts[:-1], is_folder=True) if parts else None,
        entries=list(_entries(folder, parts)),
    )
    return Response(page, mimetype="text/html")


def _file(file: int, name: str) -> Response:
    """Answer with an open file, or with the range of it that was asked for, in chunks."""
    found = os.fstat(file)
    kind, packed = _TYPES.guess_type(name)
    response = Response(
        FileWrapper(os.fdopen(file, "rb"), _BUFFER_BYTES),
        mimetype=kind if kind and not packed else "application/octet-stream",
        direct_passthrough=True,
    )
    response.content_length = found.st_size
    response.last_modified = datetime.fromtimestamp(found.st_mtime, UTC)
    response.set_etag(f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}")
    try:
        response.make_conditional(request.environ, accept_ranges=True, complete_length=found.st_size)
    except HTTPException:
        response.close()
        raise
    return response


def _is_weblog(parts: list[str]) -> bool:
    return len(parts) > 1 and parts[0] == WEBLOGS


def _answer(root: Path, path: str) -> Response:
    """Answer a request for a decoded path below the cache."""
    is_folder = path.endswith("/") or not path
    parts = _parts(path.removesuffix("/"))
    file = _open(root, parts)
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode) and not is_folder:
        return _file(file, parts[-1])
    try:
        if not stat.S_ISDIR(mode):
            raise NotFound
        if not is_folder:
            # A weblog's links are relative to its folder, so the address must end like a folder's.
            return Response(status=302, headers={"Location": _href(parts, is_folder=True)})
        if _is_weblog(parts):
            with suppress(NotFound):
                return _answer(root, f"{path}{_INDEX}")
        return _listing(file, parts)
    finally:
        os.close(file)


def make_app(cache_dir: Path, origins: Origins) -> Flask:
    """Return the web application that shows ``cache_dir`` to who asks under one of our names."""
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False

    def show(path: str = "") -> Response:
        return _answer(cache_dir, path)

    def refuse(error: HTTPException) -> Response:
        answer = Response(f"{error.code} {error.name}\n", status=error.code, mimetype="text/plain")
        for name, value in error.get_headers():
            if name not in {"Content-Type", "Content-Length"}:
                answer.headers[name] = value
        return answer

    def known_host() -> Response | None:
        """Answer nothing to who asks under a name that is not ours."""
        host = request.headers.get("Host", "")
        if origins.serves(host):
            return None
        words = (
            f"This cache is not known as {host[:_HOST_SHOWN] or 'no name'}: open it as localhost, by the name of its "
            "machine or its address in figures, or start it with that address in DRW_CACHE_ORIGIN or after --origin.\n"
        )
        return Response(words, status=HTTPStatus.MISDIRECTED_REQUEST, mimetype="text/plain")

    def protect(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    for rule in ("/", "/<path:path>"):
        app.add_url_rule(rule, "show", show, methods=["GET"], provide_automatic_options=False)
    app.register_error_handler(HTTPException, refuse)
    app.before_request(known_host)
    app.after_request(protect)
    return app


class _Channel(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """A connection that is closed when its request does not arrive in time, even if a byte comes now and then."""

    began = 0.0

    def received(self, data: bytes) -> bool:
        """Take what has arrived of a request."""
        now = time.monotonic()
        if self.request is None:
            self.began = now
        if now - self.began > self.server.request_s:
            self.will_close = True
            return False
        return bool(super().received(data))

    def service(self) -> None:
        """Answer a request; the client's time to take the answer begins only now, however long it waited its turn."""
        self.last_activity = time.time()
        super().service()


class _Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    channel_class = _Channel
    request_s: float = REQUEST_S

    def maintenance(self, now: float) -> None:
        """Close idle connections, those too whose client does not take its answer, which would hold a thread.

        A client whose request waits for a thread has more time, since it is we who are late; but it may have left.
        """
        for channel in list(self.active_channels.values()):
            waits_for_us = channel.requests and not channel.total_outbufs_len
            patience_s = self.adj.channel_timeout * (_PATIENCE if waits_for_us else 1)
            if channel.last_activity < now - patience_s:
                channel.will_close = True
                # Wakes the loop for a connection that is never ready to be written to.
                with suppress(OSError):
                    channel.socket.shutdown(socket.SHUT_RDWR)

    def cut_off(self) -> None:
        """Close the port and every connection; to be called in the thread of the loop."""
        for channel in list(self.active_channels.values()):
            channel.handle_close()
        wasyncore.dispatcher.close(self)

    def end_loop(self) -> None:
        """Let the loop end, which goes on while it has something to look at."""
        self._map.clear()


class CacheServer:
    """A running web server of a cache; made by :func:`serve`."""

    def __init__(self, server: _Server) -> None:
        """Take a server that has its port, and begin to serve."""
        self._server = server
        self.port = int(server.effective_port)
        self._thread = threading.Thread(target=server.run, name="cache-web", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it still serves: an actor whose web server has died ends loudly."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop serving and free the port; answers that are under way are cut off. Closing again does nothing."""
        if self.is_alive:
            trigger = self._server.trigger
            trigger.pull_trigger(self._server.cut_off)
            # Workers and loop use the trigger's pipe: it must outlast them, or they would write to whatever is next.
            self._server.task_dispatcher.shutdown(timeout=_STOP_S)
            trigger.pull_trigger(self._server.end_loop)
            self._thread.join()
            trigger.close()


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that has the port; BadInput if it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadInput(f"port {port} is in use: choose another with -p") from error
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise BadInput(f"port {port} is not allowed to this user: choose one above 1023 with -p") from error
        raise BadInput(f"{host} cannot be listened on: {error.strerror}; give an address of this machine") from error
    except UnicodeError as error:
        raise BadInput(
            f"{names.shown(host)} is no name that a machine can have; give an address of this machine"
        ) from error


def serve(
    cache_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    origins: Origins | None = None,
    connections: int = CONNECTIONS,
    idle_s: int = IDLE_S,
    request_s: float = REQUEST_S,
) -> CacheServer:
    """Serve ``cache_dir`` read-only in a thread; port 0 takes a free one. BadInput if the port cannot be had.

    Only this machine is served unless ``host`` says otherwise, and only under its own names and those of ``origins``.
    At most ``connections`` are open at once, none longer than ``idle_s`` without a byte (ten times that while a request
    waits for a thread), and none whose request takes longer than ``request_s`` to arrive.
    """
    if not 0 <= port < _PORTS:
        raise BadInput(f"port {port} is out of range: choose one from 1 to {_PORTS - 1} with -p")
    listening = _listening(host, port)
    settings = Adjustments(
        sockets=[listening],
        threads=THREADS,
        connection_limit=connections,
        channel_timeout=idle_s,
        cleanup_interval=min(_CLEANUP_S, idle_s),
        max_request_header_size=HEADER_BYTES,
        max_request_body_size=1,
        ident=None,
        log_socket_errors=False,
    )
    place = (listening.family, listening.type, listening.proto, listening.getsockname())
    server = _Server(
        make_app(cache_dir, origins or Origins()), _sock=listening, adj=settings, bind_socket=False, sockinfo=place
    )
    server.request_s = request_s
    return CacheServer(server)
