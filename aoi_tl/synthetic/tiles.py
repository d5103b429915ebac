"""Drawing one magnetic tile: the style of a production line, and defects with exact boxes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from aoi_tl.errors import DataError
from aoi_tl.synthetic.drawn_defects import DRAWN_DEFECTS, draw_defect

DARKEST, BRIGHTEST = 30.0, 225.0  # room for a mark to be seen at either end


@dataclass(frozen=True)
class Style:
    """The appearance of a production line's images, apart from defects.

    ``mean`` is the grey level, ``exposure`` its half-range from picture to picture and
    ``contrast`` the grey levels per unit of the surface's texture. ``streak`` is the width and
    height of a grain in pixels, ``blotch`` the share of slow stains in it, ``bow`` the falloff
    across the tile's curvature, and ``margin`` the background left on the four sides (x, y).
    """

    mean: float
    exposure: float
    streak: tuple[float, float]
    blotch: float
    bow: float
    margin: tuple[float, float]

    @property
    def contrast(self) -> float:
        """Grey levels per unit of texture: harsher light shows more of it."""
        return 8.0 + 0.17 * self.exposure


#: mean and exposure are fitted to ``seed_emd.csv`` (benchmarks/demo_distances.py --fit).
STYLES = {
    "dc-1": Style(135.5, 4.1, (9.0, 0.7), 0.3, 0.5, (7, 9)),
    "jy-381-2": Style(149.9, 49.8, (0.8, 6.0), 0.2, 1.2, (12, 5)),
    "jy-381-4": Style(135.1, 55.3, (0.8, 12.0), 0.4, 1.0, (14, 6)),
    "lc-101": Style(122.5, 3.8, (7.0, 0.7), 0.5, 0.7, (6, 10)),
    "lc-201": Style(143.8, 49.9, (5.0, 0.8), 0.2, 1.1, (8, 12)),
    "nj-101": Style(126.8, 10.8, (12.0, 0.8), 0.4, 0.6, (6, 8)),
    "nj-201": Style(107.2, 37.0, (1.6, 1.6), 0.5, 0.8, (9, 9)),
    "xh-1": Style(114.4, 25.4, (3.0, 0.8), 0.6, 0.9, (10, 6)),
    "xh-2": Style(107.0, 52.6, (1.0, 1.0), 0.7, 0.8, (7, 7)),
    "xh-3": Style(107.2, 26.0, (2.4, 0.9), 0.8, 0.9, (11, 7)),
    "xh-4": Style(101.6, 49.7, (0.9, 3.0), 0.6, 1.0, (8, 11)),
}


class Drawing(NamedTuple):
    """One drawn picture: ``image`` (size, size) uint8, class names and the boxes around them.

    ``boxes`` is (n, 4) int64: the first and one past the last changed column and row, as
    x0, y0, x1, y1. ``bare`` is the same surface without its defects.
    """

    image: np.ndarray
    classes: tuple[str, ...]
    boxes: np.ndarray
    bare: np.ndarray


def draw_tile(
    name: str, classes: Sequence[str], chance: np.random.Generator, exposure: float, size: int
) -> Drawing:
    """Draw one tile of a dataset's style with the given defects.

    Parameters
    ----------
    name : str
        A key of :data:`STYLES`.
    classes : sequence of str
        The defects, keys of ``DRAWN_DEFECTS``; a class may come more than once.
    chance : numpy.random.Generator
        Everything random in the picture.
    exposure : float
        -1 (the darkest picture of the set) to 1 (the brightest).
    size : int
        Width and height in pixels.

    Returns
    -------
    Drawing
        The picture, its classes in the order given, their boxes, and the surface underneath.

    Examples
    --------
    >>> drawn = draw_tile("dc-1", ["gas hole"], np.random.default_rng(0), 0.0, 160)
    >>> drawn.image.shape, drawn.boxes.shape
    ((160, 160), (1, 4))
    """
    style, unit = STYLES[name], size / 160
    surface, tile = draw_surface(style, chance, exposure, size, zlib.crc32(name.encode()))
    bare = np.round(surface).astype(np.uint8)
    taken = np.zeros((size, size), bool)
    boxes = np.empty((len(classes), 4), np.int64)
    # The large ones first, while there is room; boxes come out in the order asked for.
    on_plane = [DRAWN_DEFECTS[name].place == "plane" for name in classes]
    for index in sorted(range(len(classes)), key=on_plane.__getitem__):
        patch, left, top = _place(classes[index], chance, unit, tile, taken)
        height, width = patch.shape
        surface[top : top + height, left : left + width] += patch
        taken[max(0, top - 2) : top + height + 2, max(0, left - 2) : left + width + 2] = True
        boxes[index] = left, top, left + width, top + height
    image = np.round(np.clip(surface, 0, 255)).astype(np.uint8)
    return Drawing(image, tuple(classes), boxes, bare)


@cache
def _grain(streak: tuple[float, float], blotch: float, seed: int) -> np.ndarray:
    """A large sheet of ground metal, (512, 512) float32 of mean 0 and deviation 1."""
    chance = np.random.default_rng([seed, 7])
    fine = cv2.GaussianBlur(
        chance.standard_normal((512, 512), np.float32), (0, 0), streak[0], sigmaY=streak[1]
    )
    slow = cv2.GaussianBlur(chance.standard_normal((512, 512), np.float32), (0, 0), 9.0)
    sheet = fine / fine.std() + blotch * slow / slow.std()
    return (sheet / sheet.std()).astype(np.float32)


def draw_surface(
    style: Style, chance: np.random.Generator, exposure: float, size: int, seed: int
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Draw a tile without defects.

    Parameters
    ----------
    style : Style
        The production line.
    chance : numpy.random.Generator
        Where the tile lies, the slope of the light, the cut of the grain and the noise.
    exposure : float
        -1 (the darkest picture of the set) to 1 (the brightest).
    size : int
        Width and height in pixels.
    seed : int
        Of the sheet of metal that the grain is cut from.

    Returns
    -------
    surface : numpy.ndarray
        (size, size) float32 grey levels, within ``DARKEST`` and ``BRIGHTEST``.
    tile : tuple of int
        The tile's left, top, right and bottom; right and bottom are one past its last pixel.

    Examples
    --------
    >>> surface, tile = draw_surface(STYLES["xh-1"], np.random.default_rng(0), 0.0, 160, 0)
    >>> surface.shape, 0 < tile[0] < 20
    ((160, 160), True)
    """
    unit = size / 160
    left, right = np.round(style.margin[0] * unit + chance.uniform(-2, 3, 2) * unit).astype(int)
    top, bottom = np.round(style.margin[1] * unit + chance.uniform(-2, 3, 2) * unit).astype(int)
    tile = (int(left), int(top), int(size - right), int(size - bottom))
    x = np.arange(size, dtype=np.float32)
    across, down = (x - size / 2) / (size / 2), ((x - size / 2) / (size / 2))[:, None]

    # How deep inside the rounded outline each pixel lies; negative on the background.
    radius = 9 * unit
    dx = np.abs(x + 0.5 - (tile[0] + tile[2]) / 2) - ((tile[2] - tile[0]) / 2 - radius)
    dy = np.abs(x + 0.5 - (tile[1] + tile[3]) / 2) - ((tile[3] - tile[1]) / 2 - radius)
    dx, dy = dx.astype(np.float32), dy.astype(np.float32)[:, None]
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2)
    depth = radius - outside - np.minimum(np.maximum(dx, dy), 0)

    offset = chance.integers(0, 512 - size, 2) if size < 512 else (0, 0)
    sheet = _grain(style.streak, style.blotch, seed)
    if size > 512:
        sheet = np.tile(sheet, (size // 512 + 1,) * 2)
    grain = sheet[offset[0] : offset[0] + size, offset[1] : offset[1] + size]
    slope, tilt = chance.uniform(-0.7, 0.7, 2)
    light = style.bow * (0.55 - 1.5 * (across - 0.3 * slope) ** 2) + slope * across + tilt * down
    field = light.astype(np.float32) + 0.62 * grain
    # The rounded edge: a lit line on the upper left, shade on the lower right, then the drop.
    rim = np.exp(-np.square((depth - 3.2 * unit) / (1.6 * unit)))
    field += rim * np.where(across + down < 0, 1.5, -1.1).astype(np.float32)
    within = np.clip(depth / unit + 0.5, 0, 1)
    field = within * field + (1 - within) * np.float32(-2.3)
    field += 0.28 * chance.standard_normal((size, size), np.float32)  # the sensor's noise
    grey = style.mean + style.exposure * exposure + style.contrast * field
    return np.clip(grey, DARKEST, BRIGHTEST).astype(np.float32), tile


def _place(
    name: str,
    chance: np.random.Generator,
    unit: float,
    tile: tuple[int, int, int, int],
    taken: np.ndarray,
) -> tuple[np.ndarray, int, int]:
    """A defect and a free place for it: the patch, its left column and its top row."""
    left, top, right, bottom = tile
    place = DRAWN_DEFECTS[name].place
    scale = 1.0
    for attempt in range(400):
        if attempt % 12 == 11:  # crowded: draw it smaller
            scale = max(0.4, scale * 0.9)
        patch = draw_defect(name, chance, unit * scale)
        if place == "plane":
            patch = np.flip(patch, axis=int(chance.integers(2)))
            inset = round(6 * unit)
            low, high = (left + inset, top + inset), (right - inset, bottom - inset)
        elif place == "edge":
            side = int(chance.integers(4))
            patch = np.rot90(patch, -side)
            low, high = _edge(side, tile, patch.shape, round(14 * unit))
        else:
            flip = int(chance.integers(4))
            patch = patch[:: -1 if flip & 1 else 1, :: -1 if flip & 2 else 1]
            low, high = _corner(flip, tile, patch.shape)
        room = (high[0] - low[0] - patch.shape[1], high[1] - low[1] - patch.shape[0])
        if min(room) < 0:
            continue
        x = low[0] + int(chance.integers(room[0] + 1))
        y = low[1] + int(chance.integers(room[1] + 1))
        if not taken[y : y + patch.shape[0], x : x + patch.shape[1]].any():
            return patch, x, y
    raise DataError(
        f"expected room for a '{name}' on a drawn tile, found none; use a larger size or fewer "
        "defects to an image"
    )


def _edge(
    side: int, tile: tuple[int, int, int, int], shape: tuple[int, ...], inset: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The place of a defect at an edge: side 0 top, 1 right, 2 bottom, 3 left."""
    left, top, right, bottom = tile
    height, width = shape
    if side == 0:
        return (left + inset, top), (right - inset, top + height)
    if side == 1:
        return (right - width, top + inset), (right, bottom - inset)
    if side == 2:
        return (left + inset, bottom - height), (right - inset, bottom)
    return (left, top + inset), (left + width, bottom - inset)


def _corner(
    flip: int, tile: tuple[int, int, int, int], shape: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The place of a defect in a corner: flip 1 is down, 2 is right."""
    left, top, right, bottom = tile
    x = right - shape[1] if flip & 2 else left
    y = bottom - shape[0] if flip & 1 else top
    return (x, y), (x + shape[1], y + shape[0])
