"""Aligning two images and measuring how well they agree.

The agreement counts only beyond what any two images of the folder have in common, such as a fixture
or a printed layout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.duplicates.candidates import LIKELY, Candidate
from aoi_tl.duplicates.descriptor import SHORTEST
from aoi_tl.duplicates.placement import Placement
from aoi_tl.duplicates.structure import fine_structure, halved, turned

#: Laid over each other, unrelated images of one process reach 0.3, exposures of one part 0.7 to 1.
SIMILAR = 0.6
#: Less common ground than this share of the smaller image proves nothing.
OVERLAP = 0.15

_WHOLE = 160  # pixels: whole images, to be laid over each other
_REACH = 3  # pixels: how far off a guessed shift may be
_LOCAL = 24  # pixels: the window of a local correlation
_FAINT = 0.02  # below this energy there is nothing to compare
_MANY, _CONTROLS = 20, 7  # images in a folder that make a series, and how many stand for it


@dataclass(frozen=True)
class Agreement:
    """How well two images agree, and their alignment.

    Parameters
    ----------
    first, second : int
        Their numbers, ``first < second``.
    similarity : float
        Correlation of their fine structure where they overlap, beyond what is usual, up to 1.
    share : float
        How much of the smaller image the common ground is, up to 1.
    placement : Placement
        Of the second over the first.
    """

    first: int
    second: int
    similarity: float
    share: float
    placement: Placement


def align(
    candidates: Sequence[Candidate],
    paths: Sequence[Path],
    sizes: Sequence[int],
    read: Callable[[int], NDArray[np.float32]],
    workers: int = 2,
) -> list[Agreement]:
    """Align candidate pairs of images and measure their agreement.

    Parameters
    ----------
    candidates : sequence of Candidate
        Sorted by pairs.
    paths : sequence of Path
        Of all images: those of one folder may have much in common.
    sizes : sequence of int
        The longer side of each image, in pixels.
    read : callable
        Gives the grey pixels of an image by its number.
    workers : int
        Threads.

    Returns
    -------
    list of Agreement
        For each pair that agrees, how it does so best; sorted by pairs.
    """
    @lru_cache(maxsize=2048)
    def structure(position: int, halvings: int) -> NDArray[np.float32]:
        grey = read(position)
        for _ in range(halvings):
            grey = halved(grey)
        return fine_structure(grey)

    @lru_cache(maxsize=2048)
    def whole(position: int) -> NDArray[np.float32]:
        return fine_structure(cv2.resize(read(position), (_WHOLE, _WHOLE),
                                     interpolation=cv2.INTER_AREA))

    def lay(candidate: Candidate) -> _Laid | None:
        if candidate.halvings < 0:
            second = turned(whole(candidate.second), candidate.turn)
            return _lay(whole(candidate.first), second, 0, 0, candidate.turn)
        # The coarser size serves as well and costs a quarter.
        more = int(sizes[candidate.first] >> candidate.halvings >= 2 * SHORTEST)
        return _lay(
            structure(candidate.first, candidate.halvings + more),
            structure(candidate.second, candidate.halvings + more),
            candidate.dx >> more, candidate.dy >> more,
        )

    series = _series(paths)

    @cache
    def usual(position: int, turn: int = 0, others_turn: int = 0) -> NDArray[np.float32] | None:
        """How far any image of the same series agrees with this one, (160, 160)."""
        others = series[position]
        if others is None:
            return None
        pixels = turned(whole(position), turn)
        maps = [_local_map(pixels, turned(whole(other), others_turn)) for other in others]
        return np.median(maps, axis=0).clip(0, 0.99).astype(np.float32)

    def judge(candidate: Candidate) -> Agreement | None:
        laid = lay(candidate)
        if laid is None or laid.share < OVERLAP or np.median(laid.local) < SIMILAR:
            return None
        usual_agreement = np.maximum(
            _looked_up(usual(candidate.first, 0, candidate.turn), laid.in_first),
            _looked_up(usual(candidate.second, candidate.turn, 0), laid.in_second),
        )
        excess = min(float(np.median((laid.local - usual_agreement) / (1 - usual_agreement))), 1.0)
        if excess < SIMILAR:
            return None
        return Agreement(candidate.first, candidate.second, excess, laid.share, laid.placement)

    best: dict[tuple[int, int], Agreement] = {}
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(judge, candidates):
            if found is not None:
                pair = found.first, found.second
                best[pair] = max(found, best.get(pair, found),
                                 key=lambda one: (one.similarity, one.share))
    return [best[pair] for pair in sorted(best)]


@dataclass(frozen=True, eq=False)
class _Laid:
    """Two aligned images: their n local correlations, with positions."""

    local: NDArray[np.float32]  # (n,)
    in_first: NDArray[np.float64]  # (n, 2): row and column as shares of the image
    in_second: NDArray[np.float64]
    share: float
    placement: Placement


def _lay(
    first: NDArray[np.float32], second: NDArray[np.float32], dx: int, dy: int, turn: int = 0
) -> _Laid | None:
    """Align the second image with the first, its corner at about (dx, dy)."""
    left, top = max(dx, 0), max(dy, 0)
    right = min(dx + second.shape[1], first.shape[1])
    bottom = min(dy + second.shape[0], first.shape[0])
    width, height = right - left - 2 * _REACH, bottom - top - 2 * _REACH
    if min(width, height) < 2 * _REACH:
        return None
    ground = first[top:bottom, left:right]
    inner = second[top - dy + _REACH :, left - dx + _REACH :][:height, :width]
    scores = cv2.matchTemplate(ground, np.ascontiguousarray(inner), cv2.TM_CCORR_NORMED)
    down, across = np.unravel_index(int(np.nan_to_num(scores).argmax()), scores.shape)
    if not scores[down, across] >= LIKELY / 2:
        return None
    local, strong = _local_correlation(
        ground[down : down + height, across : across + width], inner
    )
    rows, columns = np.mgrid[_LOCAL // 4 : height : _LOCAL // 2, _LOCAL // 4 : width : _LOCAL // 2]
    rows, columns = rows[strong[rows, columns]], columns[strong[rows, columns]]
    if not len(rows):
        return None
    return _Laid(
        local[rows, columns],
        np.column_stack([rows + top + down, columns + left + across]) / first.shape,
        np.column_stack([rows + top - dy + _REACH, columns + left - dx + _REACH]) / second.shape,
        min((right - left) * (bottom - top) / min(first.size, second.size), 1.0),
        Placement(
            turn, (second.shape[1] / first.shape[1], second.shape[0] / first.shape[0]),
            ((dx + int(across) - _REACH) / first.shape[1],
             (dy + int(down) - _REACH) / first.shape[0]),
        ),
    )


def _local_correlation(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Correlation around each pixel, and a mask of pixels with enough structure."""
    both, one, other = (
        cv2.blur(product, (_LOCAL, _LOCAL))
        for product in (first * second, first * first, second * second)
    )
    strong = (one > _FAINT) & (other > _FAINT)
    return np.where(strong, both / np.sqrt(np.where(strong, one * other, 1)), 0), strong


def _local_map(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Local correlation of two images of one size, maximised over small shifts."""
    inner = np.ascontiguousarray(second[_REACH:-_REACH, _REACH:-_REACH])
    scores = cv2.matchTemplate(first, inner, cv2.TM_CCORR_NORMED)
    down, across = np.unravel_index(int(np.nan_to_num(scores).argmax()), scores.shape)
    height, width = inner.shape
    found = np.zeros_like(first)
    found[down : down + height, across : across + width] = _local_correlation(
        first[down : down + height, across : across + width], inner
    )[0]
    return found


def _looked_up(
    map_: NDArray[np.float32] | None, places: NDArray[np.float64]
) -> NDArray[np.float32]:
    if map_ is None:
        return np.zeros(len(places), np.float32)
    rows, columns = np.minimum((places * map_.shape).astype(int), np.array(map_.shape) - 1).T
    return map_[rows, columns]


def _series(paths: Sequence[Path]) -> list[list[int] | None]:
    """For each image some others of its folder, to learn from what all images of it share.

    A fixture or a printed layout is the same in all; only agreement beyond it shows that two images
    show one part. Small folders give none: there, all may well be copies.
    """
    folders: dict[Path, list[int]] = {}
    for position, path in enumerate(paths):
        folders.setdefault(path.parent, []).append(position)
    chance = np.random.default_rng(11)
    chosen: list[list[int] | None] = [None] * len(paths)
    for members in folders.values():
        if len(members) < _MANY:
            continue
        some = chance.permutation(members)[: 4 * _CONTROLS].tolist()
        for place, position in enumerate(members):
            turn = place % len(some)
            others = [other for other in some[turn:] + some[:turn] if other != position]
            chosen[position] = others[:_CONTROLS]
    return chosen
