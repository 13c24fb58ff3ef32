"""The parts of the application, and what stands above every page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from markupsafe import Markup, escape

from dashboard import pages

if TYPE_CHECKING:
    from flask import Flask, Response

NAVIGATION: Final = (
    ("pages.board", "Board"),
    ("messages.index", "Messages"),
    ("letters.index", "Dead letters"),
    ("pages.actors", "Actors"),
    ("pages.flow", "Flow"),
    ("pages.overview", "Tables"),
    ("api.index", "API"),
)
_JOINT: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=/)(?=[A-Za-z0-9])")
_POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


def register(app: Flask) -> None:
    """Add every part to the application."""
    app.register_blueprint(pages.blueprint)

    app.add_template_filter(wrapped, "wrapped")

    @app.context_processor
    def above() -> dict[str, object]:
        return {"navigation": [each for each in NAVIGATION if each[0] in app.view_functions]}

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers.setdefault("Cache-Control", "no-store")
        return response


def wrapped(text: str) -> Markup:
    """Return a text whose long words may break where they are joined, as in ``Ready|For|Processing``."""
    return Markup("<wbr>").join(escape(part) for part in _JOINT.split(text))
