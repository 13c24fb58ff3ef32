"""The same as JSON, for programs; ``/api/`` documents it from the docstrings below."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, Response, abort, current_app, render_template, request

from dashboard import reporting, tables
from dashboard.context import order, site
from dashboard.flow import DAY, HOUR
from dashboard.messages import current_pauses
from dashboard.post import CONTROL, STATES
from shared import delivery, lifecycle, names, reports, status
from shared.bus import envelope, queue
from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dashboard.live import Live

blueprint = Blueprint("api", __name__, url_prefix="/api")
LIMIT: Final = 100
MOST: Final = 1000
_LOADING_S: Final = 5.0
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
"""As many digits as any number here has at most: int() refuses very many."""


@blueprint.get("/")
def index() -> str:
    """List what there is: this page."""
    found = []
    for rule in current_app.url_map.iter_rules():
        if rule.endpoint.startswith("api.") and rule.endpoint != "api.index":
            text = (current_app.view_functions[rule.endpoint].__doc__ or "").strip()
            summary, _, rest = text.partition("\n")
            found.append((rule.rule.replace("<path:", "<"), summary.removeprefix("Answer "), " ".join(rest.split())))
    return render_template("api.html", found=sorted(found), limit=LIMIT, most=MOST)


@blueprint.get("/board")
def board() -> Response:
    """Answer OUSs by state, how many need a human, and whether the database is away (why, or nothing)."""
    live = _loaded()
    return _json({"states": live.board.counts(), "needs": live.board.needs(), "total": len(live.board)} | _away())


@blueprint.get("/ous")
def cards() -> Response:
    """Answer all OUSs, the latest change of each state first.

    state: one of the states; q: words in UID, program or executive; need=1: only those that need a human; start, limit.
    """
    state, board_ = request.args.get("state", ""), _loaded().board
    states = list(board_.counts())
    if state not in {"", *states}:
        raise BadInput(f"{shown(state)} is no state of an OUS: it is one of {', '.join(states)}")
    found = board_.find([state] if state else states, request.args.get("q", "")[:200], need=bool(_number("need", 0, 1)))
    return _paged(found)


@blueprint.get("/ous/<path:name>", merge_slashes=False)
def one_ous(name: str) -> Response:
    """Answer one OUS by UID or document id: its status, history, runs, delivery, and the messages that name it."""
    doc_id, connection = _doc_id(name), site().connection
    doc = connection.database(status.DATABASE).get(doc_id)
    if doc is None:
        abort(404, f"there is no OUS {shown(name)}")
    uid = str(doc.get("entityId", doc_id))
    found = {
        "status": _plain(doc),
        "runs": reports.Reports(connection.database(reports.DATABASE)).listed(uid),
        "delivery": _plain(connection.database(delivery.STATUS_DATABASE).get(doc_id)),
        "messages": site().live.post.find(ous=uid)[:MOST],
    }
    return _json(found)


@blueprint.get("/report/<path:name>", merge_slashes=False)
def report(name: str) -> Response:
    """Answer the report of a run of an OUS, by UID or document id: topics and stages, worst first.

    run: its timestamp; without one, the latest.
    """
    doc_id = _doc_id(name)
    runs = reports.Reports(site().connection.database(reports.DATABASE)).listed(names.uid_of_document(doc_id))
    run = request.args.get("run") or (runs[-1]["timestamp"] if runs else "")
    found = reporting.of_runs(site(), doc_id, [run]) if run else []
    if not found:
        abort(404, f"there is no such report of {shown(name)}")
    return _json(found[0])


@blueprint.get("/messages")
def selectors() -> Response:
    """Answer how many messages are open or dead, by selector and state, the oldest open one, settled a minute."""
    live = _loaded()
    live.post_loaded.wait(_LOADING_S)
    rows = live.post.rows()
    totals = {state: sum(row.counts[state] for row in rows) for state in STATES}
    return _json({"selectors": rows, "totals": totals, "complete": live.post_loaded.is_set()} | _away())


@blueprint.get("/messages/<selector>")
def messages(selector: str) -> Response:
    """Answer the messages of one selector that are open or dead, the oldest first.

    state: ready, delayed, claimed or dead; start, limit.
    """
    state = request.args.get("state", "")
    if state not in {"", *STATES}:
        raise BadInput(f"{shown(state)} is no state of a message: it is one of {', '.join(STATES)}")
    return _paged(_loaded().post.find((state,) if state else STATES, selector=selector))


@blueprint.get("/message/<path:message_id>")
def message(message_id: str) -> Response:
    """Answer one message whole, as it is stored."""
    doc = site().connection.database(queue.DATABASE).get(message_id)
    if doc is None or message_id.startswith(CONTROL):
        abort(404, f"there is no message {shown(message_id)}")
    return _json(doc)


@blueprint.get("/dead")
def dead() -> Response:
    """Answer the dead messages with the last error of each, the oldest first.

    selector: of this one only; start, limit.
    """
    return _paged(_loaded().post.find({envelope.DEAD}, selector=request.args.get("selector", "")))


@blueprint.get("/pauses")
def paused() -> Response:
    """Answer the paused selectors: by whom, since when, until when, why."""
    return _json(current_pauses())


@blueprint.get("/actors")
def actors() -> Response:
    """Answer the actors: how each stands (alive, dead, ended), where it runs, since when, its last sign, what it does.

    start, limit.
    """
    known = _loaded().crew.all(site().connection.clock.now())
    return _paged([{"name": doc["_id"], "stands": stands, **_plain(doc)} for stands, doc in known])


@blueprint.get("/flow")
def flow() -> Response:
    """Answer how many OUSs entered each state, and how long they stayed in each (seconds).

    by: hour or day.
    """
    by = request.args.get("by", "hour")
    if by not in {"hour", "day"}:
        raise BadInput(f"{shown(by)}: the flow is shown by hour or by day")
    model = _loaded().flow
    totals = {state: model.total(state) for state in lifecycle.STATES}
    return _json({"entered": model.entered(DAY if by == "day" else HOUR), "stays": model.stays(), "totals": totals})


@blueprint.get("/delivery")
def deliveries() -> Response:
    """Answer the delivery status of every OUS of which something was ingested.

    sort: by which field; order: up or down; after: the place to go on behind, as next has it; limit.
    """
    return table("delivery")


@blueprint.get("/tables")
def all_tables() -> Response:
    """Answer the tables of documents, and how many documents each has."""
    connection = site().connection
    return _json({kind.key: {"title": kind.title, "total": tables.total(connection, kind)} for kind in tables.KINDS})


@blueprint.get("/tables/<key>")
def table(key: str) -> Response:
    """Answer the documents of one table by id, or by a field (reports: by OUS and run, without their content).

    sort: by which field; order: up or down; after: the place to go on behind, as next has it; limit.
    """
    kind = next((kind for kind in tables.KINDS if kind.key == key), None)
    if kind is None:
        abort(404, f"there is no table {shown(key)}: it is one of {', '.join(kind.key for kind in tables.KINDS)}")
    limit, connection, asked = max(_number("limit", LIMIT, MOST), 1), site().connection, order()
    if asked.by not in {"", *kind.sorts.values()}:
        raise BadInput(f"{shown(asked.by)}: {key} is sorted by one of {', '.join(kind.sorts.values())}, or of itself")
    after = request.args.get("after", "")
    docs, behind = tables.read(connection, site().live.board, kind, after=after, limit=limit, order=asked)
    onward = {"after": behind, "limit": limit, "order": "down" if asked.descending else "up"}
    onward |= {"sort": asked.by} if asked.by else {}
    return _json(
        {
            "total": tables.total(connection, kind),
            "items": [{"id": doc["_id"], **_plain(doc)} for doc in docs],
            "next": f"{request.path}?{urlencode(onward)}" if behind else None,
        }
    )


def _loaded() -> Live:
    """Return what is known from the feeds, once the OUSs have been read."""
    live = site().live
    live.loaded.wait(_LOADING_S)
    return live


def _away() -> dict[str, str]:
    return {"away": site().live.away}


def _doc_id(name: str) -> str:
    """Return the document id of an OUS that is named by it, or by its UID."""
    return names.document_id(name) if ":" in name else names.document_id(names.uid_of_document(name))


def _plain(doc: dict[str, Any] | None) -> dict[str, Any]:
    """Return a document without what only CouchDB cares for."""
    return {name: value for name, value in (doc or {}).items() if not name.startswith("_")}


def _number(name: str, default: int, most: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise BadInput(f"{name} is {shown(text)}: it must be a number, at most {most}")
    return int(text)


def _paged(found: Sequence[Any]) -> Response:
    """Answer a page of a list, with its true total and the address of the next page."""
    start, limit = _number("start", 0, 10**9), max(_number("limit", LIMIT, MOST), 1)
    following = {**request.args.to_dict(), "start": str(start + limit), "limit": str(limit)}
    more = start + limit < len(found)
    return _json(
        {
            "total": len(found),
            "start": start,
            "items": found[start : start + limit],
            "next": f"{request.path}?{urlencode(following)}" if more else None,
        }
    )


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), mimetype="application/json")
