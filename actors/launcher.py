"""launcher: has an OUS processed. It creates the status entity if needed and tells a pipeline driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared import actor, audit, names, streams
from shared.launching import Launching, caution
from shared.messages import ProcessRequest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from shared.actor import Actor


def launch(me: Actor, request: ProcessRequest, executive: str, *, force: bool = False) -> str:
    """Launch an OUS at an executive, see :class:`~shared.launching.Launching`; return what was done, in words."""
    launching = Launching(me.connection, me.bus, me.state, by=audit.who())
    said = launching.launch(request, executive, force=force).sentence
    return "\n".join(filter(None, [said, caution(me.connection, executive)]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher: one launch, then it ends."""
    args = _parser().parse_args(argv)

    def serve(me: Actor) -> int:
        request = ProcessRequest(progID=args.progID, ousUID=args.ousUID, recipe=args.recipe)
        streams.tell(launch(me, request, args.executive, force=args.force))
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
