"""The dead letters: looked at by anybody, requeued and discarded by who is logged in, after a confirmation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Blueprint, abort, redirect, render_template, request, url_for

from dashboard import cells, protection
from dashboard.cells import PAGE
from dashboard.context import natural, site
from shared.bus import envelope
from shared.dead_letters import DeadLetters
from shared.errors import BadInput, DatabaseAway, DrwError
from shared.messages import message_body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flask.typing import ResponseReturnValue

    from dashboard.sessions import Session

blueprint = Blueprint("letters", __name__)
MOST: Final = 500
"""As many are requeued or discarded at once; the page says so."""

_ACTIONS: Final = {"requeue": "requeued", "discard": "discarded"}


@blueprint.get("/dead")
def index() -> ResponseReturnValue:
    """Show the dead messages of one selector or of all, with their errors."""
    post, selector = site().live.post, request.args.get("selector", "")
    start = request.args.get("after", 0, type=natural)
    found = post.find({envelope.DEAD}, selector=selector)
    shown = found[start : start + PAGE]
    counts = [(row.selector, row.counts[envelope.DEAD]) for row in post.rows() if row.counts[envelope.DEAD]]
    return render_template(
        "dead.html",
        letters=shown,
        subjects=[cells.ous(each.ous) if each.ous else cells.plain(each.name) for each in shown],
        total=len(found),
        start=start,
        after=start + PAGE if start + PAGE < len(found) else 0,
        selector=selector,
        counts=counts,
    )


@blueprint.get("/dead/confirm")
def confirm() -> ResponseReturnValue:
    """Ask whether it is meant."""
    action = request.args.get("do", "")
    if action not in _ACTIONS:
        abort(404)
    ids = request.args.getlist("id")
    if "all" in request.args:
        ids = [each.id for each in site().live.post.find({envelope.DEAD}, selector=request.args.get("selector", ""))]
    return render_template("confirm.html", action=action, ids=ids[:MOST], left=max(len(ids) - MOST, 0))


@blueprint.post("/dead/<action>")
def change(action: str) -> ResponseReturnValue:
    """Requeue or discard some dead messages, or requeue one with another body."""
    by = protection.person()
    ids, reason = request.form.getlist("id")[:MOST], request.form.get("reason", "").strip()
    if action not in _ACTIONS or not ids:
        abort(404)
    letters = DeadLetters(site().connection, by=by.name)
    try:
        text = request.form.get("body")
        body = None if text is None else message_body(text, "the body")
        _check_reason(action, reason)
    except BadInput as error:
        by.said.append(f"Nothing was changed: {error}.")
        return redirect(url_for("messages.one", message_id=ids[0]) if len(ids) == 1 else url_for("letters.index"), 303)
    if action == "discard":
        _each(by, ids, _ACTIONS[action], lambda each: letters.discard(each, reason))
    else:
        _each(by, ids, _ACTIONS[action], lambda each: letters.requeue(each, reason, body))
    return redirect(url_for("letters.index"), 303)


def _each(by: Session, ids: Sequence[str], done: str, act: Callable[[str], None]) -> None:
    """Act on each message, and say what became of it; the next page does not show it as dead any more."""
    post, changed = site().live.post, []
    known = post.known(ids)
    for each in ids:
        try:
            act(each)
        except DatabaseAway as error:
            by.said.append(f"Ended before its time: {error}.")
            break
        except DrwError as error:
            by.said.append(f"Not {done}: {error}.")
        else:
            changed.append(each)
    by.said.insert(0, f"{len(changed)} of {len(ids)} messages {done}.")
    post.drop(letter for letter in known if letter.id in changed)


def _check_reason(action: str, reason: str) -> None:
    if action == "discard" and not reason:
        raise BadInput("a discarded message needs a reason, which the audit keeps")
