"""The live pages: the board, an OUS, its reports, the actors, the flow, the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, abort, render_template, request

from dashboard import crew, drawing, messages, ous, reporting, tables
from dashboard.context import site
from dashboard.flow import DAY, HOUR
from shared import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue

    from dashboard.cells import Page
    from shared.dbcon import DbConnection

blueprint = Blueprint("pages", __name__)
CARDS: Final = 40
_LOADING_S: Final = 5.0
_COUNTED: Final[dict[str, Callable[[DbConnection, int], Page]]] = {
    messages.UNREAD: messages.unread,
    messages.DEAD: messages.dead,
    crew.ACTORS: crew.actors,
}
"""The tables whose pages begin at a number rather than behind a document."""


@blueprint.get("/")
def board() -> ResponseReturnValue:
    """Show a column a state, with the latest cards of each."""
    live = site().live
    live.loaded.wait(_LOADING_S)
    query, need = request.args.get("q", "")[:200], bool(request.args.get("need"))
    position, counts = live.stream.position, live.board.counts()
    columns = [(state, *live.board.page(state, 0, CARDS, query, need)) for state in counts]
    return render_template(
        "board.html",
        columns=columns,
        counts=counts,
        needs=live.board.needs(),
        query=query,
        need=need,
        position=position,
        limit=CARDS,
        total=len(live.board),
        away=live.away,
        loading=not live.loaded.is_set(),
    )


@blueprint.get("/column/<state>")
def column(state: str) -> ResponseReturnValue:
    """Return more cards of a column, as a piece of a page."""
    start = request.args.get("start", 0, type=_natural)
    limit = min(request.args.get("limit", CARDS, type=_natural), 500)
    query, need = request.args.get("q", "")[:200], bool(request.args.get("need"))
    cards, total = site().live.board.page(state, start, limit, query, need)
    return render_template("cards.html", cards=cards, total=total)


@blueprint.get("/ous/<doc_id>", endpoint="ous")
def one_ous(doc_id: str) -> ResponseReturnValue:
    """Show everything about one OUS."""
    life = ous.read(site(), doc_id)
    if life is None:
        abort(404)
    return render_template("ous.html", life=life)


@blueprint.get("/ous/<doc_id>/runs")
def runs(doc_id: str) -> ResponseReturnValue:
    """Show the report of a run, or of two side by side."""
    wanted = [each for each in (request.args.get("a", ""), request.args.get("b", "")) if each]
    found = reporting.of_runs(site(), doc_id, wanted)
    if not found:
        abort(404)
    return render_template("runs.html", doc_id=doc_id, found=found)


@blueprint.get("/actors")
def actors() -> ResponseReturnValue:
    """Show who runs where."""
    page = crew.actors(site().connection, request.args.get("after", 0, type=_natural))
    return render_template("table.html", page=page, watch="actors", every=5)


@blueprint.get("/flow")
def flow() -> ResponseReturnValue:
    """Show how OUSs flow, by the hour or by the day."""
    by_day = request.args.get("by") == "day"
    model = site().live.flow
    site().live.loaded.wait(_LOADING_S)
    entered = model.entered(DAY if by_day else HOUR)
    return render_template(
        "flow.html",
        by_day=by_day,
        charts=[drawing.bars(state, entered, by_day=by_day) for state in lifecycle.STATES],
        stays=drawing.stays(model.stays()),
        failures=model.total(lifecycle.PROCESSING_PROBLEM),
        runs=model.total(lifecycle.PROCESSING),
    )


@blueprint.get("/tables")
def overview() -> ResponseReturnValue:
    """Show the beginning of every table."""
    connection = site().connection
    first, *others = (tables.read_page(connection, kind, site().weblog_url) for kind in tables.KINDS)
    counted = [read(connection, 0) for read in _COUNTED.values()]
    return render_template("overview.html", pages=[first, *counted, *others], weblogs=site().weblog_url)


@blueprint.get("/table/<key>")
def table(key: str) -> ResponseReturnValue:
    """Show a page of one table."""
    descending = request.args.get("order") == "down"
    if read := _COUNTED.get(key):
        page = read(site().connection, request.args.get("after", 0, type=_natural))
        return render_template("table.html", page=page, watch="msgq actors")
    kind = next((kind for kind in tables.KINDS if kind.key == key), None)
    if kind is None:
        abort(404)
    page = tables.read_page(
        site().connection, kind, site().weblog_url, request.args.get("after", ""), descending=descending
    )
    return render_template("table.html", page=page, watch=kind.database, descending=descending, sortable=True)


def _natural(text: str) -> int:
    return max(int(text), 0)
