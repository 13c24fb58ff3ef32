"""Logging in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, redirect, render_template, request, url_for

from dashboard import protection
from dashboard.context import site

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

blueprint = Blueprint("login", __name__)
_UNAUTHORIZED: Final = 401


@blueprint.get("/login")
def form() -> ResponseReturnValue:
    """Show the form."""
    return _form("")


@blueprint.post("/login")
def enter() -> ResponseReturnValue:
    """Begin a session."""
    cookie, why = protection.log_in(request.form.get("name", "").strip(), request.form.get("password", ""))
    if why:
        return _form(why), _UNAUTHORIZED
    protection.end_session()
    response = redirect(_local(request.form.get("next", "")), 303)
    secure = site().origins.is_secure(request.headers.get("Host", ""))
    response.set_cookie(protection.cookie_name(), cookie, httponly=True, samesite="Strict", secure=secure)
    return response


@blueprint.post("/logout")
def leave() -> ResponseReturnValue:
    """End the session."""
    protection.end_session()
    response = redirect(url_for("pages.board"), 303)
    response.delete_cookie(protection.cookie_name(), httponly=True, samesite="Strict")
    return response


def _form(why: str) -> str:
    following = request.form.get("next") or request.args.get("next", "")
    name = request.form.get("name", "")[:64]
    return render_template(
        "login.html", why=why, form_token=site().sessions.form_token(), following=_local(following), name=name
    )


def _local(address: str) -> str:
    """Return an address if it is a page of ours, else the board."""
    inside = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if inside else url_for("pages.board")
