#!/usr/bin/env python3
"""The dashboard's web application and command."""

from __future__ import annotations

import argparse
import os
import sys
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

from dashboard import blueprints
from dashboard.context import EXTENSION, Site
from dashboard.live import Live
from dashboard.web import Server
from shared import actor
from shared.errors import DrwError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.typing import ResponseReturnValue

    from shared.actor import Actor
    from shared.dbcon import DbConnection
    from shared.settings import Settings

_HIGHEST_PORT: Final = 65535


def create_app(connection: DbConnection, settings: Settings, live: Live | None = None) -> Flask:
    """Return the application, which reads from one server; its model is kept by ``live``, whom the caller starts."""
    app = Flask(__name__)
    app.extensions[EXTENSION] = Site(connection, settings, live or Live(connection))
    blueprints.register(app)

    @app.errorhandler(DrwError)
    def failed(error: DrwError) -> ResponseReturnValue:
        if request.path.startswith("/api/"):
            return {"error": str(error)}, 503
        return render_template("away.html", reason=str(error)), 503

    @app.errorhandler(404)
    def missing(_: Exception) -> ResponseReturnValue:
        return render_template("missing.html"), 404

    return app


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 (any free one) to {_HIGHEST_PORT}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the dashboard."""
    parser = actor.parser("dashboard", "Show the whole system in a browser.", "dashboard --port 5000")
    parser.add_argument("--port", type=_port, help="default DRW_DASHBOARD_PORT, 5000; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at, default 127.0.0.1")
    args = parser.parse_args(argv)

    def serve(me: Actor) -> int:
        port = me.settings.dashboard_port if args.port is None else args.port
        live = Live(me.connection)
        server = Server(create_app(me.connection, me.settings, live), live, host=args.host, port=port)
        live.start()
        me.part("reader of the feeds", live.is_alive)
        try:
            return me.serve_http(server, f"showing everything at {server.url}")
        finally:
            live.stop()

    return actor.run("dashboard", args, serve)


if __name__ == "__main__":
    sys.exit(main())
