"""``/metrics`` for Prometheus: what the feeds tell, and how long requests take. A scrape asks the database nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from flask import Blueprint, Response, current_app, g, request
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from dashboard.context import EXTENSION
from dashboard.post import STATES
from shared import lifecycle
from shared.clock import elapsed_s
from shared.names import moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from flask import Flask
    from prometheus_client.core import Metric

    from dashboard.context import Site
    from dashboard.live import Live
    from dashboard.post import Row

blueprint = Blueprint("metrics", __name__)
SELECTORS: Final = 100
"""So many selectors have series of their own, those with the most messages; the others are counted together."""

OTHERS: Final = "(others)"
_EXTENSION: Final = "drw-metrics"
_STANDING: Final = ("alive", "dead", "ended")
_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST"})


def measure(app: Flask) -> None:
    """Have the application's requests timed."""
    registry = CollectorRegistry()
    registry.register(Collector(app.extensions[EXTENSION]))
    times = Histogram(
        "drw_dashboard_request_seconds",
        "How long the dashboard took to answer.",
        ("method", "page", "status"),
        buckets=_BUCKETS_S,
        registry=registry,
    )
    app.extensions[_EXTENSION] = registry

    @app.before_request
    def begin() -> None:
        g.begun_s = elapsed_s()

    @app.after_request
    def end(response: Response) -> Response:
        # The rule, not the path, and no status by itself: nobody can make more series by asking for strange pages.
        page = request.url_rule.rule if request.url_rule else "(none)"
        method = request.method if request.method in _METHODS else "other"
        times.labels(method, page, f"{response.status_code // 100}xx").observe(elapsed_s() - g.begun_s)
        return response


@blueprint.get("/metrics")
def index() -> Response:
    """Answer a scrape."""
    content = generate_latest(current_app.extensions[_EXTENSION])
    return Response(content, content_type=CONTENT_TYPE_LATEST)


class Collector:
    """Reads the model when Prometheus asks."""

    def __init__(self, known: Site) -> None:
        """Take the site."""
        self._site = known

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        live = self._site.live
        yield GaugeMetricFamily(
            "drw_database_up", "1 if the database answers, as the dashboard sees it.", 0 if live.away else 1
        )
        yield GaugeMetricFamily("drw_dashboard_browsers", "Browsers that hold a line of events.", live.stream.watching)
        yield from _of_board(live)
        yield from self._of_post(live)
        yield from self._of_crew(live)

    def _of_post(self, live: Live) -> Iterator[Metric]:
        now = self._site.connection.clock.now()
        messages = GaugeMetricFamily("drw_messages", "Open and dead messages.", labels=("selector", "state"))
        ages = GaugeMetricFamily(
            "drw_oldest_message_age_seconds", "Age of the oldest open message.", labels=("selector",)
        )
        settled = CounterMetricFamily(
            "drw_messages_settled", "Messages settled since the dashboard started.", labels=("selector",)
        )
        for selector, counts, oldest, done in _bounded(live.post.rows()):
            for state in STATES:
                messages.add_metric((selector, state), counts[state])
            ages.add_metric((selector,), _age_s(oldest, now))
            settled.add_metric((selector,), done)
        yield from (messages, ages, settled)

    def _of_crew(self, live: Live) -> Iterator[Metric]:
        family = GaugeMetricFamily("drw_actors", "Actors by kind and how they stand.", labels=("kind", "stands"))
        known = Counter(
            (str(doc.get("kind", ""))[:64], stands) for stands, doc in live.crew.all(self._site.connection.clock.now())
        )
        for kind in sorted({kind for kind, _ in known})[:SELECTORS]:
            for stands in _STANDING:
                family.add_metric((kind, stands), known[kind, stands])
        yield family


def _age_s(oldest: str, now: datetime) -> float:
    """Return how long ago something was; 0 for nothing, and for what is no time."""
    try:
        return max((now - moment(oldest)).total_seconds(), 0.0) if oldest else 0.0
    except ValueError:
        return 0.0


def _of_board(live: Live) -> Iterator[Metric]:
    ouss = GaugeMetricFamily("drw_ouss", "OUSs by state.", labels=("state",))
    counts = live.board.counts()
    for state in lifecycle.STATES:
        ouss.add_metric((state,), counts.get(state, 0))
    ouss.add_metric((OTHERS,), sum(count for state, count in counts.items() if state not in lifecycle.STATES))
    yield ouss
    needs = GaugeMetricFamily("drw_ouss_needing_a_human", "OUSs that wait for a human, by state.", labels=("state",))
    for state, count in live.board.needs().items():
        needs.add_metric((state,), count)
    yield needs


def _bounded(rows: list[Row]) -> Iterator[tuple[str, Counter[str], str, int]]:
    """Yield selector, counts, oldest and settled of the busiest selectors, and of all others together."""
    busiest = sorted(rows, key=lambda row: sum(row.counts.values()) + row.settled, reverse=True)
    for row in sorted(busiest[:SELECTORS], key=lambda row: row.selector):
        yield row.selector, Counter(row.counts), row.oldest, row.settled
    if others := busiest[SELECTORS:]:
        counts = sum((Counter(row.counts) for row in others), Counter[str]())
        oldest = min((row.oldest for row in others if row.oldest), default="")
        yield OTHERS, counts, oldest, sum(row.settled for row in others)
