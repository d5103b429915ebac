"""Class imbalance: oversampling of rare classes and class weights in the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def oversampled_counts(counts: ArrayLike, factors: Mapping[int, float]) -> np.ndarray:
    """How many samples of each class one epoch holds.

    Parameters
    ----------
    counts : array_like of int, shape (classes,)
        Images of each class.
    factors : mapping of class index to float
        How often the images of that class come in one epoch, 1 for the others. A factor of 2.5
        gives every image twice and half of them, drawn again each epoch, once more.

    Returns
    -------
    ndarray of int64, shape (classes,)
        ``round(count * factor)``.

    Raises
    ------
    ValueError
        When a factor is below 1 or its class is unknown.

    Examples
    --------
    >>> oversampled_counts([10, 4], {1: 2.5}).tolist()
    [10, 10]
    """
    found = np.asarray(counts, dtype=np.int64).copy()
    for label, factor in factors.items():
        if not 0 <= label < len(found):
            raise ValueError(f"expected a class in 0..{len(found) - 1}, got {label}")
        if factor < 1:
            raise ValueError(f"expected an oversampling factor of 1 or more, got {factor}")
        found[label] = round(found[label] * factor)
    return found


def epoch_order(
    labels: np.ndarray, factors: Mapping[int, float], generator: np.random.Generator
) -> np.ndarray:
    """Draw the order of one epoch.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        The class of every image.
    factors : mapping of class index to float
        As in ``oversampled_counts``.
    generator : numpy.random.Generator
        Chance.

    Returns
    -------
    ndarray of int64, shape (m,)
        Places in ``labels``, shuffled; each class as often as ``oversampled_counts`` says.

    Examples
    --------
    >>> order = epoch_order(np.array([0, 0, 1]), {1: 3}, np.random.default_rng(0))
    >>> sorted(order.tolist())
    [0, 1, 2, 2, 2]
    """
    counts = np.bincount(labels)
    wanted = oversampled_counts(counts, factors)
    parts = []
    for label in np.flatnonzero(counts):
        places = np.flatnonzero(labels == label)
        whole, rest = divmod(int(wanted[label]), len(places))
        parts += [places] * whole
        parts.append(generator.permutation(places)[:rest])
    return generator.permutation(np.concatenate(parts))


def class_weights(counts: ArrayLike) -> np.ndarray:
    """Weights that make every class count the same in the loss.

    Parameters
    ----------
    counts : array_like of int, shape (classes,)
        Samples of each class in one epoch.

    Returns
    -------
    ndarray of float64, shape (classes,)
        ``n / (classes * count)``; 0 for a class without samples.

    Examples
    --------
    >>> class_weights([6, 2]).round(3).tolist()
    [0.667, 2.0]
    """
    array = np.asarray(counts, dtype=float)
    present = array > 0
    weights = np.zeros_like(array)
    weights[present] = array.sum() / (present.sum() * array[present])
    return weights
