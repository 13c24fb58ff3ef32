"""Answers: JSON with CouchDB's headers, whole or row by row."""

from __future__ import annotations

import hashlib
import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import HttpVersion11, web

from couchlet import __version__, json_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from couchlet.errors import CouchError
    from couchlet.web.call import Call

SERVER: Final = f"CouchDB/3.5.0 (couchlet/{__version__})"
JSON: Final = "application/json"
_NOT_FOUND: Final = "Object Not Found"
"""What CouchDB's HTTP library calls a 404."""

_FLUSH_BYTES: Final = 64 * 1024
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,36}")
_BETWEEN_TAGS: Final = re.compile(r"[, ]+")


def base_headers() -> dict[str, str]:
    """Return what every answer carries; `stamp` adds what depends on the request, and the sending adds the date."""
    return {"Server": SERVER}


def stamp(response: web.StreamResponse, request: web.BaseRequest, body_ms: int) -> None:
    """Say in an answer which request it belongs to, by the client's id or a fresh one, and how long its body took."""
    given = request.headers.get("X-Couch-Request-ID")
    is_usable = given is not None and _REQUEST_ID.fullmatch(given)
    response.headers["X-Couch-Request-ID"] = str(given) if is_usable else secrets.token_hex(5)
    response.headers["X-CouchDB-Body-Time"] = str(body_ms)


async def begin(call: Call, response: web.StreamResponse) -> None:
    """Send the head of an answer that comes in pieces.

    If its length is not known, the end is marked by chunks, and by the end of the connection for HTTP/1.0.
    """
    call.is_streaming = True
    if response.content_length is None and call.request.version < HttpVersion11:
        response.force_close()
    stamp(response, call.request, call.body_ms)
    await response.prepare(call.request)


async def send_pieces(call: Call, response: web.StreamResponse, pieces: Iterator[bytes]) -> web.StreamResponse:
    """Send an answer whose pieces are read while it is sent.

    Where there are fewer bytes than its head has promised, because a content was dropped or is damaged, the connection
    is broken: the client would take the next answer for the rest.
    """
    await begin(call, response)
    sent = 0
    if call.method != "HEAD":
        for piece in pieces:
            sent += len(piece)
            await response.write(piece)
        if response.content_length is not None and sent != response.content_length:
            raise RuntimeError(f"{sent} of {response.content_length} bytes of the content are there")
    await response.write_eof()
    return response


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:  # noqa: ANN401
    """Return a JSON value as the answer."""
    return raw_json_reply(json_text.encode(value), status, headers)


def raw_json_reply(text: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON that is at hand as text."""
    every = base_headers()
    every["Cache-Control"] = "must-revalidate"
    every["Content-Type"] = JSON
    if headers:
        every.update(headers)
    reason = _NOT_FOUND if status == HTTPStatus.NOT_FOUND else None
    return web.Response(body=text + b"\n", status=status, reason=reason, headers=every)


def error_reply(error: CouchError) -> web.Response:
    """Return an error as the answer."""
    # A reason may quote what came percent-encoded, and is no UTF-8.
    row = {name: json_text.readable(text) for name, text in error.as_row().items()}
    return json_reply(row, error.status, error.headers)


def etag_of(*facts: object) -> str:
    """Return a quoted entity tag made from what an answer depends on."""
    digest = hashlib.md5(repr(facts).encode(), usedforsecurity=False).hexdigest().upper()
    return f'"{digest[:25]}"'


def not_modified(call: Call, etag: str) -> web.Response | None:
    """304 if the client has this version already."""
    known = call.header("If-None-Match")
    if known is None or not call.reads:
        return None
    if etag not in (tag.removeprefix("W/") for tag in _BETWEEN_TAGS.split(known)):
        return None
    return web.Response(status=304, headers={**base_headers(), "ETag": etag})


class JsonStream:
    """An answer that is written while it is made, in pieces of some size."""

    def __init__(self, call: Call, headers: Mapping[str, str] | None = None, content_type: str = JSON) -> None:
        """Prepare; nothing is sent before the first flush."""
        self._call = call
        every = {**base_headers(), "Cache-Control": "must-revalidate", "Content-Type": content_type}
        every.update(headers or {})
        self.response = web.StreamResponse(status=200, headers=every)
        self._parts: list[bytes] = []
        self._size = 0
        self._started = False

    async def add(self, part: bytes) -> None:
        """Add to the answer; it is sent when enough is there."""
        self._parts.append(part)
        self._size += len(part)
        if self._size >= _FLUSH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what is there now."""
        if not self._started:
            await begin(self._call, self.response)
            self._started = True
        if self._parts and self._call.method != "HEAD":
            await self.response.write(b"".join(self._parts))
        self._parts.clear()
        self._size = 0

    async def end(self) -> web.StreamResponse:
        """Send the rest; a small answer is sent whole, with its length."""
        if not self._started:
            return web.Response(body=b"".join(self._parts), status=200, headers=self.response.headers)
        # The rest and the end of the answer in one packet.
        await self.response.write_eof(b"" if self._call.method == "HEAD" else b"".join(self._parts))
        return self.response
