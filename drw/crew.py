"""Who does what: which kind of actor handles a selector, and how one is started; and who gives signs of life."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared import heartbeats, news
from shared.actor import ACTORS_DATABASE
from shared.bus.patterns import Pattern
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from shared.dbcon import DbConnection, Doc

AQUA: Final = "aqua-qa2"
XTSS: Final = "xtss"
TRACKER: Final = "data-tracker"


@dataclass(frozen=True)
class Post:
    """What handles a selector: a kind of actor at an executive (empty where it runs anywhere), and how to start one."""

    kind: str
    executive: str
    start: str

    @property
    def name(self) -> str:
        """As a sentence has it: ``pipeline-driver at EU``."""
        return f"{self.kind} at {self.executive}" if self.executive else self.kind


@dataclass(frozen=True, kw_only=True)
class Worker:
    """An actor by its latest sign of life: ``stands`` is alive, ended or dead. Times are UTC text.

    ``listens`` has the selectors, and ranges of selectors, whose messages it takes.
    """

    id: str
    kind: str
    executive: str = ""
    stands: str = "alive"
    host: str = ""
    pid: int = 0
    since: str = ""
    at: str = ""
    doing: str = ""
    listens: tuple[str, ...] = ()

    def hears(self, selector: str) -> bool:
        """Tell whether this actor lives and takes the messages of a selector."""
        return self.stands == "alive" and any(Pattern(each).covers(selector) for each in self.listens)

    def holds(self, post: Post) -> bool:
        """Tell whether this actor lives and does the work of a post."""
        return self.stands == "alive" and self.kind == post.kind and post.executive in {"", self.executive}


_EVERYWHERE: Final = {
    "xtss": Post(XTSS, "", "xtss"),
    "pipeline.report.JAO": Post(AQUA, "", "aqua-qa2 --listen"),
    "verdict.JAO": Post(AQUA, "", "aqua-qa2 --listen"),
    news.SELECTOR: Post("notifier", "", "notifier, with DRW_WEBHOOK_URL"),
    "ingest.JAO": Post("product-ingestor", "", "product-ingestor JAO_CACHE"),
}


def post(selector: str) -> Post | None:
    """Return who handles a selector of ours; None for one of somebody else's."""
    if selector in _EVERYWHERE:
        return _EVERYWHERE[selector]
    before, _, executive = selector.rpartition(".")
    if before == "pipeline.process":
        return Post("pipeline-driver", executive, f"pipeline-driver {executive} {executive}_CACHE")
    if before == "cached":
        sources = " -euc EU_CACHE" if executive == "JAO" else ""
        return Post("replicated-cache", executive, f"replicated-cache -e {executive} -lc {executive}_CACHE{sources}")
    return None


def worker(doc: Doc, now: datetime) -> Worker:
    """Return an actor by its document."""
    return Worker(
        id=str(doc["_id"]),
        kind=str(doc.get("kind") or ""),
        executive=str(doc.get("executive") or ""),
        stands=heartbeats.standing(doc, now),
        host=str(doc.get("host") or ""),
        pid=doc["pid"] if isinstance(doc.get("pid"), int) else 0,
        since=str(doc.get("since") or ""),
        at=str(doc.get("at") or ""),
        doing=str(doc.get("doing") or ""),
        listens=tuple(_patterns(doc.get("listens"))),
    )


def _patterns(listed: object) -> Iterator[str]:
    """Yield what an actor says that it listens to, as far as it can be understood."""
    for each in listed if isinstance(listed, list) else ():
        with suppress(BadInput):  # another version's, or somebody else's, who has more kinds of patterns
            yield Pattern(str(each)).text


def workers(connection: DbConnection) -> list[Worker]:
    """Return every actor that ever gave a sign of life: the living by name, then the others, the latest first."""
    found = [worker(doc, connection.clock.now()) for doc in connection.database(ACTORS_DATABASE).every()]
    found.sort(key=lambda each: each.at, reverse=True)
    return sorted(found, key=lambda each: (each.stands != "alive", each.id if each.stands == "alive" else ""))


def listening(selector: str, known: Iterable[Worker]) -> list[Worker]:
    """Return the living actors that take the messages of a selector: who says so, and whose work it is by its kind."""
    wanted = post(selector)
    return [each for each in known if each.hears(selector) or (wanted and each.holds(wanted))]
