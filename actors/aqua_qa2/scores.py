"""The scores of pipeline reports, as the list of what waits shows them; each report is read once."""

from __future__ import annotations

import base64
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared import names, report
from shared.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.dbcon import Database
    from shared.status import StatusEntity

_LOG = logging.getLogger(__name__)
_KEPT: Final = 5000
_READ_AT_ONCE: Final = 20
"""Reports have up to some MB each."""


@dataclass(frozen=True)
class Scores:
    """The final score of a run and those of its topics, by name; or ``problem``: why there are none."""

    final: float | None = None
    topics: tuple[tuple[str, float | None], ...] = ()
    problem: str = ""


NO_REPORT: Final = Scores(problem="no report yet")
UNREAD: Final = Scores(problem="…")
"""Not read yet: a report of some hundred kilobytes takes some hundredths of a second."""


class ScoreBook:
    """Looks up the scores of runs. A run's report never changes, so it is parsed once."""

    def __init__(self, database: Database) -> None:
        """Take the database of reports."""
        self._database = database
        self._known: OrderedDict[str, Scores] = OrderedDict()

    def of(self, entities: Sequence[StatusEntity], most: int | None = None) -> list[Scores]:
        """Return the scores of the runs that some OUSs are about, in their order; ``most`` reports are read at most."""
        ids = [names.report_id(each.entity_id, each.run) if each.run else "" for each in entities]
        return self._of_ids(ids, most)

    def of_runs(self, ous_uid: str, runs: Sequence[str]) -> dict[str, Scores]:
        """Return the scores of some runs of an OUS, by run."""
        return dict(zip(runs, self._of_ids([names.report_id(ous_uid, run) for run in runs]), strict=True))

    def _of_ids(self, ids: Sequence[str], most: int | None = None) -> list[Scores]:
        unknown = [each for each in dict.fromkeys(ids) if each and each not in self._known]
        found = dict.fromkeys(unknown, UNREAD) | dict(self._read(unknown[:most]))
        self._known |= {each: scores for each, scores in found.items() if scores not in {NO_REPORT, UNREAD}}
        answer = [self._known.get(each) or found.get(each, NO_REPORT) for each in ids]
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return answer

    def _read(self, ids: Sequence[str]) -> Iterator[tuple[str, Scores]]:
        for start in range(0, len(ids), _READ_AT_ONCE):
            page = ids[start : start + _READ_AT_ONCE]
            for each, doc in zip(page, self._database.fetch(page), strict=True):
                yield each, scores_of(each, doc) if doc else NO_REPORT


def scores_of(doc_id: str, doc: dict[str, object]) -> Scores:
    """Return the scores in a stored report; of one that cannot be read, that."""
    try:
        parsed = report.parse(base64.b64decode(str(doc.get("encodedReport", ""))))
    except (BadInput, ValueError) as error:  # ValueError: not BASE64
        _LOG.info("report %s cannot be read: %s", doc_id, error)
        return Scores(problem="unreadable")
    return Scores(parsed.summary.final_score, tuple((topic.name, topic.score) for topic in parsed.topics))
