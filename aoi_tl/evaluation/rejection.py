"""Accuracy of a classifier that may reject uncertain images: the coverage curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class CoverageCurve:
    """Accuracy against coverage, from the most confident image to all images.

    Attributes
    ----------
    threshold : ndarray of float64, shape (points,)
        Images of at least this probability are decided; descending.
    coverage : ndarray of float64, shape (points,)
        Share of the images that are decided; ascending to 1.
    accuracy : ndarray of float64, shape (points,)
        Share of the decided images that are right.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray

    def at_accuracy(self, accuracy: float) -> tuple[float, float] | None:
        """Find the threshold that decides the most images at a required accuracy.

        Parameters
        ----------
        accuracy : float
            The required share of the decided images that are right, in 0..1.

        Returns
        -------
        tuple of float or None
            The threshold and its coverage; None where no threshold reaches the accuracy.
        """
        reached = np.flatnonzero(self.accuracy >= accuracy)
        if not len(reached):
            return None
        return float(self.threshold[reached[-1]]), float(self.coverage[reached[-1]])


def measure_coverage(probabilities: ArrayLike, labels: ArrayLike) -> CoverageCurve:
    """Measure accuracy and coverage as images are decided in order of confidence.

    Parameters
    ----------
    probabilities : array_like of shape (n, classes)
        Rows sum to 1.
    labels : array_like of int, shape (n,)
        The true classes.

    Returns
    -------
    CoverageCurve
        A point for every probability that occurs: images of one probability are decided together.

    Raises
    ------
    ValueError
        When there is no image or the lengths differ.

    References
    ----------
    .. [1] El-Yaniv, Wiener. "On the Foundations of Noise-free Selective Classification." JMLR 11,
       2010: the risk-coverage curve.

    Examples
    --------
    >>> found = measure_coverage([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.4, 0.6]], [0, 1, 1, 1])
    >>> found.coverage.tolist(), found.accuracy.tolist()
    ([0.25, 0.5, 1.0], [1.0, 0.5, 0.75])
    >>> found.at_accuracy(0.9)
    (0.9, 0.25)
    """
    chances, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if chances.ndim != 2 or len(chances) == 0 or truth.shape != (len(chances),):
        raise ValueError(
            f"expected probabilities of shape (n, classes) and n labels, got {chances.shape} and "
            f"{truth.shape}"
        )
    top, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    order = np.argsort(-top, kind="stable")
    last = np.append(np.flatnonzero(np.diff(top[order])), len(top) - 1)
    return CoverageCurve(top[order][last], (last + 1) / len(top),
                         np.cumsum(right[order])[last] / (last + 1))
