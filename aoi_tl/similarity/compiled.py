"""The loops over pixels and points, compiled to machine code by Numba.

Arrays come in checked, contiguous and of the stated types; the rooms beside this one give the
loops their meaning. Import this module inside a function: Numba takes a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Loop = TypeVar("_Loop", bound=Callable[..., Any])

# Sums may be reordered, so that several are taken at a time. Divisions stay exact, and NaN and
# infinity what they are.
_MATHS = {"reassoc", "nsz", "contract"}


def _compiled(loop: _Loop) -> _Loop:
    try:
        compiled = njit(loop, cache=True, nogil=True, fastmath=_MATHS)
    except RuntimeError:  # neither beside this file nor at the user's home can code be kept
        compiled = njit(loop, nogil=True, fastmath=_MATHS)
    return cast(_Loop, compiled)


# Pixels ----------------------------------------------------------------------------------------


@_compiled
def count_levels(values: NDArray[Any], counts: NDArray[np.int64]) -> None:
    """Add the number of times that each level occurs.

    Parameters
    ----------
    values : uint8 or uint16 array of shape (n,)
        Pixels of one channel.
    counts : int64 array of shape (4, levels)
        Added to; four rows, since neighbouring pixels tend to be equal and adding twice to one
        place is slow. Their sum is what is wanted.
    """
    n = len(values)
    for i in range(0, n - 3, 4):
        counts[0, values[i]] += 1
        counts[1, values[i + 1]] += 1
        counts[2, values[i + 2]] += 1
        counts[3, values[i + 3]] += 1
    for i in range(n - n % 4, n):
        counts[0, values[i]] += 1


@_compiled
def count_colours(
    pixels: NDArray[Any], cells: NDArray[np.int64], table: NDArray[Any], held: NDArray[np.uint8]
) -> None:
    """Add up the pixels of each cell of colours.

    Parameters
    ----------
    pixels : uint8 or uint16 array of shape (n, 3)
        Colours.
    cells : int64 array of shape (3, levels)
        What each level of each channel adds to the number of the cell.
    table : unsigned array of shape (n_cells, 4)
        Added to: pixels, and the sums of their three channels.
    held : uint8 array of shape (n_cells / 8,)
        Becomes 1 where any of eight neighbouring cells holds a pixel.
    """
    one = table.dtype.type(1)
    for i in range(len(pixels)):
        r, g, b = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        cell = cells[0, r] | cells[1, g] | cells[2, b]
        held[cell >> 3] = 1
        table[cell, 0] += one
        table[cell, 1] += table.dtype.type(r)
        table[cell, 2] += table.dtype.type(g)
        table[cell, 3] += table.dtype.type(b)


@_compiled
def take_colours(table: NDArray[Any], held: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Take the mean colours, shape (n, 3), and counts, shape (n,), of cells that hold pixels.

    Table and marks, as `count_colours` left them, are all zero afterwards.
    """
    most = 8 * np.sum(held)
    colours = np.empty((most, 3))
    counts = np.empty(most)
    n = 0
    for eight in range(len(held)):
        if held[eight]:
            held[eight] = 0
            for cell in range(8 * eight, 8 * eight + 8):
                count = table[cell, 0]
                if count:
                    counts[n] = count
                    for channel in range(3):
                        colours[n, channel] = table[cell, 1 + channel] / count
                    n += 1
                    table[cell] = 0
    return colours[:n].copy(), counts[:n].copy()


@_compiled
def has_equal_channels(pixels: NDArray[Any]) -> bool:
    """Whether every pixel, array of shape (n, 3), is grey."""
    for i in range(len(pixels)):
        if pixels[i, 0] != pixels[i, 1] or pixels[i, 0] != pixels[i, 2]:
            return False
    return True


@_compiled
def cells_of_levels(share: Floats, n_cells: int) -> NDArray[np.int64]:
    """Divide the levels of an axis into cells, narrow where much lies.

    The density of cells goes with the cube root of that of the data, which makes the squared
    error of standing for the data by cells least (Panter, Dite. "Quantization Distortion in
    Pulse-Count Modulation with Nonuniform Spacing of Levels." Proc. IRE 39(1), 1951). Where the
    levels in use are no more than the cells, each has its own.

    Parameters
    ----------
    share : ndarray of shape (levels,)
        How much lies on each level; levels that a sample missed have 0.
    n_cells : int
        Cells on the axis.

    Returns
    -------
    int64 array of shape (levels,)
        The cell of each level, ascending, in 0..n_cells - 1.
    """
    cell = np.empty(len(share), dtype=np.int64)
    if np.count_nonzero(share) <= n_cells:
        last = -1
        for level in range(len(share)):
            if share[level] > 0:
                last += 1
            cell[level] = max(last, 0)
        return cell
    # What the sample missed may be there all the same: two hundredths are spread over all levels.
    floor = 0.02 * np.sum(share) / len(share)
    density = np.cbrt(share + floor)
    scale = n_cells / np.sum(density)
    before = 0.0
    for level in range(len(share)):
        cell[level] = min(int(before * scale), n_cells - 1)
        before += density[level]
    return cell


# Points on a line ------------------------------------------------------------------------------


@_compiled
def best_gains(s0: Floats, s1: Floats, layers: int) -> tuple[Floats, NDArray[np.int64]]:
    """Cut sorted values into runs of greatest gain, by dynamic programming.

    The run of the values i..j-1 lowers the inertia about the common mean by
    ``(s1[j] - s1[i])**2 / (s0[j] - s0[i])``. The last cut of the best solution moves right as j
    grows, so the middle row halves what its neighbours have to try: O(n log n) a layer [1]_.

    Parameters
    ----------
    s0, s1 : ndarray of shape (n + 1,)
        Prefix sums of the weights, all above zero, and of the weighted, centred values.
    layers : int
        Largest number of runs, in 1..n.

    Returns
    -------
    gain : ndarray of shape (layers, n + 1)
        Entry (c, j): the greatest gain of the first j values in c + 1 runs; -inf where j < c + 1.
    cut : int64 array of shape (layers, n + 1)
        The last cut of that solution.

    References
    ----------
    .. [1] Wang, Song. "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic
       Programming." The R Journal 3(2), 2011.
    """
    n = len(s0) - 1
    gain = np.full((layers, n + 1), -np.inf)
    cut = np.zeros((layers, n + 1), dtype=np.int64)
    for j in range(1, n + 1):
        gain[0, j] = s1[j] * s1[j] / s0[j]
    waiting = np.empty((128, 4), dtype=np.int64)  # rows low..high, cuts left..right
    for layer in range(1, layers):
        waiting[0] = (layer + 1, n, layer, n - 1)
        top = 1
        while top:
            top -= 1
            low, high, left, right = waiting[top]
            if low > high:
                continue
            j = (low + high) // 2
            for i in range(left, min(right, j - 1) + 1):
                step = s1[j] - s1[i]
                tried = gain[layer - 1, i] + step * step / (s0[j] - s0[i])
                if tried > gain[layer, j]:
                    gain[layer, j], cut[layer, j] = tried, i
            waiting[top] = (low, j - 1, left, cut[layer, j])
            waiting[top + 1] = (j + 1, high, cut[layer, j], right)
            top += 2
    return gain, cut


# Points in space -------------------------------------------------------------------------------


@_compiled
def merge_cells(
    axes: Floats, weights: Floats, n_cells: int, bins: int = 256
) -> tuple[Floats, Floats]:
    """Join the points of each cell of an uneven grid (see `cells_of_levels`) into their mean.

    Parameters
    ----------
    axes : ndarray of shape (d, n)
        Coordinates, an axis a row.
    weights : ndarray of shape (n,)
        Weights, all above zero.
    n_cells : int
        Cells on each axis; ``n_cells**d`` numbers are kept for a while.
    bins : int, default 256
        Levels of each axis that the cells are made of.

    Returns
    -------
    axes : ndarray of shape (d, m)
        Means of the cells that hold points.
    weights : ndarray of shape (m,)
        What they weigh.
    """
    d, n = axes.shape
    cell = np.zeros(n, dtype=np.int64)
    level = np.empty(n, dtype=np.int64)
    for axis in range(d):
        low = np.min(axes[axis])
        width = np.max(axes[axis]) - low
        scale = bins / width if width > 0 else 0.0
        share = np.zeros(bins)
        for i in range(n):
            level[i] = min(int((axes[axis, i] - low) * scale), bins - 1)
            share[level[i]] += weights[i]
        of_level = cells_of_levels(share, n_cells)
        for i in range(n):
            cell[i] = cell[i] * n_cells + of_level[level[i]]
    place = np.full(n_cells**d, -1, dtype=np.int64)
    m = 0
    for i in range(n):
        if place[cell[i]] < 0:
            place[cell[i]] = m
            m += 1
    means, masses = np.zeros((d, m)), np.zeros(m)
    for i in range(n):
        j = place[cell[i]]
        masses[j] += weights[i]
        for axis in range(d):
            means[axis, j] += weights[i] * axes[axis, i]
    return means / masses, masses


@_compiled
def draw_centroids(axes: Floats, weights: Floats, draws: Floats) -> Floats:
    """Draw one start by k-means++, the best of several candidates for each centroid.

    Parameters
    ----------
    axes : ndarray of shape (d, n)
        Coordinates, an axis a row.
    weights : ndarray of shape (n,)
        Weights, all above zero.
    draws : ndarray of shape (k, candidates)
        Numbers in 0..1.

    Returns
    -------
    ndarray of shape (k, d)
        Centroids, each a point.

    References
    ----------
    .. [1] Arthur, Vassilvitskii. "k-means++: The Advantages of Careful Seeding." SODA 2007.
    """
    d, n = axes.shape
    k, candidates = draws.shape
    centroids = np.empty((k, d))
    nearest, tried, chosen = np.full(n, np.inf), np.empty(n), np.empty(n)
    upto = np.cumsum(weights)
    for cluster in range(k):
        least = np.inf
        for candidate in range(candidates):
            point = np.searchsorted(upto, draws[cluster, candidate] * upto[-1])
            point = min(point, n - 1)
            tried[:] = 0.0
            for axis in range(d):
                at = axes[axis, point]
                for i in range(n):
                    tried[i] += (axes[axis, i] - at) ** 2
            cost = 0.0
            for i in range(n):
                tried[i] = min(tried[i], nearest[i])
                cost += weights[i] * tried[i]
            if cost < least:
                least = cost
                chosen[:] = tried
                centroids[cluster] = axes[:, point]
        nearest[:] = chosen
        upto = np.cumsum(weights * nearest)
    return centroids


@_compiled
def lloyd(
    axes: NDArray[Any],
    weights: NDArray[Any],
    centroids: Floats,
    label: NDArray[Any],
    steps: int,
    tolerance: float,
) -> tuple[float, Floats]:
    """Move centroids to the means of what is nearest to them, again and again.

    Parameters
    ----------
    axes : float32 or float64 array of shape (d, n)
        Coordinates about their common mean, an axis a row.
    weights : array of shape (n,)
        Weights, of the same type.
    centroids : ndarray of shape (k, d)
        Where from; changed. One that nothing is nearest to stays where it is.
    label : int32 or int64 array of shape (n,)
        Written to; as wide as a coordinate, so that both are worked on several at a time.
    steps : int
        How often at most, >= 1.
    tolerance : float
        Gain of a step at which it ends.

    Returns
    -------
    gain : float
        By how much the last labels lower the inertia about the common mean.
    masses : ndarray of shape (k,)
        What each cluster weighs.
    """
    d, n = axes.shape
    k = len(centroids)
    zero = axes.dtype.type(0)
    best, score, mine = np.empty_like(weights), np.empty_like(weights), np.empty_like(weights)
    masses = np.zeros(k)
    gain = -1.0
    for _ in range(steps):
        for cluster in range(k):
            score[:] = axes.dtype.type(-0.5 * np.sum(centroids[cluster] ** 2))
            for axis in range(d):
                at = axes.dtype.type(centroids[cluster, axis])
                for i in range(n):
                    score[i] += at * axes[axis, i]
            for i in range(n):  # of several nearest centroids the first takes the point
                taken = cluster == 0 or score[i] > best[i]
                best[i] = score[i] if taken else best[i]
                label[i] = cluster if taken else label[i]
        before, gain = gain, 0.0
        for cluster in range(k):
            mass = zero
            for i in range(n):
                mine[i] = weights[i] if label[i] == cluster else zero
                mass += mine[i]
            masses[cluster] = mass
            if mass > zero:
                for axis in range(d):
                    total = zero
                    for i in range(n):
                        total += mine[i] * axes[axis, i]
                    gain += float(total) * float(total) / mass
                    centroids[cluster, axis] = total / mass
        if gain - before <= tolerance:
            break
    return gain, masses
