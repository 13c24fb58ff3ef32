"""HTTP to CouchDB: one pool of connections a process, and every failure as one of :mod:`shared.errors`.

The only module that knows urllib3 as a client of CouchDB. An outage is logged once at its start and once at its end.
"""

from __future__ import annotations

import base64
import logging
import socket
import threading
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec
import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as HTTPTimeout

from shared import connections, errors, readable_json
from shared.clock import Clock, elapsed_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from urllib3.response import BaseHTTPResponse

    from shared.settings import Settings

T = TypeVar("T")

_LOG = logging.getLogger(__name__)
TIME_LIMIT_S: Final = 30.0
_CONNECT_S: Final = 5.0
_LAST_ANSWERS_S: Final = 2.0
_MOST_KEPT: Final = 64
_PIECE_BYTES: Final = 1 << 16
_CALM_S: Final = 3.0
_SOCKET: Final = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
"""A firewall may forget an idle connection without a word: it is kept awake, and found dead within a minute."""

_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}


class Answer(msgspec.Struct, frozen=True):
    """What CouchDB answered to a request that it carried out: the status, the headers, the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self, kind: type[T]) -> T:
        """Return the body decoded; raise DatabaseAway for one that was cut off, or is not of the kind expected."""
        return decoded(self.content, kind)


class Outage:
    """Says once that the database does not do something, and once that it does again."""

    def __init__(self, url: str, fails: str = "does not answer", works: str = "is back") -> None:
        """Take the address to name, and the words for both."""
        self._url, self._fails, self._works = url, fails, works
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._answered_s: float | None = None

    def began(self, reason: str) -> None:
        """Note a call that failed because the database is away."""
        with self._lock:
            self._answered_s = None
            if self._since_s is None:
                self._since_s = elapsed_s()
                _LOG.warning("CouchDB at %s %s (%s); trying until it does", self._url, self._fails, reason)

    def ended(self) -> None:
        """Note a call that was answered; if none fails for a while after the first one, it is over.

        While one node of a cluster is down, some calls are answered and others not, by turns. A process that is idle
        makes no other call for a minute, so it is a clock that tells when it was calm for long enough.
        """
        if self._since_s is None or self._answered_s is not None:
            return
        with self._lock:
            if self._since_s is None or self._answered_s is not None:
                return
            self._answered_s = elapsed_s()
            timer = threading.Timer(_CALM_S, self._calm_since, [self._answered_s])
            timer.daemon = True
            timer.start()

    def _calm_since(self, answered_s: float) -> None:
        with self._lock:
            if self._answered_s == answered_s:
                self._say_over()

    def close(self) -> None:
        """Say that it is over, if all calls since the last that failed were answered."""
        with self._lock:
            if self._answered_s is not None:
                self._say_over()

    def _say_over(self) -> None:
        if self._since_s is not None and self._answered_s is not None:
            took_s = self._answered_s - self._since_s
            _LOG.warning("CouchDB at %s %s after %.1f s", self._url, self._works, took_s)
        self._since_s = self._answered_s = None


class _HttpPool(urllib3.HTTPConnectionPool):
    QueueCls = connections.Kept  # type: ignore[assignment] # (declared as the very class)


class _HttpsPool(urllib3.HTTPSConnectionPool):
    QueueCls = connections.Kept  # type: ignore[assignment] # (declared as the very class)


class Requests:
    """Sends requests to one CouchDB, from any thread."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Take address and credentials, and the clock that learns the server's time; nothing is sent yet.

        Raises BadInput for what is no address.
        """
        self.url = settings.couchdb_url
        self._clock = clock
        self._headers = _JSON | _authorization(settings)
        try:
            self._prefix = (urllib3.util.parse_url(self.url).path or "").rstrip("/")
            pools = urllib3.PoolManager(maxsize=_MOST_KEPT, retries=False, socket_options=_SOCKET)
            pools.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
            self._pool = pools.connection_from_url(self.url)
        except LocationValueError as error:
            raise errors.BadInput(
                f"DRW_COUCHDB_URL, {self.url}, is no address: it is like http://127.0.0.1:5984"
            ) from error
        self._outage = Outage(self.url)
        self._full = Outage(self.url, "stores nothing", "stores again")
        self._streams: set[BaseHTTPResponse] = set()
        self._under_way = 0
        self._changed = threading.Condition()

    def close(self) -> None:
        """End every stream, wait a moment until no request is under way, and close every connection.

        A thread that still reads while the interpreter ends can take the process down with a signal.
        """
        with self._changed:
            for response in self._streams:
                with suppress(RuntimeError, ValueError, OSError):  # was read to its end meanwhile, or is broken
                    response.shutdown()
            self._changed.wait_for(lambda: not self._under_way, _LAST_ANSWERS_S)
        self._pool.close()
        for each in (self._outage, self._full):
            each.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | Iterable[bytes] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = TIME_LIMIT_S,
        answer_s: float = 0.0,
    ) -> Answer:
        """Send one request and return its answer; raise one of :mod:`shared.errors`.

        ``timeout_s`` bounds every silence on the line; that before the answer may last ``answer_s`` where that is more.
        """
        asked_s = elapsed_s()
        all_headers, connect_s = self._headers | (headers or {}), min(timeout_s, _CONNECT_S)
        if content is not None and not (isinstance(content, bytes) and len(content) <= _PIECE_BYTES):
            # While a request is sent urllib3 goes by the limit for connecting, and for each piece anew. A server that
            # is slow to take a long body is not one that cannot be reached.
            connect_s = timeout_s
            if isinstance(content, bytes):
                all_headers["Content-Length"] = str(len(content))
                content = _in_pieces(content)
        try:
            with self._counted():
                response = self._pool.urlopen(
                    method,
                    self._target(path, params),
                    body=content,
                    headers=all_headers,
                    timeout=urllib3.Timeout(connect=connect_s, read=max(timeout_s, answer_s)),
                )
        except HTTPError as error:
            reason = _what_happened(error)
            self._outage.began(reason)
            raise errors.DatabaseAway(f"CouchDB at {self.url} does not answer: {reason}") from error
        answered_s = elapsed_s()
        answer = Answer(response.status, response.headers, response.data)
        self._judge(answer, f"{method} {path}")
        self._clock.learn(response.headers.get("date", ""), asked_s, answered_s)
        return answer

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, Any] | None = None, *, read_timeout_s: float
    ) -> Iterator[BaseHTTPResponse]:
        """Send a GET whose answer is read piece by piece; silence longer than the time limit is DatabaseAway.

        That is not an outage of the database: a proxy may have let the line die.
        """
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=read_timeout_s)
        try:
            with self._counted():
                response = self._pool.urlopen(
                    "GET", self._target(path, params), headers=self._headers, timeout=timeout, preload_content=False
                )
                with self._kept_in_sight(response):
                    if response.status >= HTTPStatus.BAD_REQUEST:
                        self._judge(Answer(response.status, response.headers, response.data), f"GET {path}")
                    yield response
        except HTTPError as error:
            raise errors.DatabaseAway(f"the line for {path} broke: {_what_happened(error)}") from error

    @contextmanager
    def _kept_in_sight(self, response: BaseHTTPResponse) -> Iterator[None]:
        with self._changed:
            self._streams.add(response)
        try:
            yield
        finally:
            with self._changed:
                self._streams.discard(response)
            response.close()
            response.release_conn()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _target(self, path: str, params: Mapping[str, Any] | None) -> str:
        return f"{self._prefix}{path}?{urlencode(params)}" if params else self._prefix + path

    def _judge(self, answer: Answer, what: str) -> None:
        if passing := _passing(answer):
            reason = f"{answer.status}: {passing}"
            (self._full if answer.status == HTTPStatus.INSUFFICIENT_STORAGE else self._outage).began(reason)
            raise errors.DatabaseAway(f"CouchDB at {self.url} answered {what} with {reason}")
        self._outage.ended()
        if answer.status in _STORED:
            self._full.ended()
        if answer.status >= HTTPStatus.BAD_REQUEST and not _has_rows(answer):
            raise _error_of(answer, what, self.url)


def _passing(answer: Answer) -> str:
    """Return why an answer is not CouchDB's own, or none yet, and is to be asked for again; nothing if it stands."""
    if HTTPStatus.MULTIPLE_CHOICES <= answer.status < HTTPStatus.BAD_REQUEST:
        return f"redirects to {answer.headers.get('location', 'nowhere')}, which CouchDB does not"
    if answer.status >= HTTPStatus.BAD_REQUEST and _is_for_now(answer):
        return _reason(answer)
    if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return ""  # a gateway's page says the same as CouchDB's answer: with less in it, it may pass
    if answer.headers.get("content-type", "").startswith("text/html"):
        return "a page and no JSON"
    return ""


def _is_for_now(answer: Answer) -> bool:
    """Tell whether an error says that CouchDB, or a node of it, cannot do now what it was asked for."""
    if answer.status in _PASSING:
        return True
    if _reason(answer) == _TOO_LARGE_NUMBER:
        return False
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return answer.status != HTTPStatus.NOT_IMPLEMENTED and not _has_rows(answer)
    reason = _reason(answer)  # a node that is down or in maintenance; a shard that is being moved or made
    return reason.startswith("nodedown:") or reason.endswith(": no_db_file")


def _has_rows(answer: Answer) -> bool:
    """Tell whether CouchDB answered 500 for some documents of a ``_bulk_docs`` alone, and for each what became of it.

    So it does where a shard cannot be reached; what the others hold was written (``fabric_doc_update``).
    """
    return answer.status == HTTPStatus.INTERNAL_SERVER_ERROR and answer.content.startswith(b"[")


def _in_pieces(content: bytes) -> Iterator[bytes]:
    return (content[at : at + _PIECE_BYTES] for at in range(0, len(content), _PIECE_BYTES))


def pieces(response: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield what comes in, as soon as it comes."""
    while piece := response.read1(_PIECE_BYTES):
        yield piece


def decoded(text: bytes, kind: type[T]) -> T:
    """Return what CouchDB answered; an answer that was cut off, or is somebody else's, is DatabaseAway."""
    try:
        return readable_json.decode(text, kind)
    except msgspec.DecodeError as error:
        raise errors.NotNow(f"CouchDB's answer is not whole, or not its own: {error}") from error


HOW_TO_LOG_IN: Final = (
    "set COUCHDB_USER and COUCHDB_PASSWORD, or check the file credentials in DRW_HOME, which couchlet makes"
)
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_STORED: Final = frozenset({HTTPStatus.CREATED, HTTPStatus.ACCEPTED})
_TOO_LARGE_NUMBER: Final = "unknown_error: badarith"
"""What CouchDB says of a document with a whole number that no floating-point number comes near
(``couch_ejson_size:encoded_size``)."""

_BY_STATUS: Final[dict[int, type[errors.DatabaseError]]] = {
    HTTPStatus.FORBIDDEN: errors.Forbidden,
    HTTPStatus.NOT_FOUND: errors.NotFound,
    HTTPStatus.CONFLICT: errors.Conflict,
    HTTPStatus.PRECONDITION_FAILED: errors.Conflict,
}


def _authorization(settings: Settings) -> dict[str, str]:
    if not settings.user:
        return {}
    token = base64.b64encode(f"{settings.user}:{settings.password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def _what_happened(error: Exception) -> str:
    """Return a failure in words, without the objects and addresses that urllib3 puts before them."""
    if isinstance(error, NewConnectionError):
        return str(error.__cause__ or error)
    if isinstance(error, HTTPTimeout):
        return "timed out"
    if isinstance(error, ProtocolError) and error.args:
        return str(error.args[-1]) or str(error)
    return errors.text_of(error)


def _reason(answer: Answer) -> str:
    try:
        body = readable_json.decode(answer.content, dict[str, Any])
        return f"{body['error']}: {body['reason']}"
    except (msgspec.DecodeError, KeyError):
        return answer.content[:200].decode(errors="replace") or "no reason given"


def _error_of(answer: Answer, what: str, url: str) -> errors.DatabaseError:
    status, reason = answer.status, _reason(answer)
    if status == HTTPStatus.UNAUTHORIZED and "admin" in reason:
        return errors.Forbidden(f"CouchDB answered {what} with {status}: {reason} That needs a server administrator.")
    if status == HTTPStatus.UNAUTHORIZED:
        return errors.WrongPassword(f"CouchDB at {url} refuses the user or the password ({reason}): {HOW_TO_LOG_IN}")
    if status == HTTPStatus.FORBIDDEN and "temporarily locked" in reason:
        return errors.NotNow(f"CouchDB at {url} has locked the account for a while ({reason})")
    if reason == _TOO_LARGE_NUMBER:
        return errors.Refused("CouchDB stores no whole number of 309 digits or more")
    if status == HTTPStatus.NOT_FOUND and "Database does not exist" in reason:
        database = what.split("/")[1] if "/" in what else what
        return errors.DatabaseMissing(f"database {database} does not exist at {url}: 'drw setup' makes it")
    return _BY_STATUS.get(status, errors.Refused)(f"CouchDB answered {what} with {status}: {reason}")
