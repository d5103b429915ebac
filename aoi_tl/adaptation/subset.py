"""Reducing a source to the classes of its target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from aoi_tl.data.dataset import Dataset, Sample
from aoi_tl.data.images import read_stored, write_image
from aoi_tl.data.synonyms import spelt_apart
from aoi_tl.errors import DataError

Mixed = Literal["keep", "drop", "paint"]

# Navier-Stokes, since Telea's way drifts by up to 16 grey levels over a large box in OpenCV 5.
# Inpainting looks this many pixels around; a frame of the same width is its surroundings.
_INPAINT_RADIUS = 3
_FRAME = 16


def subset_to_label_space(
    dataset: Dataset,
    label_space: Sequence[str],
    mixed: Mixed = "keep",
    folder: Path | None = None,
) -> Dataset:
    """Drop every box whose class is not in the target's label space.

    An image that loses all its boxes is dropped; one without boxes stays as a negative.

    Parameters
    ----------
    dataset : Dataset
        The source; aliases already applied.
    label_space : sequence of str
        The target's class names.
    mixed : {"keep", "drop", "paint"}
        An image with both kinds of boxes keeps only shared ones, is dropped, or has its unshared
        boxes painted over from their surroundings, so that no real defect is taught as background.
    folder : Path, optional
        Where painted images go, as PNG of 16 bits where they use all of them; needed for "paint".

    Returns
    -------
    Dataset
        ``names`` are the shared ones in the order of ``label_space``; every box that stays is
        unchanged.

    Raises
    ------
    DataError
        No class is shared.

    Examples
    --------
    >>> boxes = np.array([[0.2, 0.2, 0.1, 0.1], [0.7, 0.7, 0.2, 0.2]])
    >>> both = Sample(Path("a.png"), "train", np.array([0, 1]), boxes)
    >>> other = Sample(Path("b.png"), "train", np.array([1]), boxes[:1])
    >>> source = Dataset("old", Path("data.yaml"), ("dent", "stain"), (both, other))
    >>> subset_to_label_space(source, ["crack", "dent"]).counts
    {'dent': 1}
    >>> len(subset_to_label_space(source, ["dent"], mixed="drop").samples)
    0
    """
    if mixed not in ("keep", "drop", "paint"):
        raise ValueError(f"expected mixed to be keep, drop or paint, got {mixed!r}")
    if mixed == "paint" and folder is None:
        raise ValueError("expected a folder for the painted images, got none")
    present = set(dataset.label_space)
    names = tuple(name for name in dict.fromkeys(label_space) if name in present)
    if not names:
        cure = spelt_apart(label_space, dataset.label_space) or (
            "map class names with aliases or choose another source"
        )
        raise DataError(
            f"{dataset.name}: expected a class of the target ({', '.join(label_space) or 'none'}), "
            f"got {', '.join(dataset.label_space) or 'no boxes'}; {cure}"
        )
    new_ids = np.array([names.index(n) if n in names else -1 for n in dataset.names])
    samples: list[Sample] = []
    unpaintable = 0
    for number, sample in enumerate(dataset.samples):
        ids = new_ids[sample.classes]
        shared = ids >= 0
        kept = replace(sample, classes=ids[shared], boxes=sample.boxes[shared])
        if shared.all() or (shared.any() and mixed == "keep"):
            samples.append(kept)
        elif shared.any() and mixed == "paint" and folder is not None:
            pixels = paint_over(
                read_stored(sample.image, sample.depth), sample.boxes[~shared],
                sample.boxes[shared],
            )
            if pixels is None:
                unpaintable += 1
                continue
            image = folder / sample.split / f"{number:06d}-{sample.image.stem}.png"
            image.parent.mkdir(parents=True, exist_ok=True)
            write_image(image, pixels)
            samples.append(replace(kept, image=image))
    notes = dataset.notes
    if unpaintable:
        notes += (f"{unpaintable} images left out: unshared boxes leave nothing to paint from",)
    return replace(dataset, names=names, samples=tuple(samples), notes=notes)


def paint_over(
    pixels: NDArray[Any], unshared: NDArray[np.float64], shared: NDArray[np.float64]
) -> NDArray[Any] | None:
    """Fill boxes from their surroundings, leaving other boxes alone.

    Parameters
    ----------
    pixels : uint8 or uint16 array of shape (height, width[, 3 or 4])
        The image; a fourth channel (alpha) stays as it is.
    unshared, shared : float64 arrays of shape (n, 4) and (m, 4)
        Boxes to fill and boxes to leave bit for bit: x and y of the centre, width, height, as
        shares of the image. Where they overlap, the pixel stays.

    Returns
    -------
    array like ``pixels``, or None
        None where no pixel lies outside all boxes, so that there is nothing to fill from.

    References
    ----------
    .. [1] Bertalmio, Bertozzi, Sapiro. "Navier-Stokes, Fluid Dynamics, and Image and Video
       Inpainting." CVPR 2001.

    Examples
    --------
    >>> pixels = np.full((20, 20), 90, dtype=np.uint8)
    >>> pixels[4:8, 4:8] = 250
    >>> int(paint_over(pixels, np.array([[0.3, 0.3, 0.2, 0.2]]), np.zeros((0, 4))).max())
    90
    """
    shape = pixels.shape[:2]
    kept = _covered(shape, shared)
    # No box is a good neighbour to copy from: a defect would smear into the filled area.
    unknown = _covered(shape, unshared) | kept
    if unknown.all():
        return None
    painted = pixels.copy()
    for box in unshared:
        rows, columns = _window(shape, box)
        crop = painted[rows, columns]
        if unknown[rows, columns].all():  # walled in by other boxes: take the whole image
            rows, columns = slice(0, shape[0]), slice(0, shape[1])
            crop = painted[rows, columns]
        mask = unknown[rows, columns].astype(np.uint8)
        fill = _covered(shape, box[None])[rows, columns] & ~kept[rows, columns]
        crop[fill] = _inpaint(crop, mask)[fill]
    return painted


def _inpaint(pixels: NDArray[Any], mask: NDArray[np.uint8]) -> NDArray[Any]:
    if pixels.ndim == 2 or (pixels.dtype == np.uint8 and pixels.shape[2] == 3):
        return np.asarray(cv2.inpaint(pixels, mask, _INPAINT_RADIUS, cv2.INPAINT_NS))
    # OpenCV paints 16 bits one channel at a time, and knows no alpha.
    filled = pixels.copy()
    for channel in range(3):
        plane = np.ascontiguousarray(pixels[..., channel])
        filled[..., channel] = cv2.inpaint(plane, mask, _INPAINT_RADIUS, cv2.INPAINT_NS)
    return filled


def _edges(shape: tuple[int, ...], box: NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of all pixels that a box touches."""
    height, width = shape
    x, y, w, h = box
    # A hair less than the edge, so that rounding does not take in one row more.
    top, left = np.floor((y - h / 2) * height + 1e-6), np.floor((x - w / 2) * width + 1e-6)
    bottom, right = np.ceil((y + h / 2) * height - 1e-6), np.ceil((x + w / 2) * width - 1e-6)
    return max(int(top), 0), min(int(bottom), height), max(int(left), 0), min(int(right), width)


def _covered(shape: tuple[int, ...], boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    for box in boxes:
        top, bottom, left, right = _edges(shape, box)
        mask[top:bottom, left:right] = True
    return mask


def _window(shape: tuple[int, ...], box: NDArray[np.float64]) -> tuple[slice, slice]:
    top, bottom, left, right = _edges(shape, box)
    return (
        slice(max(top - _FRAME, 0), min(bottom + _FRAME, shape[0])),
        slice(max(left - _FRAME, 0), min(right + _FRAME, shape[1])),
    )
