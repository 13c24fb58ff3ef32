"""What ``drw check --repair`` does about each kind of contradiction.

Every repair looks again at what it changes and writes at the revision or in the state that it saw, so that whoever was
quicker is not undone, and doing it twice is doing it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from drw.upkeep import contradictions
from drw.upkeep.rebuild import Rebuilder, runs_of
from shared import audit, delivery, lifecycle, manifest, messages, names, ngas, status, weblog
from shared.bus import envelope
from shared.clock import elapsed_s
from shared.errors import DatabaseAway, DeadlineExceeded, DrwError, RemoteError
from shared.messages import CachedFile, IngestRequest
from shared.status import Change

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drw.registry import Context
    from drw.upkeep.contradictions import Finding
    from drw.upkeep.evidence import Evidence
    from shared.dbcon import Doc
    from shared.messages import FileEntry
    from shared.status import StatusEntity

_WITHIN_S: Final = 30.0
_BY_THE_STATE_SYSTEM: Final = frozenset(
    {contradictions.NOBODY_PROCESSES, contradictions.NOBODY_REVIEWS, contradictions.NOBODY_DELIVERS}
)


class Repairs:
    """Mends what was found, in the name of the person at this terminal."""

    def __init__(self, context: Context, known: Evidence) -> None:
        """Take where to ask, and what is known of everything."""
        self._context = context
        self._known = known
        self._by = audit.who()
        self._archive = ngas.Archive(context.connection.database(ngas.DATABASE), context.connection.clock)
        self._rebuilder = Rebuilder(context.connection, known)
        self._rebuilt: set[str] = set()
        self._silent = self._away = ""
        self._of_kind: dict[str, Callable[[Finding], None]] = {
            contradictions.NOBODYS_MESSAGE: self._park,
            contradictions.NOBODY_PROCESSES: self._end_processing,
            contradictions.NOBODY_REVIEWS: self._give_back,
            contradictions.NOBODY_DELIVERS: self._ingest,
            contradictions.NO_REPORT: self._store_report,
            contradictions.UNKNOWN_DIRECTORY: self._store_report,
            contradictions.NOT_REPLICATED: self._replicate,
            contradictions.DELIVERY: self._rebuild,
            contradictions.NO_METADATA: self._rebuild,
            contradictions.NOT_ARCHIVED: self._archive_again,
            contradictions.CORRUPT: self._archive_again,
            contradictions.MISDESCRIBED: self._archive_again,
            contradictions.DIFFERS: self._settle_difference,
            contradictions.NOT_EXPANDED: self._expand,
        }

    def repair(self, finding: Finding) -> str:
        """Mend one contradiction, and keep in the audit that it is to be; return why it could not be, or nothing."""
        if self._away or (self._silent and finding.kind in _BY_THE_STATE_SYSTEM):
            return self._away or self._silent
        subject, why = finding.ous or finding.subject, f"{finding.kind}: {finding.what}"
        try:
            audit.intend(
                self._context.connection, "repair", subject, why, by=self._by, revision=finding.stamp or finding.subject
            )
            self._of_kind[finding.kind](finding)
        except DeadlineExceeded as error:
            self._silent = str(error)  # whoever does not answer once is not asked, and waited for, a thousand times
            return self._silent
        except DatabaseAway as error:
            self._away = self._why_away()
            return str(error)
        except (DrwError, OSError) as error:
            return str(error)
        return ""

    def _why_away(self) -> str:
        """Return why the database cannot be reached; nothing if it answers, and it was one document that failed."""
        try:
            self._context.connection.database(status.DATABASE).info()
        except DatabaseAway as error:
            return str(error)
        return ""

    # Messages and states

    def _park(self, finding: Finding) -> None:
        queue = self._context.bus.queue
        message = queue.get(finding.subject)
        if message is None or message.state not in {envelope.READY, envelope.DELAYED}:
            raise DrwError(f"message {finding.subject} is in somebody's hands by now: look again")
        dead = envelope.dead(message, what=finding.what, by=self._by, now=self._context.connection.clock.now())
        (result,) = queue.write([dead], until_s=elapsed_s() + _WITHIN_S)
        if result.standing != "written":
            raise DrwError(f"message {finding.subject} was changed by somebody else meanwhile: look again")

    def _end_processing(self, finding: Finding) -> None:
        self._set(finding, Change(state=lifecycle.PROCESSING_PROBLEM), "nobody processed it")

    def _give_back(self, finding: Finding) -> None:
        self._set(finding, Change(state=lifecycle.READY_FOR_REVIEW), "given back: nobody reviewed it")

    def _set(self, finding: Finding, change: Change, note: str) -> None:
        """Have xtss change an OUS that is still as it was found."""
        entity = self._entity(finding)
        self._context.state.set(
            entity.entity_id,
            change,
            expected=(entity.state,),
            run=entity.run,
            launched=status.launch_of(entity),
            session=entity.reviewer.session if entity.reviewer else "",
            note=note,
            by=self._by,
        )

    def _entity(self, finding: Finding) -> StatusEntity:
        """Return the OUS of a finding as it is now; DrwError if it has moved on since it was looked at."""
        found = self._context.state.get(finding.ous)
        if found is None or found.timestamp != self._known.entities[finding.ous].timestamp:
            raise DrwError(f"{finding.ous} has moved on by itself: look again")
        return found

    def _ingest(self, finding: Finding) -> None:
        """Have a run ingested: the message first, which is sent once however often this is done."""
        entity = self._entity(finding)
        run = names.products_dir(entity.prog_id, entity.run)
        request = IngestRequest(ousUID=entity.entity_id, timestamp=entity.run, productsDir=run)
        key = f"repair {entity.entity_id} {len(entity.history)}"
        self._send(messages.INGEST, request.body(), key)
        if entity.state == lifecycle.VERIFIED:
            try:
                self._set(finding, Change(state=lifecycle.DELIVERY_IN_PROGRESS), "given to the product ingestor again")
            except RemoteError as error:
                # The ingestor, who has the message, moves the substate: then the next look finds what is left to do.
                raise DrwError(f"{error}; look again") from error

    # Runs

    def _store_report(self, finding: Finding) -> None:
        entity = self._known.entities[finding.ous]
        name = finding.subject.rpartition("/")[2]
        run = self._known.run(name) or self._known.run(names.products_dir(entity.prog_id, entity.run))
        if run is None or not list(self._rebuilder.report(run)):
            raise DrwError(f"no report of {finding.ous} is to be found in the caches")

    def _replicate(self, finding: Finding) -> None:
        cache = next(each for each in self._known.caches.values() if finding.subject in {*each.runs, *each.weblogs})
        request = CachedFile(
            fileType="weblog" if finding.subject in cache.weblogs else "productsdir",
            cachedAt=cache.executive,
            name=finding.subject,
            files=manifest.manifest_of(cache.path / finding.subject),
        )
        key = f"repair {finding.subject} {finding.stamp}"
        self._send(messages.cached_selector("JAO"), request.body(), key)

    def _send(self, selector: str, body: Doc, key: str) -> None:
        """Send what a key stands for, once however often this is done; after what has come to its end, anew.

        Raises DrwError where a person has to look at it first.
        """
        bus = self._context.bus
        message = bus.compose(selector, body, dedup=key)
        while (earlier := bus.queue.get(message.id)) and not earlier.is_open:
            if earlier.state == envelope.DEAD:
                raise DrwError(f"message {earlier.id} says so, and is dead: see 'drw dead list'")
            message = bus.compose(selector, body, dedup=f"{key} after {earlier.done_at}")
        bus.send_many([message])

    def _expand(self, finding: Finding) -> None:
        cache = next(each for each in self._known.caches.values() if finding.subject.startswith(f"{each.path}/"))
        weblog.expand(cache.path / finding.subject.rpartition("/")[2], cache.path / "weblogs")

    # Records and archive

    def _rebuild(self, finding: Finding) -> None:
        """Make the records of an OUS anew, once for all that was found of it, and look whether that mended this."""
        if finding.ous not in self._rebuilt:
            self._rebuilt.add(finding.ous)
            for run in runs_of(self._known, [finding.ous]):
                self._rebuilder.rebuild(run)
            self._rebuilder.conclude([finding.ous])
        if not self._is_recorded(finding):
            raise DrwError("; ".join(self._rebuilder.problems) or "neither caches nor archive have what it takes")

    def _is_recorded(self, finding: Finding) -> bool:
        """Tell whether the records have by now what a finding says they lack."""
        records = delivery.Records(self._context.connection)
        if finding.kind == contradictions.NO_METADATA:
            return records.metadata(finding.subject) is not None
        entity = self._known.entities[finding.ous]
        kept = records.status(entity.id)
        return kept is not None and kept.complete and kept.timestamp == entity.run

    def _archive_again(self, finding: Finding) -> None:
        """Archive a file from a cache, if one has it as the records say, or as the archive itself says."""
        product, archived = self._known.metadata.get(finding.subject), self._known.archive.get(finding.subject)
        wanted = (product.size, product.sha256) if product else (archived.size, archived.sha256) if archived else None
        path, entry = self._cached(finding.subject, wanted)
        self._put(finding.subject, path, entry)

    def _settle_difference(self, finding: Finding) -> None:
        """Put right whichever of metadata and archive the caches do not agree with."""
        product, archived = self._known.metadata[finding.subject], self._known.archive[finding.subject]
        path, entry = self._cached(finding.subject, None)
        if (entry.size, entry.sha256) == (product.size, product.sha256):
            self._put(finding.subject, path, entry)
        elif (entry.size, entry.sha256) == (archived.size, archived.sha256):
            right = msgspec.structs.replace(product, size=entry.size, sha256=entry.sha256)
            delivery.Records(self._context.connection).keep_metadata(right)
        else:
            raise DrwError(f"{finding.subject} is a third thing in the cache: a person has to find out which is right")

    def _cached(self, name: str, wanted: tuple[int, str] | None) -> tuple[Path, FileEntry]:
        """Return a file of a cache with its manifest's entry, one that has this size and SHA-256 if these are known."""
        for path in self._known.located.get(name, ()):
            entry = manifest.entry(path, name)
            if wanted in {None, (entry.size, entry.sha256)}:
                return path, entry
        raise DrwError(f"no cache has {name} as it was: launch its OUS anew")

    def _put(self, name: str, path: Path, entry: FileEntry) -> None:
        """Archive a file, in place of one that is wrong or not whole, at the revision that was looked at."""
        database = self._context.connection.database(ngas.DATABASE)
        if not self._archive.check(name, size=entry.size, sha256=entry.sha256):
            return
        found = database.get(name)
        if found is not None:
            # The description is taken back first: what has none does not count as archived.
            database.put({"_id": name, "_rev": found["_rev"]})
        self._archive.put(path, name, size=entry.size, sha256=entry.sha256)
