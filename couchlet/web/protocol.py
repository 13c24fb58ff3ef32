"""Answers to what is no HTTP, or breaks its limits, in the form of all other errors."""

from __future__ import annotations

from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from couchlet.errors import CouchError
from couchlet.web.reply import error_reply

_MOST_CHARACTERS: Final = 200


class _Protocol(RequestHandler):
    """The library's protocol, but for what it says of errors that no request came of."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to what could not be read, after which the connection ends."""
        status = super().handle_error(request, status, exc, message).status
        line = (message or "").partition("\n")[0].strip(" :")[:_MOST_CHARACTERS]
        name = "bad_request" if status < web.HTTPInternalServerError.status_code else "internal_server_error"
        reply = error_reply(CouchError(status, name, line or "The request could not be read."))
        reply.force_close()
        return reply


class HttpServer(web.Server):
    """Makes a protocol for each connection."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)
