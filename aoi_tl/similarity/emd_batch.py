"""Earth mover's distances of many pairs at once, and their lower bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aoi_tl.similarity.emd import network_simplex
from aoi_tl.similarity.signature import Signature

Floats = NDArray[np.float64]

QUANTILES = 16  # equal shares of the weight in a sketch
_PAIRS = 8192  # pairs worked on in one go: their numbers stay in the processor's cache

# Grey first, then red against green, then both against blue: on grey images only the first speaks.
AXES = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])


@dataclass(frozen=True, eq=False)
class SignatureTable:
    """Many signatures of three dimensions in two arrays.

    Attributes
    ----------
    centroids : ndarray of shape (n, k, 3)
        RGB in 0..255; where a signature has fewer than k colours, its last is repeated.
    weights : ndarray of shape (n, k)
        Shares, each row summing to 1; 0 for repeated colours.
    """

    centroids: Floats
    weights: Floats

    @classmethod
    def of(cls, signatures: Sequence[Signature]) -> SignatureTable:
        """Put signatures in a table.

        Parameters
        ----------
        signatures : sequence of Signature
            Of three dimensions, at least one; weights are taken as shares of their sum.

        Returns
        -------
        SignatureTable

        Raises
        ------
        ValueError
            When there is none or one is not of three dimensions.

        Examples
        --------
        >>> SignatureTable.of([Signature([[1, 2, 3]], [1.0])]).centroids.shape
        (1, 1, 3)
        """
        if not signatures or any(s.centroids.shape[1] != 3 for s in signatures):
            raise ValueError("expected at least one signature, all of three dimensions")
        k = max(len(s.weights) for s in signatures)
        centroids = np.empty((len(signatures), k, 3))
        weights = np.zeros((len(signatures), k))
        for row, signature in enumerate(signatures):
            held = len(signature.weights)
            centroids[row, :held] = signature.centroids
            centroids[row, held:] = signature.centroids[-1]
            weights[row, :held] = signature.weights / signature.weights.sum()
        return cls(centroids, weights)

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, rows: NDArray[np.intp]) -> SignatureTable:
        """Some of the signatures, in the order asked for."""
        return SignatureTable(self.centroids[rows], self.weights[rows])


def emd_pairs(sources: SignatureTable, targets: SignatureTable) -> Floats:
    """Earth mover's distance of each source to its target, exactly.

    Pairs of grey signatures are solved in closed form (in one dimension the distance is the area
    between the cumulated weights), all others by the network simplex.

    Parameters
    ----------
    sources : SignatureTable
        n signatures.
    targets : SignatureTable
        n signatures, or one that all sources are carried to.

    Returns
    -------
    ndarray of shape (n,)
        In RGB units.

    Raises
    ------
    ValueError
        When the numbers of sources and targets do not fit.

    Examples
    --------
    >>> black, grey = Signature([[0, 0, 0]], [1.0]), Signature([[10, 10, 10]], [1.0])
    >>> emd_pairs(SignatureTable.of([black, grey]), SignatureTable.of([grey])).round(2).tolist()
    [17.32, 0.0]
    """
    if len(targets) not in (1, len(sources)):
        raise ValueError(f"expected 1 or {len(sources)} targets, got {len(targets)}")
    distances = np.empty(len(sources))
    for first in range(0, len(sources), _PAIRS):
        part = slice(first, first + _PAIRS)
        source = SignatureTable(sources.centroids[part], sources.weights[part])
        target = targets
        if len(targets) > 1:
            target = SignatureTable(targets.centroids[part], targets.weights[part])
        grey = _is_grey(source) & _is_grey(target)
        if grey.all():
            distances[part] = _grey_distances(source, target)
        else:
            distances[part] = _colour_distances(source, target)
    return distances


def sketch(table: SignatureTable) -> NDArray[np.float32]:
    """Sketch signatures for `lower_bounds`: mean positions of equal shares of their weight.

    Parameters
    ----------
    table : SignatureTable
        n signatures.

    Returns
    -------
    ndarray of float32, shape (3, QUANTILES, n)
        Along each of three perpendicular axes, the mean of each sixteenth of the weight, from the
        lowest to the highest.
    """
    result = np.empty((3, QUANTILES, len(table)), dtype=np.float32)
    edges = np.linspace(0.0, 1.0, QUANTILES + 1)
    for axis in range(3):
        along = table.centroids @ AXES[axis]  # (n, k)
        order = np.argsort(along, axis=1)
        along = np.take_along_axis(along, order, axis=1)
        upper = np.cumsum(np.take_along_axis(table.weights, order, axis=1), axis=1)
        upper[:, -1] = 1.0
        lower = np.concatenate([np.zeros((len(table), 1)), upper[:, :-1]], axis=1)
        for part, (low, high) in enumerate(pairwise(edges)):
            share = np.clip(np.minimum(upper, high) - np.maximum(lower, low), 0.0, None)
            result[axis, part] = np.einsum("nk,nk->n", share, along) * QUANTILES
    return result


def lower_bounds(sources: NDArray[np.float32], target: NDArray[np.float32]) -> Floats:
    """Bound the earth mover's distances to one target from below.

    In one dimension the distance is the area between the quantile functions, which is at least
    the sum over equal shares of the difference of their means. In three it is at least the length
    of the vector of the distances along perpendicular axes, because the mean of lengths is never
    below the length of the mean.

    Parameters
    ----------
    sources : ndarray of shape (3, QUANTILES, n)
        From `sketch`.
    target : ndarray of shape (3, QUANTILES, 1)
        From `sketch` of the target alone.

    Returns
    -------
    ndarray of shape (n,)
        In RGB units, never above the true distance, rounding included.

    Examples
    --------
    >>> black, grey = Signature([[0, 0, 0]], [1.0]), Signature([[10, 10, 10]], [1.0])
    >>> sources, target = SignatureTable.of([black]), SignatureTable.of([grey])
    >>> lower_bounds(sketch(sources), sketch(target)).round(1).tolist()
    [17.3]
    """
    along = np.empty((3, sources.shape[2]))
    for axis in range(3):
        # Axis by axis and share by share: no copy of all sketches.
        total = np.zeros(sources.shape[2], dtype=np.float32)
        for part in range(QUANTILES):
            total += np.abs(sources[axis, part] - target[axis, part])
        along[axis] = total / QUANTILES
    bounds: Floats = np.sqrt(np.einsum("an,an->n", along, along))
    return np.maximum(bounds * (1 - 1e-5) - 1e-3, 0.0)  # single precision may round up


def _is_grey(table: SignatureTable) -> NDArray[np.bool_]:
    c = table.centroids
    return np.asarray(((c[:, :, 0] == c[:, :, 1]) & (c[:, :, 0] == c[:, :, 2])).all(axis=1))


def _grey_distances(source: SignatureTable, target: SignatureTable) -> Floats:
    n = len(source)
    wide = (n, target.weights.shape[1])
    levels = np.broadcast_to(target.centroids[:, :, 0], wide)
    z = np.concatenate([source.centroids[:, :, 0], levels], axis=1)
    s = np.concatenate([source.weights, -np.broadcast_to(target.weights, wide)], axis=1)
    order = np.argsort(z, axis=1)
    z = np.take_along_axis(z, order, axis=1)
    s = np.cumsum(np.take_along_axis(s, order, axis=1), axis=1)
    area: Floats = np.einsum("nk,nk->n", np.abs(s[:, :-1]), np.diff(z, axis=1))
    return area * np.sqrt(3.0)


def _colour_distances(source: SignatureTable, target: SignatureTable) -> Floats:
    solve = network_simplex()
    away = source.centroids[:, :, None, :] - target.centroids[:, None, :, :]
    ground = np.sqrt(np.einsum("nijd,nijd->nij", away, away))
    demand = np.broadcast_to(target.weights, (len(source), target.weights.shape[1]))
    pairs = zip(source.weights, demand, ground, strict=True)
    return np.array([solve(a, b, cost, 1_000_000, 1)[1] for a, b, cost in pairs])
