"""The demos: whole experiments on drawn images, without any download."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TypeVar

from aoi_tl.errors import CheckpointError
from aoi_tl.experiment.base import BaseExperiment
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.experiment.detection import Experiment
from aoi_tl.experiment.settings import read_settings
from aoi_tl.synthetic.demo_datasets import draw_demo
from aoi_tl.synthetic.surfaces import LITHIUM_COUNTS, STEEL, write_surfaces
from aoi_tl.workflows.classify import ClassificationOutcome, run_classification
from aoi_tl.workflows.progress import Progress, silent
from aoi_tl.workflows.transfer import Outcome, run_experiment

SURFACE_SIZE = 128
STEEL_COUNTS = {"train": dict.fromkeys(STEEL, 60)}

AnyExperiment = TypeVar("AnyExperiment", bound=BaseExperiment)


def run_demo(
    out: str | Path,
    data: str | Path,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> tuple[Outcome, list[str]]:
    """Draw the eleven datasets of the paper's Table 1 in miniature and run an experiment on them.

    Parameters
    ----------
    out : str or Path
        The run folder; an interrupted demo resumes there.
    data : str or Path
        The folder of the drawn datasets; those of an earlier demo are reused.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like.
    progress : callable
        Progress callback, called with ``(what, done, total)``.

    Returns
    -------
    outcome : Outcome
    notes : list of str
        Notes for the reader, for example that training started from random weights.
    """
    drawn = draw_demo(
        Path(data), workers=2,
        progress=lambda done, total: progress("drawing datasets", done, total),
    )
    experiment = _read_demo("demo.yaml", Experiment, overrides)
    # The file has the paths of a checkout; the datasets are where they were drawn.
    chosen = Path(experiment.target).parent.name
    experiment = experiment.model_copy(update={
        "target": str(next(f for f in drawn if f.parent.name == chosen)),
        "sources": tuple(str(f) for f in drawn if f.parent.name != chosen),
    })
    weights, notes = _weights_or_random(
        experiment.weights, "COCO weights", "no arm knows anything of COCO"
    )
    if notes:
        experiment = experiment.model_copy(update={"weights": weights})
    return run_experiment(experiment, out, resume=True, progress=progress), notes


def run_classification_demo(
    out: str | Path,
    data: str | Path,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> tuple[ClassificationOutcome, list[str]]:
    """Draw lithium-like and steel-like surfaces and train the four arms of CDG on them.

    Parameters
    ----------
    out, data, overrides, progress
        As for `run_demo`.

    Returns
    -------
    outcome : ClassificationOutcome
    notes : list of str
        Notes for the reader, for example that training started from random weights.
    """
    progress("drawing surfaces", 0, 1)
    paths = {
        "target": _draw_surfaces(Path(data) / "lithium", "lithium", LITHIUM_COUNTS),
        "source": _draw_surfaces(Path(data) / "steel", "steel", STEEL_COUNTS),
    }
    experiment = _read_demo("classify_demo.yaml", ClassificationExperiment, overrides)
    # The file has the paths of a checkout; the images are where they were drawn.
    changes: dict[str, object] = {
        domain: getattr(experiment, domain).model_copy(update={"path": str(path.absolute())})
        for domain, path in paths.items()
    }
    changes["encoder"], notes = _weights_or_random(
        experiment.encoder, "pretrained encoder", "20 images teach little from there"
    )
    if notes:
        changes["weights"] = "random"
    experiment = experiment.model_copy(update=changes)
    return run_classification(experiment, out, resume=True, progress=progress), notes


def _read_demo(
    name: str, schema: type[AnyExperiment], overrides: Sequence[str]
) -> AnyExperiment:
    with resources.as_file(resources.files("aoi_tl.workflows") / name) as file:
        return read_settings(file, schema, overrides)


def _weights_or_random(weights: str, what: str, consequence: str) -> tuple[str, list[str]]:
    """Find a checkpoint; where there is none, its architecture, and a note that says so."""
    from aoi_tl.checkpoints.finding import find_checkpoint

    try:
        return str(find_checkpoint(weights, [Path("weights")])), []
    except CheckpointError as error:
        architecture = Path(weights).stem + ".yaml"
        return architecture, [
            f"No {what} ({error}): the demo starts from random weights of {architecture}, so "
            f"{consequence}."
        ]


def _draw_surfaces(folder: Path, domain: str, counts: Mapping[str, Mapping[str, int]]) -> Path:
    """Draw a set in a temporary folder and move it, so that it is complete or absent."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{domain}") as temporary:
            drawn = write_surfaces(Path(temporary) / domain, domain, counts, SURFACE_SIZE)
            shutil.move(drawn, folder)
    return folder
