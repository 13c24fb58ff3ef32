#!/usr/bin/env python3
"""The dashboard's web application and command."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if not __package__:
    # ``cd dashboard`` and ``./server.py``, as the seed starts it: with the checkout's own Python, if that is set up.
    _ROOT = Path(__file__).resolve().parent.parent
    _PYTHON = _ROOT / ".venv" / "bin" / "python"
    sys.path[0] = str(_ROOT)
    if not all(find_spec(name) for name in ("flask", "waitress", "couchdb3", "msgspec")):
        if _PYTHON.exists() and Path(sys.prefix).resolve() != _ROOT / ".venv":
            os.execv(_PYTHON, [str(_PYTHON), __file__, *sys.argv[1:]])  # noqa: S606 (ours)
        sys.exit("server.py: its packages are not installed: run ./launch-all.sh first, or . .venv/bin/activate")

from flask import Flask, abort, render_template, request
from waitress import create_server

from dashboard import crew, messages, ous, tables
from shared import actor
from shared.errors import BadInput, DrwError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flask.typing import ResponseReturnValue

    from dashboard.cells import Page
    from shared.actor import Actor
    from shared.dbcon import DbConnection

_THREADS: Final = 8
_HIGHEST_PORT: Final = 65535
_POLICY: Final = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
_COUNTED: Final[dict[str, Callable[[DbConnection, int], Page]]] = {
    messages.UNREAD: messages.unread,
    messages.DEAD: messages.dead,
    crew.ACTORS: crew.actors,
}
"""The tables whose pages begin at a number rather than behind a document."""


def create_app(connection: DbConnection, weblog_url: str) -> Flask:
    """Return the application, which reads from one server and links to weblogs at an address."""
    app = Flask(__name__)
    _add_pages(app, connection, weblog_url)

    @app.errorhandler(DrwError)
    def failed(error: DrwError) -> ResponseReturnValue:
        return render_template("away.html", reason=str(error)), 503

    @app.errorhandler(404)
    def missing(_: Exception) -> ResponseReturnValue:
        return render_template("missing.html"), 404

    @app.after_request
    def harden(response):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 (Flask's own type is generic)
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def _add_pages(app: Flask, connection: DbConnection, weblog_url: str) -> None:
    @app.get("/")
    def overview() -> ResponseReturnValue:
        first, *others = (tables.read_page(connection, kind, weblog_url) for kind in tables.KINDS)
        counted = [read(connection, 0) for read in _COUNTED.values()]
        return render_template(
            "overview.html",
            counts=tables.count_states(connection),
            pages=[first, *counted, *others],
            weblogs=weblog_url,
        )

    @app.get("/table/<key>")
    def table(key: str) -> ResponseReturnValue:
        if read := _COUNTED.get(key):
            return render_template("table.html", page=read(connection, request.args.get("after", 0, type=_natural)))
        kind = next((kind for kind in tables.KINDS if kind.key == key), None)
        if kind is None:
            abort(404)
        page = tables.read_page(connection, kind, weblog_url, request.args.get("after", ""))
        return render_template("table.html", page=page)

    @app.get("/ous/<doc_id>", endpoint="ous")
    def one_ous(doc_id: str) -> ResponseReturnValue:
        life = ous.read(connection, doc_id, weblog_url)
        if life is None:
            abort(404)
        return render_template("ous.html", life=life)


def _natural(text: str) -> int:
    return max(int(text), 0)


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
        server = _listen(create_app(me.connection, me.settings.weblog_url), args.host, port)
        return me.serve_http(server, f"showing everything at {_address(server)}")

    return actor.run("dashboard", args, serve)


def _listen(app: Flask, host: str, port: int) -> Any:  # noqa: ANN401 (waitress has no types)
    try:
        return create_server(app, host=host, port=port, threads=_THREADS)
    except OSError as error:
        raise BadInput(
            f"port {port} on {host} cannot be used ({error.strerror}): choose another with --port"
        ) from error
    except ValueError as error:
        raise BadInput(f"{host} is no address of this machine: name another with --host") from error


def _address(server: Any) -> str:  # noqa: ANN401 (waitress has no types)
    """Return the address that a server listens at; the first one, if a name stands for several."""
    several = getattr(server, "effective_listen", None)
    host, port = several[0] if several else (server.effective_host, server.effective_port)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


if __name__ == "__main__":
    sys.exit(main())
