"""Augmentation: a new sample from an existing one, with its boxes transformed alike."""

from __future__ import annotations

import os
from functools import cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROTATION_DEGREES = 10.0
CONTRAST = (0.8, 1.2)
NOISE = (0.005, 0.02)  # standard deviation as a share of the image's own range and its margins
MIN_VISIBILITY = 0.9

_ROTATION_CHANCE = 0.5
_TRIES = 8
_ROOM = 1.5  # the range with a quarter of it on either side, which a change of contrast may reach
# An upright box around a turned one is larger; beyond this it would no longer mark the defect.
_MAX_GROWTH = 1.35


def augment(
    pixels: NDArray[Any], boxes: NDArray[np.float64], chance: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Flip, turn, rotate a little, change the contrast and add noise.

    One of the eight flips and quarter turns always; half the time a rotation of up to ten degrees
    with the border replicated, unless a box touches the border (its defect would be replicated
    with it). A rotation that hides more than a tenth of a box, or needs a much larger box, is drawn
    again; after some tries only the flips and quarter turns are used. Contrast changes about the
    mean, and noise is the same in all channels, so grey levels and grey colours stay what they are.

    Parameters
    ----------
    pixels : uint8 or uint16 array of shape (height, width[, 3 or 4])
        Grey, or colour in any order with alpha last.
    boxes : float64 array of shape (n, 4)
        x and y of the centre, width, height, as shares of the image.
    chance : Generator
        The random generator.

    Returns
    -------
    pixels : array of the same type and channels
        Height and width are swapped by an odd quarter turn.
    boxes : float64 array of shape (n, 4)
        In the same order.

    References
    ----------
    .. [1] Buslaev et al. "Albumentations: Fast and Flexible Image Augmentations." Information
       11(2), 2020.

    Examples
    --------
    >>> pixels = np.zeros((40, 60), dtype=np.uint16)
    >>> changed, moved = augment(pixels, np.full((1, 4), 0.5), np.random.default_rng(0))
    >>> changed.dtype, sorted(changed.shape), moved.shape
    (dtype('uint16'), [40, 60], (1, 4))
    """
    corners = _to_corners(boxes)
    pixels, corners = _run(_turns(), pixels, corners, chance)
    if chance.random() < _ROTATION_CHANCE and not _touches_border(pixels, corners):
        for _ in range(_TRIES):
            rotated, moved = _run(_rotation(), pixels, corners, chance)
            if len(moved) == len(corners) and (_area(moved) <= _MAX_GROWTH * _area(corners)).all():
                pixels, corners = rotated, moved
                break
    return _change_levels(pixels, chance), _to_centres(corners)


def _change_levels(pixels: NDArray[Any], chance: np.random.Generator) -> NDArray[Any]:
    """Change contrast and add noise in units of the image's own range, at any bit depth."""
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels
    span = _ROOM * max(float(colours.max()) - float(colours.min()), 1.0)
    factor, deviation = chance.uniform(*CONTRAST), span * chance.uniform(*NOISE)
    offset = (1 - factor) * float(colours.mean())
    noise = cv2.LUT(chance.integers(0, 256, colours.shape[:2], dtype=np.uint8), _normal())
    noise = noise if colours.ndim == 2 else cv2.merge([noise] * colours.shape[2])
    depth = cv2.CV_8U if pixels.dtype == np.uint8 else cv2.CV_16U
    # Rounded, and held within what the depth can say.
    levels = cv2.addWeighted(
        np.ascontiguousarray(colours), factor, noise, deviation, offset, dtype=depth
    )
    return levels if colours.shape == pixels.shape else np.dstack([levels, pixels[..., 3]])


@cache
def _normal() -> NDArray[np.float32]:
    """The quantiles of the normal distribution in 256 steps: faster to draw from than itself."""
    quantiles = map(NormalDist().inv_cdf, (np.arange(256) + 0.5) / 256)
    return np.fromiter(quantiles, dtype=np.float32)


def _run(
    transform: Any, pixels: NDArray[Any], corners: NDArray[np.float64], chance: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    transform.set_random_seed(int(chance.integers(2**31)))
    done = transform(image=pixels, bboxes=corners, row=np.arange(len(corners)))
    moved = np.asarray(done["bboxes"], dtype=np.float64).reshape(-1, 4)
    return done["image"], moved.clip(0, 1)


def _touches_border(pixels: NDArray[Any], corners: NDArray[np.float64]) -> bool:
    height, width = pixels.shape[:2]
    margin = np.array([1.5 / width, 1.5 / height])
    near = (corners[:, :2] < margin) | (corners[:, 2:] > 1 - margin)
    return bool(near.any())


def _area(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.prod(corners[:, 2:] - corners[:, :2], axis=1)


def _to_corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    half = boxes[:, 2:] / 2
    return np.hstack([boxes[:, :2] - half, boxes[:, :2] + half]).clip(0, 1)


def _to_centres(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = corners[:, :2], corners[:, 2:]
    return np.hstack([(low + high) / 2, high - low])


def _albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network at import
    import albumentations

    return albumentations


@cache
def _turns() -> Any:
    library = _albumentations()
    return library.Compose([library.D4(p=1)], bbox_params=_box_rules(0.0))


@cache
def _rotation() -> Any:
    library = _albumentations()
    rotate = library.Rotate(
        limit=ROTATION_DEGREES,
        interpolation=cv2.INTER_LINEAR,
        border_mode=cv2.BORDER_REPLICATE,
        p=1,
    )
    return library.Compose([rotate], bbox_params=_box_rules(MIN_VISIBILITY))


def _box_rules(min_visibility: float) -> Any:
    return _albumentations().BboxParams(
        format="albumentations", label_fields=["row"], min_visibility=min_visibility
    )
