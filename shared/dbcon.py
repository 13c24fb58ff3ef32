"""The adapter to CouchDB: the only module that knows couchdb3, httpx and CouchDB's HTTP interface.

couchdb3 does what is done rarely and by hand (databases, indexes, security, purge, compaction). Documents go through
the same ``httpx.Client`` directly, because there a caller must know what couchdb3 hides: whether a PUT was answered
201 or 202, whether a GET found nothing or could not ask, the bytes that are sent (to repeat them), ids with any
character, a time limit on every call, and ``allow_fallback`` on ``_find``.

Every failure is one of :mod:`shared.errors`. An outage is logged once at its start and once at its end.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import couchdb3
import httpx
import msgspec

from shared import errors
from shared.clock import Clock, elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from shared.settings import Settings

Doc = dict[str, Any]

_LOG = logging.getLogger(__name__)
_TIME_LIMIT_S: Final = 30.0
_CONNECT_S: Final = 5.0
_TIMEOUT: Final = httpx.Timeout(_TIME_LIMIT_S, connect=_CONNECT_S)
FEED_READ_TIMEOUT_S: Final = 25.0
_POOL: Final = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30.0)
_MUTATE_TRIES: Final = 12
_MUTATE_PAUSE_S: Final = 0.02
_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}


class Row(msgspec.Struct, frozen=True):
    """What was answered for one document: its new revision, or an error's name and reason.

    ``sure`` is False where too few nodes of a cluster took a single PUT (202 instead of 201).
    """

    id: str
    rev: str = ""
    error: str = ""
    reason: str = ""
    sure: bool = True


class Outage:
    """Says once that the database went away, and once that it is back."""

    def __init__(self, url: str) -> None:
        """Take the address to name."""
        self._url = url
        self._lock = threading.Lock()
        self._since: float | None = None

    def began(self, reason: str) -> None:
        """Note a call that failed because the database is away."""
        with self._lock:
            if self._since is None:
                self._since = elapsed_s()
                _LOG.warning("CouchDB at %s does not answer (%s); trying until it does", self._url, reason)

    def ended(self) -> None:
        """Note a call that was answered."""
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                _LOG.warning("CouchDB at %s is back after %.1f s", self._url, elapsed_s() - self._since)
                self._since = None


class DbConnection:
    """A connection to one CouchDB server, shared by all threads of a process."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, client: httpx.Client | None = None) -> None:
        """Take address and credentials from ``settings``; nothing is sent before the first call.

        ``client`` replaces the HTTP client, for tests.
        """
        self.url = settings.couchdb_url
        self.clock = clock or Clock()
        auth = httpx.BasicAuth(settings.user, settings.password) if settings.user else None
        self._client = client or httpx.Client(timeout=_TIMEOUT, limits=_POOL, auth=auth, trust_env=False)
        self._outage = Outage(self.url)
        self._server = couchdb3.Server(
            self.url,
            user=settings.user or None,
            password=settings.password or None,
            auth_method="basic",
            timeout=int(_TIME_LIMIT_S),
            session=self._client,
        )

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def database(self, name: str) -> Database:
        """Return one database of this server; nothing is asked, so it need not exist."""
        return Database(self, name)

    def welcome(self) -> Doc:
        """Return what ``GET /`` answers: version, vendor, features."""
        welcome: Doc = self.call("GET", "/")
        return welcome

    def check_credentials(self) -> None:
        """Ask for something that needs a login; raise WrongPassword where it fails."""
        session = self.call("GET", "/_session")
        if not session.get("userCtx", {}).get("name"):
            raise errors.WrongPassword(f"CouchDB at {self.url} wants a user and a password: {_HOW_TO_LOG_IN}")

    def database_names(self) -> list[str]:
        """Return the names of all databases, in order."""
        names: list[str] = self.call("GET", "/_all_dbs")
        return names

    def create_database(self, name: str, **options: int) -> bool:
        """Create a database (``n`` copies, ``q`` shards); return False where it exists."""
        with self.translated(f"database {name}"):
            try:
                self.call("PUT", f"/{quote(name, safe='')}", params=options)
            except errors.Conflict:
                return False
            return True

    def drop_database(self, name: str) -> bool:
        """Delete a database with all it holds; return False where there is none."""
        try:
            self.call("DELETE", f"/{quote(name, safe='')}")
        except (errors.DatabaseMissing, errors.NotFound):
            return False
        return True

    def create_index(self, database: str, name: str, fields: list[str], only: Doc | None = None) -> None:
        """Create a Mango index in a design document of its own, over the documents that match ``only``; idempotent."""
        definition: Doc = {"fields": fields}
        if only is not None:
            definition["partial_filter_selector"] = only
        with self.translated(f"index {name} of {database}"):
            self._server.get(database).save_index(definition, ddoc=name, name=name)

    def call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: Doc | None = None,
        timeout_s: float = _TIME_LIMIT_S,
    ) -> Any:  # noqa: ANN401 (any JSON)
        """Send one request and return its answer, decoded from JSON; raise one of :mod:`shared.errors`."""
        return _decoded(self.send(method, path, content=content, params=params, timeout_s=timeout_s).content)

    def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | Iterable[bytes] | None = None,
        params: Doc | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = _TIME_LIMIT_S,
    ) -> httpx.Response:
        """Send one request and return its answer, read to its end; raise one of :mod:`shared.errors`.

        ``timeout_s`` bounds every silence on the line.
        """
        asked_s = elapsed_s()
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        with self.translated(path):
            response = self._client.request(
                method,
                self.url + path,
                content=content,
                params=params,
                headers=_JSON | (headers or {}),
                timeout=timeout,
            )
        self.clock.learn(response.headers.get("date", ""), asked_s, elapsed_s())
        self._judge(response, f"{method} {path}")
        return response

    @contextmanager
    def stream(
        self, path: str, params: Doc | None = None, *, read_timeout_s: float = FEED_READ_TIMEOUT_S
    ) -> Iterator[httpx.Response]:
        """Send a GET whose answer is read piece by piece; silence longer than the time limit is DatabaseAway.

        That is not an outage of the database: a proxy may have let the line die.
        """
        timeout = httpx.Timeout(_CONNECT_S, read=read_timeout_s)
        try:
            with self._client.stream("GET", self.url + path, params=params, timeout=timeout) as response:
                if response.status_code >= HTTPStatus.BAD_REQUEST:
                    response.read()
                    self._judge(response, f"GET {path}")
                yield response
        except httpx.TransportError as error:
            raise errors.DatabaseAway(f"the line for {path} broke: {str(error) or type(error).__name__}") from error

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turn whatever httpx and couchdb3 raise into our own errors."""
        try:
            yield
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            self._outage.began(reason)
            raise errors.DatabaseAway(f"CouchDB at {self.url} does not answer: {reason}") from error
        except httpx.HTTPStatusError as error:
            self._judge(error.response, what)
            raise errors.DatabaseAway(f"CouchDB at {self.url} answered {error.response.status_code}") from error
        except couchdb3.exceptions.CouchDBError as error:
            raise _TRANSLATED.get(type(error), errors.DatabaseAway)(f"{what}: {error}") from error

    def _judge(self, response: httpx.Response, what: str) -> None:
        status = response.status_code
        passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED
        if passing or status == HTTPStatus.TOO_MANY_REQUESTS:
            reason = f"{status}: {_reason(response)}"
            self._outage.began(reason)
            raise errors.DatabaseAway(f"CouchDB at {self.url} answered {what} with {reason}")
        self._outage.ended()
        if status < HTTPStatus.BAD_REQUEST:
            return
        raise _error_of(status, response, what, self.url)


class Database:
    """One database. Documents are dicts with ``_id`` and, once stored, ``_rev``."""

    def __init__(self, server: DbConnection, name: str) -> None:
        """Take the server's connection and the name; nothing is asked."""
        self.server = server
        self.name = name
        self._path = "/" + quote(name, safe="")

    def path(self, *parts: str) -> str:
        """Return the path of something in this database; every part is percent-encoded."""
        return "/".join([self._path, *(quote(part, safe="") for part in parts)])

    def info(self, *, timeout_s: float = _TIME_LIMIT_S) -> Doc:
        """Return what ``GET /{db}`` answers: sizes in bytes, counts, ``cluster``."""
        info: Doc = self.server.call("GET", self._path, timeout_s=timeout_s)
        return info

    def limit_revisions(self, count: int) -> None:
        """Set how many revisions of each document CouchDB remembers; low only where nothing is replicated."""
        self.server.send("PUT", self.path("_revs_limit"), content=str(count).encode())

    def get(self, doc_id: str, *, timeout_s: float = _TIME_LIMIT_S, **query: object) -> Doc | None:
        """Return a document, or None where there is none; a missing database is DatabaseMissing."""
        try:
            doc: Doc = self.server.call("GET", self.path(doc_id), params=_query(query), timeout_s=timeout_s)
        except errors.NotFound:
            return None
        return doc

    def fetch(self, ids: Iterable[str], *, timeout_s: float = _TIME_LIMIT_S) -> list[Doc | None]:
        """Return the documents with these ids, in one request, None for each that does not exist."""
        content, params = msgspec.json.encode({"keys": list(ids)}), {"include_docs": "true"}
        answer = self.server.call("POST", self.path("_all_docs"), content=content, params=params, timeout_s=timeout_s)
        return [row.get("doc") for row in answer["rows"]]

    def leaves(self, ids: Iterable[str], *, timeout_s: float = _TIME_LIMIT_S) -> dict[str, list[Doc]]:
        """Return every leaf of the revision trees of some documents, deleted ones too; none for what does not exist."""
        wanted = list(ids)
        content = msgspec.json.encode({"docs": [{"id": each} for each in wanted]})
        answer = self.server.call("POST", self.path("_bulk_get"), content=content, timeout_s=timeout_s)
        found: dict[str, list[Doc]] = {each: [] for each in wanted}
        for result in answer["results"]:
            found[result["id"]] += [each["ok"] for each in result["docs"] if "ok" in each]
        return found

    def put(self, doc: Doc) -> str:
        """Write one document at the revision that it was read at and return the new one.

        Raises Conflict where another revision was written since, Refused for content that CouchDB does not take.
        """
        row = self.put_row(doc["_id"], msgspec.json.encode(doc))
        if row.error == "conflict":
            raise errors.Conflict(f"document {doc['_id']} of {self.name} was changed by somebody else")
        if row.error:
            raise errors.Refused(f"document {doc['_id']} of {self.name} was refused: {row.reason}")
        return row.rev

    def put_row(self, doc_id: str, content: bytes, *, timeout_s: float = _TIME_LIMIT_S) -> Row:
        """Write one document from its bytes, so that a repetition sends the very same; a refusal is a row too."""
        try:
            response = self.server.send("PUT", self.path(doc_id), content=content, timeout_s=timeout_s)
        except errors.Conflict as error:
            return Row(doc_id, error="conflict", reason=str(error))
        except errors.Refused as error:
            return Row(doc_id, error="refused", reason=str(error))
        return Row(doc_id, _decoded(response.content)["rev"], sure=response.status_code == HTTPStatus.CREATED)

    def bulk(self, docs: list[Doc], *, new_edits: bool = True) -> list[Row]:
        """Write many documents in one request; the rows are in the order of ``docs``, conflicts are rows too."""
        body: Doc = {"docs": docs} if new_edits else {"docs": docs, "new_edits": False}
        return self.bulk_bytes(msgspec.json.encode(body))

    def bulk_bytes(self, content: bytes, *, timeout_s: float = _TIME_LIMIT_S) -> list[Row]:
        """As :meth:`bulk`, with the request's bytes, so that a repetition sends the very same."""
        rows = self.server.call("POST", self.path("_bulk_docs"), content=content, timeout_s=timeout_s)
        return [
            Row(row["id"], error=row["error"], reason=row.get("reason", ""))
            if "error" in row
            else Row(row["id"], row["rev"])
            for row in rows
        ]

    def find(self, selector: Doc, *, index: str, sort: Sequence[str | Doc], limit: int, **more: object) -> list[Doc]:
        """Return at most ``limit`` documents that match, read from the named index and from nothing else.

        ``allow_fallback: false`` makes CouchDB refuse instead of reading the whole database; a ``warning`` in an
        answer means that it did more than it should have, and is logged.
        """
        body = {"selector": selector, "use_index": index, "sort": sort, "limit": limit, "allow_fallback": False, **more}
        answer = self.server.call("POST", self.path("_find"), content=msgspec.json.encode(body))
        if answer.get("warning"):
            _LOG.warning("_find on %s by %s: %s", self.name, index, answer["warning"])
        docs: list[Doc] = answer["docs"]
        return docs

    def rows(self, **query: object) -> list[Doc]:
        """Return the rows of ``_all_docs`` for its own options (``startkey``, ``endkey``, ``limit``, …)."""
        rows: list[Doc] = self.server.call("GET", self.path("_all_docs"), params=_query(query))["rows"]
        return rows

    def every(self, *, page: int = 500, start: str = "", end: str = "\ufff0") -> Iterator[Doc]:
        """Yield every document with an id from ``start`` to ``end`` but design documents, read page by page."""
        while True:
            rows = self.rows(startkey=start, endkey=end, limit=page, include_docs=True)
            yield from (row["doc"] for row in rows if row.get("doc") and not row["id"].startswith("_design/"))
            if len(rows) < page:
                return
            start = rows[-1]["id"] + "\x00"

    def mutate(self, doc_id: str, change: Callable[[Doc | None], Doc | None]) -> Doc | None:
        """Apply a pure function to a document until it was written at the revision that it saw.

        ``change`` takes the document (None where there is none) and returns the new one, or None to leave it. It runs
        again on the fresh document after each conflict, so it must recognise its own work. Returns the document as it
        is then. Raises Conflict when a dozen tries met one each.
        """
        for attempt in range(_MUTATE_TRIES):
            before = self.get(doc_id)
            after = change(before)
            if after is None:
                return before
            try:
                rev = self.put({**after, "_id": doc_id})
            except errors.Conflict:
                time.sleep(random.uniform(0, _MUTATE_PAUSE_S * 2 ** min(attempt, 6)))  # noqa: S311 (jitter)
                continue
            return {**after, "_id": doc_id, "_rev": rev}
        raise errors.Conflict(f"document {doc_id} of {self.name} was changed by others {_MUTATE_TRIES} times in a row")

    def attach(self, doc_id: str, name: str, rev: str, content: Iterable[bytes], size: int) -> str:
        """Store an attachment of ``size`` bytes, piece by piece; return the document's new revision."""
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        params = {"rev": rev} if rev else None
        response = self.server.send("PUT", self.path(doc_id, name), content=content, params=params, headers=headers)
        return str(_decoded(response.content)["rev"])

    def attachment(self, doc_id: str, name: str, *, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
        """Yield an attachment piece by piece; raise NotFound where there is none."""
        with self.server.stream(self.path(doc_id, name)) as response:
            yield from response.iter_bytes(chunk_bytes)

    def feed(self, since: str, *, heartbeat_s: float) -> Iterator[Doc]:
        """Yield the rows of a continuous ``_changes`` feed, an empty one for each heartbeat, until the line breaks.

        Silence for 2.5 heartbeats is DatabaseAway: such feeds can die without a word.
        """
        params = {"feed": "continuous", "since": since, "heartbeat": str(int(heartbeat_s * 1000))}
        with self.server.stream(self.path("_changes"), params, read_timeout_s=2.5 * heartbeat_s) as response:
            for line in _lines(response.iter_bytes()):
                yield _decoded(line) if line else {}

    def last_seq(self) -> str:
        """Return the update sequence of now, for a feed that begins here."""
        info = self.server.call("GET", self.path("_changes"), params={"since": "now", "limit": "1"})
        return str(info["last_seq"])


_HOW_TO_LOG_IN: Final = (
    "set COUCHDB_USER and COUCHDB_PASSWORD, or check the file credentials in DRW_HOME, which couchlet makes"
)
_TRANSLATED: Final[dict[type, type[errors.DatabaseError]]] = {
    couchdb3.exceptions.BadRequestError: errors.Refused,
    couchdb3.exceptions.UnauthorizedError: errors.WrongPassword,
    couchdb3.exceptions.ForbiddenError: errors.Forbidden,
    couchdb3.exceptions.NotFoundError: errors.NotFound,
    couchdb3.exceptions.ConflictError: errors.Conflict,
    couchdb3.exceptions.PreconditionFailedError: errors.Conflict,
    couchdb3.exceptions.RequestEntityTooLargeError: errors.Refused,
    couchdb3.exceptions.UnsupportedMediaTypeError: errors.Refused,
}
_BY_STATUS: Final[dict[int, type[errors.DatabaseError]]] = {
    HTTPStatus.FORBIDDEN: errors.Forbidden,
    HTTPStatus.NOT_FOUND: errors.NotFound,
    HTTPStatus.CONFLICT: errors.Conflict,
    HTTPStatus.PRECONDITION_FAILED: errors.Conflict,
}


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of what comes in pieces; only a line feed ends one, whatever Unicode has besides."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _decoded(text: bytes | str) -> Any:  # noqa: ANN401 (any JSON)
    """Return what CouchDB answered; an answer that was cut off, or is somebody else's page, is DatabaseAway."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise errors.DatabaseAway(f"CouchDB's answer is not whole, or not its own: {error}") from error


def _query(query: Doc) -> Doc:
    encoded = {key: msgspec.json.encode(value).decode() for key, value in query.items() if key not in _PLAIN}
    return encoded | {key: value for key, value in query.items() if key in _PLAIN}


_PLAIN: Final = frozenset({"rev", "open_revs"})


def _reason(response: httpx.Response) -> str:
    try:
        body = msgspec.json.decode(response.content)
        return f"{body['error']}: {body['reason']}"
    except (msgspec.DecodeError, KeyError, TypeError):
        return response.text[:200] or response.reason_phrase


def _error_of(status: int, response: httpx.Response, what: str, url: str) -> errors.DatabaseError:
    reason = _reason(response)
    if status == HTTPStatus.UNAUTHORIZED:
        return errors.WrongPassword(f"CouchDB at {url} refuses the user or the password ({reason}): {_HOW_TO_LOG_IN}")
    if status == HTTPStatus.FORBIDDEN and "temporarily locked" in reason:
        return errors.DatabaseAway(f"CouchDB at {url} has locked the account for a while ({reason})")
    if status == HTTPStatus.NOT_FOUND and "Database does not exist" in reason:
        database = what.split("/")[1] if "/" in what else what
        return errors.DatabaseMissing(
            f"database {database} does not exist at {url}: ./clear-all.sh or 'drw setup' makes it"
        )
    return _BY_STATUS.get(status, errors.Refused)(f"CouchDB answered {what} with {status}: {reason}")
