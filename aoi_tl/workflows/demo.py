"""The whole job on drawn datasets, for a machine that has nothing but Python."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from aoi_tl.errors import CheckpointError
from aoi_tl.experiment.detection import Experiment
from aoi_tl.experiment.settings import read_settings
from aoi_tl.synthetic.demo_datasets import draw_demo
from aoi_tl.workflows.progress import Tell, silent
from aoi_tl.workflows.transfer import Outcome, run_experiment


def run_demo(
    out: str | Path,
    data: str | Path,
    overrides: Sequence[str] = (),
    tell: Tell = silent,
) -> tuple[Outcome, list[str]]:
    """Draw the eleven datasets of the paper's Table 1 in miniature and run an experiment on them.

    Parameters
    ----------
    out : str or Path
        The run folder; a demo that was broken off goes on there.
    data : str or Path
        Where the datasets are drawn, or lie since an earlier demo.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like.
    tell : callable
        Told ``(what, done, total)`` as the work goes on.

    Returns
    -------
    outcome : Outcome
    notes : list of str
        What a reader has to know, such as that training began from random weights.
    """
    from aoi_tl.checkpoints.finding import find_checkpoint

    drawn = draw_demo(
        Path(data), progress=lambda done, total: tell("drawing datasets", done, total), workers=2
    )
    with resources.as_file(resources.files("aoi_tl.workflows") / "demo.yaml") as file:
        experiment = read_settings(file, Experiment, overrides)
    # The file names the datasets where a checkout keeps them; here they lie where they were drawn.
    chosen = Path(experiment.target).parent.name
    experiment = experiment.model_copy(update={
        "target": str(next(f for f in drawn if f.parent.name == chosen)),
        "sources": tuple(str(f) for f in drawn if f.parent.name != chosen),
    })
    notes = []
    try:
        find_checkpoint(experiment.weights, [Path("weights")])
    except CheckpointError as error:
        architecture = Path(experiment.weights).stem + ".yaml"
        notes.append(
            f"No COCO weights ({error}): the demo begins from random weights of {architecture}, so "
            "its 'coco' and 'stock' arms know nothing of COCO."
        )
        experiment = experiment.model_copy(update={"weights": architecture})
    return run_experiment(experiment, out, resume=True, tell=tell), notes
