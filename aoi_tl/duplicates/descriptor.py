"""Image descriptors: patches around the strongest points, and a thumbnail of the full image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.images import MAX_IMAGE_BYTES
from aoi_tl.duplicates.structure import decode, fine_structure, halved, unit
from aoi_tl.files.untrusted import read_regular_file

#: Longer images are halved until they fit.
LONGEST = 512
#: ... and once more, so that sizes to either side of a limit still meet.
SHORTEST = 128

_MARGIN = 9
_SPACING = 13
_POINTS = 160  # per image
_GRID, _STEP = 8, 2  # a patch is 8 x 8 samples, 2 pixels apart
_THUMB = 64  # pixels: whole images, to be hashed


@dataclass(frozen=True, eq=False)
class Descriptor:
    """The descriptor of an image, with its size and other properties."""

    points: NDArray[np.int16]  # (k, 3): x, y in halved pixels, halvings
    patches: NDArray[np.int8]  # (k, 64), zero mean, equal length
    thumb: NDArray[np.float16]  # (256,), likewise; zeros for an image without structure
    size: tuple[int, int]  # height, width
    blank: bool


def describe(path: Path, depth: int = 16) -> tuple[bytes, Descriptor | None]:
    """Read an image; give the hash of its bytes, and its descriptor if it is readable.

    The depth is as of `decode`.
    """
    try:
        content = read_regular_file(path, MAX_IMAGE_BYTES)
    except OSError:
        return os.fsencode(path), None
    key = hashlib.sha256(content).digest()
    grey = decode(content, depth)
    if grey is None:
        return key, None
    points, patches = [np.zeros((0, 3), np.int16)], [np.zeros((0, _GRID * _GRID), np.int8)]
    for halvings, pixels in octaves(grey) if min(grey.shape) >= 2 * _MARGIN else ():
        where, what = _patches(fine_structure(pixels))
        points.append(np.column_stack([where, np.full(len(where), halvings)]).astype(np.int16))
        patches.append(what)
    thumb = unit(cv2.resize(_thumbnail(grey), (16, 16), interpolation=cv2.INTER_AREA).ravel())
    return key, Descriptor(
        np.concatenate(points), np.concatenate(patches), thumb.astype(np.float16),
        (grey.shape[0], grey.shape[1]), bool(grey.min() == grey.max()),
    )


def octaves(grey: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The one or two scales at which an image is compared, with the number of halvings."""
    halvings = 0
    while max(grey.shape) > LONGEST:
        grey, halvings = halved(grey), halvings + 1
    yield halvings, grey
    if max(grey.shape) >= 2 * SHORTEST:
        yield halvings + 1, halved(grey)


def _patches(structure: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    strength = np.abs(structure)
    kernel = np.ones((_SPACING, _SPACING), np.uint8)
    peak = (strength == cv2.dilate(strength, kernel)) & (strength > 0.05)
    peak[:_MARGIN], peak[-_MARGIN:], peak[:, :_MARGIN], peak[:, -_MARGIN:] = (False,) * 4
    ys, xs = np.nonzero(peak)
    strongest = np.argsort(-strength[ys, xs], kind="stable")[:_POINTS]
    ys, xs = ys[strongest], xs[strongest]
    reach = (np.arange(_GRID) - (_GRID - 1) / 2) * _STEP
    reach = reach.astype(np.int64)
    samples = structure[
        (ys[:, None] + reach)[:, :, None], (xs[:, None] + reach)[:, None, :]
    ].reshape(len(ys), _GRID * _GRID)
    return np.column_stack([xs, ys]), (unit(samples) * 300).clip(-127, 127).astype(np.int8)


def _thumbnail(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    small = cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return fine_structure(small, 21)
