"""`/_session`: who I am, logging in, logging out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from couchlet.auth.sessions import cookie_header
from couchlet.auth.users import wrong_password
from couchlet.errors import bad_request
from couchlet.web.call import Call, parse_query
from couchlet.web.reply import json_reply

if TYPE_CHECKING:
    from aiohttp import web


async def session(call: Call) -> web.StreamResponse:
    """Answer by method."""
    if call.method == "POST":
        return await _log_in(call)
    if call.method == "DELETE":
        return json_reply({"ok": True}, headers={"Set-Cookie": cookie_header("")})
    call.allow("GET", "HEAD", "POST", "DELETE")
    user = call.user
    info: dict[str, Any] = {"authentication_handlers": ["cookie", "default"]}
    if user.handler is not None:
        info["authenticated"] = user.handler
    if user.name is None and call.query.get("basic") == "true":
        raise wrong_password()
    return json_reply({"ok": True, "userCtx": {"name": user.name, "roles": list(user.roles)}, "info": info})


async def _log_in(call: Call) -> web.StreamResponse:
    name, password = await _credentials(call)
    authenticator = call.context.authenticator
    user = await authenticator.from_password(name, password)
    cookie = cookie_header(authenticator.cookie_for(name))
    return json_reply({"ok": True, "name": user.name, "roles": list(user.roles)}, headers={"Set-Cookie": cookie})


async def _credentials(call: Call) -> tuple[str, str]:
    """Name and password in the body, as a form or as JSON."""
    declared = (call.header("Content-Type") or "").split(";")[0].strip()
    fields: dict[str, Any] = {}
    if declared == "application/json":
        fields = await call.json_object()
    elif declared in {"", "application/x-www-form-urlencoded"}:
        fields = dict(parse_query((await call.body()).decode("utf-8", errors="replace")))
    name = fields.get("name", fields.get("username", ""))
    password = fields.get("password", "")
    if not isinstance(name, str) or not isinstance(password, str):
        raise bad_request("`name` and `password` must be strings.")
    return name, password
