"""The live pages: the board, an OUS, its reports, the actors, the flow, the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, abort, redirect, render_template, request, url_for

from dashboard import crew, drawing, mail, ous, reporting, tables
from dashboard.cells import Order
from dashboard.context import natural, order, site
from dashboard.flow import DAY, HOUR
from shared import lifecycle, names, status

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from dashboard.cells import Page
    from dashboard.tables import Kind

blueprint = Blueprint("pages", __name__)
CARDS: Final = 24
_CARDS_AT_ONCE: Final = 500
_LOADING_S: Final = 1.0
_OWN: Final = Order()
_COUNTED: Final = (mail.UNREAD, mail.DEAD, crew.ACTORS)
"""The tables of what is kept here, whose pages begin at a number rather than behind a document."""


@blueprint.get("/")
def board() -> ResponseReturnValue:
    """Show a column a state, with the latest cards of each."""
    live = site().live
    live.loaded.wait(_LOADING_S)
    query, need = request.args.get("q", "")[:200], bool(request.args.get("need"))
    position = live.stream.position  # before what is shown is read, which may be newer than that
    return render_template(
        "board.html",
        columns=live.board.columns(CARDS, query, need=need),
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
    """Return the first cards of a column, or those behind one that is shown, as a piece of a page."""
    limit = min(request.args.get("limit", CARDS, type=natural), _CARDS_AT_ONCE)
    query, need = request.args.get("q", "")[:200], bool(request.args.get("need"))
    behind = (request.args["since"], request.args["id"]) if {"since", "id"} <= request.args.keys() else None
    cards, total = site().live.board.page(state, limit, query, need=need, behind=behind)
    return render_template("cards.html", cards=cards, total=total)


@blueprint.get("/ous/<doc_id>", endpoint="ous")
def one_ous(doc_id: str) -> ResponseReturnValue:
    """Show everything about one OUS."""
    life = ous.read(site(), doc_id, _launched())
    if life is None:
        abort(404)
    return render_template("ous.html", life=life)


@blueprint.get("/ous/uid://<path:parts>", merge_slashes=False)
def one_ous_by_uid(parts: str) -> ResponseReturnValue:
    """Lead to the page of an OUS whose UID somebody typed."""
    return redirect(url_for("pages.ous", doc_id=names.document_id(f"uid://{parts}")))


@blueprint.get("/ous/<doc_id>/runs")
def runs(doc_id: str) -> ResponseReturnValue:
    """Show the report of a run, or of two side by side."""
    wanted = [each for each in (request.args.get("a", ""), request.args.get("b", "")) if each]
    found = reporting.of_runs(site(), doc_id, wanted)
    if not found:
        abort(404)
    return render_template("runs.html", doc_id=doc_id, uid=names.uid_of_document(doc_id), found=found)


@blueprint.get("/actors")
def actors() -> ResponseReturnValue:
    """Show who runs where."""
    return render_template("table.html", page=_counted(crew.ACTORS), watch="actors", every=5)


def _counted(key: str) -> Page:
    """Return the page that was asked for of what is kept here."""
    live, start = site().live, request.args.get("after", 0, type=natural)
    if key == crew.ACTORS:
        return crew.actors(live.crew, site().connection.clock.now(), start, order())
    return (mail.unread if key == mail.UNREAD else mail.dead)(live.post, start, order())


@blueprint.get("/flow")
def flow() -> ResponseReturnValue:
    """Show how OUSs flow, by the hour or by the day."""
    by_day = request.args.get("by") == "day"
    model = site().live.flow
    site().live.loaded.wait(_LOADING_S)
    entered, now = model.entered(DAY if by_day else HOUR), site().connection.clock.now()
    return render_template(
        "flow.html",
        by_day=by_day,
        charts=[drawing.bars(state, entered, now, by_day=by_day) for state in lifecycle.STATES],
        stays=drawing.stays(model.stays()),
        failures=model.total(lifecycle.PROCESSING_PROBLEM),
        runs=model.total(lifecycle.PROCESSING),
    )


@blueprint.get("/tables")
def overview() -> ResponseReturnValue:
    """Show the beginning of every table."""
    first, *others = (_read(kind) for kind in tables.KINDS)
    counted = [_counted(key) for key in _COUNTED]
    return render_template("overview.html", pages=[first, *counted, *others], weblogs=site().weblog_url, every=30)


def _read(kind: Kind, after: str = "", start: int = 0, by: Order = _OWN) -> Page:
    known = site()
    view = tables.View(known.weblog_url, _launched() if kind.database == status.DATABASE else frozenset())
    return tables.read_page(known.connection, known.live.board, kind, view, after=after, start=start, order=by)


def _launched() -> frozenset[str]:
    """Return the UIDs of the OUSs that have an open launch, once the messages have been read."""
    live = site().live
    live.post_loaded.wait(_LOADING_S)
    return live.launched()


@blueprint.get("/table/<key>")
def table(key: str) -> ResponseReturnValue:
    """Show a page of one table."""
    if key in _COUNTED:
        return actors() if key == crew.ACTORS else render_template("table.html", page=_counted(key), watch="msgq")
    kind = next((kind for kind in tables.KINDS if kind.key == key), None)
    if kind is None:
        abort(404)
    page = _read(kind, request.args.get("after", ""), request.args.get("start", 0, type=natural), order())
    return render_template("table.html", page=page, watch=kind.database)
