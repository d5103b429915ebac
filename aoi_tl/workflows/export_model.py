"""Exporting the best detector of a run, selected on held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.data.yolo.read import load_dataset
from aoi_tl.errors import ExperimentError, RunError

if TYPE_CHECKING:
    from aoi_tl.transfer.exporting import Parity
    from aoi_tl.transfer.thresholds import Thresholds

FORMATS = ("onnx", "openvino")
#: Images that the exported detector is compared on.
IMAGES = 10


@dataclass(frozen=True)
class Exported:
    """An exported detector.

    Attributes
    ----------
    file : Path
        The new file, or the folder of an OpenVINO model.
    checkpoint : Path
        What it was exported from.
    among : int
        How many detectors of the run it was chosen from.
    chosen_on : dict
        Its rates on held-out images, as in ``thresholds.json``.
    parity : Parity
        The largest differences from the checkpoint's boxes.
    """

    file: Path
    checkpoint: Path
    among: int
    chosen_on: dict[str, Any]
    parity: Parity


def run_export(given: Path, format_: str) -> Exported:
    """Export a detector of a run.

    Parameters
    ----------
    given : Path
        A run folder, or the checkpoint of one of its arms and seeds. Of a run, the detector is
        taken whose thresholds meet their aim best on the images held out from the choice; the test
        images are not used.
    format_ : {"onnx", "openvino"}

    Returns
    -------
    Exported
        Its file is in ``exported/`` of the run folder.

    Raises
    ------
    AoiTlError
        If the run has no detector with thresholds, or the export cannot be done or trusted.
    """
    from aoi_tl.transfer.exporting import SUFFIXES, export_detector

    if format_ not in FORMATS:
        raise ExperimentError(
            f"expected --format {' or '.join(FORMATS)}, got {format_!r}; choose one"
        )
    run, checkpoints = find_detectors(given)
    checkpoint, thresholds = min(checkpoints.items(), key=lambda one: _worth(one[1]))
    name = checkpoint.parents[1].name.removesuffix("-target")
    file = run / "exported" / f"{name}{SUFFIXES[format_]}"
    images = images_of(run, thresholds)
    parity = export_detector(checkpoint, thresholds, format_, file, images)
    return Exported(file, checkpoint, len(checkpoints), dict(thresholds.chosen_on), parity)


def find_detectors(given: Path) -> tuple[Path, dict[Path, Thresholds]]:
    """List a run's detectors that have thresholds.

    Parameters
    ----------
    given : Path
        The run folder, or one checkpoint in it.

    Returns
    -------
    tuple of Path and dict of Path to Thresholds
        The run folder; the thresholds by checkpoint, in the order of their names.

    Raises
    ------
    RunError, CheckpointError
        If there is none.
    """
    from aoi_tl.transfer.thresholds import FILE, parse_thresholds, read_thresholds

    given = given.absolute()
    if not given.exists():
        raise RunError(f"expected a run folder at {given}, got nothing there; correct the path")
    if given.is_file():
        if given.suffix != ".pt" or given.parents[2].name != "stages":
            raise RunError(
                f"expected a run folder, or a checkpoint in its stages/, got {given}; correct the "
                "path"
            )
        return given.parents[3], {given: read_thresholds(given)[0]}
    found = {}
    for file in sorted(given.glob(f"stages/*-target/weights/{FILE}")):
        thresholds = parse_thresholds(file.read_text(encoding="utf-8"), str(file))
        found[file.with_name(thresholds.checkpoint)] = thresholds
    if not found:
        raise RunError(
            f"expected a run with thresholds, got {given} without; run its experiment with "
            "'operate', such as operate: {escape: 0.01}"
        )
    return given, found


def images_of(run: Path, thresholds: Thresholds) -> list[Path]:
    """Take a few of the images that a detector's thresholds were chosen on, far from each other."""
    data = load_dataset(run / str(thresholds.chosen_on.get("data", "")))
    images = [*data.split("val").images, *data.split("train").images]
    places = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)
    return [images[place] for place in places]


def _worth(thresholds: Thresholds) -> tuple[float, ...]:
    """The objective to minimise: a missed limit, then the other rate; or the cost per image."""
    aim, seen = thresholds.aim, thresholds.chosen_on
    escape, overkill = float(seen["escape"]), float(seen["overkill"] or 0.0)
    if "cost" in aim:
        paid = aim["cost"]["escape"] * seen["escaped"] + aim["cost"]["overkill"] * seen["rejected"]
        return (paid / (seen["defective"] + seen["good"]),)
    missed = float(not seen["is_met"])
    return (missed, overkill, escape) if "escape" in aim else (missed, escape, overkill)
