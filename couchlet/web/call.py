"""One request and what is needed to answer it."""

from __future__ import annotations

import re
import time
import zlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from aiohttp.web_exceptions import HTTPException

from couchlet import json_text
from couchlet.auth.rights import check_member, require_database_admin, require_server_admin
from couchlet.auth.users import NOBODY, User
from couchlet.errors import CouchError, bad_content_type, bad_request, method_not_allowed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from couchlet.storage.database import Database
    from couchlet.web.context import ServerContext

_ENCODED: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-:")

_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_SLICE_BYTES: Final = 4096
_MOST_MEMBERS: Final = 100_000
"""Of a body that is compressed in blocks; a million empty ones are no body, and keep everybody waiting."""

_OVERRIDES: Final = frozenset(("GET", "PUT", "DELETE", "COPY"))


def too_large() -> CouchError:
    """413 for a body beyond the limit."""
    return CouchError(413, "too_large", "the request entity is too large")


def url_encode(text: str) -> str:
    """Percent-encode as CouchDB does in `Location`."""
    return "".join(
        character if character in _ENCODED else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in text
    )


def unquote(text: str) -> str:
    """Undo percent-encoding. Bytes that are no UTF-8 stay what they are, as lone surrogates.

    So what is read of an address can be found wrong where it is used, as in CouchDB, which sees bytes there.
    """
    return unquote_plus(text, errors="surrogateescape")


Parameters = list[tuple[str, str]]
"""The parameters of a query string, in their order; names may come several times."""


def parse_parameters(text: str) -> Parameters:
    """Take a query string apart."""
    pairs = (part.partition("=") for part in text.split("&") if part)
    return [(unquote(name), unquote(value)) for name, _, value in pairs]


def parse_query(text: str) -> dict[str, str]:
    """Return the parameters of a query string; of several with one name the first counts."""
    return dict(reversed(parse_parameters(text)))


def require_object(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Return a JSON value that is to be an object.

    Raises:
        CouchError: 400 if it is none.
    """
    if not isinstance(value, dict):
        raise bad_request("Request body must be a JSON object")
    return value


def accepts(header: str | None, content_type: str) -> bool:
    """Whether an `Accept` header takes a content type: by name, by `type/*` or by `*/*`, unless with `q=0`."""
    qualities: dict[str, float] = {}
    for item in (header if header is not None else "*/*").split(","):
        name, _, rest = item.partition(";")
        quality = rest.strip().removeprefix("q=") if rest.strip().startswith("q=") else "1"
        try:
            qualities[name.strip()] = float(quality)
        except ValueError:
            return False
    above = content_type.split("/", maxsplit=1)[0] + "/*"
    if qualities.get(content_type) == 0 or qualities.get(above) == 0:
        return False
    return any(qualities.get(name, 0) > 0 for name in (content_type, above, "*/*"))


def _method(request: web.BaseRequest) -> str:
    """Return the method; a POST may stand for another one, for clients that can send nothing else."""
    override = request.headers.get("X-HTTP-Method-Override", "")
    return override if request.method == "POST" and override in _OVERRIDES else request.method


class Call:
    """A request: its path taken apart and decoded, its parameters, who sent it, and access to its body."""

    def __init__(self, request: web.BaseRequest, context: ServerContext) -> None:
        """Take the address apart.

        Raises:
            CouchError: 400 if a `%` in it stands before no two hexadecimal digits.
        """
        self.request = request
        self.context = context
        if _BAD_ESCAPE.search(request.raw_path):
            raise bad_request("invalid_url_encoding")
        path, _, query = request.raw_path.partition("?")
        if not path.startswith("/"):
            path = "/" + path.partition("://")[2].partition("/")[2]
        self.parts = [unquote(part) for part in path.split("/") if part]
        self.raw_path = path
        self.parameters = parse_parameters(query)
        self.query = dict(reversed(self.parameters))
        self.method = _method(request)
        self.user: User = NOBODY
        self.is_streaming = False
        self.body_ms = 0
        self._asked = False
        self._held: Database | None = None

    @property
    def reads(self) -> bool:
        """Whether this is a GET or a HEAD, which are answered alike."""
        return self.method in {"GET", "HEAD"}

    @property
    def peer(self) -> str:
        """The address that the request comes from."""
        return self.request.remote or ""

    def allow(self, *methods: str) -> None:
        """Refuse other methods.

        Raises:
            CouchError: 405 with the methods that are allowed.
        """
        method = "GET" if self.method == "HEAD" and "GET" in methods else self.method
        if method not in methods:
            raise method_not_allowed(",".join(methods))

    def database(self, *, for_server_admins: bool = False) -> Database:
        """Return the database that the path names.

        Raises:
            CouchError: 404 if there is none, 401 or 403 if this user may not use it, or not for this.
        """
        database = self.context.catalog.get(self.parts[0])
        if for_server_admins and database.name != "_users":
            # Who is none is told so, whether he is a member or not; in `_users` there are no other members.
            self.require_server_admin()
        check_member(self.user, database.security)
        if self._held is None:
            # Held until the answer is sent, so that its files stay open.
            self._held = database
            database.holders += 1
        return database

    def release(self) -> None:
        """Let go of the database that this request used."""
        if self._held is not None:
            self._held.holders -= 1
            self._held = None

    def require_server_admin(self) -> None:
        """Refuse all but server administrators."""
        require_server_admin(self.user)

    def require_database_admin(self, database: Database) -> None:
        """Refuse all but administrators of the database and of the server."""
        require_database_admin(self.user, database.security)

    def header(self, name: str) -> str | None:
        """Return a header's value."""
        return self.request.headers.get(name)

    def require_json(self, content_type: str = "application/json") -> None:
        """Refuse a body that is not declared to be JSON.

        Raises:
            CouchError: 415.
        """
        declared = (self.header("Content-Type") or "").split(";")[0]
        if declared != content_type:
            raise bad_content_type(content_type)

    def accepts(self, content_type: str) -> bool:
        """Whether the client takes a content type, by its `Accept` header; without one it takes all."""
        return accepts(self.header("Accept"), content_type)

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            CouchError: 413 if it is larger than the server takes at once, 400 if it breaks off.
        """
        limit = self.context.settings.max_request_bytes
        if (self.request.content_length or 0) > limit:
            raise too_large()
        chunks: list[bytes] = []
        size = 0
        began = time.perf_counter()
        try:
            async for chunk in self.chunks():
                size += len(chunk)
                if size > limit:
                    raise too_large()
                chunks.append(chunk)
        except (ValueError, HTTPException) as error:
            raise bad_request("The request's body breaks off.") from error
        self.body_ms = int((time.perf_counter() - began) * 1000)
        body = b"".join(chunks)
        coding = self.header("Content-Encoding")
        if coding in {None, "identity"}:
            return body
        if coding != "gzip":
            raise CouchError(415, "bad_content_type", f"{coding} is not a supported content encoding.")
        return _decompress(body, limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the body as it comes, of whatever length."""
        await self.ask_for_body()
        async for chunk in self.request.content.iter_any():
            yield chunk

    async def ask_for_body(self) -> None:
        """Tell a client that waits for it (`Expect: 100-continue`) to send the body."""
        expected = self.header("Expect")
        if expected is None or self._asked:
            return
        self._asked = True
        if expected.lower() != "100-continue":
            raise CouchError(417, "expectation_failed", f"Unknown expectation: {expected}")
        writer = self.request.writer
        await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.output_size = 0

    async def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON.

        Raises:
            CouchError: 400 if it is none, or there is none.
        """
        body = await self.body()
        if not body and not {"Content-Length", "Transfer-Encoding"} & self.request.headers.keys():
            raise bad_request("Missing request body")
        return json_text.decode(body)

    async def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            CouchError: 400 if it is none.
        """
        return require_object(await self.json())

    def location(self, *parts: str) -> str:
        """Return the full address of something on this server, as it is called in front of a proxy, if there is one."""
        host = self.header("X-Forwarded-Host") or self.header("Host")
        if not host:
            host = f"{self.context.settings.host}:{self.context.settings.port}"
        is_secure = self.header("X-Forwarded-Ssl") == "on" or self.header("X-Forwarded-Proto") == "https"
        scheme = "https" if is_secure else "http"
        return f"{scheme}://{host}/" + "/".join(url_encode(part) for part in parts)


def _decompress(body: bytes, limit: int) -> bytes:
    """Expand a gzip body, which may have several members (RFC 1952), each whole.

    It is fed in slices, because what follows a member is copied at its end.
    """
    left, parts, members = memoryview(body), [], 0
    while members < _MOST_MEMBERS:
        members += 1
        expander = zlib.decompressobj(wbits=31)
        while left and not expander.eof:
            try:
                parts.append(expander.decompress(left[:_SLICE_BYTES], limit + 1))
            except zlib.error as error:
                raise bad_request("Request body is not properly gzipped.") from error
            limit -= len(parts[-1])
            if limit < 0:
                raise too_large()
            left = left[len(left[:_SLICE_BYTES]) - len(expander.unused_data) :]
        if not expander.eof:
            break
        if not left:
            return b"".join(parts)
    raise bad_request("Request body is not properly gzipped.")
