"""Boxes and region features of a detector on labelled images, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aoi_tl.checkpoints.ultralytics_setup import quiet_ultralytics
from aoi_tl.data.dataset import Sample
from aoi_tl.data.images import read_image, to_8_bits
from aoi_tl.evaluation.predictions import box_iou
from aoi_tl.transfer.detector import load_checkpoint

#: Predictions below this confidence are not looked at, as in Ultralytics' validation.
CONFIDENCE = 0.001
_IOU = 0.7  # of two predicted boxes of one class, above which one of them goes
_FUSED_FROM = 0.01  # the confidence from which a box is fused with those of other detectors
_FUSED_IOU = 0.5  # with the most confident box of a class, from which a box is taken for the same
_PADDING = 114  # the grey around an image that is not square, as Ultralytics has it
_BACKGROUND = 4  # regions without a label that are looked at in each image


@dataclass(frozen=True, eq=False)
class View:
    """What a detector sees in some images, with n predicted and m labelled boxes.

    Attributes
    ----------
    names : tuple of str
        The detector's class names.
    image, class_id : int64 array of shape (n,)
        The image (a position) and the class (a position in `names`) of each predicted box.
    confidence : float64 array of shape (n,)
        0..1.
    box : float64 array of shape (n, 4)
        Left, top, right and bottom, each as a share of the image.
    regions : float64 array of shape (m, c)
        Features of the labelled boxes, in the order of the images and their labels.
    background : float64 array of shape (b, c)
        Features of regions of the same sizes that touch no labelled box.
    whole : float64 array of shape (p, c)
        Features of each whole image.
    background_image : int64 array of shape (b,), or None
        The image of each background region; None where there are none.
    """

    names: tuple[str, ...]
    image: NDArray[np.int64]
    class_id: NDArray[np.int64]
    confidence: NDArray[np.float64]
    box: NDArray[np.float64]
    regions: NDArray[np.float64]
    background: NDArray[np.float64]
    whole: NDArray[np.float64]
    background_image: NDArray[np.int64] | None = None


def view_images(checkpoint: Path, samples: Sequence[Sample], size: int | None = None) -> View:
    """Run a detector over labelled images, without training.

    Parameters
    ----------
    checkpoint : Path
        An Ultralytics detector.
    samples : sequence of Sample
        At least one.
    size : int, optional
        Pixels of the longer side, a multiple of 32; that of the checkpoint's training unless given.

    Returns
    -------
    View
        Features are means over each region of the maps that the head looks at, one map after the
        other.

    Raises
    ------
    CheckpointError, DataError
        If the checkpoint cannot be used or an image cannot be read.
    """
    import torch

    model = load_checkpoint(checkpoint)
    size = size or int((getattr(model, "args", None) or {}).get("imgsz", 640))
    maps: list[Any] = []
    hook = model.model[-1].register_forward_pre_hook(lambda _, given: maps.append(given[0]))
    generator = np.random.default_rng(0)
    found: list[NDArray[np.float64]] = []
    regions, background, whole = [], [], []
    try:
        with torch.inference_mode(), quiet_ultralytics():
            for number, sample in enumerate(samples):
                pixels, shape = _fit(sample, size)
                maps.clear()
                found.append(_predicted(model(pixels), model, number, shape))
                corners = _corners(sample.boxes) * np.tile(shape, 2)
                regions.append(_features(maps[0], corners, size))
                elsewhere = _elsewhere(corners, shape, generator)
                background.append(_features(maps[0], elsewhere, size))
                image = np.array([[0.0, 0.0, *shape]])
                whole.append(_features(maps[0], image, size, pieces=8))
    finally:
        hook.remove()
    table = np.concatenate(found)
    return View(
        tuple(str(model.names[i]) for i in sorted(model.names)),
        table[:, 0].astype(np.int64), table[:, 6].astype(np.int64), table[:, 5], table[:, 1:5],
        np.concatenate(regions), np.concatenate(background), np.concatenate(whole),
        np.repeat(np.arange(len(background)), [len(rows) for rows in background]),
    )


def fuse_views(views: Sequence[View]) -> View:
    """Lay what several detectors see in the same images together: weighted boxes fusion.

    Boxes of one class that overlap the most confident of them become one, their mean weighted by
    confidence. Its confidence is the mean over the detectors, 0 for those that do not see it: what
    one detector alone believes counts little.

    Parameters
    ----------
    views : sequence of View
        At least one, of the same images.

    Returns
    -------
    View
        Without features: those of different detectors have nothing in common.

    References
    ----------
    .. [1] Solovyev, Wang, Gabruseva. "Weighted boxes fusion: Ensembling boxes from different object
       detection models." Image and Vision Computing 107, 2021.
    """
    names = tuple(dict.fromkeys(name for view in views for name in view.names))
    table = np.concatenate([
        np.column_stack([
            view.image, np.array([names.index(name) for name in view.names])[view.class_id],
            np.full(len(view.image), number), view.confidence, view.box,
        ]) for number, view in enumerate(views)
    ])
    table = table[table[:, 3] >= _FUSED_FROM]
    table = table[np.lexsort((-table[:, 3], table[:, 1], table[:, 0]))]
    fused: list[NDArray[np.float64]] = []
    for _, start, number in zip(
        *np.unique(table[:, :2], axis=0, return_index=True, return_counts=True), strict=True
    ):
        left = table[start : start + number]
        while len(left):
            same = box_iou(left[:1, 4:], left[:, 4:])[0] > _FUSED_IOU
            group, left = left[same], left[~same]
            first_of_each = np.unique(group[:, 2], return_index=True)[1]  # its most confident
            confidence = group[first_of_each, 3].sum() / len(views)
            box = np.average(group[:, 4:], axis=0, weights=group[:, 3])
            fused.append(np.array([*group[0, :2], confidence, *box]))
    rows = np.array(fused).reshape(-1, 7)
    nothing = np.empty((0, 0))
    return View(names, rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), rows[:, 2],
                rows[:, 3:], nothing, nothing, nothing)


def join_views(views: Sequence[View], places: Sequence[Sequence[int]]) -> View:
    """Lay what detectors of one label space see in different images side by side.

    Parameters
    ----------
    views : sequence of View
        At least one.
    places : sequence of sequence of int
        For each view the positions that its images have among all.

    Returns
    -------
    View
        Without features: those of different detectors have nothing in common.
    """
    nothing = np.empty((0, 0))
    return View(
        views[0].names,
        np.concatenate([np.asarray(place, dtype=np.int64)[view.image]
                        for view, place in zip(views, places, strict=True)]),
        np.concatenate([view.class_id for view in views]),
        np.concatenate([view.confidence for view in views]),
        np.concatenate([view.box for view in views]),
        nothing, nothing, nothing,
    )


def _fit(sample: Sample, size: int) -> tuple[Any, NDArray[np.float64]]:
    """An image as a padded square tensor; its width and height in that square."""
    import cv2
    import torch

    pixels = to_8_bits(read_image(sample.image, sample.depth))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    to = max(1, round(width * scale)), max(1, round(height * scale))
    square = np.full((size, size, 3), _PADDING, np.uint8)
    square[:to[1], :to[0]] = cv2.resize(pixels[..., :3], to, interpolation=cv2.INTER_LINEAR)
    tensor = torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1)))[None] / 255
    return tensor, np.array(to, dtype=np.float64)


def _predicted(
    output: Any, model: Any, number: int, shape: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows of image, left, top, right, bottom (shares), confidence, class."""
    from ultralytics.utils.nms import non_max_suppression

    [kept] = non_max_suppression(
        output, CONFIDENCE, _IOU, multi_label=True, max_det=300, nc=len(model.names),
        end2end=bool(getattr(model.model[-1], "end2end", False)), max_time_img=10.0,
    )
    rows = kept.double().numpy()
    boxes = np.clip(rows[:, :4] / np.tile(shape, 2), 0, 1)
    return np.column_stack([np.full(len(rows), float(number)), boxes, rows[:, 4:6]])


def _corners(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2])


def _elsewhere(
    corners: NDArray[np.float64], shape: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """A few boxes of the labelled sizes at places that touch no labelled box."""
    sides = corners[:, 2:] - corners[:, :2] if len(corners) else np.array([shape / 8])
    found: list[NDArray[np.float64]] = []
    for _ in range(10 * _BACKGROUND):
        side = np.minimum(sides[generator.integers(len(sides))], shape)
        start = generator.random(2) * (shape - side)
        box = np.concatenate([start, start + side])
        apart = (box[2:] <= corners[:, :2]).any(axis=1) | (box[:2] >= corners[:, 2:]).any(axis=1)
        if apart.all():
            found.append(box)
        if len(found) == _BACKGROUND:
            break
    return np.array(found).reshape(-1, 4)


def _features(
    maps: Sequence[Any], corners: NDArray[np.float64], size: int, pieces: int = 2
) -> NDArray[np.float64]:
    """Means of each map over each box, side by side."""
    import torch
    from torchvision.ops import roi_align

    boxes = [torch.from_numpy(corners).float()]
    parts = [
        roi_align(level.float(), boxes, output_size=pieces, spatial_scale=level.shape[-1] / size,
                  aligned=True).mean(dim=(2, 3))
        for level in maps
    ]
    return torch.cat(parts, dim=1).double().numpy()
