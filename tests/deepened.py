"""Copies of datasets as cameras of more than 8 bits would have written them."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

#: How 8 bits become more: shifted up, repeated below, multiplied, or with what a sensor adds.
WAYS = ("shifted", "repeated", "multiplied", "measured")


def deepened(pixels: NDArray[np.uint8], depth: int, way: str = "shifted") -> NDArray[np.uint16]:
    """Give 8-bit pixels as they would be at a depth, in the lowest bits of 16."""
    high = pixels.astype(np.uint16) << (depth - 8)
    if way == "repeated":
        return high | (pixels >> (16 - depth))
    if way == "multiplied":
        return np.round(pixels * ((2**depth - 1) / 255)).astype(np.uint16)
    if way == "measured":
        chance = np.random.default_rng(0)
        return high | chance.integers(0, 1 << (depth - 8), pixels.shape, dtype=np.uint16)
    return high


def deepen(folder: Path, to: Path, depth: int, way: str = "shifted", suffix: str = "") -> Path:
    """Copy a dataset's folder, its images at another depth; give the folder."""
    shutil.copytree(folder, to)
    for image in sorted(to.rglob("*.png")):
        pixels = cv2.imread(str(image), cv2.IMREAD_UNCHANGED)
        image.unlink()
        place = image.with_suffix(suffix or image.suffix)
        assert cv2.imwrite(str(place), deepened(pixels, depth, way))
    return to
