"""Precision and recall per class, with intervals over test images and training draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aoi_tl.evaluation.bootstrap import Interval


@dataclass(frozen=True, eq=False)
class ClassIntervals:
    """Scores of a classifier per class and overall, with intervals.

    Attributes
    ----------
    precision, recall : mapping of class to Interval
        NaN where a class was never given, or has no test image.
    accuracy, balanced_accuracy, above_majority : Interval
        Overall; the last is the accuracy minus that of always predicting the largest class.
    """

    precision: Mapping[str, Interval]
    recall: Mapping[str, Interval]
    accuracy: Interval
    balanced_accuracy: Interval
    above_majority: Interval


def bootstrap_classes(
    labels: np.ndarray,
    predicted: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> ClassIntervals:
    """Bootstrap per-class and overall scores over test images and draws.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        The true classes.
    predicted : ndarray of int, shape (draws, n)
        The classes predicted by each draw's classifier.
    classes : sequence of str
        Class names.
    groups : sequence of str, optional
        The group of every image; images of one group are similar and are drawn together.
        Without it every image is its own group.
    samples : int
        Bootstrap samples.
    confidence : float
        The intervals' coverage.
    seed : int
        Of the resampling.

    Returns
    -------
    ClassIntervals
        Means over the draws with percentile intervals.

    Raises
    ------
    ValueError
        When the shapes do not fit.

    References
    ----------
    .. [1] Efron, Tibshirani. "An Introduction to the Bootstrap." Chapman & Hall, 1993.

    Examples
    --------
    >>> labels, given = np.array([0, 0, 0, 1]), np.array([[0, 0, 1, 1]])
    >>> found = bootstrap_classes(labels, given, ["fine", "torn"])
    >>> round(found.recall["fine"].value, 3), found.precision["torn"].value
    (0.667, 0.5)
    """
    as_it_is, resampled = _resample(labels, predicted, classes, groups, samples, seed)
    found, n = _intervals(as_it_is, resampled, confidence), len(classes)
    return ClassIntervals(
        dict(zip(classes, found[:n], strict=True)),
        dict(zip(classes, found[n : 2 * n], strict=True)), *found[2 * n :],
    )


def bootstrap_difference(
    labels: np.ndarray,
    predicted: np.ndarray,
    baseline: np.ndarray,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Hold two classifiers against each other on the same test images and draws.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        The true classes.
    predicted, baseline : ndarray of int, shape (draws, n)
        What each draw's classifier gave; a row of both stands for the same draw.
    classes, groups, samples, confidence, seed
        As for `bootstrap_classes`.

    Returns
    -------
    dict
        The difference, ``predicted`` less ``baseline``, of ``accuracy`` and ``balanced_accuracy``.
        Every sample takes the same images and draws for both.

    Raises
    ------
    ValueError
        When the shapes do not fit.

    Examples
    --------
    >>> labels, given = np.array([0, 0, 0, 1]), np.array([[0, 0, 1, 1]])
    >>> found = bootstrap_difference(labels, given, given * 0, ["fine", "torn"])
    >>> found["accuracy"].value, round(found["balanced_accuracy"].value, 3)
    (0.0, 0.333)
    """
    if np.shape(predicted) != np.shape(baseline):
        raise ValueError(
            f"expected predictions of the same draws and images, got {np.shape(predicted)} and "
            f"{np.shape(baseline)}"
        )
    # The same seed and shapes: the same samples of both.
    first, others = (_resample(labels, given, classes, groups, samples, seed)
                     for given in (predicted, baseline))
    found = _intervals(first[0] - others[0], first[1] - others[1], confidence)
    n = len(classes)
    return {"accuracy": found[2 * n], "balanced_accuracy": found[2 * n + 1]}


def _resample(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str],
    groups: Sequence[str] | None, samples: int, seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores as they are, of shape (scores,), and of every sample, of shape (samples, scores)."""
    truth, given = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
    if given.ndim != 2 or truth.shape != given.shape[1:] or not given.size:
        raise ValueError(
            f"expected predictions of shape (draws, n) and n labels, got {given.shape} and "
            f"{truth.shape}"
        )
    names = list(dict.fromkeys(groups)) if groups is not None else list(range(len(truth)))
    where = {name: number for number, name in enumerate(names)}
    group = (np.array([where[name] for name in groups]) if groups is not None
             else np.arange(len(truth)))
    n, draws = len(classes), len(given)
    # counts[draw, group, true, given]: a sample adds up groups, so no image is looked at again.
    counts = np.zeros((draws, len(names), n, n))
    for draw in range(draws):
        np.add.at(counts[draw], (group, truth, given[draw]), 1)
    generator = np.random.default_rng(seed)
    times = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=samples)
    chosen = generator.integers(draws, size=(samples, draws))
    by_draw = np.einsum("sg,dgij->sdij", times, counts)
    return _scores(counts.sum(axis=1)), np.array(
        [_scores(found[some]) for found, some in zip(by_draw, chosen, strict=True)]
    )


def _intervals(
    as_it_is: np.ndarray, resampled: np.ndarray, confidence: float
) -> list[Interval]:
    tail = (1 - confidence) / 2
    low, high = _quantiles(resampled, tail), _quantiles(resampled, 1 - tail)
    return [Interval(float(value), float(below), float(above))
            for value, below, above in zip(as_it_is, low, high, strict=True)]


def _scores(confusions: np.ndarray) -> np.ndarray:
    """Precision and recall by class, then the overall scores, from counts (draws, true, given)."""
    right = np.diagonal(confusions, axis1=1, axis2=2)
    there, said = confusions.sum(axis=2), confusions.sum(axis=1)
    total = there.sum(axis=1)
    none = np.full(right.shape, np.nan)
    precision = np.divide(right, said, out=none.copy(), where=said > 0)
    recall = np.divide(right, there, out=none.copy(), where=there > 0)
    accuracy = right.sum(axis=1) / total
    overall = [accuracy, _mean(recall, 1), accuracy - there.max(axis=1) / total]
    return np.concatenate([_mean(precision, 0), _mean(recall, 0),
                           [float(part.mean()) for part in overall]])


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of the values that are not NaN; NaN if there are none."""
    there = ~np.isnan(values)
    total = np.where(there, values, 0).sum(axis=axis)
    found: np.ndarray = np.divide(total, there.sum(axis=axis), out=np.full(total.shape, np.nan),
                                  where=there.any(axis=axis))
    return found


def _quantiles(values: np.ndarray, share: float) -> np.ndarray:
    """Quantile of every column over its values that are not NaN; NaN if there are none."""
    return np.array([
        np.quantile(column[~np.isnan(column)], share) if (~np.isnan(column)).any() else np.nan
        for column in values.T
    ])
