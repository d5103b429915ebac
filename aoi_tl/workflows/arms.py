"""The arms: each a chain of trainings, with every seed, weighed once on the target's test split."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aoi_tl.data.dataset import Dataset
from aoi_tl.experiment import Experiment
from aoi_tl.runs import RunFolder
from aoi_tl.workflows.progress import Tell

if TYPE_CHECKING:
    import pandas

    from aoi_tl.transfer.chain import Stage, StageResult


@dataclass(frozen=True)
class Chain:
    """One arm from one source: which data it sees and which tensors it hands on."""

    arm: str
    modules: str
    source: str | None = None
    source_data: Path | None = None
    target_data: Path | None = None


def train_arms(
    run: RunFolder,
    experiment: Experiment,
    target: Dataset,
    chains: Sequence[Chain],
    weights: Path,
    tell: Tell,
) -> pandas.DataFrame:
    """Train every arm with every seed and test it once; kept as ``arms.csv``.

    Parameters
    ----------
    run : RunFolder
        Stages lie under ``stages/``.
    experiment : Experiment
        Its training arguments, seeds and device.
    target : Dataset
        Whose test split every arm is weighed on.
    chains : sequence of Chain
        What each arm learns from.
    weights : Path
        Where every chain but ``scratch`` begins.
    tell : callable
        Told which stage is at work.

    Returns
    -------
    DataFrame
        A row per arm and seed.
    """
    import pandas as pd

    test_data = run.path / "data" / target.name / "data.yaml"
    checkpoint = weights
    if not weights.is_file():
        checkpoint = _random_checkpoint(run, experiment, weights, target.names)
    total = len(experiment.seeds) * sum(1 + (chain.source is not None) for chain in chains)
    done = 0
    rows: list[dict[str, Any]] = []
    per_class: list[dict[str, Any]] = []
    for seed in experiment.seeds:
        for chain in chains:
            start, notes = checkpoint, []
            for stage in stages_of(run, experiment, chain, seed):
                tell(stage.folder.name, done, total)
                trained = train_once(run, replace(stage, start=start))
                start = trained.best
                notes += [f"{stage.folder.name}: {note}" for note in trained.notes]
                done += 1
            row, classes = weigh(run, experiment, chain, seed, start, test_data)
            rows.append({**row, "notes": "; ".join(notes)})
            per_class += classes
            run.write_table("arms.csv", pd.DataFrame(rows))
            run.write_table("per_class.csv", pd.DataFrame(per_class))
    tell("stages", total, total)
    return pd.DataFrame(rows)


def _random_checkpoint(
    run: RunFolder, experiment: Experiment, architecture: Path, names: Sequence[str]
) -> Path:
    from aoi_tl.transfer.yolo import new_model, save_checkpoint

    file = run.path / "weights" / f"random-{architecture.stem}.pt"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        save_checkpoint(new_model(str(architecture), names, experiment.seeds[0]), file)
    return file


def stages_of(run: RunFolder, experiment: Experiment, chain: Chain, seed: int) -> Iterator[Stage]:
    """Give the stages of one arm and seed, source (where it has one) before target.

    Where a stage begins is filled in when the one before it has ended.
    """
    from aoi_tl.transfer.chain import Stage

    for which, data in (("source", chain.source_data), ("target", chain.target_data)):
        if data is None:
            continue
        arguments = experiment.train.arguments("source" if which == "source" else "target")
        yield Stage(
            start=Path(),
            data=data,
            folder=run.path / "stages" / f"{chain.arm}-s{seed}-{which}",
            modules=chain.modules,
            # The source is learned whole; only the target's training may be held back.
            freeze=experiment.transfer.freeze if which == "target" else 0,
            seed=seed,
            arguments={**arguments, "device": experiment.device},
        )


def train_once(run: RunFolder, stage: Stage) -> StageResult:
    """Train a stage, or take it as it is where it is done; its cost goes to ``timings.csv``."""
    import pandas as pd

    from aoi_tl.transfer.chain import train_stage

    was_done = (stage.folder / "done").is_file()
    began = time.monotonic()
    trained = train_stage(stage, resume=True)
    if not was_done:
        file = run.path / "timings.csv"
        table = pd.read_csv(file) if file.is_file() else pd.DataFrame()
        row = {"stage": stage.folder.name, "seconds": round(time.monotonic() - began, 1),
               "epochs": trained.epochs}
        run.write_table("timings.csv", pd.concat([table, pd.DataFrame([row])]))
    return trained


def weigh(
    run: RunFolder, experiment: Experiment, chain: Chain, seed: int, best: Path, test_data: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Test one trained detector on the target's test split: its row, and a row per class.

    Parameters
    ----------
    run : RunFolder
        The result is kept beside the stage, so that it is tested once.
    experiment : Experiment
        Its image size, batch and device.
    chain : Chain
    seed : int
    best : Path
        The trained checkpoint.
    test_data : Path
        The target's ``data.yaml`` in the run folder.

    Returns
    -------
    row : dict
        ``arm, seed, f1, f1_conf, map50, map50_95, precision, recall, source``.
    classes : list of dict
        ``arm, seed, class, images, instances, ap50, ap50_95, f1``.
    """
    import numpy as np

    from aoi_tl.evaluation.detection import detection_scores
    from aoi_tl.transfer.yolo import validate_detector

    folder = f"stages/{chain.arm}-s{seed}-target"
    found = run.read_json(f"{folder}/test.json")
    if found is None:
        arguments = experiment.train.arguments("target")
        curves = validate_detector(
            best, test_data, run.path / folder / "test", "test",
            {"imgsz": arguments["imgsz"], "batch": arguments["batch"],
             "device": experiment.device},
        )
        names = [curves.names[index] for index in curves.class_index]
        scores = detection_scores(
            curves.confidence, curves.precision, curves.recall, curves.average_precision, names,
            curves.instances.tolist(), curves.images.tolist(),
        )
        packed = io.BytesIO()
        np.savez_compressed(
            packed, confidence=curves.confidence, f1_mean=curves.f1.mean(axis=0),
            recall_grid=curves.pr_recall, precision_mean=curves.pr_precision.mean(axis=0),
        )
        run.write(f"{folder}/curves.npz", packed.getvalue())
        found = {
            "scores": {name: getattr(scores, name) for name in
                       ("f1", "f1_conf", "map50", "map50_95", "precision", "recall")},
            "classes": [
                {"class": row.name, "images": row.images, "instances": row.instances,
                 "ap50": row.map50, "ap50_95": row.map50_95, "f1": row.f1}
                for row in scores.per_class
            ],
        }
        run.write_json(f"{folder}/test.json", found)
    key = {"arm": chain.arm, "seed": seed}
    row = {**key, **found["scores"], "source": chain.source or ""}
    return row, [{**key, **classes} for classes in found["classes"]]
