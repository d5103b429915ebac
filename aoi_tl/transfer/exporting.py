"""Exporting a detector with its thresholds inside, and comparing it with the original."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aoi_tl.checkpoints.ultralytics_setup import (
    prepare_ultralytics,
    preserved_random_state,
    quiet_ultralytics,
)
from aoi_tl.data.images import read_image
from aoi_tl.errors import CheckpointError, RunError
from aoi_tl.evaluation.operating import FLOOR
from aoi_tl.evaluation.predictions import box_iou
from aoi_tl.files.run_folder import UNFINISHED
from aoi_tl.transfer.detector import load_checkpoint
from aoi_tl.transfer.inspector import Detections, Inspector
from aoi_tl.transfer.openvino import openvino_without_telemetry
from aoi_tl.transfer.thresholds import KEY, OPENVINO, Thresholds

#: The packages that each format needs, and how a file of it is called.
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "openvino": ("openvino",)}
SUFFIXES = {"onnx": ".onnx", "openvino": OPENVINO}
#: The largest tolerated difference of a confidence. Differences in the order of float32
#: sums are a thousand times smaller; a wrongly exported layer's are larger.
BOUND = 0.001
#: Boxes that overlap more are one box that was found twice.
_SAME = 0.9


@dataclass(frozen=True)
class Parity:
    """How an exported detector differs from its checkpoint.

    Attributes
    ----------
    images : int
        The number of compared images.
    boxes : int
        The boxes that the checkpoint found on them.
    confidence : float
        The largest difference of a confidence; a box that one of them alone finds counts with what
        it has above the lowest confidence that is kept.
    shift : float
        The largest shift of a side of a box, in pixels of the square that images are fitted into.
    """

    images: int
    boxes: int
    confidence: float
    shift: float

    @property
    def is_kept(self) -> bool:
        """Whether the differences are within the bound."""
        return self.confidence <= BOUND


def export_detector(
    checkpoint: Path, thresholds: Thresholds, format_: str, out: Path, images: Sequence[Path]
) -> Parity:
    """Export a detector, and refuse the file if its boxes differ from the checkpoint's.

    Parameters
    ----------
    checkpoint : Path
        The detector.
    thresholds : Thresholds
        Kept in the metadata of the file, with the class names and the image size.
    format_ : {"onnx", "openvino"}
    out : Path
        The new file, or the new folder for OpenVINO; what lies there is replaced.
    images : sequence of Path
        Images to compare on.

    Returns
    -------
    Parity

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be used, or the export differs by more than `BOUND`.
    RunError
        If a package is missing or the export fails.
    """
    _check_packages(format_)
    load_checkpoint(checkpoint)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=UNFINISHED) as folder:
        copy = Path(folder, "detector.pt")  # Ultralytics writes beside the checkpoint
        shutil.copyfile(checkpoint, copy)
        made = _export(copy, format_, thresholds.image_size)
        _write_inside(made, thresholds)
        parity = compare(
            Inspector(checkpoint, thresholds.image_size), Inspector(made, thresholds.image_size),
            images,
        )
        if not parity.is_kept:
            raise CheckpointError(
                f"expected confidences within {BOUND:g} of {checkpoint} on {parity.images} images, "
                f"got a difference of {parity.confidence:.2g} in the {format_} file; use the "
                "checkpoint, or another version of ultralytics, torch or "
                f"{PACKAGES[format_][-1]}"
            )
        _replace(made, out)
    return parity


def compare(one: Inspector, other: Inspector, images: Sequence[Path]) -> Parity:
    """Compare the boxes of two detectors on the same images.

    Parameters
    ----------
    one, other : Inspector
        Of the same classes and image size.
    images : sequence of Path

    Returns
    -------
    Parity
    """
    boxes, confidence, shift = 0, 0.0, 0.0
    for image in images:
        pixels = read_image(image)
        height, width = pixels.shape[:2]
        scale = one.size / max(height, width)
        first, second = one.find_boxes(pixels), other.find_boxes(pixels)
        boxes += len(first.box)
        apart = _differences(first, second, np.array([width, height] * 2) * scale)
        confidence, shift = max(confidence, apart[0]), max(shift, apart[1])
    return Parity(len(images), boxes, confidence, shift)


def _differences(first: Detections, second: Detections, sides: np.ndarray) -> tuple[float, float]:
    """The largest difference of a confidence and of a side; a pair is one box, found twice."""
    if not len(first.box) or not len(second.box):
        alone = np.concatenate([first.confidence, second.confidence])
        return float((alone - FLOOR).max(initial=0.0)), 0.0
    overlap = box_iou(first.box, second.box)
    overlap[first.class_id[:, None] != second.class_id[None]] = 0.0
    apart = np.abs(first.confidence[:, None] - second.confidence[None])
    apart[overlap < _SAME] = np.inf
    # A box may have several partners where boxes lie close together: the nearest confidence counts.
    partners = [(apart.min(axis=1), first), (apart.min(axis=0), second)]
    confidence = max(
        float(np.where(np.isinf(nearest), side.confidence - FLOOR, nearest).max())
        for nearest, side in partners
    )
    paired = np.flatnonzero(np.isfinite(partners[0][0]))
    moved = np.abs(first.box[paired] - second.box[apart.argmin(axis=1)[paired]]) * sides
    return confidence, float(moved.max(initial=0.0))


def _check_packages(format_: str) -> None:
    import importlib.util

    for package in PACKAGES[format_]:
        if importlib.util.find_spec(package) is None:
            raise RunError(
                f"expected the package {package} to export to {format_}, got none; install it: "
                "pip install 'aoi-tl[deploy]'"
            )


def _export(copy: Path, format_: str, size: int) -> Path:
    import warnings

    prepare_ultralytics()
    from ultralytics import YOLO

    # Simplifying would need one more package; the runtime does it when it loads the file.
    options = {"simplify": False} if format_ == "onnx" else {}
    with (
        quiet_ultralytics(), preserved_random_state(), openvino_without_telemetry(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of the tracer, about constants that are meant to be
        try:
            made = YOLO(str(copy), task="detect").export(
                format=format_, imgsz=size, batch=1, device="cpu", verbose=False, **options
            )
        except Exception as error:  # converters raise many kinds
            raise RunError(
                f"expected an export to {format_}, got {type(error).__name__}: "
                f"{' '.join(str(error).split())[:300]}; try the other format, or another version "
                f"of {PACKAGES[format_][-1]}"
            ) from error
    return Path(made)


def _write_inside(made: Path, thresholds: Thresholds) -> None:
    if made.is_dir():
        import yaml

        file = made / "metadata.yaml"
        known: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        known[KEY] = thresholds.to_line()
        file.write_text(yaml.safe_dump(known, sort_keys=False, allow_unicode=True), "utf-8")
    else:
        import onnx

        model = onnx.load(made)
        entry = model.metadata_props.add()
        entry.key, entry.value = KEY, thresholds.to_line()
        onnx.save(model, made)


def _replace(made: Path, out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out)
    made.replace(out)
