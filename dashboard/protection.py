"""What stands before every page: headers, and for what changes something a login, our own origin, and a token."""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from flask import abort, g, render_template, request, url_for

from dashboard.context import site
from shared.names import shown
from shared.people import People

if TYPE_CHECKING:
    from flask import Flask, Response
    from flask.typing import ResponseReturnValue

    from dashboard.sessions import Session
    from shared.origins import Origins

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOG = logging.getLogger(__name__)
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN: Final = frozenset({"login.enter"})
"""What nobody can be logged in for yet; it has a token of its own kind."""


def protect(app: Flask) -> None:
    """Have the application refuse what is not from a page of ours and by somebody who is logged in."""

    @app.before_request
    def check() -> ResponseReturnValue | None:
        if request.method in _SAFE:
            return None
        refused = _refusal()
        return (render_template("refused.html", why=refused), 403) if refused else None

    @app.context_processor
    def who() -> dict[str, object]:
        found = session()
        return {
            "person": found.name if found else "",
            "token": found.token if found else "",
            "here": quote(request.full_path.rstrip("?")) if request.method in _SAFE else url_for("pages.board"),
            "said": _said(found),
        }

    @app.after_request
    def harden(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def _is_navigation() -> bool:
    """Tell whether a person asked, rather than a page that fetches itself anew."""
    # Browsers say Sec-Fetch-Dest over TLS and on this machine only; live.js says everywhere that it is it who asks.
    is_document = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    return is_document and request.headers.get("X-Requested-With") != "fetch"


def _said(found: Session | None) -> list[str]:
    """Take what there is to say to a person, for a page that the browser shows rather than one it fetches."""
    if found is None or not _is_navigation():
        return []
    said, found.said = found.said, []
    return said


def _refusal() -> str:
    """Return why a request that would change something is refused, nothing where it is not."""
    sent_from, fetch_site = request.headers.get("Origin", ""), request.headers.get("Sec-Fetch-Site", "")
    if not _origins().is_own(request.headers.get("Host", ""), sent_from, fetch_site):
        return (
            f"It was sent from {sent_from or 'an unknown page'}, and only pages of this dashboard may change something."
            " If you see it through a proxy, start it with the address that browsers see in DRW_DASHBOARD_ORIGIN or"
            " after --origin."
        )
    token = request.form.get("token", "")
    if request.endpoint in _OPEN:
        return "" if site().sessions.is_form_token(token) else "The form is too old: load it again."
    found = session()
    if found is None or _people().mark(found.name) != found.mark:
        end_session()
        return "You are not logged in, or no longer."
    if not hmac.compare_digest(token.encode(), found.token.encode()):
        return "The form is not of this session: load the page again."
    return ""


def _origins() -> Origins:
    return site().origins


def _people() -> People:
    return People(site().settings.people_path())


def cookie_name() -> str:
    """Return the cookie's name: it has the port, because cookies are shared between ports."""
    return f"drw-session-{request.environ.get('SERVER_PORT', '')}"


def session() -> Session | None:
    """Return the session of whoever asks, None where nobody is logged in."""
    if "session" not in g:
        cookie = request.cookies.get(cookie_name(), "")
        g.session = site().sessions.find(cookie, is_use=_is_navigation()) if cookie else None
    found: Session | None = g.session
    return found


def end_session() -> None:
    """End the session of whoever asks."""
    site().sessions.end(request.cookies.get(cookie_name(), ""))
    g.session = None


def person() -> Session:
    """Return the session of the person who is logged in; for pages that make no sense to anybody else."""
    found = session()
    if found is None:
        abort(401)
    return found


def log_in(name: str, password: str) -> tuple[str, str]:
    """Return the cookie's text for a name and its password, and why not where that is none."""
    by_name, by_address, address = site().by_name, site().by_address, request.remote_addr or ""
    wait_s = max(by_name.wait_s(name, address), by_address.wait_s(address))
    if wait_s > 0:
        return "", f"Too many attempts: try again in {wait_s:.0f} s."
    by_name.begin(name, address)
    by_address.begin(address)
    people = _people()
    if people.check(name, password):
        by_name.passed(name, address)
        by_address.passed(address)
        return site().sessions.begin(name, people.mark(name)), ""
    _LOG.warning("a login as %s from %s was refused", shown(name), address)
    if not people.names():
        return "", "Nobody may log in yet: 'drw people add NAME' lets somebody."
    return "", "Name or password is wrong. 'drw people list' shows the names, 'drw people add' sets a password."
