"""Evaluating a detector on a split, as ``yolo val`` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl.checkpoints.ultralytics_setup import preserved_random_state, quiet_ultralytics
from aoi_tl.errors import DataError
from aoi_tl.evaluation.predictions import Predictions
from aoi_tl.transfer.detector import load_checkpoint


@dataclass(frozen=True)
class Curves:
    """What a detector does on one split, for k classes that have instances there.

    Parameters
    ----------
    names : tuple of str
        All class names of the checkpoint.
    class_index : ndarray of int, shape (k,)
        Which of `names` each row below belongs to.
    confidence : ndarray, shape (1000,)
        The grid of confidence thresholds, 0..1.
    precision, recall, f1 : ndarray, shape (k, 1000)
        Per class over `confidence`, at IoU 0.5.
    pr_recall : ndarray, shape (1000,)
        The grid of recalls, 0..1.
    pr_precision : ndarray, shape (k, 1000)
        Per class over `pr_recall`, at IoU 0.5.
    average_precision : ndarray, shape (k, 10)
        Per class at IoU 0.50, 0.55, ..., 0.95.
    instances : ndarray of int, shape (k,)
        Boxes per class.
    images : ndarray of int, shape (k,)
        Images that hold each class.
    n_images : int
        All images of the split.
    predictions : Predictions
        The boxes themselves, image by image.
    """

    names: tuple[str, ...]
    class_index: np.ndarray
    confidence: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    pr_recall: np.ndarray
    pr_precision: np.ndarray
    average_precision: np.ndarray
    instances: np.ndarray
    images: np.ndarray
    n_images: int
    predictions: Predictions


def validate_detector(
    checkpoint: Path,
    data: Path,
    folder: Path,
    split: str = "test",
    arguments: Mapping[str, Any] | None = None,
    verbose: bool = False,
) -> Curves:
    """Run a detector over one split, as ``yolo val`` does, and keep the numbers.

    Parameters
    ----------
    checkpoint : Path
        The detector.
    data : Path
        An Ultralytics ``data.yaml`` with that split.
    folder : Path
        Where Ultralytics may write; nothing else is written.
    split : str
        ``train``, ``val`` or ``test``.
    arguments : mapping, optional
        Validation arguments of Ultralytics, such as ``imgsz``, ``batch``, ``device``. By default
        the image size is that of the checkpoint's training.
    verbose : bool
        Show Ultralytics' own lines and progress bars.

    Returns
    -------
    Curves
        The curves and average precisions, as plain arrays.

    Raises
    ------
    CheckpointError, DataError
        If the checkpoint or the data cannot be used.
    """
    load_checkpoint(checkpoint)  # its errors are one line; Ultralytics then loads it its own way
    from ultralytics import YOLO

    from aoi_tl.transfer.trainer import QuietValidator

    with quiet_ultralytics(verbose), preserved_random_state():
        settings = {"plots": False, "workers": 0, **(arguments or {})}
        try:
            metrics = YOLO(str(checkpoint)).val(
                validator=QuietValidator,
                data=str(data),
                split=split,
                save_dir=str(folder),
                **settings,
            )
        except (FileNotFoundError, SyntaxError) as error:
            raise DataError(
                f"expected a {split} split in {data}, got: {' '.join(str(error).split())}; "
                "check the data's YAML"
            ) from error
    box = metrics.box
    index = np.asarray(box.ap_class_index, dtype=np.int64).reshape(-1)
    k = len(index)
    grid = np.linspace(0, 1, 1000)

    def rows(values: Any) -> np.ndarray:
        return np.asarray(values, dtype=np.float64)[:k].reshape(k, -1) if k else np.zeros((0, 1000))

    return Curves(
        names=tuple(metrics.names[i] for i in sorted(metrics.names)),
        class_index=index,
        confidence=grid,
        precision=rows(box.p_curve),
        recall=rows(box.r_curve),
        f1=rows(box.f1_curve),
        pr_recall=grid.copy(),
        pr_precision=rows(box.prec_values),
        average_precision=rows(box.all_ap) if k else np.zeros((0, 10)),
        instances=np.asarray(metrics.nt_per_class)[index],
        images=np.asarray(metrics.nt_per_image)[index],
        n_images=int(metrics.n_images),
        predictions=_gather(metrics.kept, tuple(metrics.names[i] for i in sorted(metrics.names))),
    )


def _gather(kept: list[dict[str, Any]], names: tuple[str, ...]) -> Predictions:
    """Join what the validator kept of each image, in the order of the images' names."""
    kept = sorted(kept, key=lambda one: str(one["image"]))

    def joined(key: str, *shape: int) -> np.ndarray:
        empty = np.zeros((0, *shape))
        return np.concatenate([empty, *(one[key].reshape(-1, *shape) for one in kept)])

    def place(key: str) -> np.ndarray:
        return np.repeat(np.arange(len(kept)), [len(one[key]) for one in kept]).astype(np.int64)

    return Predictions(
        names=names,
        images=tuple(str(one["image"]) for one in kept),
        truth_image=place("truth_class"),
        truth_class=joined("truth_class").astype(np.int64),
        truth_box=joined("truth_box", 4),
        image=place("class_id"),
        class_id=joined("class_id").astype(np.int64),
        confidence=joined("confidence"),
        box=joined("box", 4),
        correct=joined("correct", 10).astype(bool),
    )
