"""Weighted k-means: exact in one dimension, many starts on refined grids in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Cells = NDArray[np.uint32]

_STARTS = 24  # k-means++ draws in space
_CANDIDATES = 3  # for each of a draw's centroids, the best of which is taken
_DRAWS = 20210817  # seed of the k-means++ draws: equal points give equal clusters


@dataclass(frozen=True)
class Clusters:
    """Weighted clusters, ordered by their centroids.

    Attributes
    ----------
    centroids : ndarray of shape (k, d)
        Weighted means of the clusters.
    weights : ndarray of shape (k,)
        Total weight of each cluster, all above zero.
    inertia : float
        Weighted sum of squared distances to the nearest centroid.
    """

    centroids: Floats
    weights: Floats
    inertia: float


def weighted_kmeans(points: ArrayLike, weights: ArrayLike, n_clusters: int) -> Clusters:
    """Cluster weighted points into at most ``n_clusters`` clusters of least inertia.

    On a line the optimum is exact, found by dynamic programming [1]_. In more dimensions it is
    the best of several starts (k-means++ [2]_), refined by Lloyd's steps on ever finer grids and
    at last on the points themselves. Equal points, in any order, give equal clusters.

    Parameters
    ----------
    points : array_like of shape (n,) or (n, d)
        Finite coordinates.
    weights : array_like of shape (n,)
        Finite weights >= 0, at least one above zero.
    n_clusters : int
        Largest number of clusters, >= 1; fewer distinct points give fewer clusters.

    Returns
    -------
    Clusters
        ``centroids`` of shape (k, d) in ascending order, ``weights`` of shape (k,), ``inertia``.

    Raises
    ------
    ValueError
        When shapes do not fit, a number is not finite, or there is nothing to cluster.

    References
    ----------
    .. [1] Wang, Song. "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic
       Programming." The R Journal 3(2), 2011.
    .. [2] Arthur, Vassilvitskii. "k-means++: The Advantages of Careful Seeding." SODA 2007.

    Examples
    --------
    >>> clusters = weighted_kmeans([0, 1, 10, 11], [1, 1, 1, 3], 2)
    >>> clusters.centroids.ravel().tolist(), clusters.weights.tolist()
    ([0.5, 10.75], [2.0, 4.0])
    """
    x, w = _checked(points, weights, n_clusters)
    return cluster_distinct(*merge_equal(x, w), n_clusters)


def cluster_distinct(
    points: Floats, weights: Floats, n_clusters: int, cells: Cells | None = None
) -> Clusters:
    """Cluster points that are known to be distinct, and ascending where they lie on a line.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Distinct finite coordinates; where d is 1, or all columns are equal, ascending.
    weights : ndarray of shape (n,)
        Weights, all above zero.
    n_clusters : int
        Largest number of clusters, >= 1.
    cells : uint32 array of shape (n,), optional
        Ascending numbers of the cells of space that the points stand for, as
        `compiled.cells_of_channels` makes them up, where they are known.

    Returns
    -------
    Clusters
        As from `weighted_kmeans`, which checks, sorts and joins points first.

    Examples
    --------
    >>> cluster_distinct(np.array([[0.0], [1.0], [9.0]]), np.ones(3), 2).centroids.tolist()
    [[0.5], [9.0]]
    """
    x, w = points, weights
    if len(x) <= n_clusters:
        order = np.lexsort(x.T[::-1])
        return Clusters(x[order], w[order], 0.0)
    from aoi_tl.similarity.compiled import cluster_line

    if x.shape[1] == 1:
        centroids, masses, inertia = cluster_line(x[:, 0], w, n_clusters)
        return Clusters(centroids[:, None], masses, inertia)
    varying = [d for d in range(x.shape[1]) if _varies(x[:, d])]
    if len(varying) == 1 or _equal_columns(x):
        # A line in space: its clusters are those of any coordinate that varies.
        values = x[:, varying[0]]
        order = np.argsort(values, kind="stable")
        line, masses, inertia = cluster_line(values[order], w[order], n_clusters)
        centroids = np.repeat(x[:1], n_clusters, axis=0)
        centroids[:, varying] = line[:, None]
        return Clusters(centroids, masses, inertia * len(varying))
    if x.shape[1] > 3:
        return _cluster_elsewhere(x, w, n_clusters)
    return _cluster_space(x, w, cells, n_clusters)


def inertias(points: ArrayLike, weights: ArrayLike, max_clusters: int) -> Floats:
    """Least inertia for each number of clusters from 1 to ``max_clusters``.

    Parameters
    ----------
    points : array_like of shape (n,) or (n, d)
        Finite coordinates.
    weights : array_like of shape (n,)
        Finite weights >= 0, at least one above zero.
    max_clusters : int
        Largest number of clusters, >= 1.

    Returns
    -------
    ndarray of shape (max_clusters,)
        Never rising; 0 from the number of distinct points on.

    Examples
    --------
    >>> inertias([0, 2, 10, 12], [1, 1, 1, 1], 4).tolist()
    [104.0, 4.0, 2.0, 0.0]
    """
    x, w = _checked(points, weights, max_clusters)
    x, w = merge_equal(x, w)
    if x.shape[1] > 1 and not _equal_columns(x):
        each = [weighted_kmeans(x, w, k).inertia for k in range(1, max_clusters + 1)]
        return np.minimum.accumulate(each)  # a local optimum may lie above that of fewer clusters
    from aoi_tl.similarity.compiled import best_gains

    values = np.ascontiguousarray(x[:, 0])
    result = np.zeros(max_clusters)
    layers = min(max_clusters, len(values))
    gain, _, total = best_gains(values, w, layers)
    result[:layers] = np.maximum(total - gain[:, -1], 0.0) * x.shape[1]
    result[len(values) - 1 :] = 0.0
    return result


def merge_equal(points: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sort points, join equal ones and drop those without weight.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Coordinates.
    weights : ndarray of shape (n,)
        Weights >= 0, at least one above zero.

    Returns
    -------
    points : ndarray of shape (m, d)
        Distinct points in ascending order, first coordinate first.
    weights : ndarray of shape (m,)
        Their total weights.

    Examples
    --------
    >>> points, weights = merge_equal(np.array([[2.0], [1.0], [2.0]]), np.array([1.0, 0.0, 3.0]))
    >>> points.tolist(), weights.tolist()
    ([[2.0]], [4.0])
    """
    if not weights.all():
        points, weights = points[weights > 0], weights[weights > 0]
    if points.shape[1] == 1:
        if len(points) < 2 or (np.diff(points[:, 0]) > 0).all():
            return points, weights
        # Ties are broken by weight, so that sums do not depend on the order of the input.
        order = np.lexsort((weights, points[:, 0]))
    else:
        order = np.lexsort((weights, *points.T[::-1]))
    points, weights = points[order], weights[order]
    new = np.empty(len(points), dtype=bool)
    new[0] = True
    np.any(points[1:] != points[:-1], axis=1, out=new[1:])
    if new.all():
        return points, weights
    return points[new], np.add.reduceat(weights, np.flatnonzero(new))


def _checked(points: ArrayLike, weights: ArrayLike, n_clusters: int) -> tuple[Floats, Floats]:
    x = np.asarray(points, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if n_clusters < 1:
        raise ValueError(f"expected n_clusters >= 1, got {n_clusters}")
    if x.ndim != 2 or x.shape[1] == 0 or w.shape != x.shape[:1]:
        raise ValueError(
            "expected points of shape (n,) or (n, d) and weights of shape (n,), "
            f"got {x.shape} and {w.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(w).all()):
        raise ValueError("expected finite points and weights, got NaN or infinity")
    if (w < 0).any() or not w.any():
        raise ValueError("expected weights >= 0 with at least one above zero")
    return x, w


def _varies(column: Floats) -> bool:
    return bool(column[0] != column[-1] or (column != column[0]).any())


def _equal_columns(points: Floats) -> bool:
    return bool((points[0] == points[0, 0]).all() and (points[:, 1:] == points[:, :1]).all())


def _cluster_space(points: Floats, weights: Floats, cells: Cells | None, k: int) -> Clusters:
    """Many starts, of which few are followed far; of at most three coordinates."""
    from aoi_tl.similarity.compiled import cluster_space

    dimensions = points.shape[1]
    if dimensions < 3:
        points = np.column_stack([points, np.zeros((len(weights), 3 - dimensions))])
    if cells is None:
        cells = _cells(points, weights)
        order = np.argsort(cells, kind="stable")
        points, weights, cells = points[order], weights[order], cells[order]
    centroids, masses, inertia = cluster_space(points, weights, cells, _draws(k))
    return _ordered(centroids[:, :dimensions], masses, inertia)


@lru_cache
def _draws(k: int) -> Floats:
    return np.random.default_rng(_DRAWS).random((_STARTS, k, _CANDIDATES))


def _cells(points: Floats, weights: Floats) -> Cells:
    """Numbers of the cells of a grid, narrow where much lies, that the points, (n, 3), are in."""
    from aoi_tl.similarity.compiled import AXIS_CELLS, cells_of_levels, interleaved

    cells = np.zeros(len(weights), dtype=np.uint32)
    shares = weights / weights.sum()
    for axis, values in enumerate(points.T):
        step = np.ptp(values) / 255.999 or 1.0
        level = ((values - values.min()) / step).astype(np.intp)
        share = np.bincount(level, shares, minlength=256).astype(np.float64)
        of_level = np.array([interleaved(cell) for cell in cells_of_levels(share, AXIS_CELLS)])
        cells |= (of_level << axis).astype(np.uint32)[level]
    return cells


def _cluster_elsewhere(points: Floats, weights: Floats, k: int) -> Clusters:
    """More than three coordinates, which no image has."""
    from sklearn.cluster import KMeans

    found = KMeans(k, n_init=10, random_state=0).fit(points, sample_weight=weights)
    masses = np.bincount(found.labels_, weights, minlength=k).astype(np.float64)
    return _ordered(found.cluster_centers_, masses, float(found.inertia_))


def _ordered(centroids: Floats, masses: Floats, inertia: float) -> Clusters:
    held = np.flatnonzero(masses)
    order = held[np.lexsort(centroids[held].T[::-1])]
    return Clusters(centroids[order], masses[order], inertia)
