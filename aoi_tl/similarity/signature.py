"""Colour signatures: an image, or a whole dataset, as a few colours with weights."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aoi_tl.similarity.kmeans import cluster_distinct, inertias, weighted_kmeans

Floats = NDArray[np.float64]

MAX_CLUSTERS = 12  # the elbow is looked for among 1..12 clusters
_STRIP = 1 << 20  # pixels looked at in one go: memory stays bounded for an image of any size
_MOST_CENTROIDS = 1 << 18  # of the signatures of a dataset, held at a time
_SEVERAL = 1024  # signatures: so many arrays take more room than what is in them
_SAMPLE = 1 << 12  # pixels that say where colours lie, for cells that are narrow there
_CELLS = 64**3  # of colours
_space = threading.local()


@dataclass(frozen=True)
class _WorkArea:
    """Work memory for counting the colours of an image.
    """

    table: NDArray[np.uint64]
    held: NDArray[np.uint8]
    colours: Floats
    counts: Floats
    cells: NDArray[np.uint32]

    @classmethod
    def of(cls, width: int) -> _WorkArea:
        """Allocate cells of so many numbers."""
        return cls(
            np.zeros((_CELLS, width), dtype=np.uint64), np.zeros(_CELLS // 8, dtype=np.uint8),
            np.empty((_CELLS, 3)), np.empty(_CELLS), np.empty(_CELLS, dtype=np.uint32),
        )


@dataclass(frozen=True, eq=False)
class Signature:
    """Colours with their shares.

    Parameters
    ----------
    centroids : array_like of shape (k, d)
        Finite positions: RGB in 0..255 has d = 3, any other d >= 1 is allowed. Shape (k,) is
        read as (k, 1).
    weights : array_like of shape (k,)
        Finite shares >= 0, at least one above zero; those of images and datasets sum to 1.

    Raises
    ------
    ValueError
        When shapes do not fit or a number is out of range.

    Examples
    --------
    >>> half = Signature([[0, 0, 0], [255, 255, 255]], [0.5, 0.5])
    >>> half.centroids.shape, half.weights.tolist()
    ((2, 3), [0.5, 0.5])
    """

    centroids: Floats
    weights: Floats

    def __init__(self, centroids: ArrayLike, weights: ArrayLike) -> None:
        c = np.array(centroids, dtype=np.float64)
        w = np.array(weights, dtype=np.float64)
        c = c[:, None] if c.ndim == 1 else c
        if c.ndim != 2 or 0 in c.shape or w.shape != c.shape[:1]:
            raise ValueError(
                "expected centroids of shape (k, d) and weights of shape (k,) with k, d >= 1, "
                f"got {c.shape} and {w.shape}"
            )
        if not (np.isfinite(c).all() and np.isfinite(w).all()):
            raise ValueError("expected finite centroids and weights, got NaN or infinity")
        if w.min() < 0 or w.max() == 0:
            raise ValueError(
                f"expected weights >= 0 with at least one above zero, got {w.tolist()}"
            )
        c.flags.writeable = w.flags.writeable = False
        object.__setattr__(self, "centroids", c)
        object.__setattr__(self, "weights", w)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Signature):
            return NotImplemented
        return np.array_equal(self.centroids, other.centroids) and np.array_equal(
            self.weights, other.weights
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return Signature, (self.centroids, self.weights)


def image_signature(image: NDArray[Any], n_clusters: int) -> Signature:
    """Summarise an image by the k-means of its pixels in RGB.

    Grey images are RGB images with three equal channels, so distances between greys carry a
    factor of sqrt 3. Their clusters are the exact optimum; those of colour images are at least
    as good as the best of ten runs of k-means over all pixels, within a thousandth.

    Parameters
    ----------
    image : ndarray of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)
        Grey or RGB, uint8 or uint16 (scaled to 0..255); a fourth channel is ignored.
    n_clusters : int
        Largest number of clusters, >= 1; an image of fewer colours has fewer.

    Returns
    -------
    Signature
        ``centroids`` of shape (k, 3), RGB in 0..255, ascending; ``weights`` of shape (k,), the
        shares of the pixels, summing to 1.

    Raises
    ------
    ValueError
        When the array is not such an image or ``n_clusters`` is below 1.

    Examples
    --------
    >>> image = np.array([[0, 0, 0, 255]], dtype=np.uint8)
    >>> image_signature(image, 2).weights.tolist()
    [0.75, 0.25]
    """
    colours, counts, cells = _counts(image)
    if n_clusters < 1:
        raise ValueError(f"expected n_clusters >= 1, got {n_clusters}")
    clusters = cluster_distinct(colours, counts, n_clusters, cells)
    return Signature(_as_rgb(clusters.centroids), clusters.weights / clusters.weights.sum())


def dataset_signature(signatures: Iterable[Signature], n_clusters: int) -> Signature:
    """Summarise many signatures by the k-means of all their centroids, weighted by their weights.

    Every signature counts the same: its weights are taken as shares of their sum. The order of
    the signatures changes nothing, as long as they have no more than 2**18 centroids in all:
    beyond, those that are near each other stand together, so that memory stays bounded.

    Parameters
    ----------
    signatures : iterable of Signature
        Signatures of the images, at least one, all of the same d.
    n_clusters : int
        Number of main centroids, >= 1; fewer distinct centroids give fewer.

    Returns
    -------
    Signature
        Main ``centroids`` of shape (k, d), ascending, and their ``weights``, summing to 1.

    Raises
    ------
    ValueError
        When there is no signature or their dimensions differ.

    Examples
    --------
    >>> dark = Signature([[10, 10, 10], [20, 20, 20]], [0.5, 0.5])
    >>> light = Signature([[200, 200, 200]], [1.0])
    >>> dataset_signature([dark, light], 2).centroids[:, 0].tolist()
    [15.0, 200.0]
    """
    gathered = _Gathered()
    for signature in signatures:
        gathered.add(signature)
    centroids, weights = gathered.all()
    # Sorted by weight too, so that equal centroids are summed in the same order each time.
    order = np.lexsort((weights, *centroids.T[::-1]))
    clusters = weighted_kmeans(centroids[order], weights[order], n_clusters)
    return Signature(clusters.centroids, clusters.weights / clusters.weights.sum())


class _Gathered:
    """The centroids of many signatures, in bounded memory."""

    def __init__(self) -> None:
        self._kept: list[tuple[Floats, Floats]] = []
        self._several: list[tuple[Floats, Floats]] = []  # to be put together with what is kept
        self._dimensions: set[int] = set()

    def add(self, signature: Signature) -> None:
        self._dimensions.add(signature.centroids.shape[1])
        if len(self._dimensions) > 1:
            raise ValueError("expected signatures of one dimension, got several")
        self._several.append((signature.centroids, signature.weights / signature.weights.sum()))
        if len(self._several) >= _SEVERAL:
            self._kept, self._several = [*self._kept, _together(self._several)], []
            if sum(len(weights) for _, weights in self._kept) > _MOST_CENTROIDS:
                self._kept = [joined_in_cells(*_together(self._kept), _MOST_CENTROIDS // 2)]

    def all(self) -> tuple[Floats, Floats]:
        if not self._dimensions:
            raise ValueError("expected at least one signature, got none")
        return _together([*self._kept, *self._several])


def _together(parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    points, weights = zip(*parts, strict=True)
    return np.concatenate(points), np.concatenate(weights)


def joined_in_cells(points: Floats, weights: Floats, at_most: int) -> tuple[Floats, Floats]:
    """Merge the points of each cell of a grid into their mean.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Coordinates.
    weights : ndarray of shape (n,)
        Weights, above zero.
    at_most : int
        How many cells may hold points: the finest grid that does so is taken, of at most 2048
        cells an axis.

    Returns
    -------
    points : ndarray of shape (m, d)
        Means of the cells.
    weights : ndarray of shape (m,)
        Their weights.

    Examples
    --------
    >>> points, weights = np.array([[0.0], [0.01], [100.0]]), np.array([1.0, 1.0, 3.0])
    >>> joined, masses = joined_in_cells(points, weights, 2)
    >>> joined.tolist(), masses.tolist()
    ([[0.005], [100.0]], [2.0, 3.0])
    """
    low = points.min(axis=0)
    width = float(np.ptp(points, axis=0).max()) / 2048 or 1.0
    while True:
        cells = np.floor((points - low) / width)
        order = np.lexsort(cells.T)
        new = np.flatnonzero((np.diff(cells[order], axis=0, prepend=-1) != 0).any(axis=1))
        if len(new) <= at_most:
            break
        width *= 2
    masses = np.add.reduceat(weights[order], new)
    moments = np.add.reduceat(points[order] * weights[order, None], new)
    return moments / masses[:, None], masses


def choose_n_clusters(images: Iterable[NDArray[Any]], max_clusters: int = MAX_CLUSTERS) -> int:
    """Choose the number of clusters at the elbow of the mean inertia per pixel.

    The elbow of ``RSS(K)``, K = 1..max_clusters, is the K whose point lies farthest below the
    chord from the first to the last.

    Parameters
    ----------
    images : iterable of ndarray
        A small sample, each as for `image_signature`; at least one.
    max_clusters : int, default 12
        Largest K looked at, >= 1.

    Returns
    -------
    int
        K in 1..max_clusters; 1 where every image is of one colour.

    Raises
    ------
    ValueError
        When there is no image.

    References
    ----------
    .. [1] Satopaa et al. "Finding a 'Kneedle' in a Haystack." ICDCS Workshops, 2011.

    Examples
    --------
    >>> image = np.repeat([10, 120, 240], 50).astype(np.uint8).reshape(10, 15)
    >>> choose_n_clusters([image])
    3
    """
    return elbow([inertia_curve(image, max_clusters) for image in images])


def inertia_curve(image: NDArray[Any], max_clusters: int = MAX_CLUSTERS) -> Floats:
    """Mean squared distance of a pixel to its centroid, for 1 to ``max_clusters`` clusters.

    Parameters
    ----------
    image : ndarray
        As for `image_signature`.
    max_clusters : int, default 12
        Largest number of clusters, >= 1.

    Returns
    -------
    ndarray of shape (max_clusters,)
        In squared RGB units, never rising.

    Examples
    --------
    >>> inertia_curve(np.array([[0, 2]], dtype=np.uint8), 2).tolist()
    [3.0, 0.0]
    """
    colours, counts = colour_counts(image)
    return inertias(_as_rgb(colours), counts / counts.sum(), max_clusters)


def elbow(curves: Sequence[Floats]) -> int:
    """Number of clusters at the elbow of the mean of several curves.

    Parameters
    ----------
    curves : sequence of ndarray of shape (max_clusters,)
        One per image, as from `inertia_curve`; at least one.

    Returns
    -------
    int
        The K whose point lies farthest below the chord from the first to the last.

    Raises
    ------
    ValueError
        When there is no curve.

    Examples
    --------
    >>> elbow([np.array([90.0, 20.0, 10.0, 0.0])])
    2
    """
    if not curves:
        raise ValueError("expected at least one image, got none")
    rss = np.mean(curves, axis=0)
    return 1 + int(np.argmax(np.linspace(rss[0], rss[-1], len(rss)) - rss))


def colour_counts(image: NDArray[Any]) -> tuple[Floats, Floats]:
    """Count an image's colours.

    Parameters
    ----------
    image : ndarray of shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)
        Grey or RGB, uint8 or uint16; a fourth channel is ignored.

    Returns
    -------
    colours : ndarray of shape (n, 1) or (n, 3)
        Distinct values in 0..255: (n, 1) for grey, three equal channels included. Where a
        channel of a colour image has more than 56 levels, colours of one cell (56 cells a
        channel, narrow where many pixels are) stand together at their mean.
    counts : ndarray of shape (n,)
        Pixels of each colour.

    Raises
    ------
    ValueError
        When the array is not such an image.

    Examples
    --------
    >>> colours, counts = colour_counts(np.array([[7, 7, 9]], dtype=np.uint8))
    >>> colours.tolist(), counts.tolist()
    ([[7.0], [9.0]], [2.0, 1.0])
    """
    colours, counts, _ = _counts(image)
    return colours.copy(), counts.copy()


def _counts(image: NDArray[Any]) -> tuple[Floats, Floats, NDArray[np.uint32] | None]:
    """The result of `colour_counts`, and the cells of the colours of a colour image."""
    pixels = _checked(image)
    if pixels.ndim == 3 and _is_grey(pixels):
        pixels = pixels[:, :, 0]
    if pixels.ndim == 2:
        return *_grey_counts(pixels), None
    return _colour_counts(pixels)


def _checked(image: NDArray[Any]) -> NDArray[Any]:
    """(h, w) or (h, w, 3), uint8 or uint16, without a copy."""
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
        got = getattr(image, "dtype", type(image).__name__)
        raise ValueError(f"expected an image of uint8 or uint16, got {got}; scale it first")
    if image.size == 0:
        raise ValueError(f"expected an image with pixels, got shape {image.shape}")
    if image.ndim == 3 and image.shape[2] == 1:
        return image[:, :, 0]
    if image.ndim == 3 and image.shape[2] in (3, 4):
        return image[:, :, :3]
    if image.ndim == 2:
        return image
    raise ValueError(
        f"expected an image of shape (h, w), (h, w, 3) or (h, w, 4), got {image.shape}"
    )


def _strips(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The image in contiguous horizontal strips of about `_STRIP` pixels."""
    rows = max(1, _STRIP // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        yield np.ascontiguousarray(pixels[top : top + rows])


def _is_grey(pixels: NDArray[Any]) -> bool:
    from aoi_tl.similarity.compiled import has_equal_channels

    return all(has_equal_channels(strip.reshape(-1, 3)) for strip in _strips(pixels))


def _grey_counts(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
    from aoi_tl.similarity.compiled import count_levels, take_levels

    levels = 1 << 8 * pixels.itemsize
    counts = np.zeros((4, levels), dtype=np.int64)
    for strip in _strips(pixels):
        count_levels(strip.ravel(), counts)
    values, often = take_levels(counts, 255 / (levels - 1))
    return values[:, None], often


def _colour_counts(pixels: NDArray[Any]) -> tuple[Floats, Floats, NDArray[np.uint32]]:
    """Colours in cells of at most 56 a channel, at their exact means.

    What is given is good until this thread counts again.
    """
    from aoi_tl.similarity.compiled import count_colours, count_deep_colours, take_colours

    levels = 1 << 8 * pixels.itemsize
    cells = _cells(pixels, levels)
    fits = levels == 256 and pixels.size * 255 < 1 << 32
    count, width = (count_colours, 2) if fits else (count_deep_colours, 4)
    # Kept for the next image, since fresh memory would cost more; and only once all is zero
    # again: what breaks off in between leaves none behind.
    kept = _space.__dict__.pop(f"{width}", None)
    area: _WorkArea = _WorkArea.of(width) if kept is None else kept
    for strip in _strips(pixels):
        count(strip.reshape(-1, 3), cells, area.table, area.held)
    table = area.table.view(np.uint32) if fits else area.table
    n = take_colours(table, area.held, area.colours, area.counts, area.cells)
    setattr(_space, f"{width}", area)
    colours = area.colours[:n]
    if levels > 256:
        colours *= 255 / (levels - 1)
    return colours, area.counts[:n], area.cells[:n]


def _cells(pixels: NDArray[Any], levels: int) -> NDArray[np.uint32]:
    """What each level of each channel adds to the number of its cell, shape (3, levels)."""
    from aoi_tl.similarity.compiled import cells_of_channels

    step = max(1, round(np.sqrt(pixels.shape[0] * pixels.shape[1] / _SAMPLE)))
    sample = pixels[::step, ::step]
    low, shift = np.zeros((2, 3), dtype=np.int64)
    if levels > 256:  # 16 bits are seen in 128 to 256 steps, else a sample would hit each once
        low = sample.min(axis=(0, 1)).astype(np.int64)
        width = sample.max(axis=(0, 1)) - low
        shift = np.array([max(0, int(w).bit_length() - 8) for w in width])
    return cells_of_channels(sample, levels, low, shift)


def _as_rgb(centroids: Floats) -> Floats:
    return np.repeat(centroids, 3, axis=1) if centroids.shape[1] == 1 else centroids
