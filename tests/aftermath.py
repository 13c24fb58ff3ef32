"""What has to be right when a storm is over: databases, archive, caches, processes."""

from __future__ import annotations

import itertools
import time
import zipfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from drw.demo.check import Checker
from shared import delivery, lifecycle, manifest, names, reports
from shared.bus import envelope, queue
from shared.cache import MARKER, WEBLOGS
from shared.messages import FileEntry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FINAL = {lifecycle.DELIVERED, lifecycle.PROCESSING_PROBLEM}
LATE_S = 60.0
"""How long what is delayed, or held by the dead, may take after the last OUS has come to its end."""

PRODUCTS = 5


class Aftermath:
    """Looks at what a storm has left; each method returns what is wrong, in words."""

    def __init__(self, system, caches: Mapping[str, Path], states: Mapping[str, str]) -> None:
        self._system = system
        self._caches = caches
        self._states = states

    def wrong(self) -> list[str]:
        """Return all that is not right. The actors are still at work; they are ended in between."""
        wrong = [f"{ous} is {state or 'unknown'}" for ous, state in self._states.items() if state not in FINAL]
        wrong += self._messages() + self._ends()
        for ous, state in self._states.items():
            wrong += [f"{ous}: {what}" for what in (*self._history(ous), *self._delivery(ous, state))]
        for name, root in self._caches.items():
            wrong += [f"the cache of {name}: {what}" for what in self._cache(root)]
        return [*wrong, *self._reports(), *self._strays(), *self._tracebacks()]

    def _ends(self) -> list[str]:
        """End the actors; return what those say that do not."""
        stuck = []
        for running in self._system.running:
            try:
                running.stop()
            except AssertionError as error:
                stuck.append(str(error))
        return stuck

    def _messages(self) -> list[str]:
        """Give what is delayed or held by the dead its time, then return what is open still, and all that is dead."""
        deadline = time.monotonic() + LATE_S
        while left := [doc for doc in self._all_messages() if doc["state"] in envelope.OPEN_STATES]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)  # leases end by themselves
        dead = [doc for doc in self._all_messages() if doc["state"] == envelope.DEAD]
        return [f"message {doc['_id']} is {doc['state']}: {doc.get('waits', '')}" for doc in left] + [
            f"message {doc['_id']} is dead: {[each['what'] for each in doc['errors']][-2:]}" for doc in dead
        ]

    def _all_messages(self) -> list[dict[str, Any]]:
        docs = self._system.connection.database(queue.DATABASE).every()
        return [doc for doc in docs if envelope.is_message_id(doc["_id"])]

    def _history(self, ous: str) -> Iterator[str]:
        entity = self._system.entity(ous)
        if entity is None:
            yield "it is not there"
            return
        for before, after in itertools.pairwise(each.state for each in entity.history):
            if not lifecycle.may_follow(before, after):
                yield f"it went from {before} to {after}"
        if entity.state == lifecycle.PROCESSING_PROBLEM and not entity.history[-1].note:
            yield "it is in ProcessingProblem without a reason"

    def _delivery(self, ous: str, state: str) -> Iterator[str]:
        """Look at one delivered OUS: in the archive, in the records, and in the cache that was archived from."""
        if state != lifecycle.DELIVERED:
            return
        connection = self._system.connection
        yield from Checker(connection).ous(ous).wrong
        run = self._system.entity(ous).run
        kept = [doc for doc in connection.database(delivery.METADATA_DATABASE).every() if doc["ousUID"] == ous]
        if len(kept) != PRODUCTS or {doc["timestamp"] for doc in kept} != {run}:
            yield f"{len(kept)} metadata records of the runs {sorted({doc['timestamp'] for doc in kept})}, not of {run}"
        statuses = [doc for doc in connection.database(delivery.STATUS_DATABASE).every() if doc["ousUID"] == ous]
        if [doc["complete"] for doc in statuses] != [True]:
            yield f"{len(statuses)} delivery statuses"
        folder = self._caches["JAO"] / names.products_path(kept[0]["progID"] if kept else "?", run, ous)
        for doc in kept:
            path = folder / doc["_id"]
            if not path.is_file() or manifest.entry(path, doc["_id"]).sha256 != doc["sha256"]:
                yield f"{path} is not what was archived"

    def _cache(self, root: Path) -> Iterator[str]:
        """Look for half files under final names, for strangers, and for what was left on its way in."""
        announced = self._announced()
        for path in root.iterdir():
            if path.name not in {MARKER, WEBLOGS}:
                files = announced.get(path.name)
                yield from manifest.differences(path, files) if files else [f"{path.name} was never announced"]
        for folder in (root / WEBLOGS).iterdir():
            with zipfile.ZipFile(root / f"{folder.name}.zip") as weblog:
                for member in weblog.namelist():
                    if (folder / member).read_bytes() != weblog.read(member):
                        yield f"{folder.name}/{member} is not what was packed"
        yield from (f"stray {path}" for path in root.rglob(".*") if path.name != MARKER)
        yield from (f"stray {path}" for path in (root / MARKER / "incoming").iterdir())

    def _announced(self) -> dict[str, list[FileEntry]]:
        """Return what was said of the files of each run and weblog when they were cached."""
        bodies = [doc["body"] for doc in self._all_messages() if doc["selector"].startswith("cached.")]
        return {body["name"]: [msgspec.convert(each, FileEntry) for each in body["files"]] for body in bodies}

    def _reports(self) -> list[str]:
        docs = self._system.connection.database(reports.DATABASE).every()
        runs = Counter((doc["ousUID"], doc["timestamp"]) for doc in docs)
        return [f"{count} reports of {ous} for the run of {run}" for (ous, run), count in runs.items() if count > 1]

    def _strays(self) -> list[str]:
        """Return the processes and folders that were left behind by whoever was killed."""
        deadline = time.monotonic() + LATE_S
        while (found := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.1)  # nobody is told of the end of a stranger's child
        found += [f"stray {path}" for path in Path(self._system.environ["TMPDIR"]).iterdir()]
        return found

    def _processes(self) -> list[str]:
        mark, found = f"DRW_HOME={self._system.home}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # it may be gone, or somebody else's
                if mark in path.read_bytes().split(b"\0") and int(path.parent.name) != self._system.couchlet.pid:
                    found.append(f"stray process {path.parent.name}: {(path.parent / 'cmdline').read_text()[:200]}")
        return found

    def _tracebacks(self) -> list[str]:
        said = [(running.argv[0], running.text) for running in self._system.running]
        return [f"{name} said: {text[text.index('Traceback') :][:2000]}" for name, text in said if "Traceback" in text]
