"""Calibration of probabilities: temperature, reliability, expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def softmax(logits: ArrayLike) -> np.ndarray:
    """Turn logits into probabilities.

    Parameters
    ----------
    logits : array_like of shape (n, classes)
        Any finite numbers.

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Rows sum to 1.

    Examples
    --------
    >>> softmax([[0.0, np.log(3)]]).round(2).tolist()
    [[0.25, 0.75]]
    """
    array = np.asarray(logits, dtype=np.float64)
    grown = np.exp(array - array.max(axis=1, keepdims=True))
    shares: np.ndarray = grown / grown.sum(axis=1, keepdims=True)
    return shares


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature that minimises the cross-entropy of the divided logits.

    Parameters
    ----------
    logits : array_like of shape (n, classes)
        Of images that the classifier was not trained on.
    labels : array_like of int, shape (n,)
        Their classes.

    Returns
    -------
    float
        In 0.01..100; above 1 if the classifier is overconfident. The order of the classes does
        not change, so the accuracy does not.

    Raises
    ------
    ValueError
        When there is no image or the lengths differ.

    References
    ----------
    .. [1] Guo, Pleiss, Sun, Weinberger. "On Calibration of Modern Neural Networks." ICML 2017.

    Examples
    --------
    Three of four images are right, each with a confidence of 0.9; the accuracy is 0.75.

    >>> sure = np.log([[0.9, 0.1]] * 4)
    >>> temperature = fit_temperature(sure, [0, 0, 0, 1])
    >>> softmax(sure / temperature)[0].round(3).tolist()
    [0.75, 0.25]
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    array, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if array.ndim != 2 or len(array) == 0 or truth.shape != (len(array),):
        raise ValueError(
            f"expected logits of shape (n, classes) and n labels, got {array.shape} and "
            f"{truth.shape}"
        )
    own = array[np.arange(len(truth)), truth]

    def loss(log_temperature: float) -> float:
        cold = np.exp(-log_temperature)
        return float((logsumexp(array * cold, axis=1) - own * cold).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded")
    return float(np.exp(found.x))


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence against accuracy, bin by bin.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,)
        In 0..1.
    images : ndarray of int64, shape (bins,)
        Images whose highest probability falls into the bin.
    confidence, accuracy : ndarray of float64, shape (bins,)
        Their mean highest probability, and the share of them that is right; NaN without images.
    """

    edges: np.ndarray
    images: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean |accuracy - confidence|, weighted by images."""
        gaps = np.abs(self.accuracy - self.confidence)[self.images > 0]
        return float((gaps * self.images[self.images > 0]).sum() / self.images.sum())


def measure_reliability(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 10
) -> Reliability:
    """Compare the highest probability of every image with the correctness of its class.

    Parameters
    ----------
    probabilities : array_like of shape (n, classes)
        Rows sum to 1.
    labels : array_like of int, shape (n,)
        The true classes.
    bins : int
        Of equal width.

    Returns
    -------
    Reliability
        The reliability diagram's numbers.

    Raises
    ------
    ValueError
        When there is no image or the lengths differ.

    References
    ----------
    .. [1] Naeini, Cooper, Hauskrecht. "Obtaining Well Calibrated Probabilities Using Bayesian
       Binning." AAAI 2015.

    Examples
    --------
    >>> found = measure_reliability([[0.8, 0.2]] * 4, [0, 0, 1, 1])
    >>> found.images[7:9].tolist(), round(found.error, 2)
    ([0, 4], 0.3)
    """
    chances, truth = np.asarray(probabilities, np.float64), np.asarray(labels, np.int64)
    if chances.ndim != 2 or len(chances) == 0 or truth.shape != (len(chances),):
        raise ValueError(
            f"expected probabilities of shape (n, classes) and n labels, got {chances.shape} and "
            f"{truth.shape}"
        )
    return bin_confidences(chances.max(axis=1), chances.argmax(axis=1) == truth, bins)


def bin_confidences(top: ArrayLike, right: ArrayLike, bins: int = 10) -> Reliability:
    """Bin the highest probabilities, with the accuracy in each bin.

    Parameters
    ----------
    top : array_like of float, shape (n,)
        The highest probability of each image, 0..1.
    right : array_like of bool, shape (n,)
        Whether its class was the image's.
    bins : int
        Of equal width.

    Returns
    -------
    Reliability

    Examples
    --------
    >>> bin_confidences([0.9, 0.9], [True, False]).accuracy[9]
    np.float64(0.5)
    """
    given, hits = np.asarray(top, np.float64), np.asarray(right, np.float64)
    place = np.minimum((given * bins).astype(np.int64), bins - 1)
    images = np.bincount(place, minlength=bins)
    none = np.full(bins, np.nan)
    confidence, accuracy = (
        np.divide(np.bincount(place, values, minlength=bins), images, out=none.copy(),
                  where=images > 0)
        for values in (given, hits)
    )
    return Reliability(np.linspace(0, 1, bins + 1), images, confidence, accuracy)
