"""launcher: has an OUS processed. It creates the status entity if needed and tells a pipeline driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared import actor, heartbeats, names
from shared.errors import DrwError, StateRefused
from shared.lifecycle import LAUNCHABLE, READY_FOR_PROCESSING
from shared.messages import ProcessRequest, process_selector
from shared.status import Change

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from shared.actor import Actor
    from shared.status import StatusEntity

_WHAT_TO_DO: Final = {
    "Processing": "wait until the run ends",
    "ReadyForReview": "review it with aqua-qa2",
    "Reviewing": "wait for the reviewer's verdict: Fail makes it ready for another launch",
    "Verified": "wait until it is delivered",
    "DeliveryInProgress": "wait until it is delivered",
}


def launch(me: Actor, request: ProcessRequest, executive: str, *, force: bool = False) -> str:
    """Make an OUS ReadyForProcessing and send it to the pipeline driver at ``executive``; return what was done.

    The message's id is made from the OUS's history, so a launcher that died in between and is run again, or two that
    run at once, send one message. Raises StateRefused from a state that has no launch.
    """
    entity = _make_ready(me, request, executive, force=force)
    dedup = f"launch {entity.entity_id} {len(entity.history)}"
    if force:
        dedup += f" {me.me}"
    request = msgspec.structs.replace(request, launchedAt=entity.timestamp)
    message = me.bus.compose(process_selector(executive), request.body(), dedup=dedup)
    earlier = me.bus.queue.get(message.id)
    if earlier is not None and earlier.state == "dead":
        raise DrwError(
            f"{entity.entity_id} was launched before and its message {earlier.id} is dead: see 'drw dead list', then "
            "'drw dead requeue' it, or launch with --force"
        )
    if earlier is not None and not earlier.is_open:
        raise DrwError(
            f"{entity.entity_id} was launched before and its message {earlier.id} has come to its end "
            f"({earlier.state}): launch with --force"
        )
    me.bus.send_many([message])
    what = "was launched before, and still waits" if earlier else "is launched"
    said = f"{entity.entity_id} {what}: {entity.recipe} at {executive}, message {message.id}"
    return said if _driver_lives(me, executive) else f"{said}\nno pipeline-driver lives at {executive}: start one"


def _driver_lives(me: Actor, executive: str) -> bool:
    now = me.connection.clock.now()
    return any(
        doc.get("kind") == "pipeline-driver" and doc.get("executive") == executive and heartbeats.is_alive(doc, now)
        for doc in me.connection.database(actor.ACTORS_DATABASE).every(
            start=f"pipeline-driver.{executive}@", end=f"pipeline-driver.{executive}@\ufff0"
        )
    )


def _make_ready(me: Actor, request: ProcessRequest, executive: str, *, force: bool) -> StatusEntity:
    found = me.state.get(request.ousUID)
    if found is None:
        return me.state.create(request.ousUID, request.progID, recipe=request.recipe, executive=executive)
    if found.prog_id != request.progID:
        raise DrwError(f"{found.entity_id} belongs to program {found.prog_id}, not to {request.progID}")
    if found.state not in LAUNCHABLE and not force:
        raise StateRefused(
            f"{found.entity_id} is {found.state}: {_WHAT_TO_DO[found.state]}, or launch with --force", found=found.state
        )
    change = Change(state=READY_FOR_PROCESSING, recipe=request.recipe, executive=executive)
    return me.state.set(request.ousUID, change, expected=(found.state,), note="launched", force=force)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher: one launch, then it ends."""
    args = _parser().parse_args(argv)

    def serve(me: Actor) -> int:
        request = ProcessRequest(progID=args.progID, ousUID=args.ousUID, recipe=args.recipe)
        print(launch(me, request, args.executive, force=args.force))
        me.bus.stop()
        return 0

    return actor.run("launcher", args, serve, log=False)


def _parser() -> argparse.ArgumentParser:
    parser = actor.parser(
        "launcher",
        "Have the pipeline run on an OUS; create its status entity if needed.",
        "launcher 2015.1.00657.S uid://X1/X1/Xb2 PipelineCalibration EU",
    )
    parser.add_argument("progID", type=actor.checked(names.program_id), help="the program that the OUS belongs to")
    parser.add_argument("ousUID", type=actor.checked(names.uid), help="the OUS, like uid://X1/X1/Xb2")
    parser.add_argument(
        "recipe",
        nargs="?",
        default=names.DEFAULT_RECIPE,
        type=actor.checked(names.recipe),
        help=f"the pipeline recipe, default {names.DEFAULT_RECIPE}",
    )
    parser.add_argument(
        "executive",
        nargs="?",
        default="EU",
        type=actor.checked(names.executive),
        help="where to run it: EA, EU, JAO or NA, default EU",
    )
    parser.add_argument(
        "--force", action="store_true", help="launch from any state, also from one in which a run or a review goes on"
    )
    return parser
