"""Until when a claim is written to."""

from datetime import UTC, datetime

import pytest

from shared.bus import envelope, leases
from shared.bus.leases import Held, until_when


@pytest.mark.parametrize(
    ("leases_left_s", "tried_s"), [([9.0, 2.0], 2.0), ([9.0], 5.0), ([-1.0, 9.0], 5.0), ([-1.0], 5.0)]
)
def test_a_write_is_tried_no_longer_than_a_lease_that_lasts_yet(monkeypatch, leases_left_s, tried_s):
    monkeypatch.setattr(leases, "elapsed_s", lambda: 1000.0)
    message = envelope.new("work.EU:1:x", {}, created=datetime.now(UTC), sender="test")
    held = [Held(message, 1000.0 + left_s) for left_s in leases_left_s]
    assert until_when(held, 5.0) == 1000.0 + tried_s
