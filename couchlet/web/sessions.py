"""`/_session`: who I am, logging in, logging out."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from couchlet import json_text
from couchlet.auth.sessions import cookie_header
from couchlet.errors import CouchError, bad_request, unauthorized, unknown_error
from couchlet.web.call import Call, parse_query, require_object
from couchlet.web.reply import json_reply

if TYPE_CHECKING:
    from aiohttp import web


_END: Final = {"Set-Cookie": cookie_header("")}
"""Tells a browser to forget the session."""

_IN_ADDRESSES: Final = "/?#&=%:+;,@!$'()*~-._"
_FORM: Final = "application/x-www-form-urlencoded"


async def session(call: Call) -> web.StreamResponse:
    """Answer by method."""
    if call.method == "POST":
        return await _log_in(call)
    if call.method == "DELETE":
        return _redirected(call, "next", json_reply({"ok": True}, headers=_END))
    call.allow("GET", "HEAD", "POST", "DELETE")
    user = call.user
    info: dict[str, Any] = {"authentication_handlers": ["cookie", "default"]}
    if user.handler is not None:
        info["authenticated"] = user.handler
    if user.name is None and call.query.get("basic") == "true":
        raise unauthorized("Please login.")
    return json_reply({"ok": True, "userCtx": {"name": user.name, "roles": list(user.roles)}, "info": info})


async def _log_in(call: Call) -> web.StreamResponse:
    name, password = await _credentials(call)
    authenticator = call.context.authenticator
    try:
        # As in CouchDB: with Basic authentication they are not.
        user = await authenticator.from_password(name, password, call.peer, are_strangers_counted=True)
    except CouchError as error:
        if error.status != HTTPStatus.UNAUTHORIZED:
            raise
        return _redirected(call, "fail", json_reply(error.as_row(), error.status, _END))
    headers = {"Set-Cookie": cookie_header(authenticator.cookie_for(name))}
    return _redirected(call, "next", json_reply({"ok": True, "name": name, "roles": list(user.roles)}, headers=headers))


def _redirected(call: Call, parameter: str, response: web.Response) -> web.Response:
    """Send the client to the page of this server that a parameter names, if one does.

    Raises:
        CouchError: 400 for what is no path.
    """
    page = call.query.get(parameter)
    if page is not None:
        if not page.startswith("/"):
            raise bad_request("path must begin with a /.")
        response.set_status(HTTPStatus.FOUND)
        response.headers["Location"] = call.location() + quote(page[1:], safe=_IN_ADDRESSES)
    return response


async def _credentials(call: Call) -> tuple[str, str]:
    """Name and password in the body, as a form or as JSON."""
    declared = (call.header("Content-Type") or "").split(";")[0].strip()
    fields: dict[str, str]
    if declared == "application/json":
        fields = require_object(json_text.decode(await call.body()))
        if not all(isinstance(value, str) for value in fields.values()):
            raise unknown_error("badarg")
    elif declared == _FORM:
        given = parse_query((await call.body()).decode("utf-8", errors="replace"))
        fields = {name: json_text.readable(value) for name, value in given.items()}
    else:
        raise CouchError(415, "bad_content_type", f"Content-Type must be '{_FORM}' or 'application/json'")
    name = fields.get("username", fields.get("name"))
    if name is None:
        raise bad_request("request body must contain a username")
    if name != fields.get("name", name):
        raise bad_request("request body contains different usernames")
    password = fields.get("password", "")
    return name, password
