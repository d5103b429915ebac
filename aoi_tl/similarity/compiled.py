"""The loops over pixels and points, compiled to machine code by Numba.

Callers pass checked, contiguous arrays of the stated types. Import this module inside a function:
importing Numba takes a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
_Loop = TypeVar("_Loop", bound=Callable[..., Any])

CELL_BITS = 6  # of a cell's number on one axis
AXIS_CELLS = 56  # at most 2**CELL_BITS; more cost more without a gain
_LINE = 16  # singles in a cache line
_BLOCK = 512  # points worked on at a time
_MANY = 4096  # points: so many are near where the grid's are
_STRIDE = 1.8  # of a step of Lloyd's, in ways to the mean

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
def take_levels(counts: NDArray[np.int64], unit: float) -> tuple[Floats, Floats]:
    """Give the levels that occur, in units, and how often, shape (n,) each.

    `counts` is of shape (4, levels), as `count_levels` left it.
    """
    levels = counts.shape[1]
    values, often = np.empty(levels), np.empty(levels)
    n = 0
    for level in range(levels):
        count = counts[0, level] + counts[1, level] + counts[2, level] + counts[3, level]
        if count:
            values[n], often[n] = level * unit, count
            n += 1
    return values[:n].copy(), often[:n].copy()


@_compiled
def cells_of_channels(
    sample: NDArray[Any], levels: int, low: NDArray[np.int64], shift: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Divide each channel into cells, narrow where many pixels are.

    Parameters
    ----------
    sample : uint8 or uint16 array of shape (h, w, 3)
        Some of the pixels.
    levels : int
        Of a channel.
    low, shift : int64 arrays of shape (3,)
        The pixels of a channel are looked at as ``(level - low) >> shift``, in 0..255.

    Returns
    -------
    uint32 array of shape (3, levels)
        What a level adds to the number of a colour's cell. The bits of the three channels
        alternate, so that eight cells that make up a larger one follow each other.
    """
    share = np.zeros((3, 256))
    for row in range(sample.shape[0]):
        for column in range(sample.shape[1]):
            for channel in range(3):
                level = (np.int64(sample[row, column, channel]) - low[channel]) >> shift[channel]
                share[channel, level] += 1.0
    cells = np.empty((3, levels), dtype=np.uint32)
    for channel in range(3):
        of_step = cells_of_levels(share[channel], AXIS_CELLS)
        for level in range(levels):
            step = min(max(level - low[channel], 0) >> shift[channel], 255)
            cells[channel, level] = interleaved(of_step[step]) << channel
    return cells


@_compiled
def interleaved(cell: int) -> int:
    """Spread the bits of a cell of one axis, so that those of two other axes fit between."""
    spread = 0
    for bit in range(CELL_BITS):
        spread |= (cell >> bit & 1) << 3 * bit
    return spread


@_compiled
def count_colours(
    pixels: NDArray[np.uint8],
    cells: NDArray[np.uint32],
    table: NDArray[np.uint64],
    held: NDArray[np.uint8],
) -> None:
    """Add up the pixels of each cell of colours.

    Parameters
    ----------
    pixels : uint8 array of shape (n, 3)
        Colours.
    cells : uint32 array of shape (3, 256)
        What each level of each channel adds to the number of the cell.
    table : uint64 array of shape (n_cells, 2)
        Added to: pixels and, 32 bits higher, the sum of their first channel; the sum of the second
        and, higher, of the third. So two numbers are added to for each pixel instead of four.
    held : uint8 array of shape (n_cells / 8,)
        Becomes 1 where any of eight neighbouring cells holds a pixel.
    """
    one, half = np.uint64(1), np.uint64(32)
    for i in range(len(pixels)):
        r, g, b = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        cell = cells[0, r] | cells[1, g] | cells[2, b]
        held[cell >> 3] = 1
        table[cell, 0] += one | np.uint64(r) << half
        table[cell, 1] += np.uint64(g) | np.uint64(b) << half


@_compiled
def count_deep_colours(
    pixels: NDArray[Any],
    cells: NDArray[np.uint32],
    table: NDArray[np.uint64],
    held: NDArray[np.uint8],
) -> None:
    """Add up the pixels of each cell of colours whose sums need more than 32 bits.

    Parameters
    ----------
    pixels : uint8 or uint16 array of shape (n, 3)
        Colours.
    cells : uint32 array of shape (3, levels)
        What each level of each channel adds to the number of the cell.
    table : uint64 array of shape (n_cells, 4)
        Added to: pixels, and the sums of their three channels.
    held : uint8 array of shape (n_cells / 8,)
        Becomes 1 where any of eight neighbouring cells holds a pixel.
    """
    for i in range(len(pixels)):
        r, g, b = pixels[i, 0], pixels[i, 1], pixels[i, 2]
        cell = cells[0, r] | cells[1, g] | cells[2, b]
        held[cell >> 3] = 1
        table[cell, 0] += np.uint64(1)
        table[cell, 1] += np.uint64(r)
        table[cell, 2] += np.uint64(g)
        table[cell, 3] += np.uint64(b)


@_compiled
def take_colours(
    table: NDArray[Any],
    held: NDArray[np.uint8],
    colours: Floats,
    counts: Floats,
    cells: NDArray[np.uint32],
) -> int:
    """Take the mean colours, counts and numbers of the cells that hold pixels.

    Parameters
    ----------
    table : unsigned array of shape (n_cells, 4)
        As `count_deep_colours` left it, or, seen as uint32, `count_colours`.
    held : uint8 array of shape (n_cells / 8,)
        Where to look. Table and marks are all zero afterwards.
    colours : ndarray of shape (n_cells, 3)
        Its first rows become the mean colours.
    counts : ndarray of shape (n_cells,)
        Its first elements become the pixels of each.
    cells : uint32 array of shape (n_cells,)
        Its first elements become the numbers of the cells, ascending.

    Returns
    -------
    int
        How many cells hold pixels.
    """
    n = 0
    marks = held.view(np.uint64)  # most are zero: looked at eight at a time
    for mark in range(len(marks)):
        if not marks[mark]:
            continue
        for eight in range(8 * mark, 8 * mark + 8):
            if not held[eight]:
                continue
            for cell in range(8 * eight, 8 * eight + 8):
                count = table[cell, 0]
                if count:
                    cells[n], counts[n] = cell, count
                    colours[n, 0] = table[cell, 1] / count
                    colours[n, 1] = table[cell, 2] / count
                    colours[n, 2] = table[cell, 3] / count
                    table[cell, 0] = table[cell, 1] = table[cell, 2] = table[cell, 3] = 0
                    n += 1
        marks[mark] = 0
    return n


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
    used, total = 0, 0.0
    for level in range(len(share)):
        used += share[level] > 0
        total += share[level]
    if used <= n_cells:
        last = -1
        for level in range(len(share)):
            last += share[level] > 0
            cell[level] = max(last, 0)
        return cell
    # Levels that the sample missed may still occur: two hundredths are spread over all levels.
    floor = 0.02 * total / len(share)
    upto, before = np.empty(len(share)), 0.0
    for level in range(len(share)):
        upto[level] = before
        before += np.cbrt(share[level] + floor)
    for level in range(len(share)):
        cell[level] = min(int(upto[level] * n_cells / before), n_cells - 1)
    return cell


# Points on a line ------------------------------------------------------------------------------


@_compiled
def best_gains(
    values: Floats, weights: Floats, layers: int
) -> tuple[Floats, NDArray[np.int64], float]:
    """Cut sorted values into runs of maximal gain, by dynamic programming.

    The run of the values i..j-1 lowers the inertia about the common mean by
    ``(s1[j] - s1[i])**2 / (s0[j] - s0[i])``, with the sums of the weights and of the weighted
    distances from the mean up to each. The last cut of the best solution moves right as j grows,
    so the middle row halves what its neighbours have to try: O(n log n) a layer [1]_.

    Parameters
    ----------
    values, weights : ndarray of shape (n,)
        Ascending and distinct; above zero.
    layers : int
        Largest number of runs, in 1..n.

    Returns
    -------
    gain : ndarray of shape (layers, n + 1)
        Entry (c, j): the greatest gain of the first j values in c + 1 runs; -inf where j < c + 1,
        and where j < n in the last layer.
    cut : int64 array of shape (layers, n + 1)
        The last cut of that solution.
    inertia : float
        About the common mean.

    References
    ----------
    .. [1] Wang, Song. "Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic
       Programming." The R Journal 3(2), 2011.
    """
    n = len(values)
    total, mean = 0.0, 0.0
    for i in range(n):
        total += weights[i]
        mean += weights[i] * values[i]
    mean /= total
    s0, s1, inertia = np.zeros(n + 1), np.zeros(n + 1), 0.0
    for i in range(n):
        away = values[i] - mean  # squares of small numbers do not cancel
        s0[i + 1] = s0[i] + weights[i]
        s1[i + 1] = s1[i] + weights[i] * away
        inertia += weights[i] * away * away
    gain = np.full((layers, n + 1), -np.inf)
    cut = np.zeros((layers, n + 1), dtype=np.int64)
    for j in range(1, n + 1):
        gain[0, j] = s1[j] * s1[j] / s0[j]
    waiting = np.empty((128, 4), dtype=np.int64)  # rows low..high, cuts left..right
    for layer in range(1, layers):
        first = n if layer == layers - 1 else layer + 1
        waiting[0, 0], waiting[0, 1], waiting[0, 2], waiting[0, 3] = first, n, layer, n - 1
        top = 1
        while top:
            top -= 1
            low, high = waiting[top, 0], waiting[top, 1]
            left, right = waiting[top, 2], waiting[top, 3]
            if low > high:
                continue
            j = (low + high) // 2
            best, at = -np.inf, layer
            for i in range(left, min(right, j - 1) + 1):
                step = s1[j] - s1[i]
                tried = gain[layer - 1, i] + step * step / (s0[j] - s0[i])
                if tried > best:
                    best, at = tried, i
            gain[layer, j], cut[layer, j] = best, at
            waiting[top, 1], waiting[top, 3] = j - 1, at
            waiting[top + 1, 0], waiting[top + 1, 1] = j + 1, high
            waiting[top + 1, 2], waiting[top + 1, 3] = at, right
            top += 2
    return gain, cut, inertia


@_compiled
def cluster_line(values: Floats, weights: Floats, k: int) -> tuple[Floats, Floats, float]:
    """Give the clusters of least inertia of values on a line.

    Parameters
    ----------
    values, weights : ndarray of shape (n,)
        Ascending and distinct; above zero.
    k : int
        Clusters, in 1..n.

    Returns
    -------
    centroids, masses : ndarray of shape (k,)
        Means of the clusters, ascending, and their weights.
    inertia : float
        Of the clusters about their means.
    """
    _, cut, _ = best_gains(values, weights, k)
    centroids, masses, inertia = np.zeros(k), np.zeros(k), 0.0
    last = len(values)
    for layer in range(k - 1, -1, -1):
        first = cut[layer, last]
        for i in range(first, last):
            masses[layer] += weights[i]
            centroids[layer] += weights[i] * values[i]
        centroids[layer] /= masses[layer]
        for i in range(first, last):
            inertia += weights[i] * (values[i] - centroids[layer]) ** 2
        last = first
    return centroids, masses, inertia


# Points in space -------------------------------------------------------------------------------


@_compiled
def packed(rows: int, n: int) -> Singles:
    """Allocate zeroed rows of n singles, padded so that each row starts a cache line.

    What reaches over the end of a line takes half as long again.
    """
    length = -(-n // _LINE) * _LINE
    room = np.zeros(rows * length + _LINE, dtype=np.float32)
    start = -room.ctypes.data % (4 * _LINE) // 4
    return room[start : start + rows * length].reshape(rows, length)


@_compiled
def merge_runs(points: Singles, cells: NDArray[np.uint32]) -> tuple[Singles, NDArray[np.uint32]]:
    """Merge the points of each eight cells that form a larger cell into their mean.

    Parameters
    ----------
    points : float32 array of shape (4, >= n)
        As for `lloyd`.
    cells : uint32 array of shape (n,)
        Ascending.

    Returns
    -------
    tuple
        The points and cells of the larger cells.
    """
    n, m, zero = len(cells), 1, np.float32(0)
    for i in range(1, n):
        m += cells[i] >> 3 != cells[i - 1] >> 3
    means, merged = packed(4, m), np.empty(m, dtype=np.uint32)
    first = 0
    for run in range(m):
        merged[run] = cells[first] >> 3
        mass, x, y, z = zero, zero, zero, zero
        while first < n and cells[first] >> 3 == merged[run]:
            weight = points[3, first]
            mass += weight
            x += weight * points[0, first]
            y += weight * points[1, first]
            z += weight * points[2, first]
            first += 1
        if mass > zero:
            means[0, run], means[1, run], means[2, run] = x / mass, y / mass, z / mass
            means[3, run] = mass
    return means, merged


@_compiled
def draw_centroids(points: Singles, n: int, draws: Floats, centroids: Floats) -> None:
    """Draw one start by k-means++, the best of several candidates for each centroid.

    Parameters
    ----------
    points : float32 array of shape (4, >= n)
        As for `lloyd`.
    n : int
        Points.
    draws : ndarray of shape (k, candidates)
        Numbers in 0..1.
    centroids : ndarray of shape (k, 3)
        Written to; each a point.

    References
    ----------
    .. [1] Arthur, Vassilvitskii. "k-means++: The Advantages of Careful Seeding." SODA 2007.
    """
    k, candidates = draws.shape
    x, y, z, w = points[0], points[1], points[2], points[3]
    room = packed(4, points.shape[1])
    nearest, tried, chosen, share = room[0], room[1], room[2], room[3]
    for i in range(len(w)):
        nearest[i], share[i] = np.inf, w[i]
    for cluster in range(k):
        least = np.float32(np.inf)
        total = np.sum(share)
        for candidate in range(candidates):
            point = _point_at(share[:n], np.float32(draws[cluster, candidate]) * total)
            p, q, r = x[point], y[point], z[point]
            cost = np.float32(0)
            for i in range(len(w)):
                a, b, c = x[i] - p, y[i] - q, z[i] - r
                away = a * a + b * b + c * c
                tried[i] = away if away < nearest[i] else nearest[i]
                cost += w[i] * tried[i]
            if candidate == 0 or cost < least:
                least = cost
                tried, chosen = chosen, tried
                centroids[cluster, 0], centroids[cluster, 1], centroids[cluster, 2] = p, q, r
        nearest, chosen = chosen, nearest
        for i in range(len(w)):
            share[i] = w[i] * nearest[i]


@_compiled
def _point_at(share: Singles, passed: Any) -> int:
    """The first place at which the running sum of the shares is above a number."""
    n, first = len(share), 0
    while first + 64 < n:  # sums of many at a time are fast
        together = np.sum(share[first : first + 64])
        if together > passed:
            break
        passed -= together
        first += 64
    for i in range(first, n):
        passed -= share[i]
        if passed < 0:
            return i
    return n - 1


@_compiled
def follow(points: Singles, starts: Floats, steps: int, tolerance: float, kept: int) -> Floats:
    """Run Lloyd's steps from several starts; give the best distinct results.

    Parameters
    ----------
    points : float32 array of shape (4, m)
        As for `lloyd`.
    starts : ndarray of shape (s, k, 3)
        Centroids; changed.
    steps, tolerance
        As for `lloyd`.
    kept : int
        How many at most.

    Returns
    -------
    ndarray of shape (<= kept, k, 3)
        Centroids, the best first.
    """
    m, k, _ = starts.shape
    gains = np.empty(m)
    for start in range(m):
        gains[start] = lloyd(points, starts[start], steps, tolerance)
    ended = np.empty((min(kept, m), k, 3))
    n, last = 0, np.inf
    while n < len(ended):
        best = -1
        for start in range(m):
            # A hundred thousandth is how far gains at one place may differ.
            is_new = gains[start] < last * (1 - 1e-5)
            if is_new and (best < 0 or gains[start] > gains[best]):
                best = start
        if best < 0:
            break
        last = gains[best]
        for cluster in range(k):
            for axis in range(3):
                ended[n, cluster, axis] = starts[best, cluster, axis]
        n += 1
    return ended[:n]


@_compiled
def lloyd(points: Singles, centroids: Floats, steps: int, tolerance: float) -> float:
    """Move centroids to the means of their nearest points repeatedly, with over-relaxation.

    Twice as far as the mean is where a step stops to pay, so all but the last go most of that way:
    fewer are needed.

    Parameters
    ----------
    points : float32 array of shape (4, m)
        Coordinates about their common mean, an axis a row, and weights; as `packed` laid them out.
    centroids : ndarray of shape (k, 3)
        Where from; changed. One that nothing is nearest to stays where it is.
    steps : int
        How often at most, >= 1.
    tolerance : float
        Gain of a step at which it ends.

    Returns
    -------
    float
        By how much the last labels lower the inertia about the common mean.
    """
    k, m, zero = len(centroids), points.shape[1], np.float32(0)
    room = packed(2, _BLOCK)
    best, label = room[0], room[1].view(np.int32)
    sums, masses = np.empty((k, 3)), np.empty(k)
    gain = -1.0
    for step in range(steps):
        sums[:], masses[:] = 0.0, 0.0
        for first in range(0, m, _BLOCK):  # so few that they stay where they are fast to reach
            last = min(first + _BLOCK, m)
            x, y = points[0, first:last], points[1, first:last]
            z, w = points[2, first:last], points[3, first:last]
            label_nearest(x, y, z, centroids, best, label)
            for cluster in range(k):
                mine, mass, a, b, c = np.int32(cluster), zero, zero, zero, zero
                for i in range(len(w)):
                    weight = w[i] if label[i] == mine else zero
                    mass += weight
                    a += weight * x[i]
                    b += weight * y[i]
                    c += weight * z[i]
                masses[cluster] += mass
                sums[cluster, 0] += a
                sums[cluster, 1] += b
                sums[cluster, 2] += c
        before, gain = gain, 0.0
        for cluster in range(k):
            if masses[cluster] > 0:
                for axis in range(3):
                    sums[cluster, axis] /= masses[cluster]
                    gain += sums[cluster, axis] ** 2 * masses[cluster]
        is_last = step == steps - 1 or gain - before <= tolerance
        for cluster in range(k):
            if masses[cluster] > 0:
                far = 1.0 if is_last else _STRIDE
                for axis in range(3):
                    centroids[cluster, axis] += far * (
                        sums[cluster, axis] - centroids[cluster, axis]
                    )
        if is_last:
            break
    return gain


@_compiled
def label_nearest(
    x: Singles, y: Singles, z: Singles, centroids: Floats, best: Singles, label: NDArray[np.int32]
) -> None:
    """Write the number of the nearest centroid of each point; of several the first.

    Parameters
    ----------
    x, y, z : float32 arrays of shape (m,)
        Coordinates.
    centroids : ndarray of shape (k, 3)
    best, label : arrays of shape (>= m,)
        Written to; `best` is for this function's use.
    """
    for cluster in range(len(centroids)):
        mine = np.int32(cluster)
        p = np.float32(centroids[cluster, 0])
        q = np.float32(centroids[cluster, 1])
        r = np.float32(centroids[cluster, 2])
        offset = np.float32(-0.5) * (p * p + q * q + r * r)
        if cluster == 0:
            for i in range(len(x)):
                best[i], label[i] = offset + p * x[i] + q * y[i] + r * z[i], mine
        else:
            for i in range(len(x)):
                score = offset + p * x[i] + q * y[i] + r * z[i]
                taken = score > best[i]
                best[i] = score if taken else best[i]
                label[i] = mine if taken else label[i]


@_compiled
def cluster_space(
    points: Floats, weights: Floats, cells: NDArray[np.uint32], draws: Floats
) -> tuple[Floats, Floats, float]:
    """Find the clusters of least inertia: many starts, of which only the best are refined.

    Starts are drawn on a coarse grid, followed on a finer one and, the best of them, on the points
    themselves. All this is done in half the digits; the last step is not.

    Parameters
    ----------
    points : ndarray of shape (n, 3)
        Distinct points.
    weights : ndarray of shape (n,)
        Weights, all above zero.
    cells : uint32 array of shape (n,)
        Ascending numbers of the points' cells, as `cells_of_channels` makes them up.
    draws : ndarray of shape (starts, k, candidates)
        Numbers in 0..1, k < n.

    Returns
    -------
    centroids : ndarray of shape (k, 3)
        Means of the clusters.
    masses : ndarray of shape (k,)
        Their weights; 0 where a cluster has lost all its points.
    inertia : float
        Of these clusters about their means.
    """
    k, n = draws.shape[1], len(weights)
    total, mean = 0.0, np.zeros(3)
    low, high = points[0].copy(), points[0].copy()
    for i in range(n):
        total += weights[i]
        for axis in range(3):
            at = points[i, axis]
            mean[axis] += weights[i] * at
            low[axis] = at if at < low[axis] else low[axis]
            high[axis] = at if at > high[axis] else high[axis]
    mean /= total
    reach = np.max(high - low)
    all_points = packed(4, n)
    x, y, z, w = all_points[0], all_points[1], all_points[2], all_points[3]
    per_reach, per_total = 1.0 / reach, 1.0 / total
    for i in range(n):
        x[i] = (points[i, 0] - mean[0]) * per_reach
        y[i] = (points[i, 1] - mean[1]) * per_reach
        z[i] = (points[i, 2] - mean[2]) * per_reach
        w[i] = weights[i] * per_total
    spread = 0.0
    for i in range(n):
        spread += w[i] * (x[i] * x[i] + y[i] * y[i] + z[i] * z[i])

    # A grid of few cells is too coarse; one that joins few points saves nothing.
    fine, of_fine = merge_runs(all_points, cells)
    if not 4 * k < len(of_fine) < 0.7 * n:
        fine, of_fine = all_points, cells
    coarse, of_coarse = merge_runs(fine, of_fine)
    if not 4 * k < len(of_coarse) < 0.7 * len(of_fine):
        coarse, of_coarse = fine, of_fine

    starts = np.empty((len(draws), k, 3))
    for start in range(len(draws)):
        draw_centroids(coarse, len(of_coarse), draws[start], starts[start])
    # Not far on the coarse grid: where its clusters are best is not where the points' are.
    for points_of, steps, tolerance, kept in (
        (coarse, 2, 1e-3, 12), (fine, 3, 1e-5, 6), (fine, 4, 1e-5, 3), (all_points, 2, 1e-6, 1),
        (all_points, 2 if n >= _MANY else 300, 1e-9, 1),
    ):
        starts = follow(points_of, starts, steps, tolerance * spread, kept)

    room = packed(2, n)
    label = room[1].view(np.int32)
    label_nearest(x, y, z, starts[0], room[0], label)
    sums, masses, inertia = np.zeros((k, 3)), np.zeros(k), 0.0
    for i in range(n):
        weight, mine = weights[i], np.uint32(label[i])
        a, b, c = points[i, 0] - mean[0], points[i, 1] - mean[1], points[i, 2] - mean[2]
        masses[mine] += weight
        sums[mine, 0] += weight * a
        sums[mine, 1] += weight * b
        sums[mine, 2] += weight * c
        inertia += weight * (a * a + b * b + c * c)
    centroids = np.zeros((k, 3))
    for cluster in range(k):
        if masses[cluster] > 0:
            for axis in range(3):
                inertia -= sums[cluster, axis] ** 2 / masses[cluster]
                centroids[cluster, axis] = mean[axis] + sums[cluster, axis] / masses[cluster]
    return centroids, masses, max(inertia, 0.0)
