"""``drw pause``, ``drw resume``: have selectors left alone for a while, and let them go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from drw import ages, mail, near
from drw.columns import listed, say
from drw.registry import OK
from shared import actor, audit, pausing
from shared.bus import patterns, pauses, queue
from shared.errors import BadInput
from shared.names import shown

if TYPE_CHECKING:
    from drw.registry import Commands, Context


def register(commands: Commands) -> None:
    """Make the commands known."""
    pause = commands.add(
        "pause",
        _pause,
        help="have a selector, or a range of them, left alone; without one, show what is paused",
        example='drw pause "pipeline.process.*" --reason "the disk is full" --until 2h',
    )
    pause.add_argument("selector", nargs="?", type=actor.checked(_pattern), help="such as ingest.JAO, or cached.*")
    pause.add_argument("--reason", default="", help="shown to whoever wonders why nothing moves")
    pause.add_argument("--until", help="30min, 2h, 3d from now, or a time such as 2026-11-21T18:00 (UTC)")
    resume = commands.add(
        "resume", _resume, help="let a paused selector go on", example='drw resume "pipeline.process.*"'
    )
    resume.add_argument("selector", type=actor.checked(_pattern), help="exactly as it was paused")
    resume.add_argument("--reason", default="", help="is kept in the audit")


def _pattern(text: str) -> str:
    return patterns.Pattern(text).text


def _pause(context: Context) -> int:
    args, connection = context.args, context.connection
    database, now = connection.database(queue.DATABASE), connection.clock.now()
    if args.selector is None:
        return _list(context, pauses.current(database, now))
    until = moment_of(args.until, now) if args.until else None
    made = pausing.pause(connection, args.selector, by=audit.who(), reason=args.reason, until=until)
    if sentence := mail.unheard(connection, made.pattern):
        context.hint(sentence)
    if args.json:
        return context.print_json(made)
    say(context.console, _sentence(made))
    return OK


def _resume(context: Context) -> int:
    selector, reason = context.args.selector, context.args.reason
    if not pausing.resume(context.connection, selector, by=audit.who(), reason=reason):
        held = pauses.current(context.connection.database(queue.DATABASE), context.connection.clock.now())
        known = [each.pattern for each in held]
        question = near.question(selector, known, "'drw pause' shows what is")
        raise BadInput(f"{selector} is not paused: {question}")
    held = pauses.current(context.connection.database(queue.DATABASE), context.connection.clock.now())
    others = [each.pattern for each in held if patterns.Pattern(each.pattern).covers(selector)]
    if context.args.json:
        return context.print_json({"pattern": selector, "paused": bool(others), "paused_by": others})
    also = f", but is held by the pause of {listed(others)} still" if others else ""
    say(context.console, f"{selector} {'is resumed' if others else 'goes on'}{also}")
    return OK


def _list(context: Context, paused: list[pauses.Pause]) -> int:
    if context.args.reason or context.args.until:
        raise BadInput('which selector? for example: drw pause ingest.JAO --reason "…"')
    if context.args.json:
        return context.print_json(paused)
    for each in paused:
        say(context.console, _sentence(each))
    if not paused:
        say(context.console, "nothing is paused")
    return OK


def _sentence(made: pauses.Pause) -> str:
    end = f"until {made.until[:19]} UTC" if made.until else "until somebody resumes it"
    return f"{made.pattern} is paused {end}: {made.reason} ({made.by}, {made.since[:19]} UTC)"


def moment_of(text: str, now: datetime) -> datetime:
    """Return the moment that ``2h`` from now or ``2026-11-21T18:00`` (UTC) means; raise BadInput for anything else."""
    if ages.is_span(text):
        return now + timedelta(seconds=ages.seconds(text))
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise BadInput(f"{shown(text)} is no time: write 30min, 2h, 3d, or 2026-11-21T18:00 (UTC)") from error
