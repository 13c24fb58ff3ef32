"""The parts of the application, and what stands above every page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from flask import request
from markupsafe import Markup, escape

from dashboard import api, health, letters, login, messages, metrics, pages, protection

if TYPE_CHECKING:
    from flask import Flask

NAVIGATION: Final = (
    ("pages.board", "Board"),
    ("messages.index", "Messages"),
    ("letters.index", "Dead letters"),
    ("pages.actors", "Actors"),
    ("pages.flow", "Flow"),
    ("pages.overview", "Tables"),
    ("api.index", "API"),
)
_WITHIN: Final = {
    "pages.ous": "pages.board",
    "pages.runs": "pages.board",
    "messages.listing": "messages.index",
    "messages.one": "messages.index",
    "letters.confirm": "letters.index",
    "pages.table": "pages.overview",
}
"""To which of them the pages belong that are not there."""

_JOINT: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[/:])(?=[A-Za-z0-9])")


def register(app: Flask) -> None:
    """Add every part to the application."""
    metrics.measure(app)
    protection.protect(app)
    for each in (pages, messages, letters, login, api, metrics, health):
        app.register_blueprint(each.blueprint)

    app.add_template_filter(wrapped, "wrapped")

    @app.context_processor
    def above() -> dict[str, object]:
        endpoint = request.endpoint or ""
        return {
            "navigation": [each for each in NAVIGATION if each[0] in app.view_functions],
            "within": _WITHIN.get(endpoint, endpoint),
        }


def wrapped(text: str) -> Markup:
    """Return a text whose long words may break where they are joined: ``Ready|For|Processing``, and after a colon."""
    return Markup("<wbr>").join(escape(part) for part in _JOINT.split(text))
