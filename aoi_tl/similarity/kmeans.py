"""Weighted k-means: exact on a line, by many starts on ever finer grids in space."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DENSE_VALUES = 512  # up to here every pair of cuts is tried, above it the search is divided
_BLOCK = 96  # rows tried together: wide enough to vectorise, narrow enough to skip most pairs
_STARTS = 12  # k-means++ draws in space, besides the cut along the principal axis
_KEPT = 4  # starts carried to the next finer grid
_GRIDS = (16, 32)  # cells per axis of the two coarse grids
_DRAWS = 20210817  # seed of the k-means++ draws: equal points give equal clusters
_BEHIND = np.triu(np.ones((_BLOCK, _BLOCK), dtype=bool))
_space = threading.local()


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
    the best of several starts (k-means++ [2]_ and the exact cut along the principal axis),
    refined by Lloyd's steps on ever finer grids and at last on the points themselves. Equal
    points, in any order, give equal clusters.

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


def cluster_distinct(points: Floats, weights: Floats, n_clusters: int) -> Clusters:
    """Cluster points that are known to be distinct, and ascending where they lie on a line.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Distinct finite coordinates; where d is 1, or all columns are equal, ascending.
    weights : ndarray of shape (n,)
        Weights, all above zero.
    n_clusters : int
        Largest number of clusters, >= 1.

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
    if x.shape[1] == 1:
        return _cluster_line(x[:, 0], w, n_clusters)
    varying = np.flatnonzero(np.ptp(x, axis=0))
    if len(varying) == 1 or _equal_columns(x):
        # A line in space: its clusters are those of any coordinate that varies.
        values = x[:, varying[0]]
        order = np.argsort(values, kind="stable")
        line = _cluster_line(values[order], w[order], n_clusters)
        centroids = np.repeat(x[:1], len(line.weights), axis=0)
        centroids[:, varying] = line.centroids
        return Clusters(centroids, line.weights, line.inertia * len(varying))
    return _cluster_space(x, w, n_clusters)


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
    values = x[:, 0]
    result = np.zeros(max_clusters)
    layers = min(max_clusters, len(values))
    s0, s1, total = _prefix_sums(values, w)
    result[:layers] = np.maximum(total - _best_gains(s0, s1, layers)[:, -1], 0.0) * x.shape[1]
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


def _equal_columns(points: Floats) -> bool:
    return bool((points[0] == points[0, 0]).all() and (points[:, 1:] == points[:, :1]).all())


# On a line -------------------------------------------------------------------------------------
#
# The cluster holding the sorted values i..j-1 lowers the inertia about the common mean by
# gain(i, j) = (S1_j - S1_i)^2 / (S0_j - S0_i), with the prefix sums S0 of the weights and S1 of
# the weighted, centred values. best[c, j] is the largest gain of the first j values in c + 1
# clusters. The last cut of the best solution moves right as j grows and as clusters are added,
# so most pairs (i, j) need not be tried.


def _prefix_sums(values: Floats, weights: Floats) -> tuple[Floats, Floats, float]:
    """S0, S1 (each of shape (n + 1,)) and the inertia about the mean."""
    s0 = np.zeros(len(values) + 1)
    s1 = np.zeros(len(values) + 1)
    np.cumsum(weights, out=s0[1:])
    centred = values - np.dot(values, weights) / s0[-1]  # centred: squares do not cancel
    weighted = centred * weights
    np.cumsum(weighted, out=s1[1:])
    return s0, s1, float(np.dot(weighted, centred))


def _cluster_line(values: Floats, weights: Floats, k: int) -> Clusters:
    """The optimum for ascending distinct values with positive weights."""
    n = len(values)
    s0, s1, _ = _prefix_sums(values, weights)
    best = _best_gains(s0, s1, k - 1) if k > 1 else np.empty((0, n + 1))
    cuts = np.empty(k + 1, dtype=np.intp)
    cuts[0], cuts[k] = 0, n
    for layer in range(k - 1, 0, -1):
        j = cuts[layer + 1]
        gain = (s1[j] - s1[1:j]) ** 2 / (s0[j] - s0[1:j])
        cuts[layer] = 1 + np.argmax(best[layer - 1, 1:j] + gain)
    totals = np.add.reduceat(weights, cuts[:-1])
    centroids = np.add.reduceat(weights * values, cuts[:-1]) / totals
    spread = values - np.repeat(centroids, np.diff(cuts))
    return Clusters(centroids[:, None], totals, float(np.dot(weights, spread * spread)))


def _best_gains(s0: Floats, s1: Floats, layers: int) -> Floats:
    """Largest gain of the first j values in c + 1 clusters, shape (layers, n + 1)."""
    best = np.full((layers, len(s0)), -np.inf)
    best[0, 1:] = s1[1:] ** 2 / s0[1:]
    if layers > 1:
        if len(s0) <= DENSE_VALUES + 1:
            _fill_dense(s0, s1, best)
        else:
            for layer in range(1, layers):
                _fill_divided(s0, s1, best[layer - 1], best[layer])
    return best


def _fill_dense(s0: Floats, s1: Floats, best: Floats) -> None:
    """All rows j of all layers, a block of rows at a time, each from its leftmost useful cut."""
    n, layers = len(s0) - 1, len(best)
    buffers = _buffers()
    lowest = [0] * layers  # the leftmost cut still worth trying, per layer
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(1, n + 1, _BLOCK):
            stop = min(start + _BLOCK, n + 1)
            rows, low = stop - start, lowest[1]
            columns = stop - 1 - low
            size = rows * columns
            gain = buffers[0, :size].reshape(rows, columns)
            mass = buffers[1, :size].reshape(rows, columns)
            np.subtract(s1[start:stop, None], s1[low : stop - 1], out=gain)
            np.subtract(s0[start:stop, None], s0[low : stop - 1], out=mass)
            np.multiply(gain, gain, out=gain)
            np.divide(gain, mass, out=gain)
            # Row start + r cannot be cut at start + c for c >= r: that lies behind it.
            np.copyto(gain[:, start - low :], -np.inf, where=_BEHIND[:rows, : rows - 1])
            for layer in range(1, layers):
                skip = lowest[layer]
                tried = buffers[1, : rows * (stop - 1 - skip)].reshape(rows, stop - 1 - skip)
                np.add(gain[:, skip - low :], best[layer - 1, skip : stop - 1], out=tried)
                best[layer, start:stop] = tried.max(axis=1)
                lowest[layer] = skip + int(tried[-1].argmax())


def _fill_divided(s0: Floats, s1: Floats, before: Floats, best: Floats) -> None:
    """One layer by divide and conquer, every level of it in one go."""
    n = len(s0) - 1
    cut = np.zeros(n + 2, dtype=np.intp)  # cut[j]: the leftmost best last cut of row j
    cut[n + 1] = n
    stride = 1 << (n.bit_length())
    while stride:
        rows = np.arange(stride, n + 1, 2 * stride)
        if len(rows):
            low = cut[rows - stride]
            high = np.minimum(cut[np.minimum(rows + stride, n + 1)], rows - 1)
            lengths = high - low + 1
            first = np.cumsum(lengths) - lengths
            column = np.arange(lengths.sum()) - np.repeat(first - low, lengths)
            row = np.repeat(rows, lengths)
            gain = (s1[row] - s1[column]) ** 2
            gain /= s0[row] - s0[column]
            gain += before[column]
            top = np.maximum.reduceat(gain, first)
            best[rows] = top
            hits = np.flatnonzero(gain == np.repeat(top, lengths))
            cut[rows] = column[hits[np.searchsorted(hits, first)]]
        stride //= 2


def _buffers() -> Floats:
    """Two work areas of this thread: fresh ones would cost more than the sums done in them."""
    if not hasattr(_space, "buffers"):
        _space.buffers = np.empty((2, _BLOCK * (DENSE_VALUES + 1)))
    buffers: Floats = _space.buffers
    return buffers


# In space --------------------------------------------------------------------------------------


def _cluster_space(points: Floats, weights: Floats, k: int) -> Clusters:
    """Starts on a coarse grid, the best of them on a finer one, the best of those on the points."""
    mean = weights @ points / weights.sum()
    x = points - mean
    fine = _on_grid(x, weights, _GRIDS[1])
    coarse = _on_grid(*fine, _GRIDS[0])
    levels = [(grid, kept) for grid, kept in ((coarse, _KEPT), (fine, 1)) if len(grid[0]) > 2 * k]
    first, mass = levels[0][0] if levels else (x, weights)
    centroids = _starts(first, mass, k)
    for grid, kept in levels:
        # Half the digits do for choosing among starts, and cost half the time.
        centroids, gains, _ = _lloyd(*grid, centroids, 15, np.float32)
        centroids = centroids[np.argsort(-gains, kind="stable")[:kept]]
    centroids, gains, masses = _lloyd(x, weights, centroids, 300 if len(x) < 4096 else 30)
    best = int(np.argmax(gains))
    held = np.flatnonzero(masses[best])
    centroids, masses = centroids[best][held], masses[best][held]
    order = np.lexsort(centroids.T[::-1])
    inertia = float(weights @ np.einsum("nd,nd->n", x, x) - gains[best])
    return Clusters(centroids[order] + mean, masses[order], max(inertia, 0.0))


def _sums(label: NDArray[np.intp], weights: Floats, length: int = 0) -> Floats:
    return np.bincount(label, weights, length).astype(np.float64, copy=False)


def _on_grid(x: Floats, weights: Floats, cells: int) -> tuple[Floats, Floats]:
    """Join the points of each cell of a grid over their extent into their weighted mean."""
    low = x.min(axis=0)
    step = np.ptp(x, axis=0) / cells
    step[step == 0] = 1.0
    flat = np.zeros(len(x), dtype=np.intp)
    for d in range(x.shape[1]):
        flat *= cells
        flat += np.minimum(((x[:, d] - low[d]) / step[d]).astype(np.intp), cells - 1)
    mass = _sums(flat, weights)
    held = np.flatnonzero(mass)
    mass = mass[held]
    means = [_sums(flat, weights * x[:, d])[held] / mass for d in range(x.shape[1])]
    return np.stack(means, axis=1), mass


def _starts(x: Floats, weights: Floats, k: int) -> Floats:
    """First centroids, shape (starts, k, d): the cut along the principal axis, then draws."""
    n, dimensions = x.shape
    result = np.empty((1 + _STARTS, k, dimensions))
    axis = np.linalg.eigh((x * weights[:, None]).T @ x)[1][:, -1]
    along = x @ axis
    line, mass = _on_grid(along[:, None], weights, 128)
    cut = _cluster_line(line[:, 0], mass, min(k, len(line)))
    label = np.abs(along[:, None] - cut.centroids[:, 0]).argmin(axis=1)
    result[0] = x[np.argsort(-weights, kind="stable")[np.arange(k) % n]]
    totals = _sums(label, weights, k)
    held = totals > 0
    for d in range(dimensions):
        result[0, held, d] = _sums(label, weights * x[:, d], k)[held] / totals[held]
    draws = np.random.default_rng(_DRAWS)
    squares = np.einsum("nd,nd->n", x, x)
    share = np.cumsum(weights)
    chosen = np.searchsorted(share, draws.random(_STARTS) * share[-1]).clip(max=n - 1)
    nearest = np.full((_STARTS, n), np.inf)
    for cluster in range(k):
        result[1:, cluster] = x[chosen]
        away = squares - 2 * (x[chosen] @ x.T) + squares[chosen][:, None]  # (starts, n)
        np.minimum(nearest, np.maximum(away, 0.0, out=away), out=nearest)
        share = np.cumsum(nearest * weights, axis=1)
        limit = draws.random(_STARTS)[:, None] * share[:, -1:]
        chosen = (share < limit).sum(axis=1).clip(max=n - 1)
    return result


def _lloyd(
    x: Floats,
    weights: Floats,
    centroids: Floats,
    steps: int,
    precision: type[np.floating[Any]] = np.float64,
) -> tuple[Floats, Floats, Floats]:
    """Lloyd's steps from several starts at once: centroids, gains and masses of each start."""
    starts, k, dimensions = centroids.shape
    transposed = np.ascontiguousarray(x.T, dtype=precision)
    moments = np.empty((len(x), 1 + dimensions), dtype=precision)
    moments[:, 0] = weights
    np.multiply(x, weights[:, None], out=moments[:, 1:])
    tolerance = 1e-7 * float(np.vdot(moments[:, 1:], x)) / float(weights.sum())
    score = np.empty((starts * k, len(x)), dtype=precision)
    member = np.empty((starts, k, len(x)), dtype=precision)
    best = np.empty((starts, len(x)), dtype=precision)
    for _ in range(steps):
        flat = centroids.reshape(-1, dimensions).astype(precision)
        np.matmul(flat, transposed, out=score)
        score -= 0.5 * (flat * flat).sum(axis=1, keepdims=True)
        every = score.reshape(starts, k, -1)
        np.max(every, axis=1, out=best)
        taken = np.zeros(best.shape, dtype=bool)
        for cluster in range(k):  # of several nearest centroids the first takes the point
            mine = every[:, cluster] == best
            mine &= ~taken
            taken |= mine
            member[:, cluster] = mine
        sums = (member.reshape(starts * k, -1) @ moments).astype(np.float64)
        sums = sums.reshape(starts, k, 1 + dimensions)
        masses = sums[:, :, 0]
        divisor = np.maximum(masses, 1e-300)[:, :, None]
        moved = np.where(masses[:, :, None] > 0, sums[:, :, 1:] / divisor, centroids)
        shift = ((moved - centroids) ** 2).sum(axis=2).max()
        centroids = moved
        if shift <= tolerance:
            break
    return centroids, (sums[:, :, 1:] ** 2 / divisor).sum(axis=(1, 2)), masses
