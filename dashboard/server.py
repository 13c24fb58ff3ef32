#!/usr/bin/env python3
"""The dashboard's web application and command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if not __package__:  # ``cd dashboard`` and ``./server.py``, as the seed starts it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from flask import Flask, abort, render_template, request
from waitress import create_server

from dashboard import tables
from shared import actor
from shared.errors import BadInput, DrwError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask.typing import ResponseReturnValue

    from shared.actor import Actor
    from shared.dbcon import DbConnection

_THREADS: Final = 8
_POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"


def create_app(connection: DbConnection) -> Flask:
    """Return the application, which reads from one server."""
    app = Flask(__name__)

    @app.get("/")
    def overview() -> ResponseReturnValue:
        pages = [tables.read_page(connection, kind) for kind in tables.KINDS]
        return render_template(
            "overview.html",
            counts=tables.count_states(connection),
            pages=pages,
            unread=tables.unread_messages(connection),
        )

    @app.get("/table/<key>")
    def table(key: str) -> ResponseReturnValue:
        kind = next((kind for kind in tables.KINDS if kind.key == key), None)
        if kind is None:
            abort(404)
        page = tables.read_page(connection, kind, request.args.get("after", ""))
        return render_template("table.html", page=page)

    @app.errorhandler(DrwError)
    def failed(error: DrwError) -> ResponseReturnValue:
        return render_template("away.html", reason=str(error)), 503

    @app.after_request
    def harden(response):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (Flask's own type is generic)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the dashboard."""
    parser = actor.parser("dashboard", "Show the whole system in a browser.", "dashboard --port 5000")
    parser.add_argument("--port", type=int, help="default DRW_DASHBOARD_PORT, 5000")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at, default 127.0.0.1")
    args = parser.parse_args(argv)

    def serve(me: Actor) -> int:
        port = args.port or me.settings.dashboard_port
        try:
            server = create_server(create_app(me.connection), host=args.host, port=port, threads=_THREADS)
        except OSError as error:
            raise BadInput(
                f"port {port} on {args.host} cannot be used ({error.strerror}): choose another with --port"
            ) from error
        return me.serve_http(server, f"showing everything at http://{args.host}:{port}/")

    return actor.run("dashboard", args, serve)


if __name__ == "__main__":
    sys.exit(main())
