#!/usr/bin/env python3
"""The dashboard's web application and command."""

from __future__ import annotations

import argparse
import os
import sys
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if not __package__:
    # ``cd dashboard`` and ``./server.py``, as the seed starts it: with the checkout's own Python, if that is set up.
    _ROOT = Path(__file__).resolve().parent.parent
    _PYTHON = _ROOT / ".venv" / "bin" / "python"
    sys.path[0] = str(_ROOT)
    if not all(find_spec(name) for name in ("flask", "aiohttp", "urllib3", "msgspec")):
        if _PYTHON.exists() and Path(sys.prefix).resolve() != _ROOT / ".venv":
            os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])  # noqa: S606 (ours)
        sys.exit("server.py: its packages are not installed: run ./launch-all.sh first, or . .venv/bin/activate")

from flask import Flask, render_template, request
from werkzeug.exceptions import HTTPException

from dashboard import blueprints
from dashboard.context import EXTENSION, Site
from dashboard.live import Live
from dashboard.web import Server
from shared import actor, origins
from shared.errors import BadInput, DatabaseError, DrwError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.typing import ResponseReturnValue

    from shared.actor import Actor

_HIGHEST_PORT: Final = 65535


def create_app(site: Site) -> Flask:
    """Return the application of a site; its model is kept by ``site.live``, whom the caller starts."""
    app = Flask(__name__)
    app.extensions[EXTENSION] = site
    blueprints.register(app)

    @app.errorhandler(DrwError)
    def failed(error: DrwError) -> ResponseReturnValue:
        status = HTTPStatus.BAD_REQUEST if isinstance(error, BadInput) else HTTPStatus.SERVICE_UNAVAILABLE
        if _is_api():
            return {"error": str(error)}, status
        if isinstance(error, DatabaseError):
            return render_template("away.html", reason=str(error), is_change=request.method == "POST"), status
        return render_template("refused.html", why=str(error)), status

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> ResponseReturnValue:
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        if _is_api() and request.url_rule is None and status == HTTPStatus.NOT_FOUND:
            return {"error": "there is no such address: /api/ lists those that there are"}, status
        if _is_api():
            return {"error": error.description or error.name}, status
        if status == HTTPStatus.NOT_FOUND:
            return render_template("missing.html"), status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return render_template("failed.html"), status
        return render_template("refused.html", why=error.description or error.name), status

    return app


def _is_api() -> bool:
    return request.path.startswith("/api/")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 (any free one) to {_HIGHEST_PORT}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the dashboard."""
    parser = actor.parser("dashboard", "Show the whole system in a browser.", "dashboard --port 5000")
    parser.add_argument("--port", type=_port, help="default DRW_DASHBOARD_PORT, 5000; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at, default 127.0.0.1")
    actor.add_origin_option(parser, "DRW_DASHBOARD_ORIGIN")
    args = parser.parse_args(argv)

    def serve(me: Actor) -> int:
        port = me.settings.dashboard_port if args.port is None else args.port
        live = Live(me.connection)
        site = Site(me.connection, me.settings, live, origins.Origins((*me.settings.dashboard_origin, *args.origin)))
        server = Server(create_app(site), site, host=args.host, port=port)
        live.start()
        me.part("reader of the feeds", live.is_alive)
        try:
            return me.serve_http(server, f"showing everything at {server.url}")
        finally:
            live.stop()

    return actor.run("dashboard", args, serve)


if __name__ == "__main__":
    sys.exit(main())
