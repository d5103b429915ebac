"""Intervals from a bootstrap over test images and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aoi_tl.evaluation.predictions import Predictions, Scorer

#: The scores that are resampled.
METRICS = ("f1", "map50", "map50_95")


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval.

    Attributes
    ----------
    value : float
        The score, or the difference, on the original data.
    low, high : float
        The percentile interval.
    """

    value: float
    low: float
    high: float


def bootstrap_arms(
    runs: Mapping[str, Mapping[int, Predictions]],
    baselines: Sequence[str] = (),
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[tuple[str, str, str | None], Interval]:
    """Bootstrap scores of arms, and their paired differences, over test images and seeds.

    Each sample draws as many images as there are, with replacement, the same for every arm and
    seed, and as many seeds as an arm has, the same for both arms of a difference. It covers
    both the choice of test images, which seeds alone do not show, and the randomness of
    training.

    Parameters
    ----------
    runs : mapping of arm to mapping of seed to Predictions
        All on the same test images.
    baselines : sequence of str
        Arms that every other arm is compared with, over the seeds that both have.
    samples : int
        Bootstrap samples.
    confidence : float
        The intervals' coverage.
    seed : int
        Of the resampling.

    Returns
    -------
    dict
        An `Interval` for each (metric, arm, None) and each (metric, arm, baseline).

    Raises
    ------
    ValueError
        If two arms were tested on different images.

    References
    ----------
    .. [1] Efron, Tibshirani. "An Introduction to the Bootstrap." Chapman & Hall, 1993: the
       percentile interval, and resampling of pairs.
    .. [2] Bouthillier et al. "Accounting for Variance in Machine Learning Benchmarks." MLSys 2021.
    """
    images = {p.images for found in runs.values() for p in found.values()}
    if len(images) > 1:
        raise ValueError("expected all arms tested on the same images, got different ones")
    if not images:
        return {}
    n_images = len(next(iter(images)))
    scorers = {
        arm: {s: Scorer(predictions) for s, predictions in found.items()}
        for arm, found in runs.items()
    }
    generator = np.random.default_rng(seed)
    times = generator.multinomial(n_images, np.full(n_images, 1 / n_images), size=samples)
    drawn = {  # (samples + 1, metrics); the first row is the split as it is
        (arm, s): np.array([
            [getattr(scores, metric) for metric in METRICS]
            for scores in (scorer.scores(), *(scorer.scores(row) for row in times))
        ])
        for arm, found in scorers.items() for s, scorer in found.items()
    }
    tail = 100 * (1 - confidence) / 2

    def interval(tables: list[np.ndarray]) -> list[Interval]:
        """One for each metric, from a table for each seed."""
        stack = np.stack(tables)  # (seeds, samples + 1, metrics)
        pick = generator.integers(len(tables), size=(samples, len(tables)))
        resampled = stack[pick, np.arange(1, samples + 1)[:, None]].mean(axis=1)
        low, high = np.percentile(resampled, [tail, 100 - tail], axis=0)
        value = stack[:, 0].mean(axis=0)
        return [Interval(float(v), float(lo), float(hi))
                for v, lo, hi in zip(value, low, high, strict=True)]

    result: dict[tuple[str, str, str | None], Interval] = {}
    for arm, found in runs.items():
        for metric, one in zip(METRICS, interval([drawn[arm, s] for s in found]), strict=True):
            result[metric, arm, None] = one
        for baseline in baselines:
            both = [s for s in found if s in runs.get(baseline, {})]
            if arm == baseline or not both:
                continue
            differences = interval([drawn[arm, s] - drawn[baseline, s] for s in both])
            for metric, one in zip(METRICS, differences, strict=True):
                result[metric, arm, baseline] = one
    return result
