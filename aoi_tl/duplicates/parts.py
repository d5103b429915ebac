"""Whether images that agree show one part, or several parts of one design.

Inspection images show one design on thousands of parts: what agrees all over is the design, and
what makes a part is its own. Where defects are labelled, they decide: on one part the pixels of
each labelled box agree as its surroundings do, on another part the defect is missing. Where no
defect is labelled on the common ground, the other pairs of the design decide: if its labelled
parts mostly differ, a pair shows one part only if it agrees far beyond them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

#: Mean correlation of the labelled boxes from which on they show one part, whatever their labels.
#: DeepPCB's different copies reach 0.88, its re-encoded, relit, cropped or resized ones 0.95.
AGREE = 0.9
#: The same where the labels coincide; different copies whose labels do by chance reach 0.62.
AGREE_WHERE_LABELLED = 0.7
#: Of a pair without labels: how far beyond the different parts of its design it has to agree.
BEYOND = 0.5

_INSIDE = 0.9  # a box counts that lies on the common ground with this share of its area
_SAME_PLACE = 0.4  # intersection over union
_FEWEST, _REACH = 12, 4  # pixels: the least box, and how far off its place may be
_FLAT = 2.0  # grey levels: a box that varies less holds nothing


@dataclass(frozen=True, eq=False)
class Defects:
    """What is labelled on one image.

    Parameters
    ----------
    classes : int array of shape (n,)
        Numbers that mean the same class on all images compared.
    boxes : float array of shape (n, 4)
        Centre x, centre y, width and height, as shares of the image.
    """

    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]


@dataclass(frozen=True)
class Placement:
    """How a second image lies over a first.

    Parameters
    ----------
    turn : int
        How it is mirrored and turned before: 4 swaps its axes, then 2 mirrors it upside down, then
        1 mirrors it left to right.
    scale, shift : pair of float
        A point of the turned image lies at ``scale * (x, y) + shift`` of the first, all as shares
        of width and height.
    """

    turn: int = 0
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)

    def placed(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring boxes of the second image, (n, 4), to where they lie in the first."""
        x, y, width, height = np.asarray(boxes, dtype=float).reshape(-1, 4).T
        if self.turn & 4:
            x, y, width, height = y, x, height, width
        y = 1 - y if self.turn & 2 else y
        x = 1 - x if self.turn & 1 else x
        (across, down), (right, below) = self.scale, self.shift
        return np.column_stack([
            x * across + right, y * down + below, width * across, height * down
        ])

    @property
    def ground(self) -> NDArray[np.float64]:
        """Left, top, right and bottom of the common ground, as shares of the first image."""
        whole = _corners(self.placed(np.array([[0.5, 0.5, 1.0, 1.0]])))[0]
        return np.concatenate([np.maximum(whole[:2], 0), np.minimum(whole[2:], 1)])


@dataclass(frozen=True)
class Evidence:
    """What the labelled boxes on the common ground of two images say.

    Parameters
    ----------
    boxes : int
        How many lie there, of either image.
    coincide : bool
        Whether most of them are labelled on both, in one class and place.
    agreement : float
        Mean correlation of their pixels, up to 1; NaN where none holds anything to correlate.
    """

    boxes: int
    coincide: bool
    agreement: float

    @property
    def one_part(self) -> bool | None:
        """Whether they show one part; None where they do not say."""
        if not self.boxes or np.isnan(self.agreement):
            return True if self.coincide else None
        return self.agreement >= (AGREE_WHERE_LABELLED if self.coincide else AGREE)


def labelled_evidence(
    first: Defects,
    second: Defects,
    placement: Placement,
    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> Evidence:
    """Compare two images where either has a labelled defect.

    Parameters
    ----------
    first, second : Defects
    placement : Placement
        Of the second image over the first.
    pixels : two uint8 arrays of shape (height, width)
        The first image, and the second mirrored and turned by ``placement.turn``.

    Returns
    -------
    Evidence

    Examples
    --------
    >>> scratch = Defects(np.array([0]), np.array([[0.5, 0.5, 0.2, 0.2]]))
    >>> none = Defects(np.zeros(0, int), np.zeros((0, 4)))
    >>> design = np.add.outer(np.arange(100), np.arange(100)).astype(np.uint8)
    >>> marked = design.copy()
    >>> marked[42:58, 48:52] = 255
    >>> labelled_evidence(scratch, none, Placement(), (marked, design)).one_part
    False
    >>> labelled_evidence(scratch, none, Placement(), (marked, marked)).one_part
    True
    """
    ground = placement.ground
    ours, theirs = _corners(first.boxes), _corners(placement.placed(second.boxes))
    here, there = _inside(ours, ground), _inside(theirs, ground)
    ours, theirs = ours[here], theirs[there]
    if not len(ours) + len(theirs):
        return Evidence(0, False, float("nan"))
    same = (_overlap(ours, theirs) >= _SAME_PLACE) & (
        first.classes[here][:, None] == second.classes[there]
    )
    met = min(int(same.any(axis=1).sum()), int(same.any(axis=0).sum())) if same.size else 0
    coincide = 2 * met > max(len(ours), len(theirs))
    found = [
        value for box in np.concatenate([ours, theirs])
        if (value := _correlation(box, ground, placement, *pixels)) is not None
    ]
    return Evidence(len(ours) + len(theirs), coincide,
                    float(np.mean(found)) if found else float("nan"))


def decide_parts(
    pairs: NDArray[np.int64],
    similarity: NDArray[np.float64],
    shown: Sequence[bool | None],
    n: int,
) -> NDArray[np.bool_]:
    """Tell pairs of one part from pairs of one design.

    Parameters
    ----------
    pairs : int64 array of shape (p, 2)
        Images that agree, by number.
    similarity : float array of shape (p,)
        How well each pair agrees, up to 1.
    shown : sequence of bool or None
        What the labelled defects of each pair say: one part, several, or nothing.
    n : int
        How many images there are.

    Returns
    -------
    bool array of shape (p,)
        Whether each pair shows one part. A pair without evidence does, unless most pairs with
        evidence that hang together with it do not; then it has to agree ``BEYOND`` those, counted
        from their upper decile to 1.

    Examples
    --------
    >>> pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    >>> decide_parts(pairs, np.array([0.9, 0.9, 0.9, 0.99]), [False, False, None, None], 5).tolist()
    [False, False, False, True]
    >>> decide_parts(pairs, np.array([0.9, 0.9, 0.9, 0.99]), [True, None, None, None], 5).tolist()
    [True, True, True, True]
    """
    known = np.array([value is not None for value in shown], dtype=bool)
    part = np.array([value is not False for value in shown], dtype=bool)
    design = connected(pairs, n)[pairs[:, 0]] if len(pairs) else np.zeros(0, np.int64)
    for number in np.unique(design[known & ~part]):
        own = design == number
        differ = own & known & ~part
        if differ.sum() <= (own & known & part).sum():
            continue
        usual = float(np.quantile(similarity[differ], 0.9))
        part[own & ~known] = similarity[own & ~known] >= usual + BEYOND * (1 - usual)
    return part


def connected(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Give each of n images a number, equal for whatever hangs together by pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _area(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(corners[..., 2:] - corners[..., :2], 0, None).prod(axis=-1))


def _inside(corners: NDArray[np.float64], ground: NDArray[np.float64]) -> NDArray[np.bool_]:
    cut = np.concatenate([
        np.maximum(corners[:, :2], ground[:2]), np.minimum(corners[:, 2:], ground[2:])
    ], axis=1)
    return np.asarray((_area(corners) > 0) & (_area(cut) >= _INSIDE * _area(corners)))


def _overlap(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union, (n, m)."""
    both = _area(np.concatenate([
        np.maximum(ours[:, None, :2], theirs[None, :, :2]),
        np.minimum(ours[:, None, 2:], theirs[None, :, 2:]),
    ], axis=2))
    return np.asarray(both / (_area(ours)[:, None] + _area(theirs)[None] - both))


def _correlation(
    box: NDArray[np.float64],
    ground: NDArray[np.float64],
    placement: Placement,
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
) -> float | None:
    """Correlate the pixels of a box at the best small shift; None where there is nothing in it."""
    size = np.array(first.shape[::-1], dtype=float)
    low, high = np.split(box * np.tile(size, 2), 2)
    centre, half = (low + high) / 2, np.maximum(high - low, _FEWEST) / 2
    left_top, right_bottom = np.split(ground * np.tile(size, 2), 2)
    low = np.maximum(centre - half, left_top + _REACH).round().astype(int)
    high = np.minimum(centre + half, right_bottom - _REACH).round().astype(int)
    if (high - low < _FEWEST // 2).any():
        return None
    # The second image's pixels there, with a margin to move in.
    scale = np.array(placement.scale) * size / second.shape[::-1]
    offset = np.array(placement.shift) * size - (low - _REACH) + (scale - 1) / 2
    width, height = high - low + 2 * _REACH
    around = cv2.warpAffine(
        second, np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]]]),
        (int(width), int(height)), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.float32)
    inner = first[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    ours, theirs = float(inner.std()), float(around[_REACH:-_REACH, _REACH:-_REACH].std())
    if max(ours, theirs) < _FLAT:
        return None
    if min(ours, theirs) < _FLAT / 2:
        return 0.0
    return float(np.nan_to_num(cv2.matchTemplate(around, inner, cv2.TM_CCOEFF_NORMED)).max())
