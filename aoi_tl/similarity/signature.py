"""Colour signatures: what an image, or a whole dataset, looks like in a handful of colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aoi_tl.similarity.kmeans import cluster_distinct, inertias, weighted_kmeans

Floats = NDArray[np.float64]

MAX_CLUSTERS = 12  # the elbow is looked for among 1..12 clusters
_STRIP = 1 << 20  # pixels looked at in one go: memory stays bounded whatever the image's size
_SAMPLE = 1 << 15  # pixels that place the mean of each colour bin
_FEW_BINS = 4096  # so few occupied bins: the colours are near each other, each is kept exactly


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
        if (w < 0).any() or not w.any():
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
    colours, counts = colour_counts(image)
    if n_clusters < 1:
        raise ValueError(f"expected n_clusters >= 1, got {n_clusters}")
    clusters = cluster_distinct(colours, counts, n_clusters)
    return Signature(_as_rgb(clusters.centroids), clusters.weights / clusters.weights.sum())


def dataset_signature(signatures: Iterable[Signature], n_clusters: int) -> Signature:
    """Summarise many signatures by the k-means of all their centroids, weighted by their weights.

    Every signature counts the same: its weights are taken as shares of their sum. The order of
    the signatures changes nothing.

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
    every = list(signatures)
    if not every:
        raise ValueError("expected at least one signature, got none")
    if len({s.centroids.shape[1] for s in every}) > 1:
        raise ValueError("expected signatures of one dimension, got several")
    centroids = np.concatenate([s.centroids for s in every])
    weights = np.concatenate([s.weights / s.weights.sum() for s in every])
    # Sorted by weight too, so that equal centroids are summed in the same order each time.
    order = np.lexsort((weights, *centroids.T[::-1]))
    clusters = weighted_kmeans(centroids[order], weights[order], n_clusters)
    return Signature(clusters.centroids, clusters.weights / clusters.weights.sum())


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
        colour image has very many, those of one bin (4 levels a channel) stand together at
        their mean, estimated on an even sample of the pixels.
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
    pixels = _checked(image)
    if pixels.ndim == 3 and _is_grey(pixels):
        pixels = pixels[:, :, 0]
    if pixels.ndim == 2:
        return _grey_counts(pixels)
    if pixels.dtype == np.uint16:
        return _deep_colour_counts(pixels)
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
    rows = np.linspace(0, len(pixels) - 1, 8).astype(int)  # a cheap look before the full one
    if not _equal_channels(pixels[rows]):
        return False
    return all(_equal_channels(strip) for strip in _strips(pixels))


def _equal_channels(pixels: NDArray[Any]) -> bool:
    return bool(
        (pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 0] == pixels[:, :, 2]).all()
    )


def _grey_counts(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
    if pixels.dtype == np.uint16:
        counts = np.zeros(65536)
        for strip in _strips(pixels):
            counts += np.bincount(strip.ravel(), minlength=65536)
        scale = 255 / 65535
    else:
        import cv2

        counts = np.zeros(256)
        for strip in _strips(pixels):  # small enough for calcHist's float32 to count exactly
            counts += cv2.calcHist([strip], [0], None, [256], [0, 256]).ravel()
        scale = 1.0
    held = np.flatnonzero(counts)
    return (held * scale).astype(np.float64)[:, None], counts[held]


def _colour_counts(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
    """8-bit colours: each by itself where they are few, else in bins of 4 levels a channel."""
    import cv2

    bins = np.zeros(64**3, dtype=np.float32)
    for strip in _strips(pixels):  # at most 2^24 pixels are exact in float32, enough for shares
        bins += cv2.calcHist([strip], [0, 1, 2], None, [64] * 3, [0, 256] * 3).ravel()
    held = np.flatnonzero(bins > 0)
    if len(held) <= _FEW_BINS:
        return _distinct_colours(pixels)
    # Where the mean of each bin lies is asked of about 2^15 pixels on an even grid.
    step = int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / _SAMPLE)))
    packed = _packed(pixels[step // 2 :: step, step // 2 :: step])
    place = np.empty(64**3, dtype=np.int32)
    place[held] = np.arange(len(held), dtype=np.int32)
    index = place[(packed >> 2 & 63) << 12 | (packed >> 10 & 63) << 6 | packed >> 18 & 63]
    seen = np.bincount(index, minlength=len(held))
    colours = np.empty((len(held), 3))
    for channel in range(3):
        low = (packed >> 8 * channel & 3).astype(np.float64)
        total = np.bincount(index, low, len(held))
        base = (held >> 6 * (2 - channel) & 63) << 2
        colours[:, channel] = base + np.where(seen > 0, total / np.maximum(seen, 1), 1.5)
    return colours, bins[held].astype(np.float64)


def _packed(pixels: NDArray[Any]) -> NDArray[np.uint32]:
    """One integer per pixel, R in the lowest byte."""
    import cv2

    four = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2RGBA)
    return four.view("<u4").ravel() & np.uint32(0xFFFFFF)


def _distinct_colours(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
    values = np.empty(0, dtype=np.uint32)
    counts = np.empty(0)
    for strip in _strips(pixels):
        found, number = np.unique(_packed(strip), return_counts=True)
        values, place = np.unique(np.concatenate([values, found]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, number])).astype(np.float64)
    colours = np.stack([values & 255, values >> 8 & 255, values >> 16], axis=1)
    return colours.astype(np.float64), counts


def _deep_colour_counts(pixels: NDArray[Any]) -> tuple[Floats, Floats]:
    """16-bit colours in 64 bins a channel over the image's own range, at their exact means."""
    low = np.array([pixels[:, :, c].min() for c in range(3)], dtype=np.int64)
    span = np.array([pixels[:, :, c].max() for c in range(3)], dtype=np.int64) - low + 1
    counts = np.zeros(64**3)
    totals = np.zeros((3, 64**3))
    for strip in _strips(pixels):
        values = strip.reshape(-1, 3).astype(np.int64)
        index = (values - low) * 64 // np.maximum(span, 64)
        flat = index[:, 0] << 12 | index[:, 1] << 6 | index[:, 2]
        counts += np.bincount(flat, minlength=64**3)
        for channel in range(3):
            totals[channel] += np.bincount(flat, values[:, channel], 64**3)
    held = np.flatnonzero(counts)
    return (totals[:, held] / counts[held]).T * (255 / 65535), counts[held]


def _as_rgb(centroids: Floats) -> Floats:
    return np.repeat(centroids, 3, axis=1) if centroids.shape[1] == 1 else centroids
