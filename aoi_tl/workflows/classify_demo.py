"""The lithium classifier on drawn surfaces, for a machine that has nothing but Python."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from aoi_tl.errors import CheckpointError
from aoi_tl.experiment.classification import ClassificationExperiment
from aoi_tl.experiment.settings import read_settings
from aoi_tl.synthetic.surfaces import LITHIUM_COUNTS, STEEL, write_surfaces
from aoi_tl.workflows.classify import ClassificationOutcome, run_classification
from aoi_tl.workflows.progress import Tell, silent

SIZE = 128
STEEL_COUNTS = {"train": dict.fromkeys(STEEL, 60)}


def run_classification_demo(
    out: str | Path,
    data: str | Path,
    overrides: Sequence[str] = (),
    tell: Tell = silent,
) -> tuple[ClassificationOutcome, list[str]]:
    """Draw lithium-like and steel-like surfaces and train the four arms of CDG on them.

    Parameters
    ----------
    out : str or Path
        The run folder; a demo that was broken off goes on there.
    data : str or Path
        Where the surfaces are drawn, or lie since an earlier demo.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like.
    tell : callable
        Told ``(what, done, total)`` as the work goes on.

    Returns
    -------
    outcome : ClassificationOutcome
    notes : list of str
        What a reader has to know, such as that training began from random weights.
    """
    from aoi_tl.checkpoints.finding import find_checkpoint

    tell("drawing surfaces", 0, 1)
    paths = {
        "target": _draw(Path(data) / "lithium", "lithium", LITHIUM_COUNTS),
        "source": _draw(Path(data) / "steel", "steel", STEEL_COUNTS),
    }
    with resources.as_file(resources.files("aoi_tl.workflows") / "classify_demo.yaml") as file:
        experiment = read_settings(file, ClassificationExperiment, overrides)
    # The file names the images where a checkout keeps them; here they lie where they were drawn.
    changes: dict[str, object] = {
        domain: getattr(experiment, domain).model_copy(update={"path": str(path.absolute())})
        for domain, path in paths.items()
    }
    notes = []
    try:
        changes["encoder"] = str(find_checkpoint(experiment.encoder, [Path("weights")]))
    except CheckpointError as error:
        architecture = Path(experiment.encoder).stem + ".yaml"
        notes.append(f"No pretrained encoder ({error}): the demo begins from random weights of "
                     f"{architecture}, from which 20 images teach little.")
        changes |= {"encoder": architecture, "weights": "random"}
    experiment = experiment.model_copy(update=changes)
    return run_classification(experiment, out, resume=True, tell=tell), notes


def _draw(folder: Path, domain: str, counts: Mapping[str, Mapping[str, int]]) -> Path:
    """Draw a set beside its place and move it there, so that it is whole or absent."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{domain}") as temporary:
            shutil.move(write_surfaces(Path(temporary) / domain, domain, counts, SIZE), folder)
    return folder
