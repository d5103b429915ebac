"""Similarity of the boxes of two datasets: size, aspect ratio, number per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.dataset import Sample
from aoi_tl.data.images import image_size
from aoi_tl.errors import DataError

_SAMPLES = 200  # of the bootstrap


@dataclass(frozen=True, eq=False)
class BoxShapes:
    """The boxes of n images with a box.

    Attributes
    ----------
    size : tuple of n float arrays
        For each image, log2 of the root of each box's area; the image's longer side is 1.
    aspect : tuple of n float arrays
        log2 of width over height, both in pixels.
    """

    size: tuple[NDArray[np.float64], ...]
    aspect: tuple[NDArray[np.float64], ...]

    def __len__(self) -> int:
        return len(self.size)

    def pooled(self, rows: Sequence[int] | None = None) -> tuple[NDArray[np.float64], ...]:
        """Give sizes, aspects and log2 of the numbers of boxes, of some images or of all."""
        rows = range(len(self)) if rows is None else rows
        return (
            np.concatenate([self.size[i] for i in rows]),
            np.concatenate([self.aspect[i] for i in rows]),
            np.log2([len(self.size[i]) for i in rows]),
        )


def box_shapes(samples: Sequence[Sample]) -> BoxShapes:
    """Measure the shapes of the boxes of labelled images; images without a box are skipped.

    Parameters
    ----------
    samples : sequence of Sample
        An image whose header cannot be read is skipped too.

    Returns
    -------
    BoxShapes
    """
    sizes, aspects = [], []
    for sample in samples:
        if not len(sample.boxes):
            continue
        try:
            height, width = image_size(sample.image)
        except DataError:
            continue
        sides = sample.boxes[:, 2:] * (width, height) / max(width, height)
        sizes.append(np.log2(sides.prod(axis=1)) / 2)
        aspects.append(np.log2(sides[:, 0] / sides[:, 1]))
    return BoxShapes(tuple(sizes), tuple(aspects))


def shape_distance(target: BoxShapes, source: BoxShapes) -> float:
    """Add the distances of box sizes, aspect ratios and numbers per image, in octaves.

    Each part is the 1-Wasserstein distance of two distributions of a base-2 logarithm. So boxes
    twice as large, all else equal, have the distance 1.

    Parameters
    ----------
    target, source : BoxShapes
        With at least one image each.

    Returns
    -------
    float

    References
    ----------
    .. [1] Singh, Davis. "An Analysis of Scale Invariance in Object Detection - SNIP." CVPR 2018:
       detectors suffer from other sizes than they were trained on.

    Examples
    --------
    >>> small = BoxShapes((np.array([-3.0, -3.0]),), (np.zeros(2),))
    >>> large = BoxShapes((np.array([-2.0]),), (np.zeros(1),))
    >>> float(shape_distance(small, large))  # an octave larger, and half as many to an image
    2.0
    """
    return _distance(target.pooled(), source.pooled())


def shape_interval(
    target: BoxShapes, source: BoxShapes, generator: np.random.Generator
) -> tuple[float, float]:
    """Give the 95 % interval of `shape_distance` under a bootstrap over the images of both.

    Parameters
    ----------
    target, source : BoxShapes
        With at least one image each.
    generator : Generator
        Draws the images.

    Returns
    -------
    low, high : float
    """
    drawn = [
        _distance(*(side.pooled(generator.integers(len(side), size=len(side)).tolist())
                    for side in (target, source)))
        for _ in range(_SAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _distance(
    one: tuple[NDArray[np.float64], ...], other: tuple[NDArray[np.float64], ...]
) -> float:
    from scipy.stats import wasserstein_distance

    return float(sum(wasserstein_distance(a, b) for a, b in zip(one, other, strict=True)))
