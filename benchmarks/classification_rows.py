"""Lines of benchmarks/results/classification_lithium.csv: their images, scores and encoders."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from aoi_tl.classification.encoders import Encoder, build_encoder
from aoi_tl.classification.folders import read_image_csv
from aoi_tl.classification.image_set import (
    ImageSet,
    check_source,
    check_target,
    draw_shots,
    keep_classes,
)
from aoi_tl.evaluation.calibration import measure_reliability
from aoi_tl.evaluation.classification import score_predictions

RESULTS = Path(__file__).parent / "results"
CLASSES = ("free", "blowhole", "break", "crack", "uneven")
SHOTS = {20: (14, 2, 2, 1, 1), 50: (35, 5, 5, 2, 3), 100: (70, 10, 9, 5, 6)}
LITE = "tf_efficientnet_lite0"
BATCH, TESTED, SOURCE = 16, 272, 1080


def read_tiles(shared: Path) -> ImageSet:
    """The tiles of the five classes."""
    return check_target(keep_classes(read_image_csv(
        shared / "data/magnetic-tile/index.csv", group="tile", pattern="images/{}"
    ), list(CLASSES)))


def draw_tiles(tiles: ImageSet, images: int, draw: int) -> ImageSet:
    """The training images of one draw, with all other splits."""
    shots = dict(zip(CLASSES, SHOTS[images], strict=True))
    return draw_shots(tiles, shots, np.random.default_rng((draw, 7)))


def read_steel(shared: Path) -> ImageSet:
    """The source: NEU-CLS by groups."""
    return check_source(read_image_csv(
        shared / "data/neu-det/index.csv", group="group", pattern="images/{}.jpg"
    ))


def read_done(file: Path) -> set[tuple[str, str, str, int]]:
    """Setting, encoder, arm and draw of every line that is there."""
    if not file.is_file():
        return set()
    rows = pd.read_csv(file)
    return set(zip(rows["setting"], rows["encoder"], rows["arm"], rows["draw"], strict=True))


def open_encoder(weights: Path, name: str) -> Encoder:
    """An Ultralytics checkpoint, or a network of timm's with its file of tensors."""
    if name.endswith(".pt"):
        return build_encoder(str(weights / name))
    return build_encoder(name, str(weights / f"{name}.safetensors"))


def scored(
    chances: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, object]:
    """Scores, and what was said of every test image: a digit for its class, two for how sure."""
    scores = score_predictions(labels, chances.argmax(axis=1), classes)
    sure = np.minimum((100 * chances.max(axis=1)).astype(int), 99)
    return {
        "accuracy": round(scores.accuracy, 4),
        "balanced_accuracy": round(scores.balanced_accuracy, 4),
        "macro_f1": round(scores.macro_f1, 4), "majority_share": round(scores.majority_share, 4),
        **{f"accuracy_{label}": round(float(value), 4)
           for label, value in zip(scores.classes, scores.per_class, strict=True)},
        "ece": round(measure_reliability(chances, labels).error, 4),
        "predicted": "c" + "".join(str(label) for label in chances.argmax(axis=1)),
        "confidence": "p" + "".join(f"{value:02d}" for value in sure),
    }


def append(file: Path, rows: list[dict[str, object]]) -> None:
    """Add the lines of one training at once: a run broken off leaves whole trainings only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.is_file()
    columns = list(rows[0]) if is_new else file.open(encoding="utf-8").readline().strip().split(",")
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)
        stream.flush()
        os.fsync(stream.fileno())


def interval(mean: float, low: float, high: float, sign: str = "") -> str:
    """Write a mean and its interval."""
    return f"{mean:{sign}.3f}" + ("" if np.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]")
