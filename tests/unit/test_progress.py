"""A line now and then, with figures that people read."""

import logging

import pytest

from shared.progress import ProgressLine, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (5 * 10**9, "5.0 GB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes(count, text):
    assert size(count) == text


def test_long_work_says_how_far_it_is_and_short_work_says_nothing(caplog):
    caplog.set_level(logging.INFO)
    ProgressLine("copying a")(1, 2)
    assert caplog.messages == []
    tell = ProgressLine("copying b", every_s=0.0)
    tell(500, 2000)
    tell(7, 0)
    assert caplog.messages == ["copying b: 500 bytes of 2.0 kB, 25 %", "copying b: 7 bytes"]
