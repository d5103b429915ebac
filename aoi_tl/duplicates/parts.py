"""Deciding if similar images show one part, or several parts of one design.

Inspection images show one design on thousands of parts. Labelled defects decide. On one part, both
images look alike in each labelled box. On two parts, the defect is missing in one of them. A pair
without labelled defects follows the labelled pairs of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.duplicates.agreement import Agreement
from aoi_tl.duplicates.placement import Placement, corners
from aoi_tl.duplicates.structure import halved, turned

#: Up to here two windows are alike. The unlikeness of two windows is the largest difference that a
#: shift by one pixel does not explain, in standard deviations of the windows. Copies of DeepPCB
#: images (re-encoded, relit, shifted, cropped) reach 0.4 in their labelled boxes.
ALIKE = 0.5
#: From here on they differ. The labelled boxes of different copies of a panel begin at 1.2.
UNLIKE = 1.0

_TIMES, _NOISE = 2.0, 0.1  # a box differs only if it does so much more than its surroundings
_LEAST_SHARE = 0.5  # of the smaller image: less ground without a defect does not make one part
_INSIDE = 0.9  # a box counts that lies on the common ground with this share of its area
_SAME_PLACE = 0.4  # intersection over union
_LONGEST = 1024  # pixels: longer images are halved until they fit
_REACH = 8  # pixels: how far off a placement may be
_SMALLEST, _CONTEXT = 5, 12  # pixels: the least box, and how much around it belongs to its window
_FLAT = 2.0  # grey levels: a window that varies less holds nothing
_AROUND = 8  # x 8 windows at most stand for the surroundings


@dataclass(frozen=True, eq=False)
class Defects:
    """The labels of one image.

    Parameters
    ----------
    classes : int array of shape (n,)
        Numbers that mean the same class on all images compared.
    boxes : float array of shape (n, 4)
        Centre x, centre y, width and height, as shares of the image.
    """

    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]


def decide_parts(
    agreements: Sequence[Agreement],
    defects: Sequence[Defects],
    folders: NDArray[np.int64],
    read: Callable[[int], NDArray[np.float32]],
    workers: int = 2,
) -> NDArray[np.bool_]:
    """Separate pairs of one part from pairs of one design.

    Parameters
    ----------
    agreements : sequence of Agreement
        Pairs of images that agree.
    defects : sequence of Defects
        What is labelled on each image.
    folders : int64 array of shape (len(defects),)
        A number for each image, equal for images of one folder.
    read : callable
        Gives the grey pixels of an image by its number.
    workers : int
        Threads.

    Returns
    -------
    bool array of shape (len(agreements),)
        Whether each pair shows one part. All pairs of a folder do, unless the labels show more of
        them to differ than to be one: exposures of one part are not always labelled alike. Where
        they do, the folder shows repeated designs, each pair stands for itself, and one that the
        labels say nothing about has to look alike all over, on half of the smaller image at least.
    """
    @lru_cache(maxsize=512)
    def pixels(position: int) -> NDArray[np.float32]:
        grey = read(position)
        while max(grey.shape) > _LONGEST:
            grey = halved(grey)
        return grey

    def both(pair: Agreement) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return pixels(pair.first), turned(pixels(pair.second), pair.placement.turn)

    def evidence(pair: Agreement) -> bool | None:
        first, second = defects[pair.first], defects[pair.second]
        if not len(first.classes) + len(second.classes):
            return None
        return labels_show_one_part(first, second, pair.placement, both(pair))

    def seamless(pair: Agreement) -> bool:
        return pair.share >= _LEAST_SHARE and look_alike(pair.placement, both(pair))

    with ThreadPoolExecutor(workers) as pool:
        shown = list(pool.map(evidence, agreements))
        part = np.ones(len(agreements), np.bool_)
        folder = folders[[one.first for one in agreements]]
        sign = np.array([0 if one is None else 1 if one else -1 for one in shown], dtype=int)
        balance = np.bincount(folder, sign, minlength=len(defects))[folder]
        repeated = np.flatnonzero(balance < 0).tolist()
        alike = pool.map(
            lambda k: seamless(agreements[k]) if shown[k] is None else bool(shown[k]), repeated
        )
        part[repeated] = list(alike)
    return part


def labels_show_one_part(
    first: Defects,
    second: Defects,
    placement: Placement,
    pixels: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> bool | None:
    """Compare two images where either has a labelled defect.

    Parameters
    ----------
    first, second : Defects
    placement : Placement
        Of the second image over the first.
    pixels : two float32 arrays of shape (height, width)
        The first image, and the second mirrored and turned by ``placement.turn``.

    Returns
    -------
    bool or None
        None if no defect is labelled in the overlap, or nothing can be decided there.

    Examples
    --------
    >>> scratch = Defects(np.array([0]), np.array([[0.5, 0.5, 0.2, 0.2]]))
    >>> none = Defects(np.zeros(0, int), np.zeros((0, 4)))
    >>> design = np.add.outer(np.arange(100), np.arange(100)).astype(np.float32)
    >>> marked = design.copy()
    >>> marked[42:58, 48:52] = 255
    >>> labels_show_one_part(scratch, none, Placement(), (marked, design))
    False
    >>> labels_show_one_part(scratch, none, Placement(), (marked, marked))
    True
    """
    ground = placement.ground
    ours, theirs = corners(first.boxes), corners(placement.placed(second.boxes))
    here, there = _inside(ours, ground), _inside(theirs, ground)
    ours, theirs = ours[here], theirs[there]
    laid = _lay(placement, pixels) if len(ours) + len(theirs) else None
    if laid is None:
        return None
    same = (_overlap(ours, theirs) >= _SAME_PLACE) & (
        first.classes[here][:, None] == second.classes[there]
    )
    met = min(same.any(axis=1).sum(), same.any(axis=0).sum())
    coincide = bool(2 * met > max(len(ours), len(theirs)))
    size = np.tile(pixels[0].shape[::-1], 2)
    windows = (np.concatenate([ours, theirs]) * size - np.tile(laid.corner, 2)).round().astype(int)
    values = laid.unlikeness(windows)
    if not len(values):
        return True if coincide else None
    unlikeness = float(np.median(values))
    if unlikeness <= ALIKE or (coincide and unlikeness < UNLIKE):
        return True
    if coincide or unlikeness < UNLIKE:
        return None
    around = laid.unlikeness(laid.windows_beside(windows))
    usual = float(np.median(around)) if len(around) else 0.0
    return False if unlikeness >= _TIMES * (usual + _NOISE) else None


def look_alike(
    placement: Placement, pixels: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> bool:
    """Whether two images look alike in their complete overlap; as ``labels_show_one_part``."""
    laid = _lay(placement, pixels)
    if laid is None:
        return False
    difference = _difference(laid.first, laid.second)
    return difference is not None and float(difference.max()) <= ALIKE


@dataclass(frozen=True, eq=False)
class _Laid:
    """The overlap of two images, without wide structures, and its position in the first."""

    first: NDArray[np.float32]  # (height, width)
    second: NDArray[np.float32]
    corner: tuple[int, int]  # x, y

    def unlikeness(self, windows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of each window (left, top, right, bottom) that is large enough and holds anything."""
        height, width = self.first.shape
        found = []
        for left, top, right, bottom in windows.tolist():
            if min(right - left, bottom - top) < _SMALLEST:
                continue
            x, y = max(left - _CONTEXT, 0), max(top - _CONTEXT, 0)
            there = slice(y, min(bottom + _CONTEXT, height)), slice(x, min(right + _CONTEXT, width))
            difference = _difference(self.first[there], self.second[there])
            if difference is None:
                continue
            inner = difference[max(top - 2 - y, 0) : bottom + 2 - y,
                               max(left - 2 - x, 0) : right + 2 - x]
            if inner.size:
                found.append(float(inner.max()))
        return np.array(found)

    def windows_beside(self, boxes: NDArray[np.int64]) -> NDArray[np.int64]:
        """A grid of windows as large as the boxes usually are, clear of all of them, (n, 4)."""
        height, width = self.first.shape
        size = int(np.clip(np.median(boxes[:, 2:] - boxes[:, :2]), 16, 64))
        lefts, tops = (
            np.arange(0, length - size + 1, max(size, length // _AROUND))
            for length in (width, height)
        )
        corner = np.stack(np.meshgrid(lefts, tops), axis=-1).reshape(-1, 2)
        grid = np.concatenate([corner, corner + size], axis=1)
        meets = (grid[:, None, :2] < boxes[:, 2:]) & (boxes[:, :2] < grid[:, None, 2:])
        return grid[~np.all(meets, axis=2).any(axis=1)]


def _lay(
    placement: Placement, pixels: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> _Laid | None:
    """Align the second image with the first to the pixel; None if they hardly overlap."""
    first, second = pixels
    size = np.array(first.shape[::-1], dtype=float)
    left, top, right, bottom = (placement.ground * np.tile(size, 2)).round().astype(int)
    scale = np.array(placement.scale) * size / second.shape[::-1]
    offset = np.array(placement.shift) * size + (scale - 1) / 2 - (left, top)
    there = cv2.warpAffine(
        second, np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]]),
        (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    here = np.ascontiguousarray(first[top + _REACH : bottom - _REACH,
                                      left + _REACH : right - _REACH])
    if min(here.shape) < 2 * _REACH:
        return None
    scores = cv2.matchTemplate(there, here, cv2.TM_CCOEFF_NORMED)
    down, across = np.unravel_index(int(np.nan_to_num(scores).argmax()), scores.shape)
    there = there[down : down + here.shape[0], across : across + here.shape[1]]
    return _Laid(_level(here), _level(there), (int(left) + _REACH, int(top) + _REACH))


def _level(pixels: NDArray[Any]) -> NDArray[np.float32]:
    smooth = cv2.GaussianBlur(pixels, (0, 0), 0.8)
    return np.asarray(smooth - cv2.blur(smooth, (64, 64), borderType=cv2.BORDER_REFLECT))


def _difference(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """What a shift by one pixel does not explain, in standard deviations; None where all is flat.

    A pixel is explained that lies between the darkest and the brightest of its neighbours in the
    other image.
    """
    spread = first.std(), second.std()
    if max(spread) < _FLAT:
        return None
    one, other = (
        (pixels - pixels.mean()) / max(by, _FLAT / 2)
        for pixels, by in zip((first, second), spread, strict=True)
    )
    kernel = np.ones((3, 3), np.uint8)
    beyond = [
        np.maximum(a - cv2.dilate(b, kernel), cv2.erode(b, kernel) - a)
        for a, b in ((one, other), (other, one))
    ]
    return np.asarray(cv2.blur(np.maximum(np.maximum(*beyond), 0), (3, 3)))


def connected(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Number the connected components of n images by their pairs.

    Examples
    --------
    >>> connected(np.array([[0, 2]]), 3).tolist()
    [0, 1, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _area(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(box[..., 2:] - box[..., :2], 0, None).prod(axis=-1))


def _inside(boxes: NDArray[np.float64], ground: NDArray[np.float64]) -> NDArray[np.bool_]:
    cut = np.concatenate([
        np.maximum(boxes[:, :2], ground[:2]), np.minimum(boxes[:, 2:], ground[2:])
    ], axis=1)
    return np.asarray((_area(boxes) > 0) & (_area(cut) >= _INSIDE * _area(boxes)))


def _overlap(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union, (n, m)."""
    both = _area(np.concatenate([
        np.maximum(ours[:, None, :2], theirs[None, :, :2]),
        np.minimum(ours[:, None, 2:], theirs[None, :, 2:]),
    ], axis=2))
    return np.asarray(both / (_area(ours)[:, None] + _area(theirs)[None] - both))
