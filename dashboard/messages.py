"""The pages of messages: what waits at each selector, the messages themselves, and pauses."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from flask import Blueprint, abort, redirect, render_template, request, url_for

from dashboard import mail, protection
from dashboard.context import natural, order, site
from dashboard.post import CONTROL, STATES
from shared import letters, pausing
from shared.bus import envelope, pauses, queue
from shared.bus.patterns import Pattern
from shared.errors import BadInput

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from shared.bus.pauses import Pause

blueprint = Blueprint("messages", __name__)
BODY_SHOWN: Final = 200_000
"""As many characters of a body are shown, and can be edited."""

_LOADING_S: Final = 1.0
_SPANS_S: Final = {"": None, "30 minutes": 1800, "2 hours": 7200, "1 day": 86400, "3 days": 259200}


@blueprint.get("/messages")
def index() -> ResponseReturnValue:
    """Show what waits at each selector, and what is paused."""
    live = site().live
    live.post_loaded.wait(_LOADING_S)
    rows, held = live.post.rows(), current_pauses()
    return render_template(
        "messages.html",
        rows=rows,
        states=STATES,
        totals={state: sum(row.counts[state] for row in rows) for state in STATES},
        rate=sum(row.rate for row in rows),
        pauses=held,
        paused={row.selector for row in rows if any(Pattern(each.pattern).covers(row.selector) for each in held)},
        spans=list(_SPANS_S),
        loading=not live.post_loaded.is_set(),
        away=live.post_away,
    )


def current_pauses() -> list[Pause]:
    """Return the pauses that are in force."""
    connection = site().connection
    return pauses.current(connection.database(queue.DATABASE), connection.clock.now())


@blueprint.get("/messages/list")
def listing() -> ResponseReturnValue:
    """Show messages of one selector or of all, in one state or in all."""
    selector, state = request.args.get("selector", ""), request.args.get("state", "")
    if state not in {"", *STATES}:
        abort(404)
    title = " ".join(filter(None, (state or "all", "messages", f"for {selector}" if selector else "")))
    found = site().live.post.find((state,) if state else STATES, selector=selector)
    where = url_for("messages.listing", selector=selector or None, state=state or None)
    page = mail.page(found, ("list", title), request.args.get("after", 0, type=natural), order(), where)
    return render_template("listing.html", page=page)


@blueprint.get("/message/<path:message_id>")
def one(message_id: str) -> ResponseReturnValue:
    """Show a message whole."""
    doc = site().connection.database(queue.DATABASE).get(message_id)
    if doc is None or message_id.startswith(CONTROL):
        abort(404)
    body = msgspec.json.format(msgspec.json.encode(doc.get("body")), indent=2).decode()
    failures = doc.get("errors")
    return render_template(
        "message.html",
        message_id=message_id,
        facts=_facts(doc),
        failures=[each for each in failures if isinstance(each, dict)] if isinstance(failures, list) else [],
        body=body[:BODY_SHOWN],
        size=len(body),
        is_whole=len(body) <= BODY_SHOWN,
        is_dead=doc.get("state") == envelope.DEAD,
    )


def _facts(doc: dict[str, Any]) -> list[tuple[str, str]]:
    claim = doc.get("claim")
    holder = claim if isinstance(claim, dict) and doc.get("state") == envelope.CLAIMED else {}
    found = [
        ("selector", doc.get("selector")),
        ("state", doc.get("state")),
        ("priority", doc.get("priority")),
        ("sent (UTC)", doc.get("creationTimestamp")),
        ("by", doc.get("sender")),
        ("because of", doc.get("cause")),
        ("attempts", doc.get("attempts", 0)),
        ("with", holder.get("by")),
        ("since (UTC)", holder.get("since")),
        ("due (UTC)", doc.get("due")),
        ("waits for", letters.waits_for(doc)),
        ("expires (UTC)", doc.get("expires")),
        ("ended (UTC)", doc.get("doneAt")),
        ("edited", f"{doc['epoch']} times" if doc.get("epoch") else None),
    ]
    return [(name, str(value)) for name, value in found if value is not None and value != ""]


@blueprint.post("/pauses")
def pause() -> ResponseReturnValue:
    """Pause a selector, or a range of them."""
    by, connection = protection.person(), site().connection
    pattern, reason = request.form.get("selector", "").strip(), request.form.get("reason", "").strip()
    span_s = _SPANS_S.get(request.form.get("until", ""))
    until = connection.clock.now() + timedelta(seconds=span_s) if span_s else None
    try:
        pausing.pause(connection, pattern, by=by.name, reason=reason, until=until)
    except BadInput as error:
        by.said.append(f"Nothing was paused: {error}")
    else:
        by.said.append(f"{pattern} is paused.")
    return redirect(url_for("messages.index"), 303)


@blueprint.post("/pauses/resume")
def resume() -> ResponseReturnValue:
    """Let a paused selector go on."""
    by = protection.person()
    pattern, reason = request.form.get("selector", ""), request.form.get("reason", "").strip()
    try:
        lifted = pausing.resume(site().connection, pattern, by=by.name, reason=reason)
    except BadInput as error:
        by.said.append(f"Nothing was resumed: {error}")
        return redirect(url_for("messages.index"), 303)
    by.said.append(f"{pattern} goes on." if lifted else f"{pattern} was not paused any more.")
    return redirect(url_for("messages.index"), 303)
