"""``drw launch`` and ``drw rerun``: have many OUSs processed, for the first time or once more."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from drw import ages, arguments, columns, orders, ous
from drw.columns import Line, counted, say
from drw.orders import Order
from drw.registry import FAILURE, OK
from shared import actor, audit, lifecycle, names, streams
from shared.entities import Entities
from shared.errors import BadInput, DatabaseAway, DrwError, OutcomeUnknown
from shared.launching import Launching, caution
from shared.messages import ProcessRequest

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Future

    from drw.registry import Commands, Context
    from shared.launching import Prepared

T = TypeVar("T")

_AT_ONCE: Final = 8
_DEFAULT_EXECUTIVE: Final = "EU"
_RERUN_STATES: Final = tuple(state for state in lifecycle.LAUNCHABLE if state)
NEW, WAITS, WOULD = "launched", "waits already", "would be launched"
REFUSED, NOT_ANSWERED, NOT_TRIED = "refused", "not answered", "not tried"
"""What is not answered may have been launched, or may still be, as what is said of it tells: launch it again."""

_BAD: Final = frozenset({REFUSED, NOT_ANSWERED, NOT_TRIED})


@dataclass(frozen=True)
class Result:
    """What became of one OUS that was to be launched, and what there is to say of it."""

    ous: str
    outcome: str
    said: str
    executive: str = ""
    message: str = ""


def register(commands: Commands) -> None:
    """Make both commands known."""
    _register_launch(commands)
    _register_rerun(commands)


def _register_launch(commands: Commands) -> None:
    launch = commands.add(
        "launch",
        _launch,
        help="have OUSs processed: some, a range, or those of a file",
        description=(
            "Launch OUSs, as launcher does each. One that exists already has its program, and is launched with the "
            "recipe and at the executive that it had, unless others are given. Earlier runs are kept. The lines of a "
            "file are UIDs, or what launcher takes: PROGRAM OUS [RECIPE [EXECUTIVE]]."
        ),
        example="drw launch --program 2015.1.00657.S uid://X1/X1/Xb0..Xb9",
    )
    launch.add_argument("ousUID", nargs="*", type=actor.checked(orders.uids), help="a UID, or a range of them")
    launch.add_argument("--from", dest="file", metavar="FILE", help="also those of this file; - is standard input")
    launch.add_argument("--program", type=actor.checked(names.program_id), help="that new OUSs belong to")
    launch.add_argument("--executive", choices=names.EXECUTIVES, help="where to run them")
    launch.add_argument(
        "--force", action="store_true", help="launch from any state, also while a run or review goes on"
    )
    _add_common(launch)


def _register_rerun(commands: Commands) -> None:
    rerun = commands.add(
        "rerun",
        _rerun,
        help="launch again those that are in a state: ProcessingProblem, or as told",
        description=(
            "Launch again the OUSs that the filters let through, those longest in their state first, with the recipe "
            "and at the executive that they had, unless others are given. Earlier runs are kept."
        ),
        example='drw rerun --program 2015.1.00657.S --older-than 1h --limit 20 --reason "the disk is mended"',
    )
    rerun.add_argument(
        "--state",
        action="append",
        choices=_RERUN_STATES,
        metavar="STATE",
        help=f"{columns.listed(_RERUN_STATES)}; may be given several times, default {lifecycle.PROCESSING_PROBLEM}",
    )
    rerun.add_argument("--program", type=actor.checked(names.program_id), help="those of this program")
    rerun.add_argument("--executive", choices=names.EXECUTIVES, help="those that were run there")
    rerun.add_argument(
        "--older-than", type=actor.checked(ages.seconds), metavar="SPAN", help="in their state for longer: 30min, 2h"
    )
    rerun.add_argument("--all", action="store_true", help="all that are in the state")
    rerun.add_argument("--on", choices=names.EXECUTIVES, help="where to run them now, default: where they were run")
    _add_common(rerun)
    rerun.set_defaults(force=False)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", type=actor.checked(names.recipe), help="another recipe than they had")
    parser.add_argument("--limit", type=actor.checked(arguments.number), metavar="N", help="launch the first N only")
    parser.add_argument("--dry-run", action="store_true", help="say what would be launched, and launch nothing")
    parser.add_argument("--reason", default="", help="goes into the OUSs' history and the audit")


def _launch(context: Context) -> int:
    args = context.args
    named = [Order(each) for group in args.ousUID for each in group]
    wanted = orders.once_each([*named, *(_of_file(args.file) if args.file else [])])
    if not wanted:
        raise BadInput("which OUSs? name them, or a file with --from; 'drw rerun' launches those in a state again")
    return _go(context, [_given(each, args.program, args.recipe, args.executive) for each in wanted])


def _rerun(context: Context) -> int:
    args = context.args
    said = (args.all, args.dry_run, args.state, args.program, args.executive, args.older_than is not None)
    if not any(said):
        raise BadInput("which OUSs? say --state, --program, --executive, --older-than, or --all; --dry-run shows them")
    args.state = args.state or [lifecycle.PROCESSING_PROBLEM]
    matching, whole = ous.matching(context.connection, args)
    if not whole:
        context.hint(ous.only_so_many())
    found = [Order(each.entity_id, each.prog_id) for each in matching]
    return _go(context, [_given(each, "", args.recipe, args.on) for each in found])


def _given(order: Order, program: str | None, recipe: str | None, executive: str | None) -> Order:
    """Return an order with what the command line says where the order itself says nothing."""
    return Order(
        order.ous, order.prog_id or program or "", order.recipe or recipe or "", order.executive or executive or ""
    )


def _of_file(file: str) -> list[Order]:
    where = "standard input" if file == "-" else file
    try:
        text = arguments.text_of(file).decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where} is no text: {error}") from error
    return list(orders.of_lines(text.splitlines(), where))


def _go(context: Context, wanted: Sequence[Order]) -> int:
    """Launch what is wanted, in this order, and say what became of each; a few are made ready ahead."""
    wanted = wanted[: context.args.limit]
    batch = _Batch(context)
    context.bus.feed.start()  # once, before several threads call
    pool = ThreadPoolExecutor(_AT_ONCE)
    begun: deque[Future[Prepared | Result]] = deque()
    became: dict[str, Result] = {}

    def send_first() -> None:
        result = batch.send(begun[0].result())
        became[result.ous] = result
        begun.popleft()

    try:
        for order in context.track(wanted, "launching", total=len(wanted)):
            begun.append(pool.submit(batch.prepare, order))
            if len(begun) > _AT_ONCE:
                send_first()
        while begun:
            send_first()
    except KeyboardInterrupt:
        streams.complain("drw", "begins no other, and waits for the answer about those that are being launched")
        pool.shutdown(cancel_futures=True)
        while begun and not begun[0].cancelled():  # the last ones were begun last
            send_first()
        raise
    finally:
        pool.shutdown(cancel_futures=True)  # none is left to be begun, but where something unforeseen happened
        results = list(became.values())
        _tell(context, results)
    return actor.status_of(batch.away) if batch.away else _status(results)


def _tell(context: Context, results: Sequence[Result]) -> None:
    if context.args.json:
        context.print_json({"ous": results})
    else:
        _print(context, results)


def _status(results: Iterable[Result]) -> int:
    return FAILURE if any(each.outcome in _BAD for each in results) else OK


class _Batch:
    """Launches one OUS after another, until database or xtss turn out to be away. Several threads may prepare."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._entities = Entities(context.connection)
        self._launching = Launching(context.connection, context.bus, context.state, by=audit.who())
        self.away: DrwError | None = None
        """What said so first."""

    def prepare(self, order: Order) -> Prepared | Result:
        """Make an OUS ready, or return why that was not done, or that it is not meant."""
        if self.away:
            return Result(order.ous, NOT_TRIED, "because one before it was not answered")
        return self._tried(order.ous, lambda: self._prepare(order))

    def send(self, prepared: Prepared | Result) -> Result:
        """Send the message of what was made ready; return what became of it."""
        if isinstance(prepared, Result):
            return prepared
        ous = prepared.entity.entity_id
        if self.away:
            said = "it is ReadyForProcessing and its message is not sent, because one before it was not answered"
            return Result(ous, NOT_ANSWERED, said)
        return self._tried(ous, lambda: self._send(prepared))

    def _tried(self, ous: str, do: Callable[[], T]) -> T | Result:
        try:
            return do()
        except (DatabaseAway, OutcomeUnknown) as error:
            self.away = self.away or error
            return Result(ous, NOT_ANSWERED, str(error))
        except DrwError as error:
            return Result(ous, REFUSED, str(error))

    def _prepare(self, order: Order) -> Prepared | Result:
        args = self._context.args
        known = self._entities.get(order.ous)
        prog_id = order.prog_id or (known.prog_id if known else "")
        if not prog_id:
            raise BadInput(f"{order.ous} is new: --program says what it belongs to")
        recipe = order.recipe or (known.recipe if known else names.DEFAULT_RECIPE)
        executive = order.executive or (known.executive if known else _DEFAULT_EXECUTIVE)
        request = ProcessRequest(progID=prog_id, ousUID=order.ous, recipe=recipe)
        if args.dry_run:
            self._launching.refuse(known, request, force=args.force)
            state = known.state if known else "new"
            return Result(order.ous, WOULD, f"{state}, {prog_id}, {recipe} at {executive}", executive)
        return self._launching.prepare(request, executive, force=args.force, reason=args.reason)

    def _send(self, prepared: Prepared) -> Result:
        done = self._launching.send(prepared)
        outcome = NEW if done.is_new else WAITS
        return Result(done.ous, outcome, f"{done.recipe} at {done.executive}", done.executive, done.message)


def _print(context: Context, results: Sequence[Result]) -> None:
    lines = [
        Line((each.ous, each.outcome, "" if bad else each.said), each.said if bad else "", "red" if bad else "")
        for each in results
        for bad in (each.outcome in _BAD,)
    ]
    if lines:
        columns.print_table(context.console, ("OUS", "outcome", "as"), lines)
    outcomes = [each.outcome for each in results]
    tally = [f"{outcomes.count(each)} {each}" for each in dict.fromkeys(outcomes)]
    say(context.console, f"{counted(len(results), 'OUS', 'OUSs')}{': ' if tally else ''}{', '.join(tally)}")
    for executive in sorted({each.executive for each in results if each.outcome in {NEW, WAITS}}):
        if said := caution(context.connection, executive):
            say(context.console, said, style="yellow")
