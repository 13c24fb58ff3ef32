"""``drw check``: goes through everything, prints what contradicts what, and mends it if told to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from drw import columns
from drw.columns import Line, counted, say
from drw.registry import FAILURE, OK
from drw.upkeep import asked, contradictions, evidence
from drw.upkeep.repairs import Repairs
from shared import actor, names, ngas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drw.registry import Commands, Context
    from drw.upkeep.contradictions import Finding
    from drw.upkeep.evidence import Evidence
    from shared.settings import Settings

_HEADS: Final = ("what", "about")


@dataclass(frozen=True)
class Outcome:
    """A contradiction and what became of it: it was ``repaired``, or why it could not be."""

    finding: Finding
    repaired: bool = False
    why_not: str = ""


def register(commands: Commands) -> None:
    """Make the command known."""
    parser = commands.add(
        "check",
        _check,
        help="what contradicts what: states, messages, records, archive and caches",
        description=(
            "Go through states, messages, both caches, the archive and its records, and print every contradiction with "
            "what --repair would do about it. The archive's files are read back whole. Safe on a living system: only "
            "what is wrong at two looks counts."
        ),
        example="drw check --repair uid://X1/X1/Xb0",
    )
    parser.add_argument("ousUID", nargs="*", type=actor.checked(names.uid), help="default: everything")
    parser.add_argument("--repair", action="store_true", help="mend what can be mended; the audit keeps that")
    parser.add_argument("--quick", action="store_true", help="do not read the archive's files back")


def _check(context: Context) -> int:
    args = context.args
    known, found = look(context, args.ousUID, read_back=not args.quick)
    outcomes = _mended(Repairs(context, known), found) if args.repair else [Outcome(each) for each in found]
    status = FAILURE if any(not each.repaired for each in outcomes) else OK
    figures = _figures(asked.narrowed(known, args.ousUID))
    if args.json:
        return context.print_json({"looked_at": figures, "contradictions": outcomes}, status)
    if outcomes:
        columns.print_table(context.console, _HEADS, [_line(each) for each in outcomes])
    say(context.console, _summary(figures, outcomes, context.settings))
    return status


def look(context: Context, ouss: Sequence[str] = (), *, read_back: bool = True) -> tuple[Evidence, list[Finding]]:
    """Look at everything, and again if anything is wrong; return what is known, and what was wrong both times.

    Raises BadInput for an OUS of which there is nothing.
    """
    known = evidence.gather(context.connection, context.settings)
    asked.refuse_unknown(ouss, known)
    files = [*asked.narrowed(known, ouss).archive.values()]
    corrupt: dict[str, str] = {}
    if read_back:
        archive = ngas.Archive(context.connection.database(ngas.DATABASE), context.connection.clock)
        corrupt = evidence.read_back(archive, context.track(files, "reading the archive back", total=len(files)))
    found = contradictions.find(replace(known, corrupt=corrupt))
    if found:
        known = replace(evidence.gather(context.connection, context.settings), corrupt=corrupt)
        found = contradictions.standing(found, contradictions.find(known))
    return known, [each for each in found if not ouss or each.ous in ouss]


def _mended(repairs: Repairs, found: Sequence[Finding]) -> list[Outcome]:
    """Mend what can be mended: files first, because records are made from them; return the outcomes as found."""
    outcomes = {each: Outcome(each) for each in found}
    for each in sorted(found, key=lambda finding: finding.kind not in contradictions.OF_FILES):
        if each.repair:
            why_not = repairs.repair(each)
            outcomes[each] = Outcome(each, repaired=not why_not, why_not=why_not)
    return list(outcomes.values())


def _line(outcome: Outcome) -> Line:
    finding = outcome.finding
    if outcome.repaired:
        then, style = f"repaired: {finding.repair}", "green"
    elif outcome.why_not:
        then, style = f"not repaired: {outcome.why_not}", "red"
    else:
        then, style = f"--repair: {finding.repair}" if finding.repair else finding.advice, "yellow"
    # What is wrong may be told in others' words, and a name may be anybody's.
    return Line((finding.kind, finding.subject), f"{finding.what}; {then}", style)


def _figures(known: Evidence) -> dict[str, int]:
    return {
        "ous": len(known.entities),
        "messages": len(known.letters),
        "reports": len(known.reports),
        "products": len(known.metadata),
        "archived": len(known.archive),
        "runs": len({name for cache in known.caches.values() for name in cache.runs}),
        "caches": len(known.caches),
    }


def _summary(figures: dict[str, int], outcomes: Sequence[Outcome], settings: Settings) -> str:
    looked = (
        f"{counted(figures['ous'], 'OUS', 'OUSs')}, {counted(figures['messages'], 'message')} open or dead, "
        f"{counted(figures['reports'], 'report')}, {counted(figures['archived'], 'archived file')}, "
        f"{_caches_looked_at(figures, settings)}"
    )
    if not outcomes:
        return f"nothing contradicts anything: {looked}"
    repaired = sum(each.repaired for each in outcomes)
    mended = f", {repaired} repaired" if repaired else ""
    return f"{counted(len(outcomes), 'contradiction')}{mended}, in {looked}"


def _caches_looked_at(figures: dict[str, int], settings: Settings) -> str:
    if figures["caches"]:
        return f"{counted(figures['runs'], 'run')} in {counted(figures['caches'], 'cache')}"
    named = f"DRW_EU_CACHE, {settings.eu_cache_dir()}, nor DRW_JAO_CACHE, {settings.jao_cache_dir()}"
    return f"and no cache, because neither {named}, names one on this machine"
