"""Classification with few labels: CDG for lithium surfaces, two-stage transfer for SEM images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aoi_tl.classification.image_set import ImageSet
from aoi_tl.evaluation.comparison import summarise
from aoi_tl.evaluation.per_class import bootstrap_classes
from aoi_tl.experiment.base import as_experiment
from aoi_tl.experiment.classification import FROZEN, ClassificationExperiment, locate_images
from aoi_tl.files.run_folder import RunFolder, file_hash, open_run
from aoi_tl.workflows.classifier_arms import train_arm
from aoi_tl.workflows.domains import (
    check_named_classes,
    draw_seed,
    find_encoder,
    read_domains,
    trust_encoder,
)
from aoi_tl.workflows.probe_arm import probe_arm
from aoi_tl.workflows.progress import Progress, silent
from aoi_tl.workflows.record import record_experiment

if TYPE_CHECKING:
    import pandas

#: Settings that may be extended when a run is resumed; maps are drawn for the first seed.
GROWS = {"experiment.seeds": True, "experiment.arms": False}
BASELINES = {"cdg": ("probe", "plain", "pretrained"),
             "two-stage": ("probe", "pretraining-only", "fine-tuning-only")}


@dataclass(frozen=True)
class ClassificationOutcome:
    """The results of a classification run.

    Attributes
    ----------
    folder : Path
        The run folder.
    arms : DataFrame
        A row per arm and seed, as in ``arms.csv``.
    summary : DataFrame
        Means, deviations, intervals and paired differences, as in ``summary.csv``.
    """

    folder: Path
    arms: pandas.DataFrame
    summary: pandas.DataFrame


def run_classification(
    experiment: ClassificationExperiment | str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    data_root: str | Path | None = None,
    overrides: Sequence[str] = (),
    progress: Progress = silent,
) -> ClassificationOutcome:
    """Train every arm of a classification system for every seed, and compare the arms.

    Parameters
    ----------
    experiment : ClassificationExperiment, str or Path
        The experiment, or its YAML file.
    out : str or Path
        The run folder: new, or the one to resume.
    resume : bool
        Resume after the last finished arm, and within an arm after its last cycle.
    data_root : str or Path, optional
        The folder that replaces a leading ``../datasets/`` of the experiment's paths.
    overrides : sequence of str
        ``"train.epochs=3"`` and the like, for an experiment given as a file.
    progress : callable
        Called with ``(what, done, total)`` during the work.

    Returns
    -------
    ClassificationOutcome
        Also written in the run folder, with confusion matrices, losses, figures and a report.

    Raises
    ------
    AoiTlError
        For settings, data, checkpoints or folders that cannot be used.

    Examples
    --------
    >>> outcome = run_classification("experiments/lithium-cdg.yaml",
    ...                              "runs/lithium")  # doctest: +SKIP
    """
    experiment = as_experiment(experiment, ClassificationExperiment, overrides)
    experiment = find_encoder(locate_images(experiment, data_root))
    target, source = read_domains(experiment)
    check_named_classes(experiment, target)
    weights = {
        key: file_hash(Path(value)) if Path(value).is_file() else value
        for key, value in (("encoder", experiment.encoder), ("weights", experiment.weights))
    }
    data = {"target": target.fingerprint(), "source": source.fingerprint()}
    fingerprint = {
        "experiment": experiment.model_dump(
            mode="json", exclude={"encoder": True, "weights": True, "report": True,
                                  "target": {"path"}, "source": {"path"}, "depth": True}
        ),
        "data": data,
        **weights,
    }
    with open_run(out, fingerprint, resume, GROWS) as run:
        record_experiment(run, experiment, data, experiment.encoder, weights["encoder"],
                          "classify")
        write_counts(run, target, source)
        notes = [f"{images.name}: {note}" for images in (target, source) for note in images.notes]
        if notes:
            run.write_json("notes.json", notes)
        experiment = trust_encoder(run, experiment)
        rows = []
        for seed in experiment.seeds:
            missing = [arm for arm in experiment.arms if _stage(run, arm, seed) is None]
            if missing:
                progress("decoding images", 0, 1)
                draw = draw_seed(run, experiment, target, source, seed)
                for arm in missing:
                    do = probe_arm if arm in FROZEN else train_arm
                    do(run, experiment, draw, arm, progress)
            rows += [_read_stage(run, arm, seed) for arm in experiment.arms]
        arms, summary = compare(run, experiment, rows)
        run.mark_done()
    return ClassificationOutcome(run.path, arms, summary)


def write_counts(run: RunFolder, target: ImageSet, source: ImageSet) -> None:
    """Write ``counts.csv``: the images of every class in every split of both domains."""
    import pandas as pd

    run.write_table("counts.csv", pd.DataFrame([
        {"domain": domain, "class": name, "split": split, "images": count}
        for domain, images in (("target", target), ("source", source))
        for split in dict.fromkeys(images.splits)
        for name, count in images.split(split).counts.items()
    ]))


def compare(
    run: RunFolder, experiment: ClassificationExperiment, rows: Sequence[Mapping[str, Any]]
) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Compare the arms, and write tables, figures and page.

    Parameters
    ----------
    run : RunFolder
        With every stage done.
    experiment : ClassificationExperiment
        Names the method and its baselines.
    rows : sequence of mapping
        The stages' results.

    Returns
    -------
    arms, summary : DataFrame
        As in ``arms.csv`` and ``summary.csv``.
    """
    import pandas as pd

    from aoi_tl.report.page import write_page

    apart = {"confusion", "classes", "seconds", "waiting_share"}
    arms = pd.DataFrame([{key: value for key, value in row.items() if key not in apart}
                         for row in rows])
    metrics = [name for name in ("accuracy", "macro_f1", "balanced_accuracy", "shifted_f1")
               if name in arms]
    summary = summarise(arms, metrics, BASELINES[experiment.method])
    run.write_table("arms.csv", arms)
    run.write_table("summary.csv", summary)
    run.write_table("timings.csv", pd.DataFrame([
        {key: row[key] for key in ("arm", "seed", "seconds", "waiting_share")} for row in rows
    ]))
    run.write_table("confusion.csv", pd.DataFrame([
        {"arm": row["arm"], "seed": row["seed"], "class": name, "predicted": other,
         "images": row["confusion"][i][j]}
        for row in rows
        for i, name in enumerate(row["classes"]) for j, other in enumerate(row["classes"])
    ]))
    run.write_table("per_class.csv", measure_classes(run, rows))
    wear = []
    for row in rows:
        file = run.path / f"stages/{row['arm']}-s{row['seed']}/robustness.csv"
        if file.is_file():
            table = pd.read_csv(file)
            wear.append(table.assign(arm=row["arm"], seed=row["seed"]))
    if wear:
        run.write_table("robustness.csv", pd.concat(wear)[
            ["arm", "seed", "change", "strength", "accuracy"]
        ])
    write_page(run.path)
    return arms, summary


def measure_classes(run: RunFolder, rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """Take precision, recall and overall scores over all seeds of every arm, with intervals.

    Parameters
    ----------
    run : RunFolder
        With every stage done.
    rows : sequence of mapping
        The stages' results.

    Returns
    -------
    DataFrame
        Columns ``arm``, ``class`` (``all`` for the overall scores), ``metric``, ``value``, ``low``
        and ``high``: 95 % intervals over test images, by groups, and seeds.
    """
    import pandas as pd

    found: list[dict[str, Any]] = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        tables = [pd.read_csv(run.path / f"stages/{arm}-s{row['seed']}/predictions.csv", dtype=str)
                  for row in mine]
        place = {name: number for number, name in enumerate(mine[0]["classes"])}
        scores = bootstrap_classes(
            tables[0]["class"].map(place).to_numpy(),
            np.stack([table["predicted"].map(place).to_numpy() for table in tables]),
            mine[0]["classes"], tables[0]["group"].tolist(),
        )
        overall = {name: getattr(scores, name)
                   for name in ("accuracy", "balanced_accuracy", "above_majority")}
        listed = [
            *((name, "precision", value) for name, value in scores.precision.items()),
            *((name, "recall", value) for name, value in scores.recall.items()),
            *(("all", metric, value) for metric, value in overall.items()),
        ]
        found += [{"arm": arm, "class": name, "metric": metric, "value": score.value,
                   "low": score.low, "high": score.high} for name, metric, score in listed]
    return pd.DataFrame(found)


def _stage(run: RunFolder, arm: str, seed: int) -> Path | None:
    file = run.path / f"stages/{arm}-s{seed}/result.json"
    return file if file.is_file() else None


def _read_stage(run: RunFolder, arm: str, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(
        (run.path / f"stages/{arm}-s{seed}/result.json").read_text(encoding="utf-8")
    )
    return row
