"""Every exchange recorded from Apache CouchDB 3.5.0 is answered alike: one test an exchange."""

from __future__ import annotations

import pytest
from scenario import load, scenarios


def every_exchange():
    for name in scenarios():
        for place, exchange in enumerate(load(name)):
            request = exchange["request"]
            title = f"{name}-{place:02}-{request['method']}-{exchange['says'] or request['path']}"
            yield pytest.param(name, place, id=title[:90], marks=pytest.mark.xdist_group(name))


def test_all_exchanges_are_there():
    assert sum(len(load(name)) for name in scenarios()) == 611


@pytest.mark.parametrize(("name", "place"), list(every_exchange()))
def test_answers_as_recorded(replay, name, place):
    replayed = replay(name)
    assert place not in replayed.failures, replayed.failures.get(place)
