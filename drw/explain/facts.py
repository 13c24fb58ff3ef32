"""Gathering what is known of one OUS, for ``drw why``, ``drw ous`` and ``drw cancel``: by indexes and ids."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from drw import crew, letters
from drw.explain.case import Facts
from shared import cancels, launching, lifecycle, messages, names, reports
from shared.bus import drains, envelope, pauses, queue
from shared.cache import MARKER
from shared.entities import Entities
from shared.proofs import Described, Proofs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drw.letters import Letter
    from shared.dbcon import DbConnection
    from shared.settings import Settings
    from shared.status import StatusEntity

_MOVED_BY_MESSAGES: Final = frozenset(
    {lifecycle.READY_FOR_PROCESSING, lifecycle.PROCESSING, lifecycle.VERIFIED, lifecycle.DELIVERY_IN_PROGRESS}
)
"""The states in which an OUS is stuck where no message is about it."""


def gather(connection: DbConnection, settings: Settings, ous_uid: str) -> Facts:
    """Return what is known of an OUS, whether or not it exists."""
    entity = Entities(connection).get(ous_uid)
    queue_ = connection.database(queue.DATABASE)
    now = connection.clock.now()
    if entity is None:
        return Facts(uid=ous_uid, now=now, entity=None)
    proofs = Proofs(connection)
    ingested = entity.state == lifecycle.DELIVERED or entity.substate == lifecycle.PRODUCTS_INGESTED
    described = proofs.described(entity) if ingested else Described()
    return Facts(
        uid=ous_uid,
        now=connection.clock.now(),
        entity=entity,
        letters=[each for each in of_ous(connection, entity) if _is_waited_for(each)],
        workers=crew.workers(connection),
        pauses=pauses.current(queue_, now),
        has_report=bool(entity.run) and _has_report(connection, entity),
        in_cache=_in_cache(settings, entity),
        missing=described.lacks,
        products=max(0, len(described.files) - 1),  # the weblog is none
        unproved=proofs.kept(entity) if ingested else None,
        cancelled=cancels.of_ous(queue_, ous_uid),
        drained=drains.current(queue_),
        spare_s=settings.clock_spare_s,
    )


def _has_report(connection: DbConnection, entity: StatusEntity) -> bool:
    return reports.Reports(connection.database(reports.DATABASE)).of_run(entity.entity_id, entity.run) is not None


def _in_cache(settings: Settings, entity: StatusEntity) -> bool | None:
    """Tell whether the JAO cache has a run's products and weblog; None where that cache is not on this machine."""
    cache = settings.jao_cache_dir()
    if not entity.run or not (cache / MARKER).is_dir():
        return None
    products = cache / names.products_path(entity.prog_id, entity.run, entity.entity_id)
    return products.is_dir() and (cache / names.weblog(entity.entity_id, entity.run)).is_file()


def of_ous(
    connection: DbConnection, entity: StatusEntity, runs: Sequence[str] = (), *, all_at: Sequence[str] = ()
) -> list[Letter]:
    """Return the messages of an OUS's launches, runs and reviews, whatever their state, the oldest first.

    Ids of messages are made from what causes them, so they are known from its history; those with other ids are found
    among what is open or dead: as far as :data:`drw.letters.MOST` goes, and wherever they are at the selectors
    ``all_at``, or at every one if nothing was found that the OUS can be waiting for.
    """
    database = connection.database(queue.DATABASE)
    known = [*dict.fromkeys([*runs, *([entity.run] if entity.run else [])])]
    cancelled = cancels.of_ous(database, entity.entity_id)
    found = {
        each.id: each for each in letters.fetch(database, _ids(entity, known, [cancelled.at] if cancelled else []))
    }
    ended_at = [each.ended for each in found.values() if each.error.startswith("discarded")]
    if ended_at:  # by a person, so that what was launched after it has another id
        found |= {each.id: each for each in letters.fetch(database, _ids(entity, known, ended_at))}
    about = {name for run in known for name in _names(entity, run)}

    def take(others: Iterable[Letter]) -> None:
        found.update({each.id: each for each in others if each.ous == entity.entity_id or each.name in about})

    if all_at:
        take(letters.unsettled(database, all_at))
    else:
        take(letters.at_work(database, _selectors()) + letters.ended(database, envelope.DEAD, newest_first=True))
        if entity.state in _MOVED_BY_MESSAGES and not any(map(_is_waited_for, found.values())):
            take(letters.unsettled(database, _selectors()))
    return sorted(found.values(), key=lambda each: (each.sent, each.id))


def _is_waited_for(letter: Letter) -> bool:
    return letter.is_open or letter.state == envelope.DEAD


def _selectors() -> list[str]:
    each = [select(executive) for executive in names.EXECUTIVES for select in _AT_EXECUTIVES]
    return [*each, messages.REPORTS, messages.VERDICT, messages.INGEST]


_AT_EXECUTIVES: Final = (messages.process_selector, messages.cached_selector)


def _names(entity: StatusEntity, run: str) -> tuple[str, str]:
    return names.products_dir(entity.prog_id, run), names.weblog(entity.entity_id, run)


def _ids(entity: StatusEntity, runs: Sequence[str], ended_at: Sequence[str]) -> list[str]:
    """Return the ids that messages of an OUS may have, by its history, each once."""
    return list(dict.fromkeys(_possible_ids(entity, runs, ended_at)))


def _possible_ids(entity: StatusEntity, runs: Sequence[str], ended_at: Sequence[str]) -> Iterator[str]:
    for number, entry in enumerate(entity.history, start=1):
        if entry.state == lifecycle.READY_FOR_PROCESSING:
            for executive, launch in product(names.EXECUTIVES, launching.keys(entity.entity_id, number, *ended_at)):
                launched = envelope.caused_id(messages.process_selector(executive), launch, 0, "once")
                yield launched
                yield from _children(launched, executive, runs)
        if entry.state == lifecycle.REVIEWING:
            verdict = envelope.caused_id(messages.VERDICT, f"verdict {entity.entity_id} {number}", 0, "once")
            yield from (verdict, envelope.caused_id(messages.INGEST, verdict, 0, "ingest"))


def _children(launched: str, executive: str, runs: Sequence[str]) -> Iterator[str]:
    into_jao = messages.cached_selector("JAO")
    for run in runs:
        yield envelope.caused_id(into_jao, launched, 0, f"products-{run}")
        yield from (
            envelope.caused_id(messages.cached_selector(each), launched, 0, f"weblog-{run}")
            for each in dict.fromkeys(("JAO", executive))
        )
        yield envelope.caused_id(messages.REPORTS, launched, 0, f"report-{run}")
