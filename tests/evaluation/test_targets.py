from __future__ import annotations

import numpy as np
import pytest

from aoi_tl.evaluation.bootstrap import Interval
from aoi_tl.evaluation.targets import summarise_targets


def test_equal_and_certain_targets_leave_no_doubt() -> None:
    found = summarise_targets([Interval(0.1, 0.1, 0.1)] * 5)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (found.wins, found.ties, found.losses) == (5, 0, 0)


def test_one_target_keeps_its_own_interval() -> None:
    found = summarise_targets([Interval(0.2, 0.1, 0.3)], samples=100_000)
    assert (found.low, found.high) == pytest.approx((0.1, 0.3), abs=2e-3)


def test_wins_ties_and_losses() -> None:
    found = summarise_targets([Interval(0.2, 0.1, 0.3), Interval(0.0, -0.1, 0.1),
                          Interval(-0.2, -0.3, -0.1)])
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.low < 0 < found.high
    assert "over 3 targets: 1 won, 1 undecided, 1 lost" in str(found)


def test_no_target_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one target"):
        summarise_targets([])


def test_the_interval_covers_the_mean_of_all_targets() -> None:
    """Eight targets of a population of which the mean is known: 95 of 100 times, or so."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        truth = rng.normal(0.1, 0.1, 8)
        measured = truth + rng.normal(0, 0.05, 8)
        ends = [Interval(v, v - 0.098, v + 0.098) for v in measured]
        found = summarise_targets(ends, samples=2000)
        covered += found.low <= 0.1 <= found.high
    assert 180 <= covered <= 200
