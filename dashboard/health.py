"""``/health``: whether the dashboard shows how things are, in words, and by its status for whoever watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response

from dashboard.context import site

if TYPE_CHECKING:
    from dashboard.live import Live

blueprint = Blueprint("health", __name__)
_WELL: Final = 200
_ILL: Final = 503


@blueprint.get("/health")
def index() -> Response:
    """Answer 200 if all is well, else 503, with a line for each thing that is not."""
    wrong = _wrong(site().live)
    text = "\n".join(wrong) if wrong else "all is well: the database answers, and what is shown is how things are"
    return Response(f"{text}\n", status=_ILL if wrong else _WELL, mimetype="text/plain")


def _wrong(live: Live) -> list[str]:
    found = []
    if live.away:
        found.append(f"the database is away, what is shown is how things were: {live.away}")
    if not live.loaded.is_set():
        found.append("the OUSs are still being read")
    elif live.post_away and not live.away:
        found.append(f"the messages cannot be read: {live.post_away}")
    elif not live.post_loaded.is_set() and not live.away:
        found.append("the messages are still being read")
    if not live.is_alive():
        found.append("a reader of the feeds has died: the dashboard must be started again")
    return found
