"""The server: from a request to its answer, and the life of the listening socket."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import sqlite3
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.web_exceptions import HTTPException

from couchlet import json_text
from couchlet.auth.authenticator import Authenticator
from couchlet.auth.lockout import Lockout
from couchlet.auth.sessions import COOKIE, cookie_header
from couchlet.auth.users import USER_PREFIX
from couchlet.errors import CouchError, bad_request, no_database
from couchlet.storage.catalog import Catalog
from couchlet.storage.writer import storage_error
from couchlet.web.call import Call
from couchlet.web.context import ServerContext, ServerSettings
from couchlet.web.protocol import HttpServer
from couchlet.web.reply import error_reply, stamp
from couchlet.web.routes import answer
from couchlet.web.users import ensure_users

if TYPE_CHECKING:
    from pathlib import Path

_LOG = logging.getLogger("couchlet.requests")
_PROTOCOL_LOG = logging.getLogger("couchlet.protocol")
# What is no HTTP is answered with 400 by the library, which would log a traceback for each.
_PROTOCOL_LOG.setLevel(logging.CRITICAL)
_IDLE_S: Final = 75.0
_LAST_WRITES_S: Final = 5.0
_READING: Final = frozenset(
    (
        *("_changes", "_find", "_explain", "_bulk_get", "_all_docs", "_design_docs", "_local_docs", "queries"),
        *("_revs_diff", "_missing_revs", "_dbs_info"),
    )
)
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]*)(?::\d+)?\Z")


def is_loopback(host: str) -> bool:
    """Whether an address to bind reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def loopback_hosts(host: str) -> frozenset[str]:
    """Return the names under which a server on loopback answers; anything else in `Host` is a rebinding attack."""
    return frozenset(("localhost", "127.0.0.1", "::1", host.lower())) if is_loopback(host) else frozenset()


def _as_answer(error: Exception, request: web.BaseRequest) -> CouchError:
    """Turn a failure into the answer for it; what nobody foresaw is logged."""
    if isinstance(error, CouchError):
        return error
    if isinstance(error, HTTPException):
        return bad_request(str(error.reason))
    if isinstance(error, sqlite3.ProgrammingError):
        # The database was deleted while this request used it.
        return no_database()
    if isinstance(error, sqlite3.Error):
        return storage_error(error)
    _LOG.error("%s %s failed", request.method, request.raw_path, exc_info=error)
    return CouchError(500, "internal_server_error", "The request failed; couchlet's log says more.")


def _reads(request: web.BaseRequest) -> bool:
    """Whether a request changes nothing, by its method, or as a POST by what it asks for."""
    asked = request.path.rstrip("/").rpartition("/")[2]
    return request.method in {"GET", "HEAD"} or (request.method == "POST" and asked in _READING)


def _ask_for_credentials(response: web.Response, request: web.BaseRequest) -> None:
    """Let a 401 ask for credentials in the way that the client names, as CouchDB does; a browser asks its user then."""
    wanted = request.headers.get("X-CouchDB-WWW-Authenticate")
    if response.status == HTTPStatus.UNAUTHORIZED and wanted is not None and wanted.isascii():
        response.headers["WWW-Authenticate"] = wanted


class CouchletServer:
    """A server on one data directory. `start` and `stop` are called in one event loop."""

    def __init__(self, *, settings: ServerSettings, directory: Path, admin: str, password: str) -> None:
        """Open the data directory.

        Raises:
            DataDirectoryError: it cannot be used.
        """
        self.catalog = Catalog(directory)
        authenticator = Authenticator(
            admin=admin,
            password=password,
            secret=self.catalog.server_value("secret"),
            look_up=self._look_up_user,
            lockout=Lockout(enforced=settings.auth_lockout),
        )
        self.context = ServerContext(settings, self.catalog, authenticator)
        self._runner: web.ServerRunner | None = None
        self._responding: set[asyncio.Task[web.StreamResponse]] = set()
        self._user_documents: dict[str, tuple[int, dict[str, Any] | None]] = {}

    def _look_up_user(self, name: str) -> dict[str, Any] | None:
        """Return a user's document; kept until the users' database changes."""
        if not self.catalog.exists("_users"):
            return None
        users = self.catalog.get("_users")
        sequence = users.counters.update_seq
        known = self._user_documents.get(name)
        if known is None or known[0] != sequence:
            row = users.reader.document(USER_PREFIX + name)
            document = json_text.decode_stored(row.body) if row and not row.deleted else None
            if len(self._user_documents) > 1000:  # noqa: PLR2004 - names that do not exist must not fill memory
                self._user_documents.clear()
            known = self._user_documents[name] = (sequence, document)
        return known[1]

    async def start(self) -> int:
        """Make what is missing, and listen; returns the port.

        Raises:
            OSError: the address cannot be bound.
        """
        try:
            await ensure_users(self.catalog)
        except CouchError as error:
            # The administrator and the other databases are served all the same.
            _LOG.error("The users' database is not as it should be: %s", error)
        server = HttpServer(
            self._handle,
            access_log=None,
            logger=_PROTOCOL_LOG,
            keepalive_timeout=_IDLE_S,
            handler_cancellation=True,
            auto_decompress=False,
            max_line_size=16384,
            max_field_size=16384,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        settings = self.context.settings
        site = web.TCPSite(self._runner, settings.host, settings.port, reuse_address=True, backlog=512)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening, end what still waits, finish writes, close the files."""
        self.context.stopping.set()
        self.catalog.end_waiting()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._responding:
            await asyncio.wait(self._responding, timeout=_LAST_WRITES_S)
        await self.catalog.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer. Of who hangs up only what reads is ended: what may have begun to write goes on to its end."""
        if _reads(request):
            return await self._respond(request)
        task = asyncio.create_task(self._respond(request))
        self._responding.add(task)
        task.add_done_callback(self._responded)
        return await asyncio.shield(task)

    def _responded(self, task: asyncio.Task[web.StreamResponse]) -> None:
        self._responding.discard(task)
        if not task.cancelled():
            task.exception()  # the one who is to hear of it may be gone

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        started = time.perf_counter()
        call: Call | None = None
        try:
            call = Call(request, self.context)
            self._check_host(call)
            response = await self._answer(call)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever failed, the client gets an answer, and no traceback
            response = error_reply(_as_answer(error, request))
            _ask_for_credentials(response, request)
            if call is not None and call.is_streaming and request.transport is not None:
                # Half of an answer is out: only a broken connection tells that the rest will not come.
                request.transport.abort()
        finally:
            if call is not None:
                call.release()
        if not response.prepared:
            stamp(response, request, call.body_ms if call else 0)
        if _LOG.isEnabledFor(logging.DEBUG):
            elapsed_ms = (time.perf_counter() - started) * 1000
            _LOG.debug("%s %s %s %.1f ms", request.method, request.raw_path, response.status, elapsed_ms)
        return response

    def _check_host(self, call: Call) -> None:
        """Refuse names that are not ours: a page of another site that was rebound to this machine sends its own."""
        hosts = self.context.settings.hosts
        if not hosts:
            return
        match = _HOST.match(call.header("Host") or "")
        if match is None or match[1].strip("[]").lower() not in hosts:
            raise CouchError(400, "bad_request", "This server answers to localhost only: `Host` names something else.")

    async def _answer(self, call: Call) -> web.StreamResponse:
        cookie = call.request.cookies.get(COOKIE)
        authenticator = self.context.authenticator
        call.user = await authenticator.from_headers(call.header("Authorization"), cookie, call.peer)
        response = await answer(call)
        if call.user.has_old_cookie and call.user.name and not response.prepared:
            renewed = cookie_header(authenticator.cookie_for(call.user.name))
            response.headers.setdefault("Set-Cookie", renewed)
        return response
