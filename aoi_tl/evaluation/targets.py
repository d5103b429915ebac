"""The gain of an arm over several targets: what to expect on a new target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aoi_tl.evaluation.bootstrap import Interval


@dataclass(frozen=True)
class TargetsSummary:
    """Differences of one arm from a baseline on several targets.

    Attributes
    ----------
    n : int
        How many targets.
    mean, low, high : float
        The mean difference with its interval over targets.
    wins, ties, losses : int
        Targets whose own interval is above 0, contains 0, is below 0.
    """

    n: int
    mean: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int

    def __str__(self) -> str:
        """Describe the summary in words, in the units of the differences."""
        return (f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}] over {self.n} targets: "
                f"{self.wins} won, {self.ties} undecided, {self.losses} lost")


def summarise_targets(
    differences: Sequence[Interval], confidence: float = 0.95, samples: int = 10_000, seed: int = 0
) -> TargetsSummary:
    """Summarise paired differences over several targets.

    Parameters
    ----------
    differences : sequence of Interval
        One target each, with its own 95 % interval over test images and seeds.
    confidence : float
        The coverage of the interval over targets.
    samples : int
        Bootstrap samples.
    seed : int
        Of the resampling.

    Returns
    -------
    TargetsSummary

    Raises
    ------
    ValueError
        If there is no target.

    Notes
    -----
    Each sample draws as many targets as there are, with replacement, and for each a value from a
    normal distribution as wide as its own interval. With fewer than four targets the interval says
    little about new ones.

    References
    ----------
    .. [1] Davison, Hinkley. "Bootstrap Methods and their Application." Cambridge, 1997, section
       3.8: hierarchical data.

    Examples
    --------
    >>> found = summarise_targets([Interval(0.2, 0.1, 0.3), Interval(0.1, -0.1, 0.3)])
    >>> found.n, round(found.mean, 2), found.wins, found.ties, found.losses
    (2, 0.15, 1, 1, 0)
    """
    if not differences:
        raise ValueError("expected at least one target, got none")
    values = np.array([found.value for found in differences])
    spreads = np.array([(found.high - found.low) / 3.92 for found in differences])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(samples, len(values)))
    means = (values[drawn] + spreads[drawn] * rng.standard_normal(drawn.shape)).mean(axis=1)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    wins = sum(found.low > 0 for found in differences)
    losses = sum(found.high < 0 for found in differences)
    return TargetsSummary(
        len(values), float(values.mean()), float(low), float(high), wins,
        len(values) - wins - losses, losses,
    )
