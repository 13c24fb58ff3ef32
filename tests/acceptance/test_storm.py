"""Everything goes wrong at once, and in the end everything is right."""

from __future__ import annotations

import os

import pytest
from storm import Storm

SEEDS = [int(each) for each in os.environ.get("DRW_STORM_SEEDS", "1 2 3").split()]
UNITS, SECONDS = (int(os.environ.get(f"DRW_STORM_{what}", few)) for what, few in (("UNITS", 10), ("SECONDS", 8)))
"""Small storms; benchmarks/storm.py has large ones."""


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_storm_every_ous_has_come_to_its_end_whole(system, seed):
    storm = Storm(system, seed, units=UNITS, seconds=SECONDS)
    try:
        wrong = storm.run()
    finally:
        storm.close()
    assert not wrong, f"seed {seed}: {len(wrong)} faults after {storm.log}\n" + "\n".join(wrong[:20])
